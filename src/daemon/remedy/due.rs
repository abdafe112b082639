//! What is due for a Rollout whose failures are put back in Git too: pure, from its spec and
//! status alone, so that it goes on after a restart where it stopped.
//!
//! While all is well the commit is noted that the stable template came from. When a run begins,
//! the commit that brought its template. When the run is rolled back, the commits between are to
//! be undone; and when that is done, Flux's applying of it is awaited.

use jiff::Timestamp;

use crate::clock::elapsed;
use crate::kubernetes::crd::{GitPoint, GitRemedy, GitStatus, Rollout, RolloutStatus};
use crate::kubernetes::flux::Named;
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
    /// See whether Flux has applied the commit.
    AskApplied(GitRemedy),
}

/// Whether the Rollout wants it, and which Kustomization applies its Deployment.
pub fn wanted(rollout: &Rollout) -> Option<Named> {
    let git = rollout.spec.on_failure.as_ref()?.git.as_ref()?;
    if rollout.spec.suspended {
        return None;
    }
    let own = rollout.metadata.namespace.clone().unwrap_or_default();
    let (namespace, name) = match git.kustomization.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (own, git.kustomization.clone()),
    };
    Some(Named { namespace, name })
}

/// What is due now.
pub fn due(status: &RolloutStatus, now: Timestamp) -> Due {
    let none = GitStatus::default();
    let git = status.git.as_ref().unwrap_or(&none);
    if let Some(run) = &status.run {
        return begun(status, git, &run.id, &run.revision.hash);
    }
    if let Some(undo) = failed(status, git) {
        return undo;
    }
    match (status.phase.as_deref(), &status.stable) {
        (Some("Idle"), Some(stable)) => idle(git, &stable.hash, now),
        _ => awaited(git, now),
    }
}

fn begun(status: &RolloutStatus, git: &GitStatus, run: &str, revision: &str) -> Due {
    let stable = status.stable.as_ref().map(|stable| stable.hash.as_str());
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
    if last.outcome != "RolledBack" || done || last.revision.hash == stable.hash {
        return None;
    }
    let run = last.id.clone();
    Some(match (&git.good, &git.bad) {
        (Some(good), Some(bad)) if bad.run.as_ref() == Some(&run) => Due::Undo {
            good: good.clone(),
            bad: bad.clone(),
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

fn idle(git: &GitStatus, stable: &str, now: Timestamp) -> Due {
    let is = |point: &Option<GitPoint>| {
        point
            .as_ref()
            .filter(|point| point.revision == stable)
            .cloned()
    };
    match (is(&git.good), is(&git.bad)) {
        (Some(_), _) => awaited(git, now),
        (None, Some(proven)) => Due::Keep(GitPoint {
            run: None,
            ..proven
        }),
        (None, None) => Due::AskGood(stable.to_owned()),
    }
}

fn awaited(git: &GitStatus, now: Timestamp) -> Due {
    match &git.remedy {
        Some(remedy) if remedy.commit.is_some() && remedy.applied.is_none() => {
            if elapsed(remedy.at.0, now) > PATIENCE {
                Due::Nothing
            } else {
                Due::AskApplied(remedy.clone())
            }
        }
        _ => Due::Nothing,
    }
}
