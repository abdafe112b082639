//! What a player tells while it plays, and to whom.
//!
//! One closed list of things, so that a terminal, a JSON reader and a test see the same.
//! Times are seconds since the scenario began, on the cluster's clock.

use std::fmt::Write as _;

use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "told"
)]
pub enum Told {
    /// The scenario begins.
    Began { scenario: String, about: String },
    /// A line for the reader.
    Said { at: f64, text: String },
    /// A step begins.
    Step { at: f64, line: u64, text: String },
    /// A commit is on the branch that Flux applies.
    Git { at: f64, text: String },
    /// An expectation is met.
    Met { at: f64, line: u64, text: String },
    /// An expectation is not met, or a step cannot be done.
    Failed {
        at: f64,
        line: u64,
        problems: Vec<String>,
    },
    /// A Rollout's phase, weight, verdict or message changed.
    Changed(Live),
    /// Where a Rollout stands, each second while it is in a run.
    Live(Live),
    /// A named run has ended.
    RunEnded { at: f64, row: Row },
    /// The scenario is over.
    Ended {
        at: f64,
        rows: Vec<Row>,
        failures: usize,
    },
}

/// Where a Rollout stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Seconds since the scenario began.
    pub at: f64,
    /// The Rollout.
    pub rollout: String,
    /// Its state.
    pub phase: String,
    /// The step, e.g. `1/3`.
    pub step: String,
    /// Images of the revision under trial.
    pub images: Vec<String>,
    /// The weight, in percent.
    pub weight: f64,
    /// The worst verdict.
    pub verdict: String,
    /// Why it is there.
    pub message: String,
    /// Answers a second that users get now.
    pub rate: f64,
    /// Bad ones among them.
    pub bad_rate: f64,
    /// Each rule's numbers, as in `status.run.rules`.
    pub rules: Vec<Rule>,
}

/// One rule's numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The rule's name.
    pub name: String,
    /// Its verdict.
    pub verdict: String,
    /// Canary requests.
    pub canary_total: f64,
    /// Bad ones.
    pub canary_bad: f64,
    /// Stable requests.
    pub stable_total: f64,
    /// Bad ones.
    pub stable_bad: f64,
    /// Log evidence for worse, exact witness.
    pub exact: f64,
    /// The same, block witness.
    pub block: f64,
    /// What both must reach.
    pub bound: f64,
    /// Log evidence for not worse.
    pub not_worse: f64,
    /// What it must reach.
    pub not_worse_bound: f64,
}

/// One line of the table at the end.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The run's name.
    pub run: String,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// The reason in a sentence.
    pub message: String,
    /// Seconds from the change to the outcome.
    pub outcome_after: Option<f64>,
    /// Seconds from the first bad answer (`first_request`: from the first answer, where none
    /// was bad) to weight 0.
    pub zero_after: Option<f64>,
    /// Whether `zero_after` counts from the first answer.
    pub from_first_request: bool,
    /// Seconds from the first bad answer to the first lowering of the weight.
    pub lowered_after: Option<f64>,
    /// Answers that users got of the new revision's pods, until the outcome.
    pub requests: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Bad answers that the step down saved users, by the daemon's word.
    pub saved: Option<u64>,
    /// Whether it ended as it should.
    pub as_wanted: bool,
}

/// Who is told.
pub trait Sink: Send + Sync {
    /// Takes one thing.
    fn told(&mut self, told: &Told);
}

/// Keeps everything but live lines, for tests.
#[derive(Debug, Default)]
pub struct Collected(pub Vec<Told>);

impl Sink for Collected {
    fn told(&mut self, told: &Told) {
        if !matches!(told, Told::Live(_)) {
            self.0.push(told.clone());
        }
    }
}

impl Collected {
    /// The whole story as text, for a failing test.
    pub fn story(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, told| {
            let _ = writeln!(text, "{}", sentence(told));
            text
        })
    }
}

/// One thing as a plain line, or several for problems.
pub fn sentence(told: &Told) -> String {
    match told {
        Told::Began { scenario, about } => format!("{scenario}: {about}"),
        Told::Said { at, text } => format!("{at:7.1}s  {text}"),
        Told::Step { at, line, text } => format!("{at:7.1}s  line {line}: {text}"),
        Told::Git { at, text } => format!("{at:7.1}s  git  {text}"),
        Told::Met { at, line, text } => format!("{at:7.1}s  line {line}: met: {text}"),
        Told::Failed { at, line, problems } => {
            format!(
                "{at:7.1}s  line {line}: FAILED: {}",
                problems.join("\n          ")
            )
        }
        Told::Changed(live) | Told::Live(live) => changed(live),
        Told::RunEnded { at, row } => format!("{at:7.1}s  {}", ended(row)),
        Told::Ended { at, failures, .. } => match failures {
            0 => format!("{at:7.1}s  everything as expected"),
            n => format!("{at:7.1}s  {n} not as expected"),
        },
    }
}

/// A change of a Rollout as one line.
pub fn changed(live: &Live) -> String {
    let step = if live.step.is_empty() {
        String::new()
    } else {
        format!(" {}", live.step)
    };
    let verdict = if live.verdict.is_empty() {
        String::new()
    } else {
        format!(" {}", live.verdict)
    };
    format!(
        "{:7.1}s  {} {}{step} {}%{verdict}: {}",
        live.at, live.rollout, live.phase, live.weight, live.message
    )
}

/// How a run ended as one line.
pub fn ended(row: &Row) -> String {
    let mut text = format!("{} {}", row.run, row.outcome);
    if !row.reason.is_empty() {
        let _ = write!(text, " ({})", row.reason);
    }
    if let Some(after) = row.outcome_after {
        let _ = write!(text, " after {after:.1} s");
    }
    let _ = write!(text, "; {} of {} answers bad", row.bad, row.requests);
    if !row.message.is_empty() {
        let _ = write!(text, "; {}", row.message);
    }
    text
}
