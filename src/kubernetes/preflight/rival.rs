//! Another tool that releases the target already: two would scale it, split its traffic and undo each other.
//!
//! Flagger is known by the Service that it makes for the target's pods. Not here: Argo Rollouts, whose pods
//! are of a kind of its own, so that the target has none.

use super::{Refusal, Seen, name, service_selector};
use crate::kubernetes::labels::contains;

/// The Canary of Flagger's that has the target.
pub(super) fn flagger(seen: &Seen<'_>) -> Option<Refusal> {
    let labels = seen.template_labels();
    let mut all = seen.services.iter();
    all.find_map(|service| {
        let mut owners = service.metadata.owner_references.iter().flatten();
        let canary = owners.find(|owner| {
            owner.kind == "Canary" && owner.api_version.starts_with("flagger.app/")
        })?;
        let selector = service_selector(service).filter(|selector| !selector.is_empty())?;
        contains(&labels, selector).then(|| Refusal::Flagger {
            workload: seen.target_title(),
            canary: canary.name.clone(),
            service: name(&service.metadata).to_owned(),
        })
    })
}
