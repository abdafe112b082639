//! What people are told of a run: one closed set of messages, made from what the status says.
//!
//! A run has one message, which changes as the run goes on; its `mark` says when it has changed enough
//! to be told again. It names what was found (each rule with both arms' numbers and the bound), the
//! commit where it is known, and what a person can do now. Slack, Teams and webhooks show the same one.
//!
//! Not here: how a channel shows it (`slack`, `teams`, `webhook`) and when it is sent (`daemon::notices`).

use jiff::Timestamp;
use serde::Serialize;

use crate::kubernetes::crd::{
    GitAuthor, GitStatus, LastRun, RevisionStatus, RuleStatus, RunStatus, besides,
};
use crate::rollout::reason::Outcome;
use crate::rollout::request::{Act, offered};
use crate::rollout::revision::short;
use crate::rollout::state::PhaseName;

/// Characters of a commit that are shown.
const SHORT: usize = 10;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// A new revision is held, and being prepared.
    Began,
    /// The canary has a share of the traffic.
    Stepping,
    /// A rule looks worse: the weight is down until that is clear.
    Suspect,
    /// A step is passed, and people must approve the next.
    ApprovalAwaited,
    /// The run stands still.
    Held,
    /// It is proven and rolls natively.
    Promoting,
    /// It serves and is watched on.
    Baking,
    /// Everything is put back.
    RollingBack,
    /// It ended: the revision serves.
    Promoted,
    /// It ended: everything was put back.
    RolledBack,
    /// It ended: a newer revision took its place.
    Superseded,
    /// It ended without a judgement.
    Cancelled,
}

impl Stage {
    /// Of a run that goes on, by its phase.
    fn of_phase(phase: PhaseName) -> Option<Self> {
        Some(match phase {
            PhaseName::Preparing => Self::Began,
            PhaseName::Stepping => Self::Stepping,
            PhaseName::Suspect => Self::Suspect,
            PhaseName::AwaitingApproval => Self::ApprovalAwaited,
            PhaseName::Held => Self::Held,
            PhaseName::Promoting => Self::Promoting,
            PhaseName::Baking => Self::Baking,
            PhaseName::RollingBack => Self::RollingBack,
            PhaseName::Adopting | PhaseName::Idle | PhaseName::Failed | PhaseName::Suspended => {
                return None;
            }
        })
    }

    /// Of a run that ended, by its outcome.
    fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Promoted => Self::Promoted,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::Superseded => Self::Superseded,
            Outcome::Cancelled => Self::Cancelled,
        }
    }

    /// Its name in a message's mark, which the status keeps: another one would tell everything again.
    pub fn name(self) -> &'static str {
        match self {
            Self::Began => "Began",
            Self::Stepping => "Stepping",
            Self::Suspect => "Suspect",
            Self::ApprovalAwaited => "ApprovalAwaited",
            Self::Held => "Held",
            Self::Promoting => "Promoting",
            Self::Baking => "Baking",
            Self::RollingBack => "RollingBack",
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether the run has ended.
    pub fn ended(self) -> bool {
        self >= Self::Promoted
    }

    /// Whether people should look now.
    pub fn urgent(self) -> bool {
        match self {
            Self::Suspect
            | Self::ApprovalAwaited
            | Self::Held
            | Self::RollingBack
            | Self::RolledBack => true,
            Self::Began
            | Self::Stepping
            | Self::Promoting
            | Self::Baking
            | Self::Promoted
            | Self::Superseded
            | Self::Cancelled => false,
        }
    }

    /// What is happening, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Began => "is held and gets a canary",
            Self::Stepping => "is tried",
            Self::Suspect => "is suspected",
            Self::ApprovalAwaited => "waits for an approval",
            Self::Held => "stands still",
            Self::Promoting => "is proven and rolls out",
            Self::Baking => "serves and is watched on",
            Self::RollingBack => "is being rolled back",
            Self::Promoted => "is promoted",
            Self::RolledBack => "was rolled back",
            Self::Superseded => "is superseded by a newer one",
            Self::Cancelled => "was cancelled",
        }
    }
}

/// What a person can ask for in this phase, by the commands that people are told: the end of a run is `rollback`.
pub fn acts(phase: &str, run: Option<&RunStatus>) -> Vec<Act> {
    let to_come = run.is_some_and(|run| run.approvals_to_come);
    let offered = PhaseName::named(phase).map(|phase| offered(phase, to_come));
    let called = |act| {
        if act == Act::Abort {
            Act::Rollback
        } else {
            act
        }
    };
    offered.into_iter().flatten().map(called).collect()
}

/// What one rule has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The rule.
    pub rule: String,
    /// `Worse`, `Suspect`, `NotWorse` or `Undecided`.
    pub verdict: String,
    /// The numbers in a sentence.
    pub sentence: String,
    /// Bad canary requests, and all of them.
    pub canary: (f64, f64),
    /// Bad stable requests in the same seconds, and all of them.
    pub stable: (f64, f64),
    /// Natural logarithm of the evidence for worse: the lesser of the two witnesses.
    pub evidence: f64,
    /// What both must reach.
    pub bound: f64,
}

/// Something that a person can do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Can {
    /// The act, as the command line calls it.
    pub act: Act,
    /// The command.
    pub command: String,
}

/// What was done in Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// `Reverted`, `PullRequested`, `Excluded`, `Restored`, `Superseded` or `NotReverted`.
    pub outcome: String,
    /// What was done, or why not.
    pub message: String,
    /// The pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What people are told of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The environment.
    pub environment: String,
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The run's id.
    pub run: String,
    /// How far it is.
    pub stage: Stage,
    /// Why, in a sentence with numbers.
    pub why: String,
    /// What happens next, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The revision under trial.
    pub revision: RevisionStatus,
    /// What served before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The canary's share in percent.
    pub weight: i32,
    /// The step, as `1/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What each rule has found.
    pub findings: Vec<Finding>,
    /// The commit that brought the revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who made the change: as the commit says, and whom the workload names besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<GitAuthor>,
    /// What was done in Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
    /// What a person can do now.
    pub can: Vec<Can>,
    /// The page about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When the present phase or step began, or the run ended.
    pub at: Timestamp,
    /// How many have approved, of how many: `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<String>,
}

impl Message {
    /// Changes when the message has changed enough to be told again; the numbers alone do not.
    pub fn mark(&self) -> String {
        let mut mark = self.stage.name().to_owned();
        if !self.stage.ended() {
            mark = format!("{mark} {}%", self.weight);
        }
        let remedy = self.remedy.as_ref().map(|remedy| &remedy.outcome);
        for more in [self.approvals.as_ref(), remedy].into_iter().flatten() {
            mark = format!("{mark} {more}");
        }
        mark
    }

    /// `namespace/name`.
    pub fn subject(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The commit in short, and who made the change, as far as either is known: `1f8bb6e by Ada, Bob`.
    pub fn change(&self) -> Option<String> {
        let short = |commit: &String| -> String { commit.chars().take(SHORT).collect() };
        let commit = self.commit.as_ref().map(short);
        let names: Vec<&str> = self.authors.iter().map(GitAuthor::called).collect();
        let by = (!names.is_empty()).then(|| format!("by {}", names.join(", ")));
        let parts: Vec<String> = [commit, by].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// The revision by the tags of its images, else by its hash.
    pub fn version(&self) -> String {
        version(&self.revision)
    }

    /// The message in a line.
    pub fn headline(&self) -> String {
        let at = match self.stage {
            Stage::Stepping | Stage::Suspect | Stage::ApprovalAwaited | Stage::Held => {
                format!(" at {}%", self.weight)
            }
            _ => String::new(),
        };
        let approvals = self.approvals.as_ref();
        let approvals = approvals.map_or_else(String::new, |of| format!(" ({of})"));
        let (subject, version, words) = (self.subject(), self.version(), self.stage.words());
        format!("{subject}: {version} {words}{at}{approvals}")
    }
}

/// A revision by the tags of its images, else by its hash.
pub fn version(revision: &RevisionStatus) -> String {
    let tag = |image: &String| {
        let name = image.rsplit('/').next().unwrap_or(image);
        let name = name.split('@').next().unwrap_or(name);
        name.split_once(':').map(|(_, tag)| tag.to_owned())
    };
    let tags: Vec<String> = revision.images.iter().filter_map(tag).collect();
    match tags.as_slice() {
        [] => short(&revision.hash).to_owned(),
        tags => tags.join(", "),
    }
}

/// A Rollout as its status and the board show it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The environment.
    pub environment: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The state's name.
    pub phase: &'a str,
    /// Why it is there.
    pub message: &'a str,
    /// What serves.
    pub stable: Option<&'a RevisionStatus>,
    /// The run that goes on.
    pub run: Option<&'a RunStatus>,
    /// The run that ended last.
    pub last_run: Option<&'a LastRun>,
    /// The commits and the remedy.
    pub git: Option<&'a GitStatus>,
    /// Where people reach the page, without a slash at the end.
    pub page: Option<&'a str>,
}

/// The messages of a Rollout: of the run that ended last, and of the one that goes on.
pub fn messages(seen: Seen<'_>) -> Vec<Message> {
    let ended = seen.last_run.and_then(|last| ended(seen, last));
    let running = seen.run.and_then(|run| running(seen, run));
    ended.into_iter().chain(running).collect()
}

fn running(seen: Seen<'_>, run: &RunStatus) -> Option<Message> {
    let stage = PhaseName::named(seen.phase).and_then(Stage::of_phase)?;
    Some(Message {
        can: can(seen, acts(seen.phase, Some(run))),
        weight: run.weight,
        step: run.step.clone(),
        next: run.next.clone(),
        approvals: run.approvals_needed.clone().filter(|of| of != "0/1"),
        findings: run.rules.iter().map(finding).collect(),
        stable: seen.stable.cloned(),
        why: seen.message.to_owned(),
        at: run.since.0,
        ..bare(seen, (&run.id, &run.revision, &run.authors), stage)
    })
}

fn ended(seen: Seen<'_>, last: &LastRun) -> Option<Message> {
    let stage = last.outcome().map(Stage::of_outcome)?;
    let mut message = bare(seen, (&last.id, &last.revision, &last.authors), stage);
    message.why.clone_from(&last.message);
    if let Some(saved) = last.saved {
        message.why = format!(
            "{}; the early step down saved some {saved} bad answers",
            message.why
        );
    }
    // Once another run goes on, there is nothing to be done about this one.
    if stage == Stage::RolledBack && seen.run.is_none() {
        message.can = can(seen, vec![Act::Retry]);
    }
    message.at = last.ended.0;
    Some(message)
}

fn bare(
    seen: Seen<'_>,
    (run, revision, said): (&str, &RevisionStatus, &[String]),
    stage: Stage,
) -> Message {
    let git = seen.git;
    let bad = git.and_then(|git| git.tried(run));
    let mut authors = bad.and_then(|bad| bad.authors.clone()).unwrap_or_default();
    authors.extend(besides(bad, said).into_iter().map(GitAuthor::said));
    let remedy = git.and_then(|git| git.remedy.as_ref());
    let remedy = remedy.filter(|remedy| remedy.run == run);
    let (namespace, name) = (seen.namespace, seen.name);
    Message {
        environment: seen.environment.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        run: run.to_owned(),
        stage,
        why: String::new(),
        next: None,
        revision: revision.clone(),
        stable: None,
        weight: 0,
        step: None,
        findings: Vec::new(),
        commit: bad.map(|bad| bad.commit.clone()),
        authors,
        remedy: remedy.map(|remedy| Remedy {
            outcome: remedy.outcome.clone(),
            message: remedy.message.clone(),
            url: remedy.pull_request.as_ref().map(|pull| pull.url.clone()),
        }),
        can: Vec::new(),
        link: seen
            .page
            .map(|page| format!("{page}/rollouts/{namespace}/{name}")),
        at: Timestamp::UNIX_EPOCH,
        approvals: None,
    }
}

fn can(seen: Seen<'_>, acts: Vec<Act>) -> Vec<Can> {
    let (namespace, name) = (seen.namespace, seen.name);
    let can = |act| Can {
        act,
        command: format!("sluice {act} {name} --namespace {namespace}"),
    };
    acts.into_iter().map(can).collect()
}

fn finding(rule: &RuleStatus) -> Finding {
    Finding {
        rule: rule.name.clone(),
        verdict: rule.verdict.clone(),
        sentence: rule.sentence.clone(),
        canary: (rule.canary_bad, rule.canary_total),
        stable: (rule.stable_bad, rule.stable_total),
        evidence: rule.exact.min(rule.block),
        bound: rule.bound,
    }
}

#[cfg(test)]
pub mod samples {
    //! A run that is suspected, for the tests of those who show it.

    use serde_json::json;

    use super::*;

    /// A run that goes on.
    pub fn run(id: &str, weight: i32) -> RunStatus {
        serde_json::from_value(json!({
            "id": id, "revision": {"hash": "91bc03aa17", "images": ["registry.example:5000/shop/backend:v1.4.2"]},
            "step": "2/3", "weight": weight, "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:01:00Z",
            "verdict": "Suspect", "next": "both witnesses must agree",
            "rules": [{
                "name": "error-rate", "verdict": "Suspect", "canaryTotal": 1000.0, "canaryBad": 49.0,
                "stableTotal": 12000.0, "stableBad": 12.0, "exact": 9.2, "block": 3.1, "bound": 5.3,
                "notWorse": 0.0, "notWorseBound": 3.0, "sentence": "4.9% <of> 1000 against 0.1%",
            }],
        }))
        .unwrap()
    }

    /// A run that ended.
    pub fn last(id: &str, outcome: &str) -> LastRun {
        serde_json::from_value(json!({
            "id": id, "revision": {"hash": "91bc03aa17", "images": ["backend:v1.4.2"]}, "outcome": outcome,
            "reason": "Worse", "message": "error-rate is worse: 4.9% against 0.1%", "saved": 70,
            "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:02:00Z",
        }))
        .unwrap()
    }

    /// A Rollout in this phase.
    pub fn seen<'a>(
        phase: &'a str,
        run: Option<&'a RunStatus>,
        last: Option<&'a LastRun>,
    ) -> Seen<'a> {
        Seen {
            environment: "production",
            namespace: "shop",
            name: "backend",
            phase,
            message: "v1.4.2 is suspected: back at 5%",
            stable: None,
            run,
            last_run: last,
            git: None,
            page: Some("https://sluice.example"),
        }
    }

    /// The message of a run in this phase.
    pub fn message(phase: &str) -> Message {
        messages(seen(phase, Some(&run("r-1", 5)), None)).remove(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::samples::{last, message, run, seen};
    use super::*;

    #[test]
    fn a_mark_names_its_stage_as_the_message_does() {
        let phases = PhaseName::ALL.into_iter().filter_map(Stage::of_phase);
        let outcomes = [
            Outcome::Promoted,
            Outcome::RolledBack,
            Outcome::Superseded,
            Outcome::Cancelled,
        ];
        for stage in phases.chain(outcomes.map(Stage::of_outcome)) {
            let sent = serde_json::to_value(stage).unwrap();
            let sent = sent.as_str().unwrap();
            assert!(stage.name().eq_ignore_ascii_case(sent), "{sent}");
        }
    }

    #[test]
    fn each_phase_of_a_run_has_its_message_and_what_can_be_done() {
        let cases = [
            (
                "Preparing",
                Stage::Began,
                "is held and gets a canary",
                "promote hold rollback",
            ),
            (
                "Stepping",
                Stage::Stepping,
                "is tried at 5%",
                "promote hold rollback",
            ),
            (
                "Suspect",
                Stage::Suspect,
                "is suspected at 5%",
                "promote hold rollback",
            ),
            (
                "AwaitingApproval",
                Stage::ApprovalAwaited,
                "waits for an approval at 5%",
                "approve promote hold rollback",
            ),
            (
                "Held",
                Stage::Held,
                "stands still at 5%",
                "resume promote rollback",
            ),
            (
                "Promoting",
                Stage::Promoting,
                "is proven and rolls out",
                "rollback",
            ),
            (
                "Baking",
                Stage::Baking,
                "serves and is watched on",
                "promote rollback",
            ),
            (
                "RollingBack",
                Stage::RollingBack,
                "is being rolled back",
                "",
            ),
        ];
        for (phase, stage, words, acts) in cases {
            let message = message(phase);
            assert_eq!(message.stage, stage);
            assert_eq!(message.headline(), format!("shop/backend: v1.4.2 {words}"));
            let can: Vec<&str> = message.can.iter().map(|can| can.act.name()).collect();
            assert_eq!(can.join(" "), acts, "{phase}");
        }
        assert_eq!(messages(seen("Idle", None, None)), []);
    }

    #[test]
    fn nobody_is_told_to_promote_past_approvals() {
        let mut run = run("r-1", 5);
        run.approvals_to_come = true;
        let told = messages(seen("AwaitingApproval", Some(&run), None)).remove(0);
        let acts: Vec<&str> = told.can.iter().map(|can| can.act.name()).collect();
        assert_eq!(acts, ["approve", "hold", "rollback"]);
    }

    #[test]
    fn a_message_names_the_rule_both_arms_numbers_and_the_bound() {
        let message = message("Suspect");
        assert_eq!(
            message.findings,
            [Finding {
                rule: "error-rate".to_owned(),
                verdict: "Suspect".to_owned(),
                sentence: "4.9% <of> 1000 against 0.1%".to_owned(),
                canary: (49.0, 1000.0),
                stable: (12.0, 12000.0),
                evidence: 3.1,
                bound: 5.3,
            }]
        );
        assert_eq!(
            message.can[2].command,
            "sluice rollback backend --namespace shop"
        );
        let link = "https://sluice.example/rollouts/shop/backend";
        assert_eq!(message.link.as_deref(), Some(link));
    }

    #[test]
    fn how_a_run_ended_is_told_beside_the_run_that_took_its_place() {
        let (two, one) = (run("r-2", 5), last("r-1", "RolledBack"));
        let both = messages(seen("Stepping", Some(&two), Some(&one)));
        let stages: Vec<_> = both.iter().map(|m| (m.run.as_str(), m.stage)).collect();
        assert_eq!(
            stages,
            [("r-1", Stage::RolledBack), ("r-2", Stage::Stepping)]
        );
        assert!(both[0].can.is_empty() && both[0].why.ends_with("saved some 70 bad answers"));
        let alone = messages(seen("Failed", None, Some(&one)));
        assert_eq!(alone[0].can[0].act, Act::Retry);
    }

    #[test]
    fn the_commit_and_the_remedy_are_those_of_the_run() {
        let git: GitStatus = serde_json::from_value(json!({
            "bad": {
                "commit": "abc", "revision": "91bc03aa17", "run": "r-1",
                "authors": [
                    {"name": "Ada", "email": "ada@example.com", "user": "ada"},
                    {"name": "", "email": "bob@example.com", "user": "bob"},
                ],
            },
            "remedy": {"run": "r-1", "outcome": "Reverted", "message": "reverted it", "at": "2026-01-01T00:03:00Z"},
        }))
        .unwrap();
        let one = last("r-1", "RolledBack");
        let told = messages(Seen {
            git: Some(&git),
            ..seen("Failed", None, Some(&one))
        })
        .remove(0);
        assert_eq!(told.commit.as_deref(), Some("abc"));
        let change = told.change();
        assert_eq!(change.as_deref(), Some("abc by Ada, bob@example.com"));
        assert_eq!(told.mark(), "RolledBack Reverted");
        let named = LastRun {
            authors: vec!["ada".to_owned(), "eve".to_owned()],
            ..one
        };
        let told = messages(Seen {
            git: Some(&git),
            ..seen("Failed", None, Some(&named))
        })
        .remove(0);
        let change = told.change();
        assert_eq!(change.as_deref(), Some("abc by Ada, bob@example.com, eve"));
        let told = messages(seen("Failed", None, Some(&named))).remove(0);
        assert_eq!(told.change().as_deref(), Some("by ada, eve"));
        let other = last("r-9", "RolledBack");
        let told = messages(Seen {
            git: Some(&git),
            ..seen("Failed", None, Some(&other))
        })
        .remove(0);
        assert_eq!((told.change(), told.remedy.clone()), (None, None));
        assert_eq!(told.mark(), "RolledBack");
    }

    #[test]
    fn only_what_people_care_for_is_told_again() {
        let mut told = message("Stepping");
        let before = told.mark();
        told.findings.clear();
        told.why = "other numbers".to_owned();
        assert_eq!(told.mark(), before);
        told.weight = 25;
        assert_ne!(told.mark(), before);
    }
}
