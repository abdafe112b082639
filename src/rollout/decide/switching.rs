//! The switch of a blue/green release: what must be so before all traffic goes over at once, and
//! what the new revision is held to afterwards.
//!
//! There is no second arm with traffic after the switch. So it waits until enough of stable was seen
//! to say what stable is like; that is the limit of each rule from then on. Stable keeps its pods, and
//! the way back is the weight.
//!
//! A rolling release waits for the same.
//!
//! Not here: the limits themselves (`evidence::after`), and how a step is passed or fails
//! (`stepping`): the switch is a step of 100%.

use super::approvals;
use super::pass::Pass;
use crate::rollout::evidence::Evidence;
use crate::rollout::plan::UndecidedThen;
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Phase, Run};

/// What is to be waited for before the switch; `None` when it can be made, and where the plan has none.
pub(super) fn before(pass: &mut Pass<'_>, run: &mut Run) -> Option<Phase> {
    let approval = pass.plan.strategy.approval()?;
    if run.goals.is_none() && !knows_stable(pass) {
        return Some(Phase::Preparing(run.clone()));
    }
    if let Some(next) = unknown(pass, run) {
        return Some(next);
    }
    if !approval || run.approved {
        return None;
    }
    pass.tell(if pass.plan.strategy.is_rolling() {
        Reason::RollAwaited
    } else {
        Reason::ApprovalAwaited { step: 0, next: 100 }
    });
    run.since = pass.now();
    approvals::begin(run);
    Some(Phase::AwaitingApproval(run.clone()))
}

/// A person approved the switch: it is made when all that it needs is there.
pub(super) fn approved(mut run: Run) -> Phase {
    run.approved = true;
    Phase::Preparing(run)
}

fn knows_stable(pass: &Pass<'_>) -> bool {
    let evidence = pass.state.evidence.as_ref();
    evidence.is_some_and(|evidence| evidence.knows_stable(&pass.terms.evidence))
}

/// Rules that could not say anything after the switch.
fn without_limit(pass: &Pass<'_>, run: &Run) -> Vec<String> {
    let evidence = pass.state.evidence.as_ref();
    let evidence = evidence.filter(|_| run.goals.is_none());
    evidence.map_or_else(Vec::new, |evidence| {
        evidence.without_limit(&pass.terms.evidence)
    })
}

/// Too little is known of stable for a rule to judge by: the plan says what follows, as where
/// evidence stays undecided.
fn unknown(pass: &mut Pass<'_>, run: &Run) -> Option<Phase> {
    if without_limit(pass, run).is_empty() {
        return None;
    }
    let (after, then) = pass.plan.analysis.undecided;
    if !pass.watched_for(run.since, after) {
        return Some(Phase::Preparing(run.clone()));
    }
    match then {
        UndecidedThen::Promote => None,
        UndecidedThen::Hold => Some(pass.hold(run.clone(), HeldWhy::Undecided)),
        UndecidedThen::Rollback => {
            let after = humantime::format_duration(after).to_string();
            Some(pass.roll_back(run.clone(), Cause::Undecided { after }))
        }
    }
}

/// Whether a run that was held since too little was known of stable knows enough now.
pub(super) fn can_begin(pass: &Pass<'_>, run: &Run) -> bool {
    let waits = pass.plan.strategy.approval().is_some() && run.weight == 0;
    waits && knows_stable(pass) && without_limit(pass, run).is_empty()
}

/// What stable was like is what the revision is held to; fixed at the first switch of a run.
pub(super) fn set_goals(pass: &mut Pass<'_>, run: &mut Run) {
    if run.goals.is_some() {
        return;
    }
    let settings = &pass.terms.evidence;
    let goals = pass.state.evidence.as_mut().map(|evidence| {
        let limits = evidence.limits(settings);
        evidence.held_to(&limits);
        limits
    });
    let goals = goals.unwrap_or_default();
    let missing = pass.state.evidence.as_ref();
    let missing = missing.map_or_else(Vec::new, |it: &Evidence| it.without_limit(settings));
    let limits = goals.iter().map(ToString::to_string);
    let missing = missing.iter().map(|rule| format!("{rule} has no limit"));
    let each: Vec<String> = limits.chain(missing).collect();
    let sentence = each.join("; ");
    run.patience = Some(sentence.clone());
    run.goals = Some(goals);
    if !sentence.is_empty() {
        pass.tell(Reason::PatienceSaid { sentence });
    }
}
