//! The weight: what each step wants, when it may rise, and how the one that is seen is brought to it.
//!
//! Guarantees: a weight is lowered whatever else is so, and rises by [`may_raise`] alone. Not here: which step a
//! run is at (`stepping`).

use std::time::Duration;

use super::canary::canary_ready;
use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::evidence::{RuleReport, Verdict};
use crate::rollout::plan::{Plan, Route};
use crate::rollout::reason::Reason;
use crate::rollout::state::{Mending, Run};

/// A Gateway's controller that says nothing of the newest weight for so long is waited for no more: the
/// share of the requests that is seen tells then.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Weight of the step that a run is at.
pub(super) fn step_weight(plan: &Plan, step: usize) -> u8 {
    plan.steps.get(step).map_or(100, |step| step.weight)
}

/// Weight of the first step.
pub(super) fn first_weight(plan: &Plan) -> u8 {
    step_weight(plan, 0)
}

/// Invariant 1: what must hold before a weight may rise.
pub(super) fn may_raise(pass: &Pass<'_>, run: &Run, reports: &[RuleReport]) -> bool {
    pass.fresh()
        && canary_ready(pass, run)
        && pass.stable_ready() > 0
        && pass.seen.route.refusals.is_empty()
        && !reports
            .iter()
            .any(|report| report.verdict == Verdict::Worse)
}

/// Enters a step: the weight is wanted from now on.
pub(super) fn raise(pass: &mut Pass<'_>, run: &mut Run, step: usize) {
    let from = run.weight;
    run.step = step;
    run.weight = step_weight(pass.plan, step);
    run.peak = run.peak.max(run.weight);
    run.weight_since = None;
    run.late = None;
    run.since = pass.now();
    pass.tell(Reason::WeightRaised {
        from,
        to: run.weight,
        step: step + 1,
        steps: pass.plan.steps.len(),
    });
}

/// Brings the weight that is seen to the one that is wanted; raises only if that is allowed.
pub(super) fn steer(pass: &mut Pass<'_>, run: &mut Run, reports: &[RuleReport]) {
    let route = pass.seen.route.canary.clone();
    let seen = route.as_ref().and_then(|route| route.weight);
    let unready = pass.is_unready(run);
    pass.tell_mending(Mending::Unready, unready, Reason::CanaryUnready);
    if unready {
        run.weight_since = None;
        keep_off(pass);
        return;
    }
    if run.weight == 0 && route.is_none() {
        run.weight_since = None;
        weight_mended(pass, false, seen, run.weight);
        return;
    }
    if seen == Some(run.weight) {
        if run.weight > 0 && route.as_ref().is_some_and(|route| route.differs) {
            pass.act(Action::EnsureRoute { weight: run.weight });
        }
        if route.is_some_and(|route| route.behind) && !pass.over(run.since, TAKEN_WITHIN) {
            // Not in force yet: it settles from the moment at which it is.
            run.weight_since = None;
        }
        in_force(pass, run);
        weight_mended(pass, false, seen, run.weight);
        return;
    }
    if run.weight_since.take().is_some() {
        weight_mended(pass, true, seen, run.weight);
    }
    match (route, seen) {
        (Some(_), Some(seen)) if seen > run.weight => {
            pass.act(Action::LowerWeight { weight: run.weight });
        }
        // A weight that is no number is not known to be low: off first.
        (Some(_), None) => pass.act(Action::LowerWeight { weight: 0 }),
        (_, _) if may_raise(pass, run, reports) => {
            pass.act(Action::EnsureRoute { weight: run.weight });
        }
        (_, _) => {}
    }
}

/// Tells once that somebody changed the weight.
fn weight_mended(pass: &mut Pass<'_>, broken: bool, seen: Option<u8>, wanted: u8) {
    let reason = Reason::WeightMended { seen, wanted };
    pass.tell_mending(Mending::Weight, broken, reason);
}

/// Notes the first sight of the wanted weight, and tells the evidence what is in force.
fn in_force(pass: &mut Pass<'_>, run: &mut Run) {
    weight_in_force(pass, run);
    let canary = pass.seen.canary.as_ref().map_or(0, |canary| canary.ready);
    let pods = [canary, pass.stable_ready()].map(|ready| u32::try_from(ready).unwrap_or(0));
    if let Some(evidence) = &mut pass.state.evidence {
        evidence.pods_seen(pods[0], pods[1]);
    }
}

/// The weight alone.
pub(super) fn weight_in_force(pass: &mut Pass<'_>, run: &mut Run) {
    let since = *run.weight_since.get_or_insert(pass.now());
    run.unrouted_since = None;
    // Said in each pass: the steps may be edited, and then another weight follows.
    let next = step_weight(pass.plan, run.step + 1);
    let asked = pass.terms.asked(&pass.state);
    if let Some(evidence) = &mut pass.state.evidence {
        evidence.weight_changed(&asked, run.weight, next, since);
    }
}

/// Whether the weight that the run wants is the one that its route has.
pub(super) fn is_routed(pass: &Pass<'_>, run: &Run) -> bool {
    let route = pass.seen.route.canary.as_ref();
    route.and_then(|route| route.weight).unwrap_or(0) == run.weight
}

/// Takes a canary that gets nothing out of its `HTTPRoute`: a Gateway refuses a route that names a Service which is
/// not there, and the Service is not made while the route is refused.
pub(super) fn leave_route(pass: &mut Pass<'_>) {
    let gateway = matches!(pass.plan.route, Route::GatewayApi { .. });
    let route = pass.seen.route.canary.as_ref();
    if gateway && route.is_some_and(|route| route.weight == Some(0)) {
        pass.act(Action::RemoveRoute);
    }
}

/// A run that a person holds stays at the weight that is in force, not at one that was yet to come.
pub(super) fn stay(pass: &Pass<'_>, run: &mut Run) {
    let route = pass.seen.route.canary.as_ref();
    let seen = route.and_then(|route| route.weight).unwrap_or(0);
    if run.weight_since.is_some() || seen >= run.weight {
        return;
    }
    run.weight = seen;
    let reached = pass.plan.steps.iter().rposition(|step| step.weight <= seen);
    run.step = reached.unwrap_or(0);
}

/// Takes the weight to 0.
pub(super) fn keep_off(pass: &mut Pass<'_>) {
    let on = pass
        .seen
        .route
        .canary
        .as_ref()
        .is_some_and(|route| route.weight != Some(0));
    if on {
        pass.act(Action::LowerWeight { weight: 0 });
    }
}
