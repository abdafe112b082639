//! The remedy where there are no commits: the tag of a failed release is excluded from what the Flux
//! Operator's provider may choose, until a newer template has passed.
//!
//! Not here: the provider's filter (`kubernetes::flux`).

use super::automation::named;
use super::source::By;
use super::{Case, Error, Remedies};
use crate::kubernetes::crd::GitRemedy;
use crate::kubernetes::flux::Named;
use crate::rollout::remedy::RemedyOutcome;

impl Remedies {
    /// Excludes the tag of the run that was rolled back last; what cannot be excluded is said.
    pub(super) async fn exclude(&self, case: &Case<'_>, run: &str) -> Result<(), Error> {
        let (rollout, now) = (case.rollout, case.now);
        let (By::InputProvider(at), Some(status)) = (&case.by, &rollout.status) else {
            return Ok(());
        };
        let images = |revision: Option<&Vec<String>>| revision.cloned().unwrap_or_default();
        let failed = images(status.last_run.as_ref().map(|last| &last.revision.images));
        let stable = images(status.stable.as_ref().map(|stable| &stable.images));
        let images = (failed.as_slice(), stable.as_slice());
        let name = named(rollout);
        let excluded = self.sources.flux.exclude(at, &name, images, now);
        let remedy = match excluded.await? {
            Ok(tag) => GitRemedy {
                suspended: vec![format!("{}/{}", at.namespace, at.name)],
                ..GitRemedy::none(run, RemedyOutcome::Excluded, &told(at, &tag), now)
            },
            Err(why) => GitRemedy::none(run, RemedyOutcome::NotReverted, &why, now),
        };
        self.conclude(case, case.git.clone(), remedy).await
    }
}

fn told(at: &Named, tag: &str) -> String {
    let Named { namespace, name } = at;
    format!(
        "tag {tag} is excluded in ResourceSetInputProvider {namespace}/{name} until a newer template has passed (or: kubectl -n {namespace} edit resourcesetinputprovider {name}, spec.filter.excludeTag)"
    )
}
