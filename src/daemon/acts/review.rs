//! What the API server is asked: whose a token is, and whether a user may patch a Rollout.
//!
//! Bounded in number and in time: strangers must not load the API server, and their tokens wait for each other
//! only. Not here: what follows.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use tokio::sync::Semaphore;

use super::{Acts, Asker, DEADLINE, Denial, Standing};
use crate::causes;

impl Acts {
    /// Whose token this is.
    pub(super) async fn review(&self, token: &str, standing: Standing) -> Result<Asker, Denial> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let turns = match standing {
            Standing::Stranger => &self.0.strangers,
            Standing::Known => &self.0.reviews,
        };
        let what = "whose token this is";
        let reviewed = self.create((what, &review), turns).await?;
        let status = reviewed.status.unwrap_or_default();
        let user = status.user.filter(|user| {
            let name = user.username.as_deref().unwrap_or_default();
            !name.is_empty() && name != "system:anonymous"
        });
        match user {
            Some(user) if status.authenticated == Some(true) => Ok(Asker::User(Box::new(user))),
            _ => Err(Denial::Stranger),
        }
    }

    /// Whether the user has this verb on the Rollout; without a name, on all of the namespace.
    pub(in crate::daemon) async fn may(
        &self,
        asker: &Asker,
        verb: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Denial> {
        let Asker::User(user) = asker else {
            return Ok(());
        };
        let review = SubjectAccessReview {
            spec: access_review(user, verb, namespace, name),
            ..SubjectAccessReview::default()
        };
        let asked = ("what people may do", &review);
        let reviewed = self.create(asked, &self.0.reviews).await?;
        if reviewed.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        Err(Denial::Forbidden {
            who: asker.name(),
            verb,
            rollout: format!("{namespace}/{name}"),
        })
    }

    async fn create<K>(&self, (what, review): (&str, &K), turns: &Semaphore) -> Result<K, Denial>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let reviews: Api<K> = Api::all(self.live()?.client.clone());
        let (parameters, away) = (PostParams::default(), |why: String| {
            Denial::Away(format!("the API server does not say {what}: {why}"))
        });
        let asked = async {
            let permit = turns.acquire().await;
            let reviewed = reviews.create(&parameters, review).await;
            drop(permit);
            reviewed
        };
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(reviewed)) => Ok(reviewed),
            Ok(Err(error)) => Err(away(causes::told(&error))),
            Err(_) => Err(away("no answer in time".to_owned())),
        }
    }
}

fn access_review(
    user: &UserInfo,
    verb: &str,
    namespace: &str,
    name: &str,
) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(ResourceAttributes {
            group: Some("sluice.dev".to_owned()),
            resource: Some("rollouts".to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: (!name.is_empty()).then(|| name.to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}
