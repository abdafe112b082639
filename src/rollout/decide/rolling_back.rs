//! Putting everything back: weight 0 in the pass that decides, then the canary, the template,
//! the gate. Also how a run that was superseded or cancelled is cleared.
//!
//! Each remedy is compared with what is seen, so a crash between two of them heals.

use super::baking;
use super::canary::{canary_gone, take_away};
use super::guard::{detached, forget_target};
use super::known;
use super::pass::Pass;
use super::pause::settle_pause;
use super::template::keep_desired;
use crate::rollout::action::Action;
use crate::rollout::observation::{GateMode, Target};
use crate::rollout::reason::{Cause, Outcome, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Ended, Failure, Mending, Phase, Rollback, Run, Trigger};

/// Traffic, canary and template are put back.
pub(super) fn rolling_back(pass: &mut Pass<'_>, run: Run, mut rollback: Rollback) -> Phase {
    // What was refused before is another matter: nothing was tried yet in the pass that begins.
    let (tried, serves) = (rollback.since < pass.now(), still_serves(pass, &run));
    tell_hindrance(pass, tried, serves);
    rollback.off_since = take_away(pass, rollback.off_since);
    let restored = restore(pass, &run, &rollback);
    if canary_gone(pass) && restored {
        if is_let_go(pass, &run) {
            rollback.cause = Cause::Detached;
        }
        return finish(pass, &run, &rollback.cause);
    }
    Phase::RollingBack { run, rollback }
}

/// Whether a Deployment that is guarded no more is let go with the failed template, since nothing else is taken.
fn is_let_go(pass: &Pass<'_>, run: &Run) -> bool {
    let target = pass.target();
    let stays = target.is_some_and(|target| target.revision.same(&run.revision));
    let stable = pass.state.stable.as_ref();
    let failed = stable.is_some_and(|stable| !stable.same(&run.revision));
    (run.bakes || run.rolls) && stays && failed && detached(pass)
}

/// Tells, once, that the cluster refuses what puts back, if that was `tried`; `serves` is what failed.
pub(super) fn tell_hindrance(pass: &mut Pass<'_>, tried: bool, serves: bool) {
    let trouble = pass.seen.trouble.clone().filter(|_| tried);
    let why = trouble.clone().unwrap_or_default();
    let told = Reason::RollbackHindered { why, serves };
    pass.tell_mending(Mending::Rollback, trouble.is_some(), told);
}

/// Whether the run's revision gets requests, by its share or beside stable's pods.
pub(super) fn still_serves(pass: &Pass<'_>, run: &Run) -> bool {
    let route = pass.seen.route.canary.as_ref();
    let has_share = route.is_some_and(|route| route.weight != Some(0));
    has_share || pods_in_service(pass, run).is_some()
}

/// Pods of the run's revision among stable's.
fn pods_in_service(pass: &Pass<'_>, run: &Run) -> Option<i32> {
    let stable = pass.state.stable.as_ref();
    let other = stable.is_none_or(|stable| !stable.same(&run.revision));
    let pods = pass.target()?.serving(&run.revision)?.replicas;
    (other && pods > 0).then_some(pods)
}

/// Puts the template back, where the cause asks for it. Whether that is done.
fn restore(pass: &mut Pass<'_>, run: &Run, rollback: &Rollback) -> bool {
    let Some(target) = pass.target() else {
        return true;
    };
    match rollback.cause {
        Cause::TargetGone | Cause::WentOut | Cause::Superseded => true,
        _ if run.bakes => baking::put_back(pass, target, run, rollback),
        Cause::Detached => restore_template(pass, target, run, keep_newest),
        _ if run.rolls => baking::put_back(pass, target, run, rollback),
        Cause::Returned => reopen(pass, target, run),
        Cause::Worse { .. }
        | Cause::Baked { .. }
        | Cause::Pods(_)
        | Cause::Deadline { .. }
        | Cause::PromotionStuck { .. }
        | Cause::Undecided { .. }
        | Cause::NoData { .. }
        | Cause::Aborted
        | Cause::AbortedBy { .. }
        | Cause::Alert { .. }
        | Cause::Smoke { .. } => {
            if pass.plan.restore_template {
                restore_template(pass, target, run, |_, _| {})
            } else {
                stop(pass, target, run)
            }
        }
    }
}

/// Keeps a revision that nothing was shown against, unless a newer one is kept already.
fn keep_newest(pass: &mut Pass<'_>, revision: &Revision) {
    let kept = pass.state.desired.as_ref();
    if kept.is_none_or(|kept| kept.same(revision)) {
        keep_desired(pass, revision);
    }
}

/// The template was stable's already: if it still is, only the gate is to be opened.
fn reopen(pass: &mut Pass<'_>, target: &Target, run: &Run) -> bool {
    if target.paused && rolled(target, &run.revision) {
        let expect = target.revision.clone();
        pass.act(Action::Unpause { expect });
        return true;
    }
    settle_pause(pass, target);
    true
}

/// Puts stable's template in the place of the one under trial, which `keep` is told of before.
fn restore_template(
    pass: &mut Pass<'_>,
    target: &Target,
    run: &Run,
    keep: fn(&mut Pass<'_>, &Revision),
) -> bool {
    let Some(stable) = pass.state.stable.clone() else {
        return true;
    };
    let ours = target.revision.same(&run.revision) && !stable.same(&run.revision);
    if matches!(run.trigger, Trigger::Config { .. }) || !ours {
        return true;
    }
    if !pass.can_restore(target, &stable) {
        return true;
    }
    keep(pass, &run.revision);
    pass.act(Action::RestoreTemplate {
        to: stable,
        expect: run.revision.clone(),
        paused: pass.seen.gate.mode == GateMode::Paused && !rolled(target, &run.revision),
        restarted_at: None,
    });
    false
}

/// Whether pods of the revision are among stable's: they go only by a roll back, in any mode.
fn rolled(target: &Target, revision: &Revision) -> bool {
    target.serving(revision).is_some()
}

/// The template stays as it is, but no more pods of it are started.
fn stop(pass: &mut Pass<'_>, target: &Target, run: &Run) -> bool {
    let template = !matches!(run.trigger, Trigger::Config { .. });
    let stays = template && target.revision.same(&run.revision);
    let rolls = stays && !target.paused;
    if rolls {
        pass.act(Action::Pause {
            expect: run.revision.clone(),
        });
    }
    !rolls
}

/// Closes the run.
fn finish(pass: &mut Pass<'_>, run: &Run, cause: &Cause) -> Phase {
    let outcome = cause.outcome();
    match outcome {
        Outcome::RolledBack => {
            pass.tell(Reason::RolledBack {
                revision: run.revision.clone(),
                cause: cause.clone(),
            });
            remember(pass, run, cause);
        }
        Outcome::Superseded => pass.tell(Reason::Superseded {
            revision: run.revision.clone(),
        }),
        Outcome::Cancelled | Outcome::Promoted => pass.tell(Reason::Cancelled {
            revision: run.revision.clone(),
            cause: cause.clone(),
        }),
    }
    close(pass, run, outcome, cause.name(), cause.to_string());
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Late);
    if let Some(ended) = &mut pass.state.last_run {
        ended.saved = cause.saved();
    }
    match cause {
        Cause::TargetGone => {
            forget_target(pass);
            Phase::default()
        }
        Cause::Detached => Phase::Suspended,
        Cause::Worse { .. }
        | Cause::Baked { .. }
        | Cause::Pods(_)
        | Cause::Deadline { .. }
        | Cause::PromotionStuck { .. }
        | Cause::Undecided { .. }
        | Cause::NoData { .. }
        | Cause::Aborted
        | Cause::AbortedBy { .. }
        | Cause::Alert { .. }
        | Cause::Smoke { .. }
        | Cause::Superseded
        | Cause::Returned
        | Cause::WentOut => Phase::Idle,
    }
}

/// A revision that failed is not tried again by itself.
fn remember(pass: &mut Pass<'_>, run: &Run, cause: &Cause) {
    if let Trigger::Config { .. } = &run.trigger {
        pass.state.config = run.config.clone();
        return;
    }
    known::forget(pass, &run.revision);
    if pods_in_service(pass, run).is_some() {
        pass.state.lingering = Some(run.revision.clone());
    }
    let mut message = cause.to_string();
    if let Some(pods) = stays(pass, run) {
        // What is left of it is known, and is said here.
        pass.state.bypassed = Some(run.revision.hash.clone());
        message = format!(
            "{cause}; {pods} of its pods serve on, as `restoreTemplate: false` asks; `kubectl rollout undo` takes them back"
        );
    }
    pass.state.failed = Some(Failure {
        revision: run.revision.clone(),
        message,
        at: pass.now(),
    });
}

/// Pods of a failed revision that stay among stable's, since its template is left in place.
fn stays(pass: &Pass<'_>, run: &Run) -> Option<i32> {
    let target = pass.target()?;
    let left = !pass.plan.restore_template && target.revision.same(&run.revision);
    pods_in_service(pass, run).filter(|_| left)
}

/// Records how a run ended.
pub(super) fn close(
    pass: &mut Pass<'_>,
    run: &Run,
    outcome: Outcome,
    reason: &str,
    message: String,
) {
    pass.state.evidence = None;
    pass.state.bookmark = None;
    pass.state.last_run = Some(Ended {
        id: run.id.clone(),
        revision: run.revision.clone(),
        authors: run.authors.clone(),
        outcome,
        reason: reason.to_owned(),
        message,
        saved: None,
        started: run.started,
        ended: pass.now(),
    });
}
