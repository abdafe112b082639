//! A rolling release: no canary and no shares. The gate holds it until it is known what stable is
//! like; then the Deployment rolls by its own strategy, and what serves is held to that: while it
//! rolls (`promoting`) and for a while afterwards (`baking`). What is worse is put back.
//!
//! All requests go through one Service meanwhile, so that bad pods are seen diluted by stable's. A
//! limit that is exceeded all the same is exceeded by more.
//!
//! Not here: the limits themselves (`evidence::after`), and what is waited for before a switch as
//! well (`switching`).

use super::approvals;
use super::canary::clear_leftovers;
use super::held::hindered;
use super::pass::Pass;
use super::promoting;
use super::running::{ended, silent};
use super::switching;
use crate::rollout::state::{Phase, Run};

/// The gate holds it; what stable is like is counted.
pub(super) fn preparing(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    if let Some(next) = not_yet(pass, &run) {
        return next;
    }
    if !pass.fresh() {
        return silent(pass, &run).unwrap_or(Phase::Preparing(run));
    }
    if let Some(next) = switching::before(pass, &mut run) {
        return next;
    }
    begin(pass, run)
}

/// It could roll, and a person must approve it.
pub(super) fn awaiting_approval(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let reports = pass.reports();
    if let Some(cause) = ended(pass, &mut run, &reports) {
        return pass.roll_back(run, cause);
    }
    if let Some(next) = not_yet(pass, &run) {
        return next;
    }
    if !pass.fresh()
        && let Some(next) = silent(pass, &run)
    {
        return next;
    }
    match approvals::look(pass, &mut run) {
        Some(next) => next,
        None => Phase::AwaitingApproval(run),
    }
}

/// Whether this run has no canary, as the plan stands: one that has a share already is finished as
/// it began.
pub(super) fn is_due(pass: &Pass<'_>, run: &Run) -> bool {
    pass.plan.strategy.is_rolling() && run.weight == 0
}

/// What stands in the way of a roll; a canary that another strategy made is removed first.
fn not_yet(pass: &mut Pass<'_>, run: &Run) -> Option<Phase> {
    if clear_leftovers(pass) {
        return Some(Phase::Preparing(run.clone()));
    }
    hindered(pass).map(|why| pass.hold(run.clone(), why))
}

/// Lets it roll, held to what stable was like until now.
fn begin(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    switching::set_goals(pass, &mut run);
    run.rolls = true;
    let now = pass.now();
    let asked = pass
        .terms
        .evidence
        .limited(run.goals.as_deref().unwrap_or_default());
    if let Some(evidence) = &mut pass.state.evidence {
        evidence.weight_changed(&asked, 100, 100, now);
    }
    let held_to = run.patience.clone().filter(|told| !told.is_empty());
    let sentence = match held_to {
        Some(limits) => format!("it rolls natively, held to what was before: {limits}"),
        None => "it rolls natively; no rule knows what was before".to_owned(),
    };
    promoting::begin(pass, run, sentence)
}
