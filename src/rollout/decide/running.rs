//! What holds for every phase of a run that has a canary: what ends it, and the configuration it tries; and the
//! phase Preparing.
//!
//! Not here: the canary's objects (`canary`), the weight (`weight`), how steps advance (`stepping`), and what follows
//! after the end (`promoting`, `rolling_back`).

use std::time::Duration;

use super::canary::{canary_ready, keep_canary, too_late, too_long_short};
use super::held::hindered;
use super::native;
use super::pass::Pass;
use super::smoke;
use super::switching;
use super::weight::{keep_off, raise};
use crate::rollout::evidence::{RuleReport, Verdict};
use crate::rollout::observation::Target;
use crate::rollout::plan::{ConfigChanges, NoDataThen, Strategy};
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Phase, Run, Trigger};

/// What comes later than this is told, though it has no consequences yet.
const SILENT: Duration = Duration::from_secs(60);

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
    let why = silence_of(pass, run);
    let run = run.clone();
    Some(match then {
        NoDataThen::Hold => pass.hold(run, HeldWhy::NoData { why }),
        NoDataThen::Rollback => pass.roll_back(run, Cause::NoData { why }),
    })
}

fn silence_of(pass: &Pass<'_>, run: &Run) -> String {
    pass.seen.metrics.absent.clone().unwrap_or_else(|| {
        let since = pass.newest(run).strftime("%H:%M:%S UTC");
        format!("no sample since {since}")
    })
}

/// Notes that no samples come, for who asks; long before it has consequences.
pub(super) fn note_silence(pass: &mut Pass<'_>) {
    let (Phase::Preparing(run) | Phase::Stepping(run)) = pass.state.phase.clone() else {
        return;
    };
    let long = pass.terms.tuning.stale_after.max(SILENT);
    // Sources that are asked seldom are fresh for longer.
    let lasts = !pass.fresh() && pass.silence(&run) >= long && pass.has_looked();
    let why = lasts.then(|| run.silent.clone().unwrap_or_else(|| silence_of(pass, &run)));
    if let Phase::Preparing(run) | Phase::Stepping(run) = &mut pass.state.phase {
        run.silent = why;
    }
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

/// Whether every rule shows the canary not worse, and none is in doubt.
pub(super) fn not_worse(reports: &[RuleReport]) -> bool {
    let shows = |report: &RuleReport| report.verdict == Verdict::NotWorse;
    !reports.is_empty() && reports.iter().all(shows)
}
