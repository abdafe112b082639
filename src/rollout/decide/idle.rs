//! Between runs: noticing what is new, and what failed before.
//!
//! Not here: what happens to a revision under trial (`running`, `stepping`), which templates are kept (`template`), and
//! how everything is put back (`rolling_back`).

use super::canary::{canary_gone, clear_leftovers};
use super::guard::detached;
use super::known;
use super::lingering;
use super::pass::Pass;
use super::pause::settle_pause;
use super::template::{bring_up, drop_desired, give_back_desired, has_failed, keep_stable};
use crate::rollout::action::Action;
use crate::rollout::config::Config;
use crate::rollout::evidence::Evidence;
use crate::rollout::freeze::Frozen;
use crate::rollout::observation::{GateMode, Target};
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::{HeldWhy, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase, Run, Trigger};

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
    lingering::follow(pass, target);
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
    let failed = has_failed(pass, &target.revision);
    if !failed && known::goes_through(pass, &target.revision) {
        return known::promote(pass, target.revision.clone(), stable);
    }
    if lingering::go_on(pass, target, &stable) {
        return Phase::Idle;
    }
    if failed {
        pass.tell(Reason::StillFailed {
            revision: target.revision.clone(),
        });
        return Phase::Failed;
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

fn config_changed(pass: &mut Pass<'_>, target: &Target, stable: Revision) -> Phase {
    if pass.plan.config_changes == ConfigChanges::Report {
        pass.state.config = target.config.or(&pass.state.config);
        pass.tell(Reason::ConfigChanged);
        return Phase::Idle;
    }
    if lingering::is_so(pass, target) {
        // Nothing is compared with what failed.
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
    let kept = pass.state.desired.as_ref();
    if trigger == Trigger::Template && kept.is_some_and(|kept| kept.same(&revision)) {
        drop_desired(pass);
    }
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
