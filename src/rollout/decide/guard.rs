//! Between runs: adopting a Deployment, keeping the gate, noticing what is new.
//!
//! Not here: what happens to a revision under trial (`running`, `stepping`), and how everything
//! is put back (`rolling_back`).

use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::evidence::{Evidence, Verdict};
use crate::rollout::observation::{GateMode, Target};
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase, Run, Trigger};

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

fn detached(pass: &Pass<'_>) -> bool {
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
    let (Some(target), Some(stable)) = (pass.target(), pass.state.stable.clone()) else {
        return;
    };
    let proven =
        if let Phase::Promoting { run, .. } | Phase::RollingBack { run, .. } = &pass.state.phase {
            Some(&run.revision)
        } else {
            None
        };
    let stranger = target
        .serving
        .iter()
        .map(|serving| &serving.revision)
        .find(|revision| {
            !revision.same(&stable) && !proven.is_some_and(|proven| proven.same(revision))
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

/// Waits until the Deployment can be guarded; heals one that nothing serves.
pub(super) fn adopting(pass: &mut Pass<'_>, told: &str) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    match adoptable(pass) {
        Ok(stable) => adopt(pass, stable),
        Err(why) => {
            if why != told {
                pass.tell(Reason::Unguarded { why: why.clone() });
            }
            Phase::Adopting { why }
        }
    }
}

/// The revision that serves, or why the Deployment cannot be guarded yet.
fn adoptable(pass: &mut Pass<'_>) -> Result<Revision, String> {
    if let Some(rival) = &pass.seen.rollout.rival {
        return Err(format!("the Rollout {rival} guards the same Deployment"));
    }
    let Some(target) = pass.target() else {
        return Err(format!("there is no Deployment {}", pass.plan.target));
    };
    if let Some(refusal) = pass.seen.route.refusals.first() {
        return Err(refusal.clone());
    }
    if target.complete && !held(target) {
        return Ok(target.revision.clone());
    }
    if !target.paused {
        return Err("the Deployment is still rolling".to_owned());
    }
    match target.serving.as_slice() {
        [] => heal(pass, target),
        [one] if one.ready > 0 => Ok(one.revision.clone()),
        [_] => Err("no pod of the Deployment is ready".to_owned()),
        [..] => Err("the Deployment is paused in the middle of a roll".to_owned()),
    }
}

/// Whether something else than the template serves.
fn held(target: &Target) -> bool {
    target.paused
        && target
            .serving
            .iter()
            .any(|s| !s.revision.same(&target.revision))
}

/// A paused Deployment that nothing serves: bring up the last stable template, else the present one.
fn heal(pass: &mut Pass<'_>, target: &Target) -> Result<Revision, String> {
    if target.replicas == 0 {
        return Ok(target.revision.clone());
    }
    pass.act(Action::Unpause {
        expect: target.revision.clone(),
    });
    pass.tell(Reason::Healed {
        what: "the Deployment was held with nothing that serves: its template is let through as the first".to_owned(),
    });
    Err("nothing serves yet; the Deployment is let through as the first".to_owned())
}

fn adopt(pass: &mut Pass<'_>, stable: Revision) -> Phase {
    let Some(target) = pass.target() else {
        return Phase::default();
    };
    pass.state.target = Some(target.uid.clone());
    pass.state.config = Some(target.config.clone());
    pass.state.bypassed = None;
    pass.act(Action::TakeCustody);
    pass.act(Action::Guard);
    keep_stable(pass, stable.clone());
    pass.tell(Reason::Adopted {
        stable,
        warnings: pass.seen.route.warnings.clone(),
    });
    Phase::Idle
}

/// Makes `revision` the stable one.
pub(super) fn keep_stable(pass: &mut Pass<'_>, revision: Revision) {
    if pass.seen.kept.stable.as_ref() != Some(&revision.hash) {
        pass.act(Action::KeepStable {
            revision: revision.clone(),
        });
    }
    pass.state.stable = Some(revision);
}

/// Nothing is new, or something is.
pub(super) fn idle(pass: &mut Pass<'_>) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    let (Some(target), Some(stable)) = (pass.target(), pass.state.stable.clone()) else {
        return Phase::default();
    };
    give_back_desired(pass, target);
    if target.revision.same(&stable) {
        return idle_on_stable(pass, target, stable);
    }
    if !target.paused {
        return went_out(pass, target);
    }
    if target.serving(&stable).is_none() && target.replicas > 0 {
        return restore_serving(pass, target, stable);
    }
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Serving);
    let failed = pass.state.failed.as_ref().map(|failure| &failure.revision);
    if failed.is_some_and(|failed| failed.same(&target.revision)) {
        pass.tell(Reason::StillFailed {
            revision: target.revision.clone(),
        });
        return Phase::Failed;
    }
    start(pass, target.revision.clone(), stable, Trigger::Template)
}

fn idle_on_stable(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    keep_stable(pass, stable.clone());
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Serving);
    settle_pause(pass, target);
    restart(pass, target);
    if target.complete {
        pass.state.bypassed = None;
    }
    match &pass.state.config {
        Some(known) if *known != target.config => config_changed(pass, target, stable),
        _ => Phase::Idle,
    }
}

/// Does the restart that was asked for, once.
fn restart(pass: &mut Pass<'_>, target: &Target) {
    let Some(id) = pass.state.restart.clone() else {
        return;
    };
    if target.restarted_for.as_ref() == Some(&id) {
        pass.state.restart = None;
        pass.tell(Reason::Restarted);
    } else {
        pass.act(Action::Restart { id });
    }
}

/// Between runs a Deployment is open in mode `policy` and paused in mode `paused`. One that has
/// another template than stable's stays as it is.
pub(super) fn settle_pause(pass: &mut Pass<'_>, target: &Target) {
    let stable = pass.state.stable.as_ref();
    if !stable.is_some_and(|stable| stable.same(&target.revision)) {
        return;
    }
    let expect = target.revision.clone();
    match pass.seen.gate.mode {
        GateMode::Policy if target.paused => pass.act(Action::Unpause { expect }),
        GateMode::Paused if !target.paused && target.complete => pass.act(Action::Pause { expect }),
        GateMode::Policy | GateMode::Paused => {}
    }
}

fn config_changed(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    if pass.plan.config_changes == ConfigChanges::Report {
        pass.state.config = Some(target.config.clone());
        pass.tell(Reason::ConfigChanged);
        return Phase::Idle;
    }
    let digest = target.config.clone();
    start(pass, stable.clone(), stable, Trigger::Config { digest })
}

/// A template that is neither stable nor held: broken glass, or past the gate.
fn went_out(pass: &mut Pass<'_>, target: &Target) -> Phase {
    if !target.complete {
        return Phase::Idle;
    }
    accept(pass, target.revision.clone())
}

/// A held Deployment whose stable `ReplicaSet` is gone: what serves instead is stable then; if
/// nothing does, the stable template is brought up again, else the present one let through.
fn restore_serving(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    if let [other] = target.serving.as_slice()
        && other.ready > 0
    {
        return accept(pass, other.revision.clone());
    }
    let held = &target.revision;
    let known = pass.seen.kept.stable.as_ref() == Some(&stable.hash);
    let what = if known {
        format!("nothing serves while {held} is held: {stable} is brought up again")
    } else {
        format!(
            "nothing serves and no stable template is known: {held} is let through as the first"
        )
    };
    pass.tell_mending(Mending::Serving, true, Reason::Healed { what });
    let expect = held.clone();
    pass.act(if known {
        Action::RestoreTemplate {
            to: stable,
            expect,
            paused: false,
        }
    } else {
        Action::Unpause { expect }
    });
    Phase::Idle
}

/// Takes what serves for stable.
fn accept(pass: &mut Pass<'_>, revision: Revision) -> Phase {
    keep_stable(pass, revision.clone());
    pass.state.config = pass.target().map(|target| target.config.clone());
    pass.tell(Reason::Accepted { revision });
    Phase::Idle
}

/// Gives back the template that was kept while an older one was finished.
fn give_back_desired(pass: &mut Pass<'_>, target: &Target) {
    let Some(desired) = pass.state.desired.clone() else {
        return;
    };
    let untouched = pass
        .state
        .stable
        .as_ref()
        .is_some_and(|s| s.same(&target.revision));
    if untouched && target.complete {
        pass.act(Action::RestoreTemplate {
            to: desired.clone(),
            expect: target.revision.clone(),
            paused: true,
        });
        return;
    }
    if !untouched {
        pass.state.desired = None;
        pass.act(Action::DropDesired);
        pass.tell(Reason::DesiredGiven { revision: desired });
    }
}

fn start(pass: &mut Pass<'_>, revision: Revision, stable: Revision, trigger: Trigger) -> Phase {
    let now = pass.now();
    pass.state.evidence = Some(Evidence::begin(&pass.terms.evidence));
    pass.state.bookmark = None;
    pass.state.failed = None;
    pass.tell(Reason::RunStarted {
        revision: revision.clone(),
        stable,
    });
    Phase::Preparing(Run {
        id: format!("{}-{}", revision.hash, now.as_second()),
        revision,
        trigger,
        started: now,
        since: now,
        step: 0,
        weight: 0,
        peak: 0,
        weight_since: None,
        suspect: None,
        suspicions: 0,
        verdict: Verdict::Undecided,
        patience: None,
        proof: None,
    })
}

/// Held with a revision that failed, until the template changes or somebody retries.
pub(super) fn failed(pass: &mut Pass<'_>) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    let (Some(target), Some(failure)) = (pass.target(), pass.state.failed.as_ref()) else {
        return Phase::Idle;
    };
    if target.paused && target.revision.same(&failure.revision) {
        Phase::Failed
    } else {
        Phase::Idle
    }
}

/// Puts back to stable, takes the gate away, lets go. Never forward.
pub(super) fn suspended(pass: &mut Pass<'_>) -> Phase {
    if !detached(pass) {
        return Phase::default();
    }
    let Some(target) = pass.target() else {
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
    if target.guarded && pass.state.target.is_some() {
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
