//! What a state is bound to: the workload that was adopted and the way of its traffic.
//!
//! The spec may be edited to name others. A run is finished on the route that it began with, so
//! that its weight is never left behind; a Deployment that is not named any more is put back and
//! let go before the new one is adopted.
//!
//! Not here: how a Deployment is let go (`decide`).

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Route, WorkloadKind};
use super::state::State;

/// Names by which a state's objects are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Kind of the adopted workload.
    #[serde(default, skip_serializing_if = "WorkloadKind::is_deployment")]
    pub kind: WorkloadKind,
    /// Its name.
    pub target: String,
    /// How traffic reaches it.
    pub route: Route,
}

impl Bound {
    /// What a plan names.
    pub fn of(plan: &Plan) -> Self {
        Self {
            kind: plan.kind,
            target: plan.target.clone(),
            route: plan.route.clone(),
        }
    }
}

/// The plan that applies to a state instead of what the spec says now; `None` if that agrees.
pub fn instead(plan: &Plan, state: &State) -> Option<Plan> {
    let bound = state.bound.as_ref()?;
    let moved = (bound.kind, &bound.target) != (plan.kind, &plan.target);
    let rerouted = bound.route != plan.route && state.phase.run().is_some();
    (moved || rerouted).then(|| Plan {
        kind: bound.kind,
        target: bound.target.clone(),
        route: bound.route.clone(),
        moved_to: moved.then(|| {
            if bound.kind == plan.kind {
                plan.target.clone()
            } else {
                format!("{} {}", plan.kind, plan.target)
            }
        }),
        ..plan.clone()
    })
}
