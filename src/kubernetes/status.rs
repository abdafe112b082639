//! The status: what the resource says of a state, and the checkpoint that a state is read from.
//!
//! Not here: when it is written (`daemon::pass`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::conditions::{self, Standing};
use super::crd::{
    Answer, ApprovalStatus, LastRun, RevisionStatus, RolloutStatus, RuleStatus, RunStatus,
};
use crate::rollout::describe;
use crate::rollout::evidence::RuleReport;
use crate::rollout::reason::Outcome;
use crate::rollout::revision::{Revision, short};
use crate::rollout::state::{Phase, Run, State};
use crate::rollout::terms::Terms;

/// The state that a status carries; `None` for a Rollout that is new. Fails on a checkpoint
/// that this version cannot read.
pub fn state(status: Option<&RolloutStatus>) -> Result<Option<State>, serde_json::Error> {
    match status.and_then(|status| status.checkpoint.as_deref()) {
        Some(checkpoint) => serde_json::from_str(checkpoint).map(Some),
        None => Ok(None),
    }
}

/// The status of a state.
pub fn status(
    terms: &Terms,
    state: &State,
    before: Option<&RolloutStatus>,
    now: Timestamp,
) -> Result<RolloutStatus, serde_json::Error> {
    let generation = Some(terms.plan.generation);
    Ok(RolloutStatus {
        observed_generation: generation,
        phase: Some(state.phase.name().to_owned()),
        message: Some(describe::message(state)),
        revision: revision(state),
        stable: state.stable.as_ref().map(revision_status),
        run: state.phase.run().map(|run| run_status(terms, state, run)),
        last_run: last_run(state),
        answers: state.answers.iter().map(answer).collect(),
        git: before.and_then(|before| before.git.clone()),
        told: before.map_or_else(BTreeMap::new, |before| before.told.clone()),
        conditions: conditions(state, before, generation, now),
        checkpoint: Some(serde_json::to_string(state)?),
    })
}

/// The status of a Rollout whose spec cannot be used: what was known stays, and it is said.
pub fn refused(
    before: Option<&RolloutStatus>,
    generation: Option<i64>,
    problems: &str,
    now: Timestamp,
) -> RolloutStatus {
    let mut status = before.cloned().unwrap_or_default();
    let old = status.conditions.clone();
    status.observed_generation = generation;
    status.message = Some(format!("not accepted: {problems}"));
    status.phase.get_or_insert_with(|| "Adopting".to_owned());
    status.conditions = conditions::all(
        &old,
        &[
            Standing::new("Accepted", false, "Invalid", problems),
            Standing::new("Ready", false, "Invalid", problems),
            Standing::new("Stalled", true, "Invalid", problems),
            Standing::new("Reconciling", false, "Invalid", problems),
        ],
        generation,
        now,
    );
    status
}

/// The reason of the conditions that say that the checkpoint cannot be read.
const UNREADABLE: &str = "CheckpointUnreadable";

/// The status of a Rollout whose checkpoint cannot be read: what was known stays, and it is said.
pub fn unreadable(
    before: Option<&RolloutStatus>,
    generation: Option<i64>,
    why: &str,
    now: Timestamp,
) -> RolloutStatus {
    let mut status = before.cloned().unwrap_or_default();
    let old = status.conditions.clone();
    status.observed_generation = generation;
    status.message = Some(format!("stands still: {why}"));
    let said = ["Ready", "Stalled", "Reconciling"];
    let others = old
        .iter()
        .filter(|condition| !said.contains(&condition.type_.as_str()));
    let mut wanted: Vec<Standing<'_>> = others
        .map(|condition| {
            let holds = condition.status == "True";
            Standing::new(
                &condition.type_,
                holds,
                &condition.reason,
                &condition.message,
            )
        })
        .collect();
    wanted.extend(said.map(|name| Standing::new(name, name == "Stalled", UNREADABLE, why)));
    status.conditions = conditions::all(&old, &wanted, generation, now);
    status
}

/// Whether the status says that its checkpoint cannot be read.
pub fn is_unreadable(status: Option<&RolloutStatus>) -> bool {
    let mut conditions = status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.type_ == "Stalled" && condition.reason == UNREADABLE)
}

/// Why the status says that the spec is not accepted.
pub fn refusal(status: Option<&RolloutStatus>) -> Option<String> {
    let mut conditions = status?.conditions.iter();
    conditions
        .find(|condition| condition.type_ == "Accepted" && condition.status == "False")
        .map(|condition| condition.message.clone())
}

fn revision(state: &State) -> Option<String> {
    let run = state.phase.run().map(|run| &run.revision);
    run.or(state.stable.as_ref())
        .map(|revision| short(&revision.hash).to_owned())
}

/// A revision as the status shows it.
pub fn revision_status(revision: &Revision) -> RevisionStatus {
    RevisionStatus {
        hash: revision.hash.clone(),
        images: revision.images.clone(),
    }
}

/// The run as the status and the board show it.
pub fn run_status(terms: &Terms, state: &State, run: &Run) -> RunStatus {
    let reports = state
        .evidence
        .as_ref()
        .map(|evidence| evidence.report(&terms.asked(state)))
        .unwrap_or_default();
    let promoting = matches!(state.phase, Phase::Promoting { .. });
    let after = run.rolls || (run.bakes && !promoting);
    RunStatus {
        id: run.id.clone(),
        revision: revision_status(&run.revision),
        authors: run.authors.clone(),
        step: (run.peak > 0).then(|| format!("{}/{}", run.step + 1, terms.plan.steps.len())),
        weight: i32::from(run.weight),
        started: Time(run.started),
        since: Time(run.since),
        verdict: run.verdict.name().to_owned(),
        rules: reports
            .iter()
            .map(|report| rule_status(report, after))
            .collect(),
        patience: run.patience.clone(),
        approvals: run.approvals.iter().map(approval_status).collect(),
        approvals_needed: matches!(state.phase, Phase::AwaitingApproval(_)).then(|| {
            format!(
                "{}/{}",
                run.approvals_here(),
                terms.plan.asked_at(run).required
            )
        }),
        approvals_to_come: terms.plan.approvals_to_come(&state.phase),
        next: Some(describe::next(&terms.plan, state, &reports)),
        sampled: state
            .evidence
            .as_ref()
            .and_then(|evidence| evidence.until().map(Time)),
    }
}

fn approval_status(approval: &crate::rollout::approval::Approval) -> ApprovalStatus {
    ApprovalStatus {
        step: i32::try_from(approval.step)
            .unwrap_or(i32::MAX)
            .saturating_add(1),
        by: approval.by.clone(),
        at: Time(approval.at),
        in_git: approval.in_git,
    }
}

/// `after` says that it is about what serves alone since the promotion.
fn rule_status(report: &RuleReport, after: bool) -> RuleStatus {
    let sentence = if after {
        report.sentence_after()
    } else {
        report.sentence()
    };
    let (exact, block, not_worse) = report.reached();
    RuleStatus {
        name: report.rule.clone(),
        verdict: report.verdict.name().to_owned(),
        canary_total: rounded(report.canary.total),
        canary_bad: rounded(report.canary.bad),
        stable_total: rounded(report.stable.total),
        stable_bad: rounded(report.stable.bad),
        pods: report.events.is_some(),
        exact: rounded(exact),
        block: rounded(block),
        bound: rounded(report.bound),
        not_worse: rounded(not_worse),
        not_worse_bound: rounded(report.bound_not_worse),
        sentence,
    }
}

/// To three places; an empty sum's -0 becomes 0.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0 + 0.0
}

/// The last run as the status shows it.
pub fn last_run(state: &State) -> Option<LastRun> {
    state.last_run.as_ref().map(|ended| LastRun {
        id: ended.id.clone(),
        revision: revision_status(&ended.revision),
        authors: ended.authors.clone(),
        outcome: ended.outcome.to_string(),
        reason: ended.reason.clone(),
        message: ended.message.clone(),
        saved: ended.saved,
        started: Time(ended.started),
        ended: Time(ended.ended),
    })
}

fn answer(answer: &crate::rollout::state::Answer) -> Answer {
    Answer {
        id: answer.id.clone(),
        act: answer.act.clone(),
        by: answer.by.clone(),
        done: answer.done,
        message: answer.message.clone(),
        at: Time(answer.at),
    }
}

fn conditions(
    state: &State,
    before: Option<&RolloutStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let old = before
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let message = describe::message(state);
    let name = state.phase.name();
    let (ready, moving, stalled) = match &state.phase {
        Phase::Idle | Phase::Suspended => (true, false, false),
        Phase::Failed => (false, false, true),
        Phase::Held { why, .. } => (false, !why.needs_person(), why.needs_person()),
        Phase::Adopting { .. }
        | Phase::Preparing(_)
        | Phase::Stepping(_)
        | Phase::AwaitingApproval(_)
        | Phase::Promoting { .. }
        | Phase::Baking(_)
        | Phase::RollingBack { .. } => (false, true, false),
    };
    let (ready, reason, why) = match &state.gate_problem {
        Some(problem) if ready => (false, "GateBroken", problem.as_str()),
        _ => (ready, name, message.as_str()),
    };
    let mut wanted = vec![
        Standing::new("Accepted", true, "Valid", "the spec is valid"),
        Standing::new("Ready", ready, reason, why),
        Standing::new("Reconciling", moving, name, &message),
        Standing::new("Stalled", stalled, name, &message),
    ];
    wanted.push(match (&state.gate_problem, &state.opened) {
        (Some(problem), _) => Standing::new("GateStands", false, "GateBroken", problem),
        (None, Some(why)) => Standing::new("GateStands", false, "GateOpened", why),
        (None, None) => Standing::new("GateStands", true, "GateStands", "the gate stands"),
    });
    if let Some(ended) = &state.last_run {
        let promoted = ended.outcome == Outcome::Promoted;
        wanted.push(Standing::new(
            "Promoted",
            promoted,
            &ended.reason,
            &ended.message,
        ));
    }
    conditions::all(old, &wanted, generation, now)
}
