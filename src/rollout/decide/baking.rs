//! Baking: a promoted revision serves alone and is watched on, against what stable was like in
//! the run. Until that is over what served before is still stable, so that everything which puts
//! back puts that back: the template rolls back natively, from what is kept.
//!
//! A newer template waits, held: a verdict that is nearly there is worth more than the minutes, and
//! a person who knows better ends the watch (`sluice promote`) or goes back (`sluice abort`, or the
//! old template). Without fresh samples the watch is not over.
//!
//! Not here: the limits (`evidence::after`), and a run that has a canary (`running`).

use super::guard::detached;
use super::pass::Pass;
use super::pause::keep_shut;
use super::promoting;
use super::rolling_back::still_serves;
use super::running::follow_config;
use super::smoke::{self, Look};
use super::template::keep_desired;
use crate::rollout::action::Action;
use crate::rollout::evidence::{Evidence, GoalReport, Limit, Verdict};
use crate::rollout::observation::Target;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::state::{Mending, Phase, Rollback, Run, Trigger};

/// How much of the time must have been seen.
const MOST: f64 = 0.9;

/// Whether a run's revision is watched or tested on: not what goes back, nor what a person forced.
pub(super) fn is_due(pass: &Pass<'_>, run: &Run) -> bool {
    let new = run.trigger == Trigger::Template && !run.straight && !run.forced;
    let asked = pass.plan.bake.is_some() || !pass.plan.smoke_after.is_empty();
    (asked || run.rolls) && new
}

/// What stable was like, as limits, while it can still be seen.
pub(super) fn limits(pass: &Pass<'_>, run: &Run) -> Vec<Limit> {
    if run.rolls && is_due(pass, run) {
        return run.goals.clone().unwrap_or_default();
    }
    let evidence = pass.state.evidence.as_ref();
    let evidence = evidence.filter(|_| is_due(pass, run) && pass.plan.bake.is_some());
    evidence.map_or_else(Vec::new, |evidence| evidence.limits(&pass.terms.evidence))
}

/// The revision serves alone from now on.
pub(super) fn begin(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    run.since = pass.now();
    run.goals = None;
    let limits = std::mem::take(&mut run.limits);
    pass.tell(Reason::BakeStarted {
        revision: run.revision.clone(),
        sentence: told(pass, &run, &limits),
    });
    let watch = Evidence::after(&pass.terms.evidence, &limits, run.since);
    pass.state.evidence = Some(watch);
    Phase::Baking(run)
}

fn told(pass: &Pass<'_>, run: &Run, limits: &[Limit]) -> String {
    if pass.plan.bake.is_none() && !run.rolls {
        return format!(
            "its smoke tests are made: {}",
            pass.plan.smoke_after.join(", ")
        );
    }
    if limits.is_empty() {
        return "no rule knows what was before; alerts and people can take it back".to_owned();
    }
    let each: Vec<String> = limits.iter().map(ToString::to_string).collect();
    each.join("; ")
}

/// The revision serves and is watched.
pub(super) fn baking(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let Some(target) = pass.target() else {
        return pass.roll_back(run, Cause::TargetGone);
    };
    let stable = pass.state.stable.as_ref();
    if stable.is_some_and(|stable| stable.same(&target.revision)) {
        return pass.roll_back(run, Cause::Returned);
    }
    if let Some(cause) = worse(pass, &mut run) {
        return pass.roll_back(run, cause);
    }
    let newer = !target.revision.same(&run.revision);
    if !newer {
        follow_config(pass, target, &mut run);
    }
    let passed = newer && !target.paused;
    let tested = match smoke::after_promotion(pass, &mut run) {
        Look::Failed(cause) => return pass.roll_back(run, cause),
        Look::Passed => true,
        Look::Waits => false,
    };
    if passed || (is_over(pass, &run) && tested) {
        conclude(pass, &run);
        return Phase::Idle;
    }
    if newer {
        waits(pass, target, &mut run);
    } else {
        keep_shut(pass, target);
    }
    Phase::Baking(run)
}

/// Whether the time is over, most of it was seen, and each rule that is asked is shown to stay below its
/// limit: one that has none, or came or went while it bakes, is not waited for.
fn is_over(pass: &mut Pass<'_>, run: &Run) -> bool {
    let wait = pass.plan.bake.unwrap_or_default();
    let reports = pass.reports();
    let (mut seen, mut shown) = (true, true);
    if let Some(evidence) = &pass.state.evidence {
        let watched = evidence.watched(&pass.terms.evidence);
        seen = watched.is_none_or(|watched| watched >= wait.mul_f64(MOST));
        let mut asked = reports.iter().filter(|it| evidence.asks(&it.rule));
        shown = asked.all(|it| it.goal.as_ref().is_none_or(GoalReport::is_below));
    }
    pass.over(run.since, wait) && seen && shown && pass.fresh_after()
}

/// The rule that shows it worse than what was before.
pub(super) fn worse(pass: &Pass<'_>, run: &mut Run) -> Option<Cause> {
    let reports = pass.reports();
    let found = reports
        .iter()
        .find(|report| report.verdict == Verdict::Worse)?;
    run.verdict = Verdict::Worse;
    Some(Cause::Baked {
        rule: found.rule.clone(),
        sentence: found.sentence_after(),
    })
}

fn waits(pass: &mut Pass<'_>, target: &Target, run: &mut Run) {
    let waiting = run.waiting.as_ref();
    if waiting.is_some_and(|waiting| waiting.same(&target.revision)) {
        return;
    }
    run.waiting = Some(target.revision.clone());
    pass.tell(Reason::BakeAwaited {
        revision: target.revision.clone(),
    });
}

/// The watch is over: the revision takes stable's place.
pub(super) fn conclude(pass: &mut Pass<'_>, run: &Run) {
    promoting::take_place(pass, run);
    promoting::conclude(pass, run);
}

/// Puts back what served before, and waits until it does: who applies the failed template again
/// meanwhile must not stop that half way. A newer one is kept. Whether it is done.
///
/// While the cluster refuses it, it is not done: the failed revision serves all users. Who suspends or deletes the
/// Rollout meanwhile is held up for the deadline only.
pub(super) fn put_back(
    pass: &mut Pass<'_>,
    target: &Target,
    run: &Run,
    rollback: &Rollback,
) -> bool {
    let Some(stable) = pass.state.stable.clone() else {
        return true;
    };
    let expect = target.revision.clone();
    let mut waits = Waits::ForPods;
    if !expect.same(&stable) {
        if !detached(pass) && pass.can_restore(target, &stable) {
            waits = Waits::ForTemplate;
        }
        if !expect.same(&run.revision) {
            keep_desired(pass, &expect);
        }
        pass.act(Action::RestoreTemplate {
            to: stable,
            expect,
            paused: false,
            restarted_at: None,
        });
    } else if target.complete {
        return true;
    } else if target.paused {
        pass.act(Action::Unpause { expect });
    } else if target.stuck {
        pass.act(Action::RemoveStuck { expect });
    }
    let deadline = pass.plan.progress_deadline.saturating_add(target.settles);
    let late = waits == Waits::ForPods && pass.watched_for(rollback.since, deadline);
    if late && !detached(pass) {
        let told = Reason::RollbackHindered {
            why: format!(
                "after {} not all pods of stable are ready",
                humantime::format_duration(pass.plan.progress_deadline)
            ),
            serves: still_serves(pass, run),
        };
        pass.tell_mending(Mending::Late, true, told);
    }
    late
}

/// What a template that is put back waits for.
#[derive(PartialEq, Eq)]
enum Waits {
    /// That the cluster takes the template: as long as it takes.
    ForTemplate,
    /// That its pods are ready, within the deadline.
    ForPods,
}
