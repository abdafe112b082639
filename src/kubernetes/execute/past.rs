//! The past of a workload: what its `ReplicaSets` hold, those without pods too. One that has none
//! keeps its revisions where they are watched anyhow.
//!
//! The watches forget a `ReplicaSet` that has no pods, since thousands lie about. So they are
//! listed when somebody asks to go back, and when a template is wanted that nothing else has.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Error, Executor, Order, within};
use crate::kubernetes::scene::{self, Scene};
use crate::kubernetes::{canary, entries, members, template};
use crate::rollout::observation::Past;
use crate::rollout::revision::Revision;

impl Executor {
    /// What the target's `ReplicaSets` hold; nothing where there is no target.
    ///
    /// # Errors
    ///
    /// The list failed or took too long.
    pub async fn past(&self, scene: &Scene) -> Result<Vec<Past>, Error> {
        if !scene.known.is_empty() {
            return Ok(members::past(&scene.known));
        }
        let sets = self.sets(scene).await?;
        Ok(sets.iter().map(past).collect())
    }

    /// A template by its revision: from what is watched, else from a `ReplicaSet` without pods.
    pub(super) async fn known_template(
        &self,
        order: Order<'_>,
        revision: &Revision,
    ) -> Result<PodTemplateSpec, Error> {
        if let Some(template) = order.scene.template(&revision.hash) {
            return Ok(template.into_owned());
        }
        let sets = self.sets(order.scene).await?;
        let set = sets.iter().find(|set| past(set).revision.same(revision));
        let template = set.and_then(|set| set.spec.template.as_ref());
        Ok(template
            .map(template::without_hash)
            .ok_or_else(|| scene::Error::NoTemplate(revision.hash.clone()))?)
    }

    async fn sets(&self, scene: &Scene) -> Result<Vec<ReplicaSet>, Error> {
        let Some(target) = &scene.target else {
            return Ok(Vec::new());
        };
        let _turn = self.turn().await;
        let target = &target.object;
        let uid = target.uid().unwrap_or_default();
        let api: Api<ReplicaSet> = self.api(&target.namespace().unwrap_or_default());
        let sets = within("listing the ReplicaSets", api.list(&selected(target))).await?;
        let own = |set: &ReplicaSet| canary::is_owned(&set.metadata, &uid);
        Ok(sets.items.into_iter().filter(own).collect())
    }
}

/// What a workload's selector takes, as far as it names labels.
pub(super) fn selected(workload: &Deployment) -> ListParams {
    let labels = workload.spec.selector.match_labels.iter().flatten();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    ListParams::default().labels(&labels.join(","))
}

fn past(set: &ReplicaSet) -> Past {
    let template = set.spec.template.clone().unwrap_or_default();
    Past {
        revision: Revision {
            hash: template::revision(&template).into(),
            images: template::images(&template),
        },
        number: entries::number(set),
    }
}
