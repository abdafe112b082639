//! What is due for a Rollout whose failures are put back in Git too: pure, from its spec and
//! status alone, so that it goes on after a restart where it stopped.
//!
//! While all is well the commit is noted that the stable template came from. When a run begins,
//! the commit that brought its template. When the run is rolled back, the commits between are to
//! be undone; and when that is done, a pull request's merging and Flux's applying are awaited.

use jiff::Timestamp;

use super::source::By;
use crate::clock::elapsed;
use crate::kubernetes::crd::{GitPoint, GitPull, GitRemedy, GitStatus, Rollout, RolloutStatus};
use crate::kubernetes::flux::Named;
use crate::rollout::reason::{Outcome, Promoted};
use crate::rollout::remedy::PullState;
use crate::rollout::state::PhaseName;
use std::time::Duration;

/// Flux is awaited this long; then it is said that it did not apply the commit.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// The stable template's commit is known: write it down.
    Keep(GitPoint),
    /// Ask which commit is applied, for the stable template of this hash.
    AskGood(String),
    /// Ask which commit is being applied, for this run and its template's hash.
    AskBad { run: String, revision: String },
    /// Undo what lies between.
    Undo { good: GitPoint, bad: GitPoint },
    /// It cannot be undone.
    Give { run: String, why: &'static str },
    /// See whether people have decided on the pull request.
    AskPull(GitPull, GitRemedy),
    /// Exclude the tag of this run's revision.
    Exclude { run: String },
    /// Let image automation go that was suspended for it: a newer template has passed.
    Lift(GitRemedy),
    /// See whether Flux has applied the commit.
    AskApplied(GitRemedy),
    /// See whether the image policies choose other tags, as the commit that is applied has it.
    AskPolicies(GitRemedy),
}

impl Due {
    /// Since when it is looked at, if that is done ever more seldom.
    pub fn seldom(&self) -> Option<Timestamp> {
        match self {
            Self::AskPull(pull, _) => Some(pull.since.0),
            Self::AskPolicies(remedy) => remedy.applied.as_ref().map(|applied| applied.0),
            Self::Nothing
            | Self::Keep(_)
            | Self::AskGood(_)
            | Self::AskBad { .. }
            | Self::Undo { .. }
            | Self::Give { .. }
            | Self::Exclude { .. }
            | Self::Lift(_)
            | Self::AskApplied(_) => None,
        }
    }

    /// Whether a server of Git is asked, which may take minutes.
    pub fn asks_git(&self) -> bool {
        matches!(self, Self::Undo { .. } | Self::AskPull(..))
    }

    /// The run that was rolled back, if this is done for one.
    pub fn of_a_run_that_is_over(&self, status: &RolloutStatus) -> Option<&str> {
        match self {
            Self::Undo { bad, .. } => bad.run.as_deref(),
            Self::AskBad { run, .. } => status.run.is_none().then_some(run),
            Self::Nothing
            | Self::Keep(_)
            | Self::AskGood(_)
            | Self::Give { .. }
            | Self::AskPull(..)
            | Self::Exclude { .. }
            | Self::Lift(_)
            | Self::AskApplied(_)
            | Self::AskPolicies(_) => None,
        }
    }
}

/// Whether the Rollout wants it, and what applies its Deployment.
pub fn wanted(rollout: &Rollout) -> Option<By> {
    let git = rollout.spec.on_failure.as_ref()?.git.as_ref()?;
    if rollout.spec.suspended {
        return None;
    }
    let own = rollout.metadata.namespace.clone().unwrap_or_default();
    let named = |text: &String| {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (own.clone(), text.clone()),
        };
        Named { namespace, name }
    };
    let kustomization = git.kustomization.as_ref().map(named);
    let application = git.application.as_ref().map(named);
    let provider = git.input_provider.as_ref().map(named);
    kustomization
        .map(By::Kustomization)
        .or(application.map(By::Application))
        .or(provider.map(By::InputProvider))
}

/// What is due now.
pub fn due(status: &RolloutStatus, now: Timestamp) -> Due {
    let none = GitStatus::default();
    let git = status.git.as_ref().unwrap_or(&none);
    if let Some(run) = &status.run {
        return begun(status, git, &run.id, &run.revision.hash);
    }
    if let Some(undo) = failed(status, git).or_else(|| left(status, git)) {
        return undo;
    }
    match (status.phase_name(), &status.stable) {
        // What a person went back to came from no commit that is applied.
        (Some(PhaseName::Idle), Some(stable)) if !went_back(status, &stable.hash) => {
            idle(status, git, &stable.hash, now)
        }
        _ => awaited(git, now),
    }
}

/// What is due now where there are no commits: the tag of a failed release is excluded, and let in when
/// a newer template has passed.
pub fn due_without_commits(status: &RolloutStatus) -> Due {
    let Some(last) = status.last_run.as_ref().filter(|_| status.run.is_none()) else {
        return Due::Nothing;
    };
    let git = status.git.as_ref();
    let remedy = git.and_then(|git| git.remedy.as_ref());
    let done = remedy.is_some_and(|remedy| remedy.run == last.id);
    let stable = status.stable.as_ref();
    let failed = stable.is_some_and(|stable| stable.hash != last.revision.hash);
    match (last.outcome(), remedy) {
        (Some(Outcome::RolledBack), _) if !done && failed => Due::Exclude {
            run: last.id.clone(),
        },
        // A way back, or what was known to be good, is no newer template.
        (Some(Outcome::Promoted), Some(remedy))
            if !done
                && last.promoted() == Some(Promoted::Proven)
                && !remedy.suspended.is_empty() =>
        {
            Due::Lift(remedy.clone())
        }
        _ => Due::Nothing,
    }
}

fn begun(status: &RolloutStatus, git: &GitStatus, run: &str, revision: &str) -> Due {
    let stable = status.stable.as_ref().map(|stable| stable.hash.as_str());
    // The run before was promoted a moment ago: its commit is that of stable, and would be lost.
    let of_stable = |point: &&GitPoint| Some(point.revision.as_str()) == stable && !is_back(status);
    if let (None, Some(proven)) = (
        git.good.as_ref().filter(of_stable),
        git.bad.as_ref().filter(of_stable),
    ) {
        return Due::Keep(GitPoint {
            run: None,
            ..proven.clone()
        });
    }
    let known = git.bad.as_ref().and_then(|bad| bad.run.as_deref()) == Some(run);
    if known || stable == Some(revision) {
        Due::Nothing
    } else {
        Due::AskBad {
            run: run.to_owned(),
            revision: revision.to_owned(),
        }
    }
}

/// The newest run was rolled back and nothing became of it in Git yet.
fn failed(status: &RolloutStatus, git: &GitStatus) -> Option<Due> {
    let last = status.last_run.as_ref()?;
    let done = git
        .remedy
        .as_ref()
        .is_some_and(|remedy| remedy.run == last.id);
    let stable = status.stable.as_ref()?;
    let failed = last.failed();
    if done || failed.is_none_or(|revision| revision.hash == stable.hash) {
        return None;
    }
    let run = last.id.clone();
    Some(match (&git.good, &git.bad) {
        (Some(good), Some(bad))
            if bad.run.as_ref() == Some(&run) && good.revision == stable.hash =>
        {
            Due::Undo {
                good: good.clone(),
                bad: bad.clone(),
            }
        }
        (Some(good), _) if good.revision != stable.hash => Due::Give {
            run,
            why: "no commit is known from which the stable template came",
        },
        (None, _) => Due::Give {
            run,
            why: "no commit is known from which the stable template came",
        },
        // The run was over before it was seen: what is applied last brought it.
        _ => Due::AskBad {
            run,
            revision: last.revision.hash.clone(),
        },
    })
}

/// A person went back, and nothing became of what they left in Git yet.
fn left(status: &RolloutStatus, git: &GitStatus) -> Option<Due> {
    let last = status.last_run.as_ref()?;
    let stable = status.stable.as_ref()?;
    let done = git.remedy.as_ref();
    if !went_back(status, &stable.hash) || done.is_some_and(|remedy| remedy.run == last.id) {
        return None;
    }
    let back = git.before.as_ref();
    let left = git.good.as_ref();
    let back = back.filter(|point| point.revision == stable.hash);
    Some(
        match (back, left.filter(|point| point.revision != stable.hash)) {
            (Some(good), Some(left)) => Due::Undo {
                good: good.clone(),
                bad: GitPoint {
                    run: Some(last.id.clone()),
                    ..left.clone()
                },
            },
            _ => Due::Give {
                run: last.id.clone(),
                why: "a person went back to a revision of which no commit is known: where the branch deploys the newer one, revert that by hand",
            },
        },
    )
}

/// Whether a person went back to what is stable now, by the last run.
pub fn is_back(status: &RolloutStatus) -> bool {
    let stable = status.stable.as_ref();
    stable.is_some_and(|stable| went_back(status, &stable.hash))
}

/// Whether stable serves since a person went back to it.
fn went_back(status: &RolloutStatus, stable: &str) -> bool {
    let last = status.last_run.as_ref();
    last.is_some_and(|last| {
        last.promoted() == Some(Promoted::WentBack) && last.revision.hash == stable
    })
}

/// The run that was promoted last, if that was the newest one.
fn passed(status: &RolloutStatus) -> Option<&str> {
    let last = status.last_run.as_ref()?;
    (last.outcome() == Some(Outcome::Promoted)).then_some(last.id.as_str())
}

/// Whether what is applied brought stable: after a release that was put back it is that one's commit.
fn stands(status: &RolloutStatus, stable: &str) -> bool {
    let last = status.last_run.as_ref();
    last.is_none_or(|last| last.revision.hash == stable)
}

fn idle(status: &RolloutStatus, git: &GitStatus, stable: &str, now: Timestamp) -> Due {
    let passed = passed(status);
    let is = |point: &Option<GitPoint>| {
        point
            .as_ref()
            .filter(|point| point.revision == stable)
            .cloned()
    };
    match (is(&git.good), is(&git.bad)) {
        (Some(_), _) => match &git.remedy {
            Some(remedy)
                if !remedy.suspended.is_empty() && passed.is_some_and(|run| run != remedy.run) =>
            {
                Due::Lift(remedy.clone())
            }
            _ => awaited(git, now),
        },
        (None, Some(proven)) => Due::Keep(GitPoint {
            run: None,
            ..proven
        }),
        (None, None) if stands(status, stable) => Due::AskGood(stable.to_owned()),
        (None, None) => awaited(git, now),
    }
}

fn awaited(git: &GitStatus, now: Timestamp) -> Due {
    let Some(remedy) = &git.remedy else {
        return Due::Nothing;
    };
    let since = match &remedy.pull_request {
        Some(pull) => match pull.state() {
            Some(PullState::Open) => return Due::AskPull(pull.clone(), remedy.clone()),
            Some(PullState::Closed) => return Due::Nothing,
            Some(PullState::Merged) | None => pull.since.0,
        },
        None => remedy.at.0,
    };
    if remedy.applied.is_some() && !remedy.excluded.is_empty() && !remedy.suspended.is_empty() {
        return Due::AskPolicies(remedy.clone());
    }
    let pushed = remedy.commit.is_some() && remedy.applied.is_none();
    if pushed && elapsed(since, now) <= PATIENCE {
        Due::AskApplied(remedy.clone())
    } else {
        Due::Nothing
    }
}

/// How long after a look at a pull request of this age the next one follows: a forge counts
/// requests, and what was open for a day will not be merged within the minute.
pub fn pull_wait(age: Duration) -> Duration {
    (age / 20).clamp(Duration::from_secs(20), Duration::from_secs(1800))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::crd::{LastRun, RevisionStatus, RunStatus};
    use crate::rollout::remedy::RemedyOutcome;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, from_value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn revision(hash: &str) -> RevisionStatus {
        RevisionStatus {
            hash: hash.to_owned(),
            images: Vec::new(),
        }
    }

    fn point(commit: &str, revision: &str, run: Option<&str>) -> GitPoint {
        GitPoint {
            commit: commit.to_owned(),
            revision: revision.to_owned(),
            run: run.map(str::to_owned),
            authors: None,
        }
    }

    fn good() -> GitPoint {
        point("c1", "stable", None)
    }

    fn bad() -> GitPoint {
        point("c2", "failed", Some("run"))
    }

    /// Stable serves; nothing is known of Git.
    fn idle() -> RolloutStatus {
        RolloutStatus {
            phase: Some("Idle".to_owned()),
            stable: Some(revision("stable")),
            ..RolloutStatus::default()
        }
    }

    /// The run `run` of `failed` ended so; these commits are known.
    fn ended(outcome: &str, good: Option<GitPoint>, bad: Option<GitPoint>) -> RolloutStatus {
        RolloutStatus {
            last_run: Some(LastRun {
                id: "run".to_owned(),
                revision: revision("failed"),
                authors: Vec::new(),
                outcome: outcome.to_owned(),
                reason: "Worse".to_owned(),
                message: "worse".to_owned(),
                saved: None,
                started: Time(at(0)),
                ended: Time(at(60)),
            }),
            git: Some(GitStatus {
                good,
                bad,
                ..GitStatus::default()
            }),
            ..idle()
        }
    }

    /// The same, with this remedy of it.
    fn remedied(remedy: GitRemedy) -> RolloutStatus {
        let mut status = ended("RolledBack", Some(good()), Some(bad()));
        if let Some(git) = &mut status.git {
            git.remedy = Some(remedy);
        }
        status
    }

    fn remedy(commit: Option<&str>, pull: Option<&str>) -> GitRemedy {
        GitRemedy {
            commit: commit.map(str::to_owned),
            pull_request: pull.map(|state| GitPull {
                number: 7,
                url: "u".to_owned(),
                state: state.to_owned(),
                since: Time(at(5000)),
            }),
            ..GitRemedy::none("run", RemedyOutcome::Reverted, "", at(100))
        }
    }

    #[test]
    fn while_all_is_well_the_commit_of_stable_is_asked_for_once() {
        assert_eq!(due(&idle(), at(0)), Due::AskGood("stable".to_owned()));
        let known = ended("Promoted", Some(good()), None);
        assert_eq!(due(&known, at(0)), Due::Nothing);
        // What is applied after a failure is the failed commit, which must not be taken for stable's.
        let mut failed = remedied(remedy(None, None));
        if let Some(git) = &mut failed.git {
            git.good = None;
        }
        assert_eq!(due(&failed, at(100)), Due::Nothing);
        // The commit of a run that was promoted is that of stable now.
        let mut proven = ended("Promoted", Some(point("c0", "old", None)), Some(bad()));
        proven.stable = Some(revision("failed"));
        assert_eq!(due(&proven, at(0)), Due::Keep(point("c2", "failed", None)));
    }

    #[test]
    fn when_a_run_begins_its_commit_is_asked_for_once() {
        let run = |hash: &str| {
            let run = json!({
                "id": "run", "revision": {"hash": hash, "images": []}, "weight": 0, "verdict": "Undecided",
                "started": at(0).to_string(), "since": at(0).to_string(),
            });
            from_value::<RunStatus>(run).ok()
        };
        let mut running = ended("Promoted", Some(good()), None);
        running.run = run("failed");
        let asked = Due::AskBad {
            run: "run".to_owned(),
            revision: "failed".to_owned(),
        };
        assert_eq!(due(&running, at(0)), asked);
        // The next release follows at once on a promotion: the commit of that is kept first.
        let before = running.git.clone();
        running.git = Some(GitStatus {
            good: Some(point("c0", "old", None)),
            bad: Some(point("c1", "stable", Some("before"))),
            ..GitStatus::default()
        });
        assert_eq!(due(&running, at(0)), Due::Keep(point("c1", "stable", None)));
        running.git = before;
        // A restart of what serves has no commit.
        running.run = run("stable");
        assert_eq!(due(&running, at(0)), Due::Nothing);
        let mut known = ended("Promoted", Some(good()), Some(bad()));
        known.run = run("failed");
        assert_eq!(due(&known, at(0)), Due::Nothing);
    }

    #[test]
    fn a_run_that_was_rolled_back_is_undone_once() {
        let undo = Due::Undo {
            good: good(),
            bad: bad(),
        };
        let rolled_back = ended("RolledBack", Some(good()), Some(bad()));
        assert_eq!(due(&rolled_back, at(100)), undo);
        assert_eq!(due(&remedied(remedy(None, None)), at(100)), Due::Nothing);
        for outcome in ["Promoted", "Superseded", "Cancelled"] {
            let ended = ended(outcome, Some(good()), Some(bad()));
            assert_eq!(due(&ended, at(100)), Due::Nothing, "{outcome}");
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_or_given_up() {
        let before = point("c0", "old", Some("before"));
        let seen_late = ended("RolledBack", Some(good()), Some(before));
        assert!(matches!(due(&seen_late, at(100)), Due::AskBad { run, .. } if run == "run"));
        let without = ended("RolledBack", None, Some(bad()));
        assert!(matches!(due(&without, at(100)), Due::Give { run, .. } if run == "run"));
    }

    #[test]
    fn flux_is_awaited_for_ten_minutes_from_the_push_or_the_merge() {
        let waits = |pull: Option<&str>, seconds: i64| {
            let status = remedied(remedy(Some("c3"), pull));
            matches!(due(&status, at(seconds)), Due::AskApplied(_))
        };
        assert!(waits(None, 700) && !waits(None, 701));
        assert!(waits(Some("Merged"), 5600) && !waits(Some("Merged"), 5601));
        assert!(!waits(Some("Closed"), 5000));
        let mut applied = remedy(Some("c3"), None);
        applied.applied = Some(Time(at(200)));
        assert_eq!(due(&remedied(applied), at(300)), Due::Nothing);
    }

    #[test]
    fn image_automation_is_let_go_when_a_newer_template_has_passed() {
        let suspended = GitRemedy {
            suspended: vec!["flux-system/all".to_owned()],
            applied: Some(Time(at(200))),
            ..remedy(Some("c3"), None)
        };
        let mut status = remedied(suspended.clone());
        assert_eq!(due(&status, at(300)), Due::Nothing);
        if let Some(last) = &mut status.last_run {
            "newer".clone_into(&mut last.id);
        }
        // It may have been rolled back too.
        assert!(!matches!(due(&status, at(300)), Due::Lift(_)));
        if let Some(last) = &mut status.last_run {
            "Promoted".clone_into(&mut last.outcome);
        }
        assert_eq!(due(&status, at(300)), Due::Lift(suspended));
    }

    #[test]
    fn what_a_person_went_back_from_is_undone_once_where_both_commits_are_known() {
        let newer = point("c2", "newer", None);
        let mut status = ended("Promoted", Some(newer.clone()), None);
        if let Some(last) = &mut status.last_run {
            last.reason = "WentBack".to_owned();
            last.revision = revision("stable");
        }
        assert!(matches!(due(&status, at(100)), Due::Give { run, .. } if run == "run"));
        if let Some(git) = &mut status.git {
            git.before = Some(good());
        }
        let undo = Due::Undo {
            good: good(),
            bad: point("c2", "newer", Some("run")),
        };
        assert_eq!(due(&status, at(100)), undo);
        if let Some(git) = &mut status.git {
            git.remedy = Some(remedy(None, None));
        }
        assert_eq!(due(&status, at(100)), Due::Nothing);
    }

    #[test]
    fn without_commits_a_failed_tag_is_excluded_once_and_let_in_when_a_newer_one_has_passed() {
        let run = "run".to_owned();
        let failed = ended("RolledBack", None, None);
        assert_eq!(due_without_commits(&failed), Due::Exclude { run });
        let excluded = GitRemedy {
            suspended: vec!["apps/shop".to_owned()],
            ..remedy(None, None)
        };
        let mut status = remedied(excluded.clone());
        assert_eq!(due_without_commits(&status), Due::Nothing);
        if let Some(last) = &mut status.last_run {
            last.id = "newer".to_owned();
            last.outcome = "Promoted".to_owned();
            last.reason = "WentBack".to_owned();
        }
        assert_eq!(due_without_commits(&status), Due::Nothing);
        if let Some(last) = &mut status.last_run {
            last.reason = "Promoted".to_owned();
        }
        assert_eq!(due_without_commits(&status), Due::Lift(excluded));
    }

    #[test]
    fn image_automation_goes_on_once_a_policy_that_excludes_the_tag_is_applied() {
        let applied = GitRemedy {
            suspended: vec!["flux-system/all".to_owned()],
            excluded: vec!["flux-system/shop:v3".to_owned()],
            applied: Some(Time(at(50))),
            ..remedy(Some("c3"), None)
        };
        let status = remedied(applied.clone());
        assert_eq!(due(&status, at(9000)), Due::AskPolicies(applied.clone()));
        let resumed = GitRemedy {
            suspended: Vec::new(),
            ..applied
        };
        assert_eq!(due(&remedied(resumed), at(100)), Due::Nothing);
    }

    #[test]
    fn an_open_pull_request_is_looked_at_ever_more_seldom() {
        let status = remedied(remedy(Some("c3"), Some("Open")));
        let month = 3600 * 24 * 30;
        assert!(matches!(due(&status, at(month)), Due::AskPull(pull, _) if pull.number == 7));
        let wait = |age: u64| pull_wait(Duration::from_secs(age)).as_secs();
        assert_eq!([wait(0), wait(1200), wait(86_400)], [20, 60, 1800]);
    }

    #[test]
    fn who_does_not_ask_for_it_or_is_suspended_is_left_alone() {
        let rollout = |spec: Value| {
            let meta = json!({"namespace": "shop", "name": "a"});
            let kind = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": meta, "spec": spec});
            from_value::<Rollout>(kind).unwrap()
        };
        let asks = |by: &str| {
            let git = json!({"mode": "revert", "kustomization": by});
            json!({"target": {"name": "a"}, "onFailure": {"git": git}})
        };
        let named = |namespace: &str| {
            let namespace = namespace.to_owned();
            let name = "apps".to_owned();
            Named { namespace, name }
        };
        let flux = |namespace: &str| Some(By::Kustomization(named(namespace)));
        assert_eq!(wanted(&rollout(asks("apps"))), flux("shop"));
        let elsewhere = asks("flux-system/apps");
        assert_eq!(wanted(&rollout(elsewhere)), flux("flux-system"));
        let mut argo = asks("");
        argo["onFailure"]["git"] = json!({"mode": "revert", "application": "argocd/apps"});
        let application = Some(By::Application(named("argocd")));
        assert_eq!(wanted(&rollout(argo)), application);
        let mut suspended = asks("apps");
        suspended["suspended"] = true.into();
        assert_eq!(wanted(&rollout(suspended)), None);
        assert_eq!(wanted(&rollout(json!({"target": {"name": "a"}}))), None);
    }
}
