//! What people ask for: promote, approve, hold, resume, abort, rollback, retry, restart; and what
//! an alert does.
//!
//! A request is answered once, by its id, and only for the revision it was meant for. Not here:
//! who may ask. Requests are annotations, so the API server's RBAC has decided that.

use super::approvals;
use super::back;
use super::baking;
use super::held::resume;
use super::native;
use super::pass::Pass;
use super::promoting;
use super::weight::stay;
use crate::rollout::action::Action;
use crate::rollout::evidence::{Evidence, Verdict};
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::request::{Act, Request, fits};
use crate::rollout::revision::{Revision, short};
use crate::rollout::state::{Answer, Phase, PhaseName, Promotion, Run};

/// Answers that are kept in the status.
const ANSWERS: usize = 8;
/// Requests that are answered in one pass; the others wait until these are cleared.
const AT_ONCE: usize = 16;

/// Answers every request that has no answer yet, and clears those that have one.
pub(super) fn answer(pass: &mut Pass<'_>) {
    answer_those(pass, |_| true);
}

/// Answers those that end a run; the others wait.
pub(super) fn answer_ends(pass: &mut Pass<'_>) {
    let goes_on = pass.state.phase.run().is_some();
    answer_those(pass, |request| {
        goes_on && request.act.as_ref().is_ok_and(|act| act.ends_run())
    });
}

fn answer_those(pass: &mut Pass<'_>, which: impl Fn(&Request) -> bool) {
    let requests = pass.seen.rollout.requests.iter();
    for request in requests.filter(|request| which(request)).take(AT_ONCE) {
        if !pass
            .state
            .answers
            .iter()
            .any(|answer| answer.id == request.id)
        {
            let result = serve(pass, request);
            note(pass, request, result);
        }
        pass.act(Action::ClearRequest {
            id: request.id.clone(),
        });
    }
}

fn note(pass: &mut Pass<'_>, request: &Request, result: Result<String, String>) {
    let (done, message) = match result {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    pass.tell(Reason::Answered {
        act: request.word().to_owned(),
        by: request.by.clone(),
        done,
        message: message.clone(),
    });
    pass.state.answers.push(Answer {
        id: request.id.clone(),
        act: request.word().to_owned(),
        by: request.by.clone(),
        done,
        message,
        at: pass.now(),
    });
    forget_old(pass);
}

/// Keeps the newest answers, and those to requests that are not cleared yet.
fn forget_old(pass: &mut Pass<'_>) {
    let requests = &pass.seen.rollout.requests;
    let mut surplus = pass.state.answers.len().saturating_sub(ANSWERS);
    pass.state.answers.retain(|answer| {
        let old = surplus > 0 && !requests.iter().any(|request| request.id == answer.id);
        surplus -= usize::from(old);
        !old
    });
}

fn serve(pass: &mut Pass<'_>, request: &Request) -> Result<String, String> {
    match *request.act.as_ref().map_err(ToString::to_string)? {
        Act::Retry => retry(pass, request),
        Act::Restart => restart(pass, request),
        Act::Rollback if pass.state.phase.run().is_none() => back::go_back(pass, request),
        act @ (Act::Promote
        | Act::Approve
        | Act::Hold
        | Act::Resume
        | Act::Abort
        | Act::Rollback
        | Act::Alert
        | Act::Smoke) => serve_run(pass, request, act),
    }
}

/// Answers what is about the run that goes on.
fn serve_run(pass: &mut Pass<'_>, request: &Request, asked: Act) -> Result<String, String> {
    let Some(run) = pass.state.phase.run().cloned() else {
        return Err(
            "no run goes on: one begins when a new template is applied, or what failed is applied again after `sluice retry`"
                .to_owned(),
        );
    };
    meant(pass, request, &run.revision, "is under trial")?;
    if request.goal.is_some() {
        return Err(
            "a run goes on; without `--to` it is taken back, and then `--to` can be asked"
                .to_owned(),
        );
    }
    let phase = pass.state.phase.clone();
    let (next, message) = act(pass, (request, asked), phase, run)?;
    pass.state.phase = next;
    Ok(message)
}

/// Whether the request was meant for this revision, of which that is said.
pub(super) fn meant(
    pass: &Pass<'_>,
    request: &Request,
    present: &Revision,
    stands: &str,
) -> Result<(), String> {
    let Some(named) = &request.revision else {
        return Ok(());
    };
    if !present.begins(named) {
        let (named, present) = (short(named), short(&present.hash));
        return Err(format!(
            "it was meant for revision {named}, but {present} {stands}"
        ));
    }
    if known(pass).any(|known| known.begins(named) && !known.same(present)) {
        return Err(format!(
            "{named} is how several revisions begin: write the whole hash"
        ));
    }
    Ok(())
}

/// The revisions that a person may have seen here.
fn known<'a>(pass: &'a Pass<'_>) -> impl Iterator<Item = &'a Revision> {
    let state = &pass.state;
    let run = state.phase.run();
    let run = run
        .into_iter()
        .flat_map(|run| run.waiting.iter().chain([&run.revision]));
    let failed = state.failed.as_ref().map(|failed| &failed.revision);
    let kept = state.stable.iter().chain(&state.desired).chain(failed);
    let target = pass.target().map(|target| &target.revision);
    kept.chain(&state.known_good).chain(target).chain(run)
}

fn act(
    pass: &mut Pass<'_>,
    (request, asked): (&Request, Act),
    phase: Phase,
    run: Run,
) -> Result<(Phase, String), String> {
    if let Phase::Promoting {
        stage: Promotion::Draining { .. } | Promotion::Removing,
        ..
    } = phase
        && !run.bakes
    {
        return Err(
            "the revision serves already; `sluice rollback` goes back once the run is over"
                .to_owned(),
        );
    }
    let frozen = matches!(
        &phase,
        Phase::Held {
            why: HeldWhy::Frozen { .. },
            ..
        }
    );
    if frozen && matches!(asked, Act::Alert | Act::Smoke) {
        return Err("the run has not begun: a freeze holds it".to_owned());
    }
    if !fits(phase.kind(), asked) {
        return Err(misfit(phase.kind(), asked));
    }
    match asked {
        Act::Abort | Act::Rollback => {
            let cause = aborted(request);
            Ok((pass.roll_back(run, cause), "rolls back".to_owned()))
        }
        Act::Alert => {
            let alert = request.why.clone();
            let alert = alert.unwrap_or_else(|| "one that is not described".to_owned());
            let cause = Cause::Alert { alert };
            Ok((pass.roll_back(run, cause), "rolls back".to_owned()))
        }
        Act::Smoke => {
            let sentence = request.why.clone();
            let sentence = sentence.unwrap_or_else(|| "that is not described".to_owned());
            let cause = Cause::Smoke { sentence };
            Ok((pass.roll_back(run, cause), "rolls back".to_owned()))
        }
        Act::Promote if matches!(phase, Phase::Baking(_)) => {
            baking::conclude(pass, &run);
            Ok((Phase::Idle, "promoted, and watched no more".to_owned()))
        }
        Act::Promote if pass.plan.approvals_to_come(&phase) => Err(
            "it needs the approvals of its plan first: `sluice approve`; in an emergency the annotation sluice.dev/open lets it through, which is told"
                .to_owned(),
        ),
        Act::Promote => Ok(promote(pass, run, request)),
        Act::Approve => approvals::approve(pass, run, request),
        Act::Hold => {
            let mut run = run;
            stay(pass, &mut run);
            Ok((pass.hold(run, holder(request)), "held".to_owned()))
        }
        Act::Resume => go_on(pass, phase, run),
        Act::Retry | Act::Restart => Err(misfit(phase.kind(), asked)),
    }
}

/// Why an act that fits no run in this phase is refused.
fn misfit(phase: PhaseName, asked: Act) -> String {
    match phase {
        PhaseName::RollingBack => "the run is being rolled back".to_owned(),
        PhaseName::Promoting => {
            "the promotion is under way; `sluice abort` takes it back".to_owned()
        }
        PhaseName::Baking => {
            "the revision serves and is watched; `sluice promote` ends the watch, `sluice abort` goes back"
                .to_owned()
        }
        PhaseName::Adopting
        | PhaseName::Idle
        | PhaseName::Preparing
        | PhaseName::Stepping
        | PhaseName::Suspect
        | PhaseName::AwaitingApproval
        | PhaseName::Held
        | PhaseName::Failed
        | PhaseName::Suspended => unfit(phase.name(), asked),
    }
}

fn unfit(phase: &str, asked: Act) -> String {
    match asked {
        Act::Approve => format!("no approval is awaited in phase {phase}"),
        Act::Resume => format!("the run is not held, it is in phase {phase}"),
        Act::Promote
        | Act::Hold
        | Act::Abort
        | Act::Rollback
        | Act::Retry
        | Act::Restart
        | Act::Alert
        | Act::Smoke => format!("{asked} is not possible in phase {phase}"),
    }
}

/// That a person holds the run: who, where that is known.
fn holder(request: &Request) -> HeldWhy {
    let who = request.by.clone();
    who.map_or(HeldWhy::Person, |who| HeldWhy::PersonNamed { who })
}

/// That a person ends the run: who, where that is known.
fn aborted(request: &Request) -> Cause {
    let who = request.by.clone();
    who.map_or(Cause::Aborted, |who| Cause::AbortedBy { who })
}

/// Lets a revision through by a person's word, whatever the evidence says.
fn promote(pass: &mut Pass<'_>, mut run: Run, request: &Request) -> (Phase, String) {
    run.forced = true;
    run.rolls = native::is_due(pass, &run);
    pass.state
        .evidence
        .get_or_insert_with(|| Evidence::begin(&pass.terms.evidence));
    let mut message = "promotes by request".to_owned();
    if let Some(who) = &request.by {
        message = format!("{message} of {who}");
    }
    if run.verdict == Verdict::Worse || run.verdict == Verdict::Suspect {
        message.push_str(" against the evidence");
    }
    (promoting::begin(pass, run, message.clone()), message)
}

fn go_on(pass: &mut Pass<'_>, phase: Phase, run: Run) -> Result<(Phase, String), String> {
    let Phase::Held { why, .. } = phase else {
        return Err(misfit(phase.kind(), Act::Resume));
    };
    if why == HeldWhy::Suspicions
        && let Some(evidence) = &mut pass.state.evidence
    {
        evidence.forgive();
    }
    let mut run = run;
    if why == HeldWhy::Suspicions {
        run.suspect = None;
        run.suspicions = 0;
    }
    pass.tell(Reason::Resumed);
    Ok((resume(pass, run), "goes on".to_owned()))
}

fn retry(pass: &mut Pass<'_>, request: &Request) -> Result<String, String> {
    let Some(failure) = &pass.state.failed else {
        return Err("no revision has failed".to_owned());
    };
    let revision = failure.revision.clone();
    meant(pass, request, &revision, "failed")?;
    pass.state.failed = None;
    let waits = pass
        .target()
        .is_some_and(|target| target.paused && target.revision.same(&revision));
    Ok(if waits {
        format!("{revision} is tried again")
    } else {
        format!("{revision} may be tried again: apply it anew, its template was put back")
    })
}

fn restart(pass: &mut Pass<'_>, request: &Request) -> Result<String, String> {
    let (Some(_), Some(stable)) = (&pass.state.target, &pass.state.stable) else {
        return Err("nothing is guarded yet".to_owned());
    };
    let run = pass.state.phase.run();
    // Who means the revision under trial means what serves when its run is over.
    if run.is_none_or(|run| meant(pass, request, &run.revision, "").is_err()) {
        meant(pass, request, stable, "serves")?;
    }
    pass.state.restart = Some(request.id.clone());
    Ok(match pass.state.phase.run() {
        Some(_) => "queued until the run is over".to_owned(),
        None => "restarts".to_owned(),
    })
}
