//! Between runs: noticing what is new, and what failed before.
//!
//! Not here: what happens to a revision under trial (`running`, `stepping`), and how everything
//! is put back (`rolling_back`).

use std::time::Duration;

use super::guard::detached;
use super::known;
use super::pass::Pass;
use super::rolling_back::{canary_gone, clear_leftovers};
use crate::rollout::action::Action;
use crate::rollout::config::Config;
use crate::rollout::evidence::Evidence;
use crate::rollout::freeze::Frozen;
use crate::rollout::observation::{GateMode, Target};
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::{HeldWhy, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase, Run, Trigger};

/// A kept template that was not seen for so long does not merely come late.
const GONE_FOR_GOOD: Duration = Duration::from_secs(60);

/// Makes `revision` the stable one.
pub(super) fn keep_stable(pass: &mut Pass<'_>, revision: Revision) {
    if !pass.seen.kept.is_stable(&revision) {
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
    if clear_leftovers(pass) {
        return Phase::Idle;
    }
    let (Some(target), Some(stable)) = (pass.target(), pass.state.stable.clone()) else {
        return Phase::default();
    };
    let on_stable = target.revision.same(&stable);
    if on_stable {
        // Before it may be overwritten by what is given back.
        keep_stable(pass, stable.clone());
    }
    give_back_desired(pass, target);
    if on_stable {
        return idle_on_stable(pass, target, stable);
    }
    if !target.paused {
        return went_out(pass, target);
    }
    if target.serving(&stable).is_none() && target.replicas > 0 {
        if target.behind {
            return Phase::Idle;
        }
        return restore_serving(pass, target, stable);
    }
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Serving);
    if has_failed(pass, &target.revision) {
        pass.tell(Reason::StillFailed {
            revision: target.revision.clone(),
        });
        return Phase::Failed;
    }
    if known::goes_through(pass, &target.revision) {
        return known::promote(pass, target.revision.clone(), stable);
    }
    start(pass, target.revision.clone(), stable, Trigger::Template)
}

fn idle_on_stable(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Serving);
    settle_pause(pass, target);
    restart(pass, target);
    if target.complete {
        pass.state.bypassed = None;
    }
    if pass.state.config.differs(&target.config) {
        return config_changed(pass, target, stable);
    }
    pass.state.config = target.config.or(&pass.state.config);
    Phase::Idle
}

/// Does the restart that was asked for, once; it is done when all pods are new. What is kept
/// paused is opened for it, and paused again when it is complete.
fn restart(pass: &mut Pass<'_>, target: &Target) {
    let Some(id) = pass.state.restart.clone() else {
        return;
    };
    if target.restarted_for.as_ref() != Some(&id) {
        pass.act(Action::Restart {
            id,
            at: pass.now(),
            expect: target.revision.clone(),
        });
    } else if target.complete {
        pass.state.restart = None;
        pass.tell(Reason::Restarted);
    } else if target.paused && pass.seen.gate.mode == GateMode::Paused {
        let expect = target.revision.clone();
        pass.act(Action::Unpause { expect });
    }
}

/// Between runs a Deployment is open in mode `policy` and paused in mode `paused`, unless somebody opened
/// the gate. One that has another template than stable's stays as it is.
pub(super) fn settle_pause(pass: &mut Pass<'_>, target: &Target) {
    let stable = pass.state.stable.as_ref();
    if !stable.is_some_and(|stable| stable.same(&target.revision)) {
        return;
    }
    if target.paused && !is_kept_paused(pass, target) {
        let expect = target.revision.clone();
        pass.act(Action::Unpause { expect });
    }
    keep_shut(pass, target);
}

/// Pauses what mode `paused` keeps paused, once nothing of it rolls.
pub(super) fn keep_shut(pass: &mut Pass<'_>, target: &Target) {
    if is_kept_paused(pass, target) && !target.paused && target.complete {
        let expect = target.revision.clone();
        pass.act(Action::Pause { expect });
    }
}

/// In mode `paused` only a paused Deployment holds what is applied.
pub(super) fn is_kept_paused(pass: &Pass<'_>, target: &Target) -> bool {
    pass.seen.gate.mode == GateMode::Paused && target.open.is_none()
}

fn config_changed(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    if pass.plan.config_changes == ConfigChanges::Report {
        pass.state.config = target.config.or(&pass.state.config);
        pass.tell(Reason::ConfigChanged);
        return Phase::Idle;
    }
    let digest = target.config.to_string();
    start(pass, stable.clone(), stable, Trigger::Config { digest })
}

/// A template that is neither stable nor held: broken glass, or past the gate.
fn went_out(pass: &mut Pass<'_>, target: &Target) -> Phase {
    if !target.complete {
        return Phase::Idle;
    }
    accept(pass, target.revision.clone())
}

/// A held Deployment whose stable `ReplicaSet` is gone, or has no pods: the stable template is
/// brought up again. If it is known no more, what serves instead is stable then; if nothing does,
/// the present template is let through.
fn restore_serving(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    if let [other] = target.serving.as_slice()
        && other.ready > 0
        && !pass.seen.kept.is_stable(&stable)
    {
        return accept(pass, other.revision.clone());
    }
    bring_up(pass, target, stable);
    Phase::Idle
}

/// Lets something serve again. A template that is overwritten for that is kept, unless it failed.
pub(super) fn bring_up(pass: &mut Pass<'_>, target: &Target, stable: Revision) {
    let held = &target.revision;
    let known = pass.seen.kept.is_stable(&stable);
    let failed = has_failed(pass, held);
    let serves = match target.serving.first() {
        Some(other) => format!("{} serves instead of stable", other.revision),
        None => "nothing serves".to_owned(),
    };
    let what = match (known, failed) {
        (true, _) => format!("{serves} while {held} is held: {stable} is brought up again"),
        (false, false) => {
            format!("{serves} and no stable template is known: {held} is let through as the first")
        }
        // It stays held: applying anything else is the way out.
        (false, true) => return,
    };
    pass.tell_mending(Mending::Serving, true, Reason::Healed { what });
    let expect = held.clone();
    if !known {
        pass.act(Action::Unpause { expect });
        return;
    }
    if !has_failed(pass, held) {
        keep_desired(pass, held);
    }
    pass.act(Action::RestoreTemplate {
        to: stable,
        expect,
        paused: false,
        restarted_at: None,
    });
}

/// Whether this is the revision that failed last.
pub(super) fn has_failed(pass: &Pass<'_>, revision: &Revision) -> bool {
    let failed = pass.state.failed.as_ref();
    failed.is_some_and(|failure| failure.revision.same(revision))
}

/// Keeps the template that a person wants, before it is overwritten.
pub(super) fn keep_desired(pass: &mut Pass<'_>, revision: &Revision) {
    pass.state.desired = Some(revision.clone());
    pass.act(Action::KeepDesired {
        revision: revision.clone(),
    });
}

/// Forgets the template that was kept: it was given back, or something newer is wanted.
pub(super) fn drop_desired(pass: &mut Pass<'_>) {
    pass.state.desired_gone = None;
    if pass.state.desired.take().is_some() {
        pass.act(Action::DropDesired);
    }
}

/// Takes what serves for stable.
fn accept(pass: &mut Pass<'_>, revision: Revision) -> Phase {
    keep_stable(pass, revision.clone());
    pass.state.config = config(pass);
    pass.tell(Reason::Accepted { revision });
    Phase::Idle
}

/// The configuration of the template that is there.
pub(super) fn config(pass: &Pass<'_>) -> Config {
    let target = pass.target();
    target
        .map(|target| target.config.clone())
        .unwrap_or_default()
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
            restarted_at: None,
        });
        give_up_desired(pass, desired);
        return;
    }
    if untouched || has_failed(pass, &target.revision) || is_set_aside(pass, target, &desired) {
        // The older one is still in the way, rolling or left in place, or on its way.
        return;
    }
    drop_desired(pass);
    if desired.same(&target.revision) {
        pass.tell(Reason::DesiredGiven { revision: desired });
    }
}

/// Whether it stands in the Deployment only since stable, which is brought up in its place, was not seen
/// there yet.
fn is_set_aside(pass: &Pass<'_>, target: &Target, desired: &Revision) -> bool {
    let Some(stable) = &pass.state.stable else {
        return false;
    };
    let gone = target.serving(stable).is_none() && target.replicas > 0;
    target.paused && gone && target.revision.same(desired) && pass.seen.kept.is_stable(stable)
}

/// What is gone for long was deleted by somebody, and cannot be given back.
fn give_up_desired(pass: &mut Pass<'_>, desired: Revision) {
    let kept = pass.seen.kept.desired.as_ref();
    if kept.is_some_and(|kept| kept.same(&desired)) {
        pass.state.desired_gone = None;
        return;
    }
    let now = pass.now();
    let since = pass.state.desired_gone.map_or(now, |since| since.min(now));
    pass.state.desired_gone = Some(since);
    if pass.over(since, GONE_FOR_GOOD) {
        drop_desired(pass);
        pass.tell(Reason::SetAside {
            revision: desired,
            how: "what it was kept in was deleted; apply it again to release it".to_owned(),
        });
    }
}

fn start(pass: &mut Pass<'_>, revision: Revision, stable: Revision, trigger: Trigger) -> Phase {
    if let Some(frozen) = pass.seen.gate.frozen.clone() {
        let run = begun(pass, revision, trigger);
        return freeze(pass, run, frozen);
    }
    pass.tell(Reason::RunStarted {
        revision: revision.clone(),
        stable,
    });
    Phase::Preparing(begun(pass, revision, trigger))
}

/// A run that does not begin yet: nothing is read for it, and it has no canary.
fn freeze(pass: &mut Pass<'_>, run: Run, frozen: Frozen) -> Phase {
    pass.state.evidence = None;
    let Frozen { window, until } = frozen;
    pass.hold(run, HeldWhy::Frozen { window, until })
}

/// A run that begins, without evidence yet.
pub(super) fn begun(pass: &mut Pass<'_>, revision: Revision, trigger: Trigger) -> Run {
    let now = pass.now();
    pass.state.evidence = Some(Evidence::begin(&pass.terms.evidence));
    pass.state.bookmark = None;
    pass.state.failed = None;
    // What the workload says is of its template: not of a configuration, nor of what one goes back to.
    let authors = match trigger {
        Trigger::Template => pass.seen.rollout.said.clone(),
        Trigger::Config { .. } | Trigger::Back { .. } => Vec::new(),
    };
    let config = match trigger {
        Trigger::Template | Trigger::Config { .. } => config(pass),
        Trigger::Back { .. } => Config::default(),
    };
    Run {
        config,
        authors,
        ..Run::begun(revision, trigger, now)
    }
}

/// Held with a revision that failed, until the template changes or somebody retries.
pub(super) fn failed(pass: &mut Pass<'_>) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    let (Some(target), Some(failure)) = (pass.target(), pass.state.failed.as_ref()) else {
        return Phase::Idle;
    };
    let stable = pass.state.stable.as_ref();
    let served = stable.is_some_and(|stable| target.serving(stable).is_some());
    let waits = target.paused && target.revision.same(&failure.revision);
    let soon = target.replicas == 0 || target.behind;
    if let Some(stable) = stable.filter(|_| served).cloned() {
        keep_stable(pass, stable);
    }
    if waits && (served || soon) && canary_gone(pass) {
        Phase::Failed
    } else {
        Phase::Idle
    }
}
