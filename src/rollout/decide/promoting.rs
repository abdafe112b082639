//! The promotion: the gate opens for the proven revision, Kubernetes rolls it natively, the
//! canary keeps its share meanwhile and is then removed: weight, Ingress, Deployment. A rolling
//! release has none, and is proven only afterwards.
//!
//! A newer template that is applied meanwhile (the gate holds it) waits: before the proven one
//! has any pod it supersedes the run; afterwards it is kept, the proven one is finished, and
//! the newer one is given back. So it is with the restart that promotes a configuration.

use super::back;
use super::baking;
use super::canary::{canary_gone, keep_canary, take_away};
use super::idle::config;
use super::known;
use super::pass::Pass;
use super::pause::{is_kept_paused, keep_shut, settle_pause};
use super::rolling_back::close;
use super::running::{bad, follow_config, is_reconfigured};
use super::template::{drop_desired, keep_desired, keep_stable};
use super::weight::{keep_off, steer};
use crate::clock::elapsed;
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::{Cause, Outcome, Promoted, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase, Promotion, Run, State, Trigger};
use crate::rollout::terms::Terms;

/// Begins the promotion of a run.
pub(super) fn begin(pass: &mut Pass<'_>, mut run: Run, sentence: String) -> Phase {
    run.proof = Some(sentence.clone());
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Pause);
    run.limits = baking::limits(pass, &run);
    pass.tell(Reason::PromotionStarted { sentence });
    let now = pass.now();
    run.since = now;
    pass.state
        .mending
        .retain(|mending| *mending != Mending::Promotion);
    run.suspect = None;
    Phase::Promoting {
        run,
        stage: Promotion::Rolling {
            ready: 0,
            since: now,
        },
    }
}

/// The revision is proven; the Deployment rolls natively.
pub(super) fn promoting(pass: &mut Pass<'_>, mut run: Run, stage: Promotion) -> Phase {
    let Some(target) = pass.target() else {
        return pass.roll_back(run, Cause::TargetGone);
    };
    if let Promotion::Rolling { .. } = stage
        && let Some(cause) = found_bad(pass, &mut run)
    {
        if !run.forced {
            return pass.roll_back(run, cause);
        }
        // A person's word stands; the canary gets nothing more all the same.
        run.weight = 0;
    }
    if target.revision.same(&run.revision) && run.trigger == Trigger::Template {
        follow_config(pass, target, &mut run);
    }
    match stage {
        Promotion::Rolling { ready, since } => match run.trigger.clone() {
            Trigger::Template | Trigger::Config { .. } if !target.revision.same(&run.revision) => {
                newer(pass, target, run, stage)
            }
            Trigger::Back { from } if !target.revision.same(&run.revision) => {
                back::put_back(pass, target, run, stage, &from)
            }
            Trigger::Template | Trigger::Back { .. } => rolling(pass, target, run, (ready, since)),
            Trigger::Config { .. } => restarting(pass, target, run, (ready, since)),
        },
        Promotion::Draining { .. } | Promotion::Removing => clearing(pass, target, run),
    }
}

/// What is wrong with the canary; or, without one, with what serves since it rolls.
fn found_bad(pass: &Pass<'_>, run: &mut Run) -> Option<Cause> {
    if run.rolls {
        return baking::worse(pass, run);
    }
    bad(pass, run, &pass.reports())
}

/// A newer template was applied during the promotion.
fn newer(pass: &mut Pass<'_>, target: &Target, mut run: Run, stage: Promotion) -> Phase {
    let begun = if matches!(run.trigger, Trigger::Config { .. }) {
        target.restarted_for.as_ref() == Some(&run.id)
    } else {
        let own = target.serving(&run.revision);
        own.is_some_and(|serving| serving.replicas > 0)
    };
    let stable = pass.state.stable.clone();
    if !begun
        || stable
            .as_ref()
            .is_some_and(|stable| stable.same(&target.revision))
    {
        let returned = stable.is_some_and(|stable| stable.same(&target.revision));
        let cause = if returned {
            // What was wanted before is not wanted any more.
            drop_desired(pass);
            Cause::Returned
        } else {
            Cause::Superseded
        };
        return pass.roll_back(run, cause);
    }
    keep_share(pass, &mut run);
    let told = pass.state.desired.as_ref();
    if !told.is_some_and(|kept| kept.same(&target.revision)) {
        pass.tell(Reason::DesiredKept {
            kept: target.revision.clone(),
            finished: run.revision.clone(),
        });
    }
    finish_first(pass, &target.revision, &run);
    Phase::Promoting { run, stage }
}

/// Keeps the newer template and puts the proven one back, so that it is finished.
fn finish_first(pass: &mut Pass<'_>, newer: &Revision, run: &Run) {
    keep_desired(pass, newer);
    let restarts = matches!(run.trigger, Trigger::Config { .. });
    pass.act(Action::RestoreTemplate {
        to: run.revision.clone(),
        expect: newer.clone(),
        paused: false,
        restarted_at: restarts.then_some(run.since),
    });
}

/// While the Deployment rolls, the canary keeps its pods and its weight.
fn keep_share(pass: &mut Pass<'_>, run: &mut Run) {
    if run.has_no_canary() {
        return;
    }
    keep_canary(pass, run);
    let route = pass.seen.route.canary.as_ref();
    let seen = route.and_then(|route| route.weight);
    if seen.is_none_or(|seen| seen >= run.weight) {
        steer(pass, run, &[]);
    }
}

fn rolling(
    pass: &mut Pass<'_>,
    target: &Target,
    mut run: Run,
    (ready, since): (i32, jiff::Timestamp),
) -> Phase {
    open(pass, target, &run, ready);
    if !target.paused && target.complete {
        return drain(pass, run);
    }
    keep_share(pass, &mut run);
    progress(pass, target, run, (ready, since))
}

/// Opens the gate. Once a pod is new it was open: who paused since wanted to stop something, and is told how.
fn open(pass: &mut Pass<'_>, target: &Target, run: &Run, ready: i32) {
    let again = target.paused && ready > 0;
    pass.tell_mending(Mending::Pause, again, Reason::PauseUndone);
    if target.paused {
        let expect = run.revision.clone();
        pass.act(Action::Unpause { expect });
    }
}

fn restarting(
    pass: &mut Pass<'_>,
    target: &Target,
    mut run: Run,
    (ready, since): (i32, jiff::Timestamp),
) -> Phase {
    let begun = target.restarted_for.as_ref() == Some(&run.id);
    if !begun && is_reconfigured(pass, target, &run) {
        return pass.roll_back(run, Cause::Superseded);
    }
    keep_share(pass, &mut run);
    if !begun {
        pass.act(Action::Restart {
            id: run.id.clone(),
            at: run.since,
            expect: run.revision.clone(),
        });
    } else if target.complete {
        return drain(pass, run);
    } else {
        open(pass, target, &run, ready);
    }
    progress(pass, target, run, (ready, since))
}

/// Each pod more counts as progress; without any for the deadline the promotion is taken back.
fn progress(
    pass: &mut Pass<'_>,
    target: &Target,
    run: Run,
    (ready, since): (i32, jiff::Timestamp),
) -> Phase {
    let new = new_pods(target, &run);
    let (ready, since) = if new > ready {
        (new, pass.now())
    } else {
        (ready, since)
    };
    let since = counts_from(pass, target, &run, since);
    if let Some(cause) = stuck(pass, target, since) {
        return pass.roll_back(run, cause);
    }
    Phase::Promoting {
        run,
        stage: Promotion::Rolling { ready, since },
    }
}

/// Ready pods that the promotion has brought; those of before a restart are of the same revision.
fn new_pods(target: &Target, run: &Run) -> i32 {
    let restarted = target.restarted_for.as_ref() == Some(&run.id) && !target.behind;
    if matches!(run.trigger, Trigger::Config { .. }) && !restarted {
        return 0;
    }
    target.updated_ready
}

/// Whether a decision needs to know whether the target's pods find nodes: nothing has come of a promotion for half of
/// the time that it has, or it waits already.
pub fn needs_pods(terms: &Terms, state: &State, now: jiff::Timestamp) -> bool {
    let Phase::Promoting {
        stage: Promotion::Rolling { since, .. },
        ..
    } = state.phase
    else {
        return false;
    };
    let waits = state.mending.contains(&Mending::Promotion);
    let since = state.resumed.map_or(since, |at| since.max(at));
    waits || elapsed(since, now) >= terms.plan.progress_deadline / 2
}

/// Why the promotion is taken back: nothing came of it since `since`.
pub(super) fn stuck(pass: &mut Pass<'_>, target: &Target, since: jiff::Timestamp) -> Option<Cause> {
    // The last pods that became ready have to stay so.
    let deadline = pass.plan.progress_deadline.saturating_add(target.settles);
    let late = pass.watched_for(since, deadline);
    late.then(|| Cause::PromotionStuck {
        after: humantime::format_duration(pass.plan.progress_deadline).to_string(),
        paused: target.paused,
    })
}

/// From when a promotion is late: what the cluster refuses is not the revision's doing, so that this is waited
/// for, and told; afterwards there is half of the deadline at least.
pub(super) fn counts_from(
    pass: &mut Pass<'_>,
    target: &Target,
    run: &Run,
    since: jiff::Timestamp,
) -> jiff::Timestamp {
    // What was refused before the promotion began says nothing of it.
    let tried = target.paused && run.since < pass.now();
    let shut = pass.seen.trouble.as_ref().filter(|_| tried);
    let hindrance = target.refused.as_ref().or(shut).cloned();
    waited_for(pass, hindrance, since)
}

/// The same of any hindrance.
pub(super) fn waited_for(
    pass: &mut Pass<'_>,
    hindrance: Option<String>,
    since: jiff::Timestamp,
) -> jiff::Timestamp {
    let why = hindrance.clone().unwrap_or_default();
    let told = Reason::PromotionHindered { why };
    // A daemon that has just begun to look does not know yet whether there are nodes.
    if hindrance.is_some() || pass.has_looked() {
        pass.tell_mending(Mending::Promotion, hindrance.is_some(), told);
    }
    if hindrance.is_some() && pass.over(since, pass.plan.progress_deadline / 2) {
        return pass.now();
    }
    since
}

/// The Deployment is complete: the weight goes, then the canary.
fn drain(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    run.weight = 0;
    run.weight_since = None;
    run.bakes = baking::is_due(pass, &run);
    if !run.bakes {
        take_place(pass, &run);
    }
    keep_off(pass);
    Phase::Promoting {
        run,
        stage: Promotion::Draining { since: pass.now() },
    }
}

/// The revision is stable from now on.
pub(super) fn take_place(pass: &mut Pass<'_>, run: &Run) {
    keep_stable(pass, run.revision.clone());
    known::note_promoted(pass, run);
    if let Trigger::Back { from } = &run.trigger {
        back::leave(pass, from);
    }
    // Not what there is now: what came meanwhile is found as a change, and told or tried.
    pass.state.config = match run.trigger {
        Trigger::Template | Trigger::Config { .. } => run.config.clone(),
        Trigger::Back { .. } => config(pass),
    };
}

/// Removes the canary, once its last requests are answered.
fn clearing(pass: &mut Pass<'_>, target: &Target, mut run: Run) -> Phase {
    let since = run.weight_since;
    run.weight_since = take_away(pass, since);
    let opened = !shuts(pass, target, &run);
    if opened {
        settle_pause(pass, target);
    }
    if !opened || !canary_gone(pass) {
        return Phase::Promoting {
            run,
            stage: Promotion::Removing,
        };
    }
    if run.bakes {
        return baking::begin(pass, run);
    }
    conclude(pass, &run);
    Phase::Idle
}

/// Whether the Deployment is still to be paused: in mode `paused` what is applied before that goes out. One
/// that is not complete any more, as when its new pods crash, is paused later: a bake, which can take it back,
/// begins at once, and nothing waits for it longer than the deadline.
fn shuts(pass: &mut Pass<'_>, target: &Target, run: &Run) -> bool {
    let ours = run.revision.same(&target.revision);
    if !ours || !is_kept_paused(pass, target) || target.paused {
        return false;
    }
    keep_shut(pass, target);
    let since = run.weight_since.unwrap_or_else(|| pass.now());
    target.complete || !(run.bakes || pass.over(since, pass.plan.progress_deadline))
}

/// The run is over, and its revision serves.
pub(super) fn conclude(pass: &mut Pass<'_>, run: &Run) {
    pass.tell(Reason::Promoted {
        revision: run.revision.clone(),
        by: promoted_by(run),
    });
    let proof = run.proof.clone().unwrap_or_default();
    close(pass, run, Outcome::Promoted, promoted_by(run).name(), proof);
}

fn promoted_by(run: &Run) -> Promoted {
    match run.trigger {
        Trigger::Back { .. } => Promoted::WentBack,
        Trigger::Template | Trigger::Config { .. } if run.straight => Promoted::KnownGood,
        Trigger::Template | Trigger::Config { .. } => Promoted::Proven,
    }
}
