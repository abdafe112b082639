//! The steps: the canary has its share, the evidence decides how it goes on.
//!
//! A step ends when every rule shows the canary not worse, its hold is over and the observed
//! share agrees with the weight. A suspicion (the exact witness alone) takes the weight back to
//! the first step at once; the third one asks for a person.

use std::time::Duration;

use super::approvals;
use super::canary::{keep_canary, too_late, too_long_short};
use super::native;
use super::pass::Pass;
use super::promoting;
use super::running::{ended, not_worse, silent};
use super::weight::{first_weight, may_raise, raise, steer, step_weight};
use crate::rollout::LEAST_STEP;
use crate::rollout::evidence::{RuleReport, Verdict};
use crate::rollout::plan::UndecidedThen;
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Phase, Run, Suspicion};

/// The suspicion after which a person decides.
const LAST_SUSPICION: u8 = 3;

/// How long what refuses a canary is waited out in a run.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// The canary has its share of the traffic.
pub(super) fn stepping(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let reports = pass.reports();
    match watch(pass, &mut run, &reports) {
        Watch::Leaves(phase) => return *phase,
        Watch::Stays => {}
    }
    if let Some(suspect) = suspected(&run, first_weight(pass.plan), &reports) {
        return suspect_run(pass, run, suspect);
    }
    if passed(pass, &mut run, &reports) {
        return advance(pass, run, &reports);
    }
    undecided(pass, run, &reports)
}

enum Watch {
    Leaves(Box<Phase>),
    Stays,
}

/// What is common to a step and to waiting after it.
fn watch(pass: &mut Pass<'_>, run: &mut Run, reports: &[RuleReport]) -> Watch {
    if let Some(cause) = ended(pass, run, reports) {
        return Watch::Leaves(Box::new(pass.roll_back(run.clone(), cause)));
    }
    if pass.stable_ready() == 0 {
        pass.leave_without_stable(run);
        let none = pass.target().is_some_and(|target| target.replicas == 0);
        let why = if none {
            HeldWhy::NoReplicas
        } else {
            HeldWhy::StableGone
        };
        let phase = pass.hold(run.clone(), why);
        return Watch::Leaves(Box::new(phase));
    }
    keep_canary(pass, run);
    steer(pass, run, reports);
    if let Some(phase) = refused(pass, run) {
        return Watch::Leaves(Box::new(phase));
    }
    if !pass.fresh()
        && let Some(phase) = silent(pass, run)
    {
        return Watch::Leaves(Box::new(phase));
    }
    if too_long_short(pass, run) {
        return Watch::Leaves(Box::new(too_late(pass, run.clone())));
    }
    Watch::Stays
}

/// What would keep a canary from being made keeps one from being judged: an Ingress that was renamed, a Service that
/// leads elsewhere. A controller that looks for a moment as if it did not know its route is let be.
fn refused(pass: &mut Pass<'_>, run: &mut Run) -> Option<Phase> {
    let Some(why) = pass.seen.route.refusals.first().cloned() else {
        run.refused_since = None;
        return None;
    };
    let since = *run.refused_since.get_or_insert(pass.now());
    if !pass.over(since, REFUSED_FOR) {
        return None;
    }
    run.weight = 0;
    run.weight_since = None;
    run.refused_since = None;
    steer(pass, run, &[]);
    Some(pass.hold(run.clone(), HeldWhy::Refused { why }))
}

/// The rule whose exact witness alone is convinced, where that is acted upon.
fn suspected<'r>(run: &Run, first: u8, reports: &'r [RuleReport]) -> Option<&'r RuleReport> {
    let above = run.weight > first && run.suspect.is_none();
    reports
        .iter()
        .find(|report| above && report.verdict == Verdict::Suspect)
}

fn suspect_run(pass: &mut Pass<'_>, mut run: Run, report: &RuleReport) -> Phase {
    let from = run.weight;
    let to = first_weight(pass.plan);
    pass.tell(Reason::Suspected {
        rule: report.rule.clone(),
        sentence: report.sentence(),
        from,
        to,
    });
    run.suspicions += 1;
    run.suspect = Some(Suspicion {
        since: pass.now(),
        from,
    });
    run.step = 0;
    run.weight = to;
    run.weight_since = None;
    run.since = pass.now();
    steer(pass, &mut run, &[]);
    if run.suspicions >= LAST_SUSPICION {
        return pass.hold(run, HeldWhy::Suspicions);
    }
    Phase::Stepping(run)
}

/// Whether the step's evidence, hold and share suffice; where only a young enough sample is missing, that is
/// noted.
fn passed(pass: &mut Pass<'_>, run: &mut Run, reports: &[RuleReport]) -> bool {
    run.late = None;
    let Some(since) = run.weight_since else {
        return false;
    };
    let step = pass.plan.step_of(run);
    let hold = step.map_or(Duration::ZERO, |step| step.hold);
    // A suspicion is over when the promotion test says so, though the exact witness still stands.
    let shown = match run.suspect {
        Some(_) => !reports.is_empty() && reports.iter().all(RuleReport::shown_not_worse),
        None => not_worse(reports),
    };
    let agrees = pass
        .state
        .evidence
        .as_ref()
        .is_some_and(|evidence| evidence.share().ok);
    let over = pass.over(since, hold.max(LEAST_STEP));
    if !(shown && agrees && over) {
        return false;
    }
    run.late = pass.late_rule();
    pass.fresh()
}

/// The next step, an approval, the promotion, or the end of a suspicion.
fn advance(pass: &mut Pass<'_>, mut run: Run, reports: &[RuleReport]) -> Phase {
    if run.suspect.take().is_some() {
        pass.tell(Reason::SuspicionOver {
            sentence: sentences(reports),
        });
        if let Some(evidence) = &mut pass.state.evidence {
            evidence.forgive();
        }
    }
    ask_or_go_on(pass, run)
}

/// Past a step, where a person must approve that first.
fn ask_or_go_on(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    if !pass.plan.asks_after(&run) {
        return onward(pass, run);
    }
    let next = step_weight(pass.plan, run.step + 1);
    pass.tell(Reason::ApprovalAwaited {
        step: run.step + 1,
        next,
    });
    run.since = pass.now();
    approvals::begin(&mut run);
    Phase::AwaitingApproval(run)
}

/// Past a step: the next one, or the promotion.
pub(super) fn onward(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    let next = run.step + 1;
    if next >= pass.plan.steps.len() {
        let sentence = sentences(&pass.reports());
        return promoting::begin(pass, run, sentence);
    }
    raise(pass, &mut run, next);
    Phase::Stepping(run)
}

fn sentences(reports: &[RuleReport]) -> String {
    let each: Vec<String> = reports
        .iter()
        .map(|report| format!("{}: {}", report.rule, report.sentence()))
        .collect();
    each.join("; ")
}

/// The step's weight is not in force, so nothing can be seen of it. Where it could be raised it is waited for no longer
/// than the deadline: the cluster refuses it, or somebody takes it away as often as it is set.
fn not_in_force(pass: &mut Pass<'_>, mut run: Run, reports: &[RuleReport]) -> Phase {
    if !may_raise(pass, &run, reports) {
        run.unrouted_since = None;
        return Phase::Stepping(run);
    }
    let since = *run.unrouted_since.get_or_insert(pass.now());
    if !pass.watched_for(since, pass.plan.progress_deadline) {
        return Phase::Stepping(run);
    }
    run.unrouted_since = None;
    let why = pass.seen.trouble.clone();
    let why = why.unwrap_or_else(|| "it does not stay as it is set".to_owned());
    pass.hold(run, HeldWhy::NotRouted { why })
}

/// What follows when a step stays undecided.
fn undecided(pass: &mut Pass<'_>, run: Run, reports: &[RuleReport]) -> Phase {
    let Some(since) = run.weight_since else {
        return not_in_force(pass, run, reports);
    };
    let (after, then) = pass.plan.analysis.undecided;
    let hold = pass.plan.step_of(&run).map(|step| step.hold);
    let after = after.max(hold.unwrap_or_default());
    if !pass.watched_for(since, after) {
        return Phase::Stepping(run);
    }
    match then {
        UndecidedThen::Hold => pass.hold(run, HeldWhy::Undecided),
        UndecidedThen::Promote if pass.fresh() && run.verdict < Verdict::Suspect => {
            ask_or_go_on(pass, run)
        }
        UndecidedThen::Promote => Phase::Stepping(run),
        UndecidedThen::Rollback => {
            let after = humantime::format_duration(after).to_string();
            pass.roll_back(run, Cause::Undecided { after })
        }
    }
}

/// A step is passed; only the approval is missing. Watched all the same.
pub(super) fn awaiting_approval(pass: &mut Pass<'_>, mut run: Run) -> Phase {
    if native::is_due(pass, &run) {
        return native::awaiting_approval(pass, run);
    }
    let reports = pass.reports();
    match watch(pass, &mut run, &reports) {
        Watch::Leaves(phase) => *phase,
        Watch::Stays => match suspected(&run, first_weight(pass.plan), &reports) {
            Some(suspect) => suspect_run(pass, run, suspect),
            None => match approvals::look(pass, &mut run) {
                Some(next) => next,
                None => Phase::AwaitingApproval(run),
            },
        },
    }
}
