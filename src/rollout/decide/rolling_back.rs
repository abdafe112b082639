//! Putting everything back: weight 0 in the pass that decides, then the canary, the template,
//! the gate. Also how a run that was superseded or cancelled is cleared.
//!
//! Each remedy is compared with what is seen, so a crash between two of them heals.

use std::time::Duration;

use jiff::Timestamp;

use super::baking;
use super::guard::forget_target;
use super::idle::keep_desired;
use super::known;
use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::observation::{GateMode, Target};
use crate::rollout::reason::{Cause, Outcome, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Ended, Failure, Phase, Rollback, Run, Trigger};

/// Pods of a node that is lost are not waited for longer than this.
const LONGEST_LEAVE: Duration = Duration::from_secs(120);

/// Traffic, canary and template are put back.
pub(super) fn rolling_back(pass: &mut Pass<'_>, run: Run, mut rollback: Rollback) -> Phase {
    rollback.off_since = take_away(pass, rollback.off_since);
    let restored = restore(pass, &run, &rollback);
    if canary_gone(pass) && restored {
        return finish(pass, &run, &rollback.cause);
    }
    Phase::RollingBack { run, rollback }
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

/// Weight 0, and, when that has been in force long enough, no Ingress, then no canary.
/// Returns since when the weight is 0.
pub(super) fn take_away(pass: &mut Pass<'_>, off_since: Option<Timestamp>) -> Option<Timestamp> {
    keep_off(pass);
    let off = pass
        .seen
        .route
        .canary
        .as_ref()
        .is_none_or(|route| route.weight == Some(0));
    if !off {
        return None;
    }
    let since = off_since.unwrap_or_else(|| pass.now());
    if !answered(pass, since) {
        return Some(since);
    }
    if pass.seen.route.canary.is_some() {
        pass.act(Action::RemoveRoute);
    }
    remove_canary(pass);
    Some(since)
}

/// Removes the canary's objects; again, without waiting for its pods, if they do not go.
fn remove_canary(pass: &mut Pass<'_>) {
    let Some(canary) = &pass.seen.canary else {
        return;
    };
    let due = canary
        .leaving
        .is_none_or(|since| pass.over(since, LONGEST_LEAVE));
    if due {
        pass.act(Action::RemoveCanary);
    }
}

/// Whether the canary's last requests are answered; without a route there were none.
fn answered(pass: &mut Pass<'_>, since: Timestamp) -> bool {
    pass.seen.route.canary.is_none() || pass.over(since, pass.terms.tuning.drain)
}

/// Whether nothing of the canary is left.
pub(super) fn canary_gone(pass: &Pass<'_>) -> bool {
    pass.seen.canary.is_none() && pass.seen.route.canary.is_none()
}

/// Takes away what a run left that is not known any more. Whether there is still something.
pub(super) fn clear_leftovers(pass: &mut Pass<'_>) -> bool {
    if canary_gone(pass) {
        return false;
    }
    keep_off(pass);
    if let Some(route) = &pass.seen.route.canary {
        if route.weight == Some(0) {
            pass.act(Action::RemoveRoute);
        }
    } else {
        remove_canary(pass);
    }
    true
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
    super::idle::settle_pause(pass, target);
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
    let pods = target.serving(&run.revision)?.replicas;
    (left && pods > 0).then_some(pods)
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
