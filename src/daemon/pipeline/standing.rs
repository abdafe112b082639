//! What the Rollout of a service says in an environment's cluster, as the gates before the next one ask it.
//!
//! Not here: asking for it, and the runs before its last (`api`).

use jiff::Timestamp;

use crate::environments::Standing;
use crate::environments::gates::{Approved, Ended};
use crate::kubernetes::ask;
use crate::kubernetes::crd::Rollout;
use crate::rollout::request::Request;

/// What the Rollout of this namespace and name says.
pub fn standing(rollout: &Rollout, (namespace, name): (&str, &str)) -> Standing {
    let status = rollout.status.clone().unwrap_or_default();
    Standing {
        name: format!("{namespace}/{name}"),
        phase: status
            .phase
            .unwrap_or_else(|| "not looked at yet".to_owned()),
        serves: status.stable.map_or_else(Vec::new, |stable| stable.images),
        last: status.last_run.map(|last| Ended {
            outcome: last.outcome(),
            images: last.revision.images,
            message: last.message,
            at: last.ended.0,
        }),
        approved: ask::let_on_already(rollout)
            .into_iter()
            .filter_map(approved)
            .collect(),
        ..Standing::default()
    }
}

/// An approval, where it says who, of what and where to.
fn approved((at, request): (Timestamp, Request)) -> Option<Approved> {
    Some(Approved {
        version: request.revision?.parse().ok()?,
        to: request.goal?,
        service: request.service,
        by: request.by.filter(|by| !by.is_empty())?,
        groups: request.groups,
        at,
    })
}
