//! What stands around a run: its pods, the plan with what is done of it, and who asked for what.
//!
//! Not here: the run itself (`run`), and where this comes from (`web::nearby`).

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{clock, sentence, spaced, span};
use crate::kubernetes::crd::{Answer, RunStatus};
use crate::rollout::LEAST_STEP;
use crate::rollout::plan::{Plan, Step, Strategy};
use crate::rollout::state::PhaseName;
use crate::web::{Entry, Pod};

/// Pods of one page; of more their number is said.
const PODS: usize = 60;

/// A line of the plan.
#[derive(Debug, PartialEq)]
struct Line {
    what: String,
    how: String,
    /// The phases in which this is under way.
    phases: &'static [PhaseName],
    /// Of steps, which.
    step: Option<usize>,
}

/// The plan: each of its steps, and where the run is.
pub fn plan(plan: &Plan, entry: &Entry) -> Markup {
    let lines = lines(plan);
    let at = entry
        .run
        .as_ref()
        .and_then(|run| place(&lines, &entry.phase, run));
    html! {
        section aria-labelledby="plan" {
            h2 #plan { "Plan " @if entry.run.is_none() { small { "of the next run" } } }
            ol.plan {
                @for (index, line) in lines.iter().enumerate() {
                    @let now = at == Some(index);
                    li class=[(at.is_some_and(|at| index < at)).then_some("done").or(now.then_some("now"))] aria-current=[now.then_some("step")] {
                        strong { (line.what) } span { (line.how) }
                    }
                }
            }
        }
    }
}

/// Which line a run is at.
fn place(lines: &[Line], phase: &str, run: &RunStatus) -> Option<usize> {
    let step = run.step.as_ref().and_then(|step| step.split_once('/'));
    let step = step.and_then(|(step, _)| step.parse::<usize>().ok());
    let at_step = |line: &Line| step.is_some() && line.step == step;
    let phase = PhaseName::named(phase);
    let in_phase = |line: &Line| phase.is_some_and(|phase| line.phases.contains(&phase));
    if matches!(phase, Some(PhaseName::Promoting | PhaseName::Baking)) {
        return lines.iter().position(in_phase);
    }
    lines
        .iter()
        .position(at_step)
        .or_else(|| lines.iter().position(in_phase))
}

fn lines(plan: &Plan) -> Vec<Line> {
    let mut lines = vec![first(plan)];
    if !plan.strategy.is_rolling() {
        let steps = plan.steps.iter().enumerate();
        lines.extend(steps.map(|(index, step)| share(index, step, plan)));
    }
    lines.push(Line {
        what: "Promotion".to_owned(),
        how: match plan.strategy {
            Strategy::Rolling { .. } => "the Deployment rolls natively and is judged meanwhile",
            _ => "the Deployment rolls natively, then the canary is removed",
        }
        .to_owned(),
        phases: &[PhaseName::Promoting],
        step: None,
    });
    lines.extend(after(plan));
    lines
}

fn first(plan: &Plan) -> Line {
    let strategy = plan.strategy;
    let mut how = match strategy {
        Strategy::Canary => "a canary is made ready",
        Strategy::BlueGreen { .. } => "as many pods as stable has are made ready",
        Strategy::Rolling { .. } => "held until it is known what stable is like",
    }
    .to_owned();
    if !plan.smoke.is_empty() {
        how.push_str("; smoke tests: ");
        how.push_str(&plan.smoke.join(", "));
    }
    if strategy.approval() == Some(true) {
        how.push_str("; then a person approves");
    }
    Line {
        what: "Preparation".to_owned(),
        how,
        phases: &[
            PhaseName::Preparing,
            PhaseName::AwaitingApproval,
            PhaseName::Held,
        ],
        step: None,
    }
}

fn share(index: usize, step: &Step, plan: &Plan) -> Line {
    let hold = humantime::format_duration(step.hold.max(LEAST_STEP));
    let rules = plan.analysis.rules.join(", ");
    let approval = if step.approval {
        "; then a person approves"
    } else {
        ""
    };
    Line {
        what: format!("{}%", step.weight),
        how: format!("at least {hold}, until it is shown to be not worse: {rules}{approval}"),
        phases: &[PhaseName::Stepping],
        step: Some(index + 1),
    }
}

fn after(plan: &Plan) -> Option<Line> {
    let tests = (!plan.smoke_after.is_empty())
        .then(|| format!("smoke tests: {}", plan.smoke_after.join(", ")));
    let watch = plan.bake.map(|bake| {
        format!(
            "watched for {}, and taken back if it is worse",
            humantime::format_duration(bake)
        )
    });
    let how: Vec<String> = [tests, watch].into_iter().flatten().collect();
    (!how.is_empty()).then(|| Line {
        what: "Afterwards".to_owned(),
        how: how.join("; "),
        phases: &[PhaseName::Baking],
        step: None,
    })
}

/// The pods of both arms.
pub fn pods(pods: &[Pod], entry: &Entry, now: Timestamp) -> Markup {
    html! {
        @if !pods.is_empty() {
            section aria-labelledby="pods" {
                h2 #pods { "Pods " small { (ready(pods)) } }
                div.scroll tabindex="0" role="region" aria-labelledby="pods" {
                    table {
                        thead { tr {
                            th scope="col" { "Pod" } th scope="col" { "Arm" } th scope="col" { "Ready" }
                            th.number scope="col" { "Restarts" } th.number scope="col" { "Age" }
                        } }
                        tbody { @for pod in pods.iter().take(PODS) { (pod_row(pod, entry, now)) } }
                    }
                }
                @if pods.len() > PODS { p.faint { "and " (pods.len() - PODS) " more" } }
            }
        }
    }
}

fn ready(pods: &[Pod]) -> String {
    let ready = pods.iter().filter(|pod| pod.row.ready).count();
    format!("{ready} of {} ready", pods.len())
}

fn pod_row(pod: &Pod, entry: &Entry, now: Timestamp) -> Markup {
    let row = &pod.row;
    let tone = if row.ready { "calm" } else { "attention" };
    let why = row.why.as_deref().unwrap_or("not ready");
    html! {
        tr {
            td { code { (row.name) } span.why { @for image in &row.images { (image) " " } } }
            td { (arm(pod, entry)) }
            td { span class={ "badge " (tone) } { @if row.ready && row.why.is_none() { "ready" } @else { (why) } } }
            td.number { (row.restarts) }
            td.number { @if let Some(created) = row.created { (span(created, now)) } @else { "–" } }
        }
    }
}

/// Which side a pod serves on.
fn arm(pod: &Pod, entry: &Entry) -> &'static str {
    let is = |revision: Option<&String>| revision.is_some() && revision == pod.revision.as_ref();
    let stable = entry.stable.as_ref().map(|stable| &stable.hash);
    let tried = entry.run.as_ref().map(|run| &run.revision.hash);
    if pod.canary {
        "canary"
    } else if is(tried) && !is(stable) {
        "new"
    } else if pod.revision.is_none() && entry.run.is_some() {
        "–"
    } else {
        "stable"
    }
}

/// What people asked for since the run began.
pub fn asked(answers: &[Answer], run: &RunStatus) -> Markup {
    let since = answers.iter().filter(|answer| answer.at.0 >= run.started.0);
    let since: Vec<&Answer> = since.collect();
    html! {
        @if !since.is_empty() {
            section aria-labelledby="asked" {
                h2 #asked { "Asked for " small { "UTC" } }
                ol.timeline {
                    @for answer in since.iter().rev() {
                        li.warns[!answer.done] {
                            time datetime=(answer.at.0) { (clock(answer.at.0)) }
                            strong { (spaced(&answer.act)) @if let Some(by) = &answer.by { " by " (by) } }
                            span { @if !answer.done { "refused: " } (sentence(&answer.message)) }
                        }
                    }
                }
            }
        }
    }
}
