//! How the gate stands: by policy in the API server, by the daemons' webhook, or by keeping
//! Deployments paused.
//!
//! Looked at whenever a policy, a binding or the webhook changes. With `gate: auto` the policies come
//! first, then the webhook where settings have one, then `paused`; with `gate: policy` or `webhook`
//! what is wrong is only said. A webhook that is not reached is not replaced by `paused`: it refuses
//! what it should hold, so nothing gets past it.

use crate::kubernetes::cache::Cache;
use crate::kubernetes::gate::{self, GateState};
use crate::kubernetes::webhook::manifests::State;
use crate::rollout::observation::{Gate, GateMode};

use super::settings;
use super::webhook::{self, Hook};

/// What is known of the gate at start.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the settings ask for.
    pub wanted: settings::Gate,
    /// Whether the API server serves admission policies.
    pub served: bool,
    /// The account that the daemon acts as.
    pub account: String,
    /// The webhook, where settings have one.
    pub webhook: Option<Hook>,
}

/// How the gate stands, from what is watched.
pub fn stands(known: &Known, cache: &Cache) -> Gate {
    match known.wanted {
        settings::Gate::Paused => paused(None, false),
        settings::Gate::Policy => policy(known, cache),
        settings::Gate::Webhook => by_webhook(known, cache).0,
        settings::Gate::Auto => best(known, cache),
    }
}

fn best(known: &Known, cache: &Cache) -> Gate {
    let policy = policy(known, cache);
    if policy.problem.is_none() {
        return policy;
    }
    let (webhook, holds) = by_webhook(known, cache);
    if holds {
        return webhook;
    }
    let configured = known.webhook.is_some() && !known.served;
    let problem = if configured {
        webhook.problem
    } else {
        policy.problem
    };
    let problem = problem.unwrap_or_default();
    let problem = format!("{problem}; meanwhile the Deployments are kept paused");
    paused(Some(problem), policy.holds_us)
}

fn paused(problem: Option<String>, holds_us: bool) -> Gate {
    Gate {
        mode: GateMode::Paused,
        problem,
        refuses: false,
        holds_us,
        frozen: None,
    }
}

fn policy(known: &Known, cache: &Cache) -> Gate {
    let (holds_us, problem) = if known.served {
        problem(known, cache)
    } else {
        let old = "the API server serves no MutatingAdmissionPolicy (Kubernetes before 1.36)";
        (false, Some(old.to_owned()))
    };
    Gate {
        mode: GateMode::Policy,
        problem,
        refuses: false,
        holds_us,
        frozen: None,
    }
}

/// The webhook's gate, and whether nothing gets past it.
fn by_webhook(known: &Known, cache: &Cache) -> (Gate, bool) {
    let Some(hook) = &known.webhook else {
        return (Gate::default(), false);
    };
    let standing = hook.standing.borrow().clone();
    let (state, trusted) = webhook::trusted(cache, &hook.wanted);
    let title = format!("MutatingWebhookConfiguration/{}", hook.wanted.name);
    let apply = format!(
        "apply it: sluice gate {} | kubectl apply -f -",
        hook.wanted.arguments()
    );
    let refused = "changes of guarded workloads are refused meanwhile";
    let holds = matches!(state, State::Ready { .. });
    let trusts = trusted.is_some_and(|trusted| !trusted.is_empty() && trusted == standing.bundle);
    let problem = match state {
        State::Missing => Some(format!("missing: {title}; {apply}")),
        State::Different => Some(format!("not as it should be: {title}; {apply}")),
        State::Ready { .. } if standing.problem.is_some() => standing
            .problem
            .map(|problem| format!("{problem}; {refused}")),
        State::Ready { .. } if !trusts && !standing.bundle.is_empty() => Some(format!(
            "{title} does not have this daemon's CA yet; {refused}"
        )),
        State::Ready { .. } => None,
    };
    let gate = Gate {
        mode: GateMode::Webhook,
        problem,
        refuses: hook.tls && !trusts,
        holds_us: false,
        frozen: None,
    };
    (gate, holds)
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
