//! A Rollout's status: where it stands, its runs, and what people and Git have to do with it.
//!
//! Not here: how it comes about (`crate::kubernetes::status`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::reason::{Outcome, Promoted};
use crate::rollout::remedy::{PullState, RemedyOutcome};
use crate::rollout::state::PhaseName;

/// Where a Rollout stands.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state's name, e.g. `Idle`, `Stepping`, `RollingBack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why it is there, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The revision under trial, else the stable one, for the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The run that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// Answers to the newest requests of people, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What is known of the commits behind the templates, and the last remedy in Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStatus>,
    /// What people were told, by whom that is: so that a restart does not tell it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Vec<Told>>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), `Accepted`, `Promoted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The daemon's own state as JSON: what must outlive a restart. Not an interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

impl RolloutStatus {
    /// Its phase; none where a daemon of another version says something else.
    pub fn phase_name(&self) -> Option<PhaseName> {
        self.phase.as_deref().and_then(PhaseName::named)
    }
}

/// A pod template's identity.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Hash of the template.
    pub hash: String,
    /// Images of its containers.
    pub images: Vec<String>,
}

/// A run that is going on.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The run's id: the same in logs, Events and metrics.
    pub id: String,
    /// The revision under trial.
    pub revision: RevisionStatus,
    /// Who has made the change, as the workload's annotation `sluice.dev/author` said when the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// The step as `1/3`; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The canary's weight that is wanted, in percent.
    pub weight: i32,
    /// When the run began.
    pub started: Time,
    /// When the present phase or step began.
    pub since: Time,
    /// The worst verdict of all rules.
    pub verdict: String,
    /// Each rule's verdict with its numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleStatus>,
    /// What the promotion can exclude, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<String>,
    /// Who has approved what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalStatus>,
    /// While approvals are awaited: how many there are, of how many, e.g. `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals_needed: Option<String>,
    /// Whether approvals are to come that depend on who gives them: nobody may promote past those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approvals_to_come: bool,
    /// What happens next, and when at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The newest sample that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Time>,
}

/// Somebody has approved.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// The step, counted from 1.
    pub step: i32,
    /// Who.
    pub by: String,
    /// When.
    pub at: Time,
    /// Whether it stands in Git, as an annotation of the Rollout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_git: bool,
}

/// One rule's verdict with its numbers.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The rule's name.
    pub name: String,
    /// `Worse`, `Suspect`, `NotWorse` or `Undecided`.
    pub verdict: String,
    /// Canary requests in this run.
    pub canary_total: f64,
    /// Bad ones among them.
    pub canary_bad: f64,
    /// Stable requests in the same seconds.
    pub stable_total: f64,
    /// Bad ones among them.
    pub stable_bad: f64,
    /// The rule counts what happens to pods: the totals are seconds that pods lived, and the bad
    /// ones events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pods: bool,
    /// Natural logarithm of the evidence for worse, exact witness.
    pub exact: f64,
    /// The same, block witness.
    pub block: f64,
    /// What both must reach.
    pub bound: f64,
    /// Natural logarithm of the evidence for not worse, in this step.
    pub not_worse: f64,
    /// What it must reach.
    pub not_worse_bound: f64,
    /// The same in a sentence.
    pub sentence: String,
}

/// How a run ended.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The run's id.
    pub id: String,
    /// Its revision.
    pub revision: RevisionStatus,
    /// Who has made the change, as the workload's annotation `sluice.dev/author` said when the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// `Promoted`, `RolledBack`, `Superseded` or `Cancelled`.
    pub outcome: String,
    /// The reason's name, e.g. `Worse`, `CrashLoop`.
    pub reason: String,
    /// The reason in a sentence, with numbers.
    pub message: String,
    /// Bad answers that an early step down saved, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<u64>,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
}

impl LastRun {
    /// How it ended; none where a daemon of another version says something else.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::named(&self.outcome)
    }

    /// By what its revision was promoted, if it was.
    pub fn promoted(&self) -> Option<Promoted> {
        Promoted::named(&self.reason)
    }

    /// The revision that is not tried again by itself, where the run ended so.
    pub fn failed(&self) -> Option<&RevisionStatus> {
        (self.outcome() == Some(Outcome::RolledBack)).then_some(&self.revision)
    }
}

/// The commits behind the templates, and the last remedy in Git.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitStatus {
    /// Where the stable template came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<GitPoint>,
    /// Where the stable template before that came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<GitPoint>,
    /// Where the newest run's template came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<GitPoint>,
    /// What became of the newest run that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<GitRemedy>,
}

/// A commit and the template that it brought.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitPoint {
    /// The commit.
    pub commit: String,
    /// Hash of the template.
    pub revision: String,
    /// The run that tried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Who wrote what led to the template; empty where the repository does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<Vec<GitAuthor>>,
}

impl GitPoint {
    /// The authors by their names, where any are known.
    pub fn by(&self) -> Option<String> {
        let authors = self.authors.as_ref().filter(|all| !all.is_empty())?;
        let names: Vec<&str> = authors.iter().map(GitAuthor::called).collect();
        Some(names.join(", "))
    }

    /// The commit, and by whom.
    pub fn told(&self) -> String {
        match self.by() {
            Some(by) => format!("{} by {by}", self.commit),
            None => self.commit.clone(),
        }
    }
}

/// Somebody who wrote a commit.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitAuthor {
    /// The name, as the commit says it.
    pub name: String,
    /// The e-mail address, as the commit says it; none of somebody whom only the workload names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The cluster's user for whom they are taken: whom the settings name for the address, else the address.
    pub user: String,
}

impl GitStatus {
    /// The commit that a run tries.
    pub fn tried(&self, run: &str) -> Option<&GitPoint> {
        let bad = self.bad.as_ref();
        bad.filter(|bad| bad.run.as_deref() == Some(run))
    }
}

/// Those of the people named by the workload who do not stand in the commit, by name or address.
pub fn besides(commit: Option<&GitPoint>, said: &[String]) -> Vec<String> {
    let wrote = commit.and_then(|commit| commit.authors.as_deref());
    let stands = |name: &&String| {
        let mut wrote = wrote.into_iter().flatten();
        wrote.any(|author| author.is(name))
    };
    said.iter().filter(|name| !stands(name)).cloned().collect()
}

impl GitAuthor {
    /// Somebody whom the workload names.
    pub fn said(name: String) -> Self {
        Self {
            user: name.clone(),
            name,
            email: String::new(),
        }
    }

    /// Whether this means them.
    fn is(&self, name: &str) -> bool {
        let known = [&self.user, &self.email, &self.name];
        known.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The name, or the address of somebody without one.
    pub fn called(&self) -> &str {
        if self.name.is_empty() {
            &self.email
        } else {
            &self.name
        }
    }
}

/// What was done in Git after a run that failed.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRemedy {
    /// The run.
    pub run: String,
    /// `Reverted`, `PullRequested`, `Excluded`, `Restored`, `Superseded` or `NotReverted`; `Suspended` before the first of these.
    pub outcome: String,
    /// What was done, or why not and what to do by hand.
    pub message: String,
    /// Our commit; once a pull request is merged, the commit that brought it to the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The pull request for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<GitPull>,
    /// Flux's `ImagePolicy` objects from which its commit excludes the tag, `namespace/name:tag`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Flux's `ImageUpdateAutomation`s that are suspended for it, `namespace/name`; or the provider in which
    /// its tag is excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspended: Vec<String>,
    /// When.
    pub at: Time,
    /// When Flux was seen to have applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Time>,
}

impl GitRemedy {
    /// One without a commit.
    pub fn none(run: &str, outcome: RemedyOutcome, message: &str, now: jiff::Timestamp) -> Self {
        Self {
            run: run.to_owned(),
            outcome: outcome.to_string(),
            message: message.to_owned(),
            commit: None,
            pull_request: None,
            excluded: Vec::new(),
            suspended: Vec::new(),
            at: Time(now),
            applied: None,
        }
    }

    /// What it came to; none where a daemon of another version says something else.
    pub fn outcome(&self) -> Option<RemedyOutcome> {
        RemedyOutcome::named(&self.outcome)
    }
}

/// A pull request, or a merge request.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitPull {
    /// Its number in the repository.
    pub number: u64,
    /// Where people read it.
    pub url: String,
    /// `Open`, `Merged` or `Closed`.
    pub state: String,
    /// When it was seen to be so first.
    pub since: Time,
}

impl GitPull {
    /// Where it stands; none where a daemon of another version says something else.
    pub fn state(&self) -> Option<PullState> {
        PullState::named(&self.state)
    }
}

/// What was told of one run.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The run.
    pub run: String,
    /// How far it was.
    pub mark: String,
    /// The channel of the message that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The message's id in the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

/// What became of a person's request.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The request's id.
    pub id: String,
    /// What was asked, e.g. `promote`.
    pub act: String,
    /// Who asked, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why not.
    pub message: String,
    /// When.
    pub at: Time,
}
