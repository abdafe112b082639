//! What holds for every phase of a run that has a canary: what ends it, the canary's objects,
//! the weight; and the phases Preparing and Held.
//!
//! Not here: how steps advance (`stepping`), and what follows after the end (`promoting`,
//! `rolling_back`).

use std::time::Duration;

use super::idle::bring_up;
use super::native;
use super::pass::Pass;
use super::rolling_back::keep_off;
use super::smoke;
use super::switching;
use crate::rollout::action::Action;
use crate::rollout::evidence::{Evidence, RuleReport, Verdict};
use crate::rollout::observation::Target;
use crate::rollout::plan::{ConfigChanges, NoDataThen, Plan, Strategy};
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Mending, Phase, Run, Trigger};

/// A Gateway's controller that says nothing of the newest weight for so long is waited for no more: the
/// share of the requests that is seen tells then.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Replicas of the canary at `weight` percent of `stable` replicas: at least one.
pub(super) fn replicas(stable: i32, weight: u8) -> i32 {
    let share = (i64::from(stable) * i64::from(weight) + 99) / 100;
    i32::try_from(share).unwrap_or(i32::MAX).max(1)
}

/// Weight of the step that a run is at.
pub(super) fn step_weight(plan: &Plan, step: usize) -> u8 {
    plan.steps.get(step).map_or(100, |step| step.weight)
}

/// Weight of the first step.
pub(super) fn first_weight(plan: &Plan) -> u8 {
    step_weight(plan, 0)
}

/// Replicas that the canary should have now.
fn wanted_replicas(pass: &Pass<'_>, run: &Run) -> i32 {
    let stable = pass.target().map_or(0, |target| target.replicas);
    replicas(
        stable.max(run.size),
        run.weight.max(run.peak).max(first_weight(pass.plan)),
    )
}

/// Whether the canary has the pods that its weight needs.
pub(super) fn canary_ready(pass: &Pass<'_>, run: &Run) -> bool {
    pass.seen.canary.as_ref().is_some_and(|canary| {
        canary.revision == run.mark()
            && canary.leaving.is_none()
            && canary.ready >= wanted_replicas(pass, run)
    })
}

/// Invariant 1: what must hold before a weight may rise.
pub(super) fn may_raise(pass: &Pass<'_>, run: &Run, reports: &[RuleReport]) -> bool {
    pass.fresh()
        && canary_ready(pass, run)
        && pass.stable_ready() > 0
        && pass.seen.route.refusals.is_empty()
        && !reports
            .iter()
            .any(|report| report.verdict == Verdict::Worse)
}

/// Ends the run, if something that does not depend on its phase asks for it.
pub(super) fn ended(pass: &mut Pass<'_>, run: &mut Run, reports: &[RuleReport]) -> Option<Cause> {
    let target = pass.target()?;
    let overtaken = overtaken(pass, target, run);
    run.size = run.size.max(target.replicas);
    run.verdict = worst(reports);
    // A newer template that only waits must not hide that the canary is bad.
    match overtaken {
        Some(Cause::Superseded) | None => bad(pass, run, reports).or(overtaken),
        Some(cause) => Some(cause),
    }
}

/// What is wrong with the canary itself.
pub(super) fn bad(pass: &Pass<'_>, run: &Run, reports: &[RuleReport]) -> Option<Cause> {
    if let Some(worse) = worse(run, reports) {
        return Some(worse);
    }
    let canary = pass.seen.canary.as_ref()?;
    let fate = canary
        .fate
        .as_ref()
        .filter(|_| canary.revision == run.mark());
    fate.cloned().map(Cause::Pods)
}

/// That a rule shows the canary worse.
pub(super) fn worse(run: &Run, reports: &[RuleReport]) -> Option<Cause> {
    let worse = reports
        .iter()
        .find(|report| report.verdict == Verdict::Worse)?;
    Some(Cause::Worse {
        rule: worse.rule.clone(),
        sentence: worse.sentence(),
        saved: saved(run, worse),
    })
}

/// A template, or its configuration, that is no longer the one under trial.
fn overtaken(pass: &mut Pass<'_>, target: &Target, run: &mut Run) -> Option<Cause> {
    let on_trial = match run.trigger {
        Trigger::Template | Trigger::Back { .. } => &run.revision,
        Trigger::Config { .. } => pass.state.stable.as_ref()?,
    };
    if target.revision.same(on_trial) {
        let open = run.trigger == Trigger::Template && !target.paused;
        if open {
            return Some(Cause::WentOut);
        }
        follow_config(pass, target, run);
        return is_reconfigured(pass, target, run).then_some(Cause::Superseded);
    }
    let back = pass
        .state
        .stable
        .as_ref()
        .is_some_and(|s| s.same(&target.revision));
    Some(if back {
        Cause::Returned
    } else {
        Cause::Superseded
    })
}

/// Whether the configuration under trial is another one now, which pods that start from now on get, on both
/// arms: nobody would have compared it with anything.
pub(super) fn is_reconfigured(pass: &Pass<'_>, target: &Target, run: &Run) -> bool {
    tries_config(pass, run) && run.config.differs(&target.config)
}

fn tries_config(pass: &Pass<'_>, run: &Run) -> bool {
    let tried = matches!(run.trigger, Trigger::Config { .. });
    tried || pass.plan.config_changes == ConfigChanges::Run
}

/// Notes the configuration that pods get now; a change that is not tried is told.
pub(super) fn follow_config(pass: &mut Pass<'_>, target: &Target, run: &mut Run) {
    if is_reconfigured(pass, target, run) {
        return;
    }
    if run.config.differs(&target.config) {
        pass.tell(Reason::ConfigChanged);
    }
    run.config = target.config.or(&run.config);
}

/// Bad answers that a step down saved: the canary's excess since then, at the share it had before;
/// `None` where that comes to nothing.
fn saved(run: &Run, worse: &RuleReport) -> Option<u64> {
    let suspicion = run.suspect.as_ref()?;
    let step = worse.step_excess()?;
    let factor = f64::from(suspicion.from) / f64::from(run.weight.max(1)) - 1.0;
    Some((step * factor).max(0.0).round() as u64).filter(|saved| *saved > 0)
}

fn worst(reports: &[RuleReport]) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Worse => 3,
        Verdict::Suspect => 2,
        Verdict::Undecided => 1,
        Verdict::NotWorse => 0,
    };
    reports
        .iter()
        .map(|report| report.verdict)
        .max_by_key(|verdict| rank(*verdict))
        .unwrap_or(Verdict::Undecided)
}

/// Makes and mends the canary's objects.
pub(super) fn keep_canary(pass: &mut Pass<'_>, run: &Run) {
    let wanted = wanted_replicas(pass, run);
    let present = pass.seen.canary.as_ref();
    if present.is_some_and(|canary| canary.leaving.is_some()) {
        return;
    }
    let ours = present.is_some_and(|canary| canary.revision == run.mark());
    let whole = ours && present.is_some_and(|canary| !canary.differs);
    // Before it has had a request, an incomplete canary is one that is being made.
    pass.tell_mending(
        Mending::Canary,
        !whole && run.peak > 0,
        Reason::CanaryMended,
    );
    if !whole {
        pass.act(Action::EnsureCanary {
            template: run.revision.clone(),
            mark: run.mark(),
            replicas: wanted,
        });
    } else if present.is_some_and(|canary| canary.replicas != wanted) {
        pass.act(Action::ScaleCanary { replicas: wanted });
    }
}

/// Brings the weight that is seen to the one that is wanted; raises only if that is allowed.
pub(super) fn steer(pass: &mut Pass<'_>, run: &mut Run, reports: &[RuleReport]) {
    let route = pass.seen.route.canary.clone();
    let seen = route.as_ref().and_then(|route| route.weight);
    let unready = pass.is_unready(run);
    pass.tell_mending(Mending::Unready, unready, Reason::CanaryUnready);
    if unready {
        run.weight_since = None;
        keep_off(pass);
        return;
    }
    if seen == Some(run.weight) {
        if run.weight > 0 && route.as_ref().is_some_and(|route| route.differs) {
            pass.act(Action::EnsureRoute { weight: run.weight });
        }
        if route.is_some_and(|route| route.behind) && !pass.over(run.since, TAKEN_WITHIN) {
            // Not in force yet: it settles from the moment at which it is.
            run.weight_since = None;
        }
        in_force(pass, run);
        weight_mended(pass, false, seen, run.weight);
        return;
    }
    if run.weight_since.take().is_some() {
        weight_mended(pass, true, seen, run.weight);
    }
    match (route, seen) {
        (None, _) if run.weight == 0 => {}
        (Some(_), Some(seen)) if seen > run.weight => {
            pass.act(Action::LowerWeight { weight: run.weight });
        }
        // A weight that is no number is not known to be low: off first.
        (Some(_), None) => pass.act(Action::LowerWeight { weight: 0 }),
        (_, _) if may_raise(pass, run, reports) => {
            pass.act(Action::EnsureRoute { weight: run.weight });
        }
        (_, _) => {}
    }
}

/// Tells once that somebody changed the weight.
fn weight_mended(pass: &mut Pass<'_>, broken: bool, seen: Option<u8>, wanted: u8) {
    let reason = Reason::WeightMended { seen, wanted };
    pass.tell_mending(Mending::Weight, broken, reason);
}

/// Notes the first sight of the wanted weight, and tells the evidence what is in force.
fn in_force(pass: &mut Pass<'_>, run: &mut Run) {
    weight_in_force(pass, run);
    let canary = pass.seen.canary.as_ref().map_or(0, |canary| canary.ready);
    let pods = [canary, pass.stable_ready()].map(|ready| u32::try_from(ready).unwrap_or(0));
    if let Some(evidence) = &mut pass.state.evidence {
        evidence.pods_seen(pods[0], pods[1]);
    }
}

/// The weight alone.
pub(super) fn weight_in_force(pass: &mut Pass<'_>, run: &mut Run) {
    let since = *run.weight_since.get_or_insert(pass.now());
    // Said in each pass: the steps may be edited, and then another weight follows.
    let next = step_weight(pass.plan, run.step + 1);
    let asked = pass.terms.asked(&pass.state);
    if let Some(evidence) = &mut pass.state.evidence {
        evidence.weight_changed(&asked, run.weight, next, since);
    }
}

/// The canary comes up, and the metrics are awaited.
pub(super) fn preparing(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let reports = pass.reports();
    if let Some(cause) = ended(pass, &mut run, &reports) {
        return pass.roll_back(run, cause);
    }
    if native::is_due(pass, &run) {
        return native::preparing(pass, run);
    }
    if let Some(why) = hindered(pass) {
        return pass.hold(run, why);
    }
    keep_off(pass);
    keep_canary(pass, &run);
    if too_long_short(pass, &mut run) {
        return too_late(pass, run);
    }
    if !canary_ready(pass, &run) {
        return Phase::Preparing(run);
    }
    if let Some(next) = smoke::before_traffic(pass, &mut run) {
        return next;
    }
    if !pass.fresh() {
        return silent(pass, &run).unwrap_or(Phase::Preparing(run));
    }
    if let Some(next) = switching::before(pass, &mut run) {
        return next;
    }
    begin_steps(pass, run)
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

/// Whether the canary has been short of ready pods for the deadline, counted from when it became so: a
/// step may be older than that when stable is scaled up, and the canary with it.
pub(super) fn too_long_short(pass: &mut Pass<'_>, run: &mut Run) -> bool {
    if canary_ready(pass, run) {
        run.short_since = None;
        return false;
    }
    let since = *run.short_since.get_or_insert(pass.now());
    pass.watched_for(since, pass.plan.progress_deadline)
}

/// The canary did not get its pods in time, or lost them: refused by the cluster, or bad.
pub(super) fn too_late(pass: &mut Pass<'_>, run: Run) -> Phase {
    let canary = pass.seen.canary.as_ref();
    if let Some(why) = canary.and_then(|canary| canary.refused.clone()) {
        return pass.hold(run, HeldWhy::PodsRefused { why });
    }
    if !is_made(pass, &run) {
        let why = pass.seen.trouble.clone();
        let why = why.unwrap_or_else(|| "its Deployment is not there".to_owned());
        return pass.hold(run, HeldWhy::NotMade { why });
    }
    let after = humantime::format_duration(pass.plan.progress_deadline).to_string();
    pass.roll_back(run, Cause::Deadline { after })
}

/// Whether the canary's Deployment is there, as this run wants it.
fn is_made(pass: &Pass<'_>, run: &Run) -> bool {
    let canary = pass.seen.canary.as_ref();
    canary.is_some_and(|canary| canary.leaving.is_none() && canary.revision == run.mark())
}

/// What follows when the metrics stay away for too long; nothing while there is time.
pub(super) fn silent(pass: &mut Pass<'_>, run: &Run) -> Option<Phase> {
    let (after, then) = pass.plan.analysis.no_data;
    let silence = pass.silence(run);
    if silence < after {
        let rest = after.saturating_sub(silence);
        pass.wake_at(pass.now().checked_add(rest).unwrap_or(jiff::Timestamp::MAX));
        return None;
    }
    if !pass.has_looked() {
        return None;
    }
    let why = pass.seen.metrics.absent.clone().unwrap_or_else(|| {
        format!(
            "no sample for {}",
            humantime::format_duration(std::time::Duration::from_secs(silence.as_secs()))
        )
    });
    let run = run.clone();
    Some(match then {
        NoDataThen::Hold => pass.hold(run, HeldWhy::NoData { why }),
        NoDataThen::Rollback => pass.roll_back(run, Cause::NoData { why }),
    })
}

fn begin_steps(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let ready = pass.seen.canary.as_ref().map_or(0, |canary| canary.ready);
    pass.tell(Reason::CanaryReady { replicas: ready });
    if pass.plan.strategy == Strategy::Canary {
        set_patience(pass, &mut run);
    } else {
        switching::set_goals(pass, &mut run);
    }
    raise(pass, &mut run, 0);
    Phase::Stepping(run)
}

/// Says what a promotion can exclude at the present traffic.
fn set_patience(pass: &mut Pass<'_>, run: &mut Run) {
    let Some(evidence) = &mut pass.state.evidence else {
        return;
    };
    let sentence = evidence.set_patience(&pass.terms.evidence).sentence();
    run.patience = Some(sentence.clone());
    pass.tell(Reason::PatienceSaid { sentence });
}

/// Enters a step: the weight is wanted from now on.
pub(super) fn raise(pass: &mut Pass<'_>, run: &mut Run, step: usize) {
    let from = run.weight;
    run.step = step;
    run.weight = step_weight(pass.plan, step);
    run.peak = run.peak.max(run.weight);
    run.weight_since = None;
    run.late = None;
    run.since = pass.now();
    pass.tell(Reason::WeightRaised {
        from,
        to: run.weight,
        step: step + 1,
        steps: pass.plan.steps.len(),
    });
}

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
        run.weight = 0;
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
    if over(pass, &run, &why, &reports) {
        pass.tell(Reason::Resumed);
        return resume(pass, run);
    }
    let why = still_frozen(pass, why);
    Phase::Held { run, why }
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

/// A run that a person holds stays at the weight that is in force, not at one that was yet to come.
pub(super) fn stay(pass: &Pass<'_>, run: &mut Run) {
    let route = pass.seen.route.canary.as_ref();
    let seen = route.and_then(|route| route.weight).unwrap_or(0);
    if run.weight_since.is_some() || seen >= run.weight {
        return;
    }
    run.weight = seen;
    let reached = pass.plan.steps.iter().rposition(|step| step.weight <= seen);
    run.step = reached.unwrap_or(0);
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

/// Whether every rule shows the canary not worse, and none is in doubt.
pub(super) fn not_worse(reports: &[RuleReport]) -> bool {
    let shows = |report: &RuleReport| report.verdict == Verdict::NotWorse;
    !reports.is_empty() && reports.iter().all(shows)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_follow_the_weight_and_are_never_none() {
        let table = [
            (3, 5, 1),
            (10, 25, 3),
            (10, 100, 10),
            (0, 50, 1),
            (-1, 50, 1),
            (7, 50, 4),
            (i32::MAX, 100, i32::MAX),
        ];
        for (stable, weight, expected) in table {
            assert_eq!(replicas(stable, weight), expected, "{stable} at {weight}%");
        }
    }
}
