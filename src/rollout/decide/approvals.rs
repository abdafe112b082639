//! What an approval leads to: it counts or is refused, waits for the others, expires, or lets the run go on.
//!
//! Guarantees: at one step a person counts once; of those that wait for others none counts longer than the plan
//! says; a step that was entered anew needs new ones, while a switch that was approved is not asked for twice;
//! what stands in Git counts for one template; none lets a run go on that is suspected meanwhile. Not here: who must approve (`rollout::approval`).

use super::pass::Pass;
use super::stepping::onward;
use super::switching;
use crate::rollout::approval::{Approval, Approvals, Meant, Vouched};
use crate::rollout::evidence::Verdict;
use crate::rollout::plan::{Plan, Step};
use crate::rollout::reason::Reason;
use crate::rollout::request::{Act, Request};
use crate::rollout::state::{Phase, Run, Trigger};

/// Who has approved where nobody is named.
const NOBODY: &str = "somebody";

/// Whether a release needs an approval that depends on who gives it.
pub(super) fn matter(plan: &Plan) -> bool {
    let by_strategy = plan.strategy.approval() == Some(true) && plan.approvals.is_about_people();
    let by_step = |step: &Step| {
        let approvers = step.approvers.as_ref().unwrap_or(&plan.approvals);
        step.approval && approvers.is_about_people()
    };
    by_strategy || plan.steps.iter().any(by_step)
}

/// A step waits anew: what was approved before was about other evidence.
pub(super) fn begin(run: &mut Run) {
    let step = run.step;
    run.approvals.retain(|approval| approval.step != step);
}

/// Somebody approves the step that waits for it.
pub(super) fn approve(
    pass: &mut Pass<'_>,
    mut run: Run,
    request: &Request,
) -> Result<(Phase, String), String> {
    if let Some(doubt) = doubt(pass) {
        return Err(format!(
            "it is suspected ({doubt}), and goes on by nobody's approval while it is; ask again when that is over, or `sluice abort` takes it back"
        ));
    }
    let asked = pass.plan.asked_at(&run).clone();
    let by = request.by.as_deref();
    // None that is over counts with this one; where this one does not, `look` takes them away.
    let over = take_expired(pass, &asked, &mut run);
    note(pass, &asked, &mut run, (by, &request.groups), false)?;
    tell_expired(pass, &asked, over);
    let (have, need) = (run.approvals_here(), usize::from(asked.required));
    let caveat = caveat(pass, &asked);
    if have < need {
        let told = format!("{}{caveat}", counted(have, need));
        return Ok((Phase::AwaitingApproval(run), told));
    }
    if !pass.fresh() {
        return Err("the metrics are stale; the weight cannot rise now, ask again".to_owned());
    }
    Ok((go_on(pass, run), format!("approved{caveat}")))
}

/// Why nobody's approval lets it go on now: it was shown to be no worse, and looks worse since. At the first
/// step's weight there is nowhere to step down to, so that a suspicion must not end here.
fn doubt(pass: &Pass<'_>) -> Option<String> {
    let reports = pass.reports();
    let mut doubtful = reports.iter().filter(|it| it.verdict >= Verdict::Suspect);
    doubtful
        .next()
        .map(|it| format!("{}: {}", it.rule, it.sentence()))
}

/// Said where it matters who wrote the change, and nobody knows.
fn caveat(pass: &Pass<'_>, asked: &Approvals) -> &'static str {
    if asked.not_author && pass.seen.rollout.authors.is_empty() {
        "; who wrote the change is not known"
    } else {
        ""
    }
}

/// What stands in Git counts, and what has waited too long does not; the phase that follows, if enough have
/// approved.
pub(super) fn look(pass: &mut Pass<'_>, run: &mut Run) -> Option<Phase> {
    let asked = pass.plan.asked_at(run).clone();
    expire(pass, &asked, run);
    leave_out_authors(pass, &asked, run);
    let vouched = vouched(pass, run)?;
    let need = usize::from(asked.required);
    let named = vouched.by.iter().map(|by| Some(by.as_str()));
    let nobody = vouched.by.is_empty().then_some(None);
    for by in named.chain(nobody) {
        if run.approvals_here() < need && note(pass, &asked, run, (by, &[]), true).is_ok() {
            pass.tell(Reason::Answered {
                act: Act::Approve.to_string(),
                by: Some(by.unwrap_or(NOBODY).to_owned()),
                done: true,
                message: format!("{}, in Git", counted(run.approvals_here(), need)),
            });
        }
    }
    let enough = run.approvals_here() >= need && pass.fresh() && doubt(pass).is_none();
    enough.then(|| go_on(pass, run.clone()))
}

/// What stands in Git of this run's template. It does not count for a configuration: whoever approved has seen
/// the template.
fn vouched(pass: &mut Pass<'_>, run: &Run) -> Option<Vouched> {
    let meant = pass.state.meant.clone()?;
    let is_of = meant.vouched.is_of(&run.revision);
    let configured = matches!(run.trigger, Trigger::Config { .. });
    let because = if is_of && configured {
        "it is of a template, and the configuration changed".to_owned()
    } else if meant.hash == run.revision.hash {
        return Some(meant.vouched);
    } else if is_of {
        format!(
            "it was given when {} had that name; write it anew, with the hash {}",
            meant.hash, run.revision.hash
        )
    } else {
        return None;
    };
    if meant.told.as_ref() != Some(&run.id) {
        pass.tell(Reason::Answered {
            act: Act::Approve.to_string(),
            by: None,
            done: false,
            message: format!(
                "what stands in Git ({}) does not count: {because}",
                meant.vouched.revision
            ),
        });
        pass.state.meant = Some(Meant {
            told: Some(run.id.clone()),
            ..meant
        });
    }
    None
}

/// Keeps what stands in Git for the first template that is seen with it, whether or not a run asks for it.
pub(super) fn follow(pass: &mut Pass<'_>) {
    let now = pass.seen.rollout.vouched.as_ref();
    let before = pass.state.meant.as_ref().map(|meant| &meant.vouched);
    if before == now {
        return;
    }
    let under_trial = pass.state.phase.run().map(|run| &run.revision);
    let applied = pass.target().map(|target| &target.revision);
    let meant = now.and_then(|vouched| {
        let mut seen = under_trial.into_iter().chain(applied);
        let revision = seen.find(|revision| vouched.is_of(revision))?;
        Some(Meant {
            vouched: vouched.clone(),
            hash: revision.hash.clone(),
            told: None,
        })
    });
    pass.state.meant = meant;
}

fn counted(have: usize, need: usize) -> String {
    format!("approved, {have} of {need}")
}

fn note(
    pass: &Pass<'_>,
    asked: &Approvals,
    run: &mut Run,
    (by, groups): (Option<&str>, &[String]),
    in_git: bool,
) -> Result<(), String> {
    let authors = &pass.seen.rollout.authors;
    match by {
        None if asked.is_about_people() => {
            return Err("it matters who approves, and nobody is named".to_owned());
        }
        Some(by) => {
            if let Some(why) = asked.refuses(by, groups, authors) {
                return Err(why);
            }
        }
        None => {}
    }
    let by = by.unwrap_or(NOBODY);
    let step = run.step;
    let mut before = run.approvals.iter();
    if before.any(|approval| approval.step == step && approval.by == by) {
        return Err(format!("{by} has approved already, and counts once"));
    }
    run.approvals.push(Approval {
        step,
        by: by.to_owned(),
        at: pass.now(),
        in_git,
    });
    Ok(())
}

fn expire(pass: &mut Pass<'_>, asked: &Approvals, run: &mut Run) {
    let over = take_expired(pass, asked, run);
    tell_expired(pass, asked, over);
}

/// Those do not count any more of whom it has become known that they wrote the change.
fn leave_out_authors(pass: &mut Pass<'_>, asked: &Approvals, run: &mut Run) {
    let authors = pass.seen.rollout.authors.clone();
    let step = run.step;
    let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut run.approvals)
        .into_iter()
        .partition(|approval| approval.step == step && asked.has_written(&approval.by, &authors));
    run.approvals = kept;
    for approval in out {
        pass.tell(Reason::Answered {
            act: Act::Approve.to_string(),
            message: format!(
                "{} has turned out to be the author of the change",
                approval.by
            ),
            by: Some(approval.by),
            done: false,
        });
    }
}

/// Takes away what has waited for others too long.
fn take_expired(pass: &mut Pass<'_>, asked: &Approvals, run: &mut Run) -> Vec<Approval> {
    let Some(limit) = asked.expires else {
        return Vec::new();
    };
    let step = run.step;
    let (over, kept) = std::mem::take(&mut run.approvals)
        .into_iter()
        .partition(|approval| {
            let waits = approval.step == step && !approval.in_git;
            waits && pass.over(approval.at, limit)
        });
    run.approvals = kept;
    over
}

fn tell_expired(pass: &mut Pass<'_>, asked: &Approvals, over: Vec<Approval>) {
    let after = asked.expires.map(humantime::format_duration);
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    for approval in over {
        pass.tell(Reason::ApprovalExpired {
            by: approval.by,
            after: after.clone(),
        });
    }
}

fn go_on(pass: &mut Pass<'_>, run: Run) -> Phase {
    if run.weight == 0 {
        return switching::approved(run);
    }
    onward(pass, run)
}
