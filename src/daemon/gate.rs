//! How the gate stands: by policy in the API server, or by keeping Deployments paused.
//!
//! Looked at whenever a policy or binding changes. With `gate: auto` the mode `paused` takes
//! over while the policies do not hold; with `gate: policy` that is only said.

use crate::kubernetes::cache::Cache;
use crate::kubernetes::gate::{self, GateState};
use crate::rollout::observation::{Gate, GateMode};

use super::settings;

/// What is known of the gate at start.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the settings ask for.
    pub wanted: settings::Gate,
    /// Whether the API server serves admission policies.
    pub served: bool,
    /// The account that the daemon acts as.
    pub account: String,
}

/// How the gate stands, from what is watched.
pub fn stands(known: &Known, cache: &Cache) -> Gate {
    if known.wanted == settings::Gate::Paused {
        return Gate {
            mode: GateMode::Paused,
            ..Gate::default()
        };
    }
    let (holds_us, problem) = if known.served {
        problem(known, cache)
    } else {
        let old = "the API server serves no MutatingAdmissionPolicy (Kubernetes before 1.36)";
        (false, Some(old.to_owned()))
    };
    match (known.wanted, problem) {
        (settings::Gate::Auto, Some(problem)) => Gate {
            mode: GateMode::Paused,
            problem: Some(format!(
                "{problem}; meanwhile the Deployments are kept paused"
            )),
            holds_us,
            frozen: None,
        },
        (_, problem) => Gate {
            mode: GateMode::Policy,
            problem,
            holds_us,
            frozen: None,
        },
    }
}

/// Whether the gate holds this daemon too, and what is wrong with it.
fn problem(known: &Known, cache: &Cache) -> (bool, Option<String>) {
    let shelves = [
        &cache.policies,
        &cache.policy_bindings,
        &cache.sayings,
        &cache.saying_bindings,
    ];
    let present: Vec<serde_json::Value> = shelves
        .iter()
        .flat_map(|shelf| shelf.all())
        .map(|object| (*object).clone())
        .collect();
    let apply = format!(
        "apply them: sluice gate --account {} | kubectl apply -f -",
        known.account
    );
    let state = gate::state(&present, &known.account);
    let holds_us = matches!(state, GateState::OtherAccount { .. });
    let problem = match state {
        GateState::Ready { .. } => None,
        GateState::OtherAccount { found } => Some(format!(
            "the gate lets {found} pass, but this daemon acts as {}; {apply}",
            known.account
        )),
        GateState::Missing { objects } => Some(format!("missing: {}; {apply}", objects.join(", "))),
        GateState::Different { objects } => Some(format!(
            "not as they should be: {}; {apply}",
            objects.join(", ")
        )),
    };
    (holds_us, problem)
}
