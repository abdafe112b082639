//! Guarding, in every phase: the gate, bypasses, a target that vanished, a Rollout that lets go.
//!
//! Not here: what is new (`idle`), and how a run's objects are put back (`rolling_back`).

use super::pass::Pass;
use super::rolling_back::clear_leftovers;
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase};

/// What is looked after in every phase: the gate itself, a detached or vanished target.
pub(super) fn look_after(pass: &mut Pass<'_>) {
    tell_gate(pass);
    notice_bypass(pass);
    if detached(pass) {
        detach(pass);
        return;
    }
    if pass.target().map(|target| &target.uid) != pass.state.target.as_ref()
        && pass.state.target.is_some()
    {
        lose_target(pass);
    } else if let Some(target) = pass.target() {
        keep_guarded(pass, target);
    }
}

/// Whether the Rollout says not to guard any more.
pub(super) fn detached(pass: &Pass<'_>) -> bool {
    pass.plan.suspended || pass.seen.rollout.deleting
}

/// Ends a run, if there is one; `suspended` does the rest.
fn detach(pass: &mut Pass<'_>) {
    if let Phase::RollingBack { .. } = pass.state.phase {
        return;
    }
    pass.state.phase = match pass.state.phase.run().cloned() {
        Some(run) => pass.roll_back(run, Cause::Detached),
        None => Phase::Suspended,
    };
}

fn lose_target(pass: &mut Pass<'_>) {
    let run = pass.state.phase.run().cloned();
    pass.state.phase = match (std::mem::take(&mut pass.state.phase), run) {
        (Phase::RollingBack { run, mut rollback }, _) => {
            rollback.cause = Cause::TargetGone;
            Phase::RollingBack { run, rollback }
        }
        (_, Some(run)) => pass.roll_back(run, Cause::TargetGone),
        (_, None) => {
            forget_target(pass);
            Phase::default()
        }
    };
}

/// Forgets what belongs to one Deployment.
pub(super) fn forget_target(pass: &mut Pass<'_>) {
    pass.state.target = None;
    pass.state.stable = None;
    pass.state.config = None;
    pass.state.failed = None;
    pass.state.bypassed = None;
    if pass.state.desired.take().is_some() || pass.seen.kept.desired.is_some() {
        pass.act(Action::DropDesired);
    }
}

fn tell_gate(pass: &mut Pass<'_>) {
    let problem = pass.seen.gate.problem.clone();
    if problem == pass.state.gate_problem {
        return;
    }
    match &problem {
        Some(problem) => pass.tell(Reason::GateBroken {
            problem: problem.clone(),
        }),
        None => pass.tell(Reason::GateMended),
    }
    pass.state.gate_problem = problem;
}

fn keep_guarded(pass: &mut Pass<'_>, target: &Target) {
    if pass.state.target.is_none() {
        return;
    }
    pass.tell_mending(Mending::Label, !target.guarded, Reason::LabelRestored);
    if !pass.seen.rollout.finalizer {
        pass.act(Action::TakeCustody);
    }
    if !target.guarded || target.held_by.as_deref() != Some(pass.plan.name.as_str()) {
        pass.act(Action::Guard);
    }
}

/// Says once when a revision has pods that no run approved.
fn notice_bypass(pass: &mut Pass<'_>) {
    let adopted = pass.state.target.as_ref();
    let Some(target) = pass.target().filter(|target| Some(&target.uid) == adopted) else {
        return;
    };
    let Some(stable) = pass.state.stable.clone() else {
        return;
    };
    let proven =
        if let Phase::Promoting { run, .. } | Phase::RollingBack { run, .. } = &pass.state.phase {
            Some(&run.revision)
        } else {
            None
        };
    let leaves = |revision: &Revision| {
        let ended = pass.state.last_run.as_ref().map(|run| &run.revision);
        let returns = target.revision.same(&stable) && !target.complete;
        returns && ended.is_some_and(|ended| ended.same(revision))
    };
    let stranger = target
        .serving
        .iter()
        .map(|serving| &serving.revision)
        .find(|revision| {
            !revision.same(&stable)
                && !proven.is_some_and(|proven| proven.same(revision))
                && !leaves(revision)
        });
    let Some(stranger) = stranger.cloned() else {
        return;
    };
    if pass.state.bypassed.as_ref() == Some(&stranger.hash) {
        return;
    }
    pass.state.bypassed = Some(stranger.hash.clone());
    match &target.open {
        Some(why) => pass.tell(Reason::Opened {
            revision: stranger,
            why: why.clone(),
        }),
        None => pass.tell(Reason::Bypassed { revision: stranger }),
    }
}

/// Puts back to stable, takes the gate away, lets go. Never forward.
pub(super) fn suspended(pass: &mut Pass<'_>) -> Phase {
    if !detached(pass) {
        return Phase::default();
    }
    if clear_leftovers(pass) {
        return Phase::Suspended;
    }
    // Only what was adopted is ours to open: another Rollout may hold this Deployment.
    let adopted = pass.state.target.as_ref();
    let Some(target) = pass.target().filter(|target| Some(&target.uid) == adopted) else {
        release(pass);
        return Phase::Suspended;
    };
    if let Some(stable) = unproven(pass, target) {
        pass.act(Action::RestoreTemplate {
            to: stable,
            expect: target.revision.clone(),
            paused: false,
        });
        return Phase::Suspended;
    }
    if target.paused {
        pass.act(Action::Unpause {
            expect: target.revision.clone(),
        });
        return Phase::Suspended;
    }
    if target.guarded {
        pass.act(Action::Unguard);
        pass.tell(Reason::Suspended);
        return Phase::Suspended;
    }
    release(pass);
    Phase::Suspended
}

/// The stable revision, if the Deployment is held with another one that can be taken back.
fn unproven(pass: &Pass<'_>, target: &Target) -> Option<Revision> {
    let stable = pass.state.stable.clone()?;
    let known =
        target.serving(&stable).is_some() || pass.seen.kept.stable.as_ref() == Some(&stable.hash);
    (target.paused && !target.revision.same(&stable) && known).then_some(stable)
}

fn release(pass: &mut Pass<'_>) {
    if pass.state.target.is_some() {
        forget_target(pass);
        pass.tell(Reason::Released);
    }
    if pass.seen.rollout.deleting && pass.seen.rollout.finalizer {
        pass.act(Action::ReleaseCustody);
    }
}
