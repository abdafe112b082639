//! The phase Held: what holds a run, what ends it all the same, and how it goes on when that is over.
//!
//! Not here: who finds a reason to hold it (the other phases, `requests`).

use super::canary::{canary_ready, is_made, keep_canary};
use super::native;
use super::pass::Pass;
use super::running::{ended, not_worse};
use super::switching;
use super::template::bring_up;
use super::weight::{is_routed, leave_route, steer};
use crate::rollout::evidence::{Evidence, RuleReport};
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Phase, Run};

/// Stands still: still ended by what ends a run, and let go when what held it is over.
pub(super) fn held(pass: &mut Pass<'_>, mut run: Run, why: HeldWhy) -> Phase {
    let reports = pass.reports();
    let cause = ended(pass, &mut run, &reports);
    if let Some(cause) = cause
        && !waits(pass, &mut run, &why, &cause)
    {
        return pass.roll_back(run, cause);
    }
    let why = match (why, hindered(pass)) {
        (HeldWhy::StableGone | HeldWhy::NoReplicas, Some(now)) => now,
        (why, _) => why,
    };
    if why == HeldWhy::StableGone || why == HeldWhy::NoReplicas {
        pass.leave_without_stable(&mut run);
    }
    if why == HeldWhy::StableGone {
        heal_stable(pass);
    }
    let none = matches!(
        why,
        HeldWhy::Refused { .. }
            | HeldWhy::GateHoldsUs { .. }
            | HeldWhy::NoReplicas
            | HeldWhy::Frozen { .. }
    );
    if !none && !native::is_due(pass, &run) {
        keep_canary(pass, &run);
    }
    steer(pass, &mut run, &reports);
    if matches!(why, HeldWhy::Refused { .. }) {
        leave_route(pass);
    }
    if over(pass, &run, &why, &reports) {
        pass.tell(Reason::Resumed);
        return resume(pass, run);
    }
    let why = still_frozen(pass, why);
    Phase::Held { run, why }
}

/// A newer template or configuration waits while a person holds the run, as long as there is a canary to hold.
fn waits(pass: &mut Pass<'_>, run: &mut Run, why: &HeldWhy, cause: &Cause) -> bool {
    let waits = why.is_by_person() && *cause == Cause::Superseded && pass.seen.canary.is_some();
    let newer = pass.target().map(|target| target.revision.clone());
    if waits && run.waiting != newer {
        run.waiting.clone_from(&newer);
        let newer = newer.unwrap_or_default();
        pass.tell(if newer.same(&run.revision) {
            Reason::ConfigChanged
        } else {
            Reason::Waiting { revision: newer }
        });
    }
    waits
}

/// Why no canary can be had, or nothing be let through, now.
pub(super) fn hindered(pass: &Pass<'_>) -> Option<HeldWhy> {
    if let Some(why) = pass.seen.route.refusals.first() {
        return Some(HeldWhy::Refused { why: why.clone() });
    }
    if pass.seen.gate.holds_us {
        let why = pass.seen.gate.problem.clone().unwrap_or_default();
        return Some(HeldWhy::GateHoldsUs { why });
    }
    if pass.target().is_some_and(|target| target.replicas == 0) {
        return Some(HeldWhy::NoReplicas);
    }
    (pass.stable_ready() == 0).then_some(HeldWhy::StableGone)
}

/// One freeze may be followed by another; looked at again when it ends.
fn still_frozen(pass: &mut Pass<'_>, why: HeldWhy) -> HeldWhy {
    match (why, pass.seen.gate.frozen.clone()) {
        (HeldWhy::Frozen { .. }, Some(frozen)) => {
            pass.wake_at(frozen.until);
            HeldWhy::Frozen {
                window: frozen.window,
                until: frozen.until,
            }
        }
        (why, _) => why,
    }
}

/// While the Deployment is held, nobody but us makes stable pods when their `ReplicaSet` is gone;
/// and what its controller scales up from nothing is the newest `ReplicaSet`, which need not be
/// the stable one.
fn heal_stable(pass: &mut Pass<'_>) {
    let (Some(target), Some(stable)) = (pass.target(), pass.state.stable.clone()) else {
        return;
    };
    let gone = target.serving(&stable).is_none() && !target.behind;
    let may_come = target.serving.is_empty() || pass.seen.kept.is_stable(&stable);
    if target.paused && target.replicas > 0 && gone && may_come {
        bring_up(pass, target, stable);
    }
}

/// Whether what held the run is over.
fn over(pass: &Pass<'_>, run: &Run, why: &HeldWhy, reports: &[RuleReport]) -> bool {
    if why.needs_person() {
        return false;
    }
    match why {
        HeldWhy::NoData { .. } => pass.fresh(),
        HeldWhy::PodsRefused { .. } => canary_ready(pass, run),
        HeldWhy::NotMade { .. } => is_made(pass, run),
        HeldWhy::NotRouted { .. } => is_routed(pass, run),
        HeldWhy::Undecided => not_worse(reports) || switching::can_begin(pass, run),
        HeldWhy::Frozen { .. } => pass.seen.gate.frozen.is_none(),
        HeldWhy::Refused { .. }
        | HeldWhy::GateHoldsUs { .. }
        | HeldWhy::NoReplicas
        | HeldWhy::StableGone
        | HeldWhy::Unseen { .. }
        | HeldWhy::Person
        | HeldWhy::PersonNamed { .. }
        | HeldWhy::Suspicions => hindered(pass).is_none(),
    }
}

/// Goes on where a held run stood: at its step, or with the preparation.
pub(super) fn resume(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    run.since = pass.now();
    run.short_since = None;
    if pass.state.evidence.is_none() {
        thaw(pass, &mut run);
    }
    if run.weight == 0 {
        run.step = 0;
        pass.state
            .evidence
            .get_or_insert_with(|| Evidence::begin(&pass.terms.evidence));
        return Phase::Preparing(run);
    }
    Phase::Stepping(run)
}

/// A run that a freeze held back begins now.
fn thaw(pass: &mut Pass<'_>, run: &mut Run) {
    run.started = pass.now();
    pass.state.bookmark = None;
    pass.tell(Reason::RunStarted {
        revision: run.revision.clone(),
        stable: pass.state.stable.clone().unwrap_or_default(),
    });
}
