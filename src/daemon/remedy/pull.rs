//! What becomes of a pull request that was opened for a remedy: people merge it, and Flux applies
//! that, or they close it.
//!
//! It is looked at while it is open, ever more seldom (`due::pull_wait`).
//!
//! Not here: how it is opened (`undo`).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Case, Error, Means, Remedies, undo};
use crate::git;
use crate::git::forge::{Forge, Place, Pull, State};
use crate::kubernetes::crd::{GitPull, GitRemedy};
use crate::kubernetes::flux::Repository;
use crate::rollout::reason::Reason;
use crate::rollout::remedy::PullState;

/// As the status has it.
pub fn told(pull: &Pull, now: Timestamp) -> GitPull {
    let state = match pull.state {
        State::Open => PullState::Open,
        State::Merged(_) => PullState::Merged,
        State::Closed => PullState::Closed,
    };
    GitPull {
        number: pull.number,
        url: pull.url.clone(),
        state: state.to_string(),
        since: Time(now),
    }
}

impl Remedies {
    /// Looks whether people decided; what they decided is written down and told.
    pub(super) async fn await_merged(
        &self,
        case: &Case<'_>,
        before: &GitPull,
        remedy: GitRemedy,
    ) -> Result<(), Error> {
        let (by, now) = (&case.by, case.now);
        let deployed = self.sources.deployed(by, &case.workload).await?;
        let _turn = self.turn(&deployed).await?;
        let repository = deployed.repository.clone();
        let (means, number) = (self.means.clone(), before.number);
        let runtime = tokio::runtime::Handle::current();
        // On a thread of its own, as everything that speaks with servers of Git.
        let work = move || look(&means, &repository, number, &runtime, now);
        let pull = tokio::task::spawn_blocking(work).await??;
        let url = pull.url.clone();
        let (reason, commit) = match &pull.state {
            State::Open => return Ok(()),
            State::Merged(commit) => {
                self.sources.reconcile_now(by, &deployed, now).await?;
                (Reason::GitMerged { url }, commit.clone())
            }
            State::Closed => (Reason::GitClosed { url }, None),
        };
        let run = remedy.run.clone();
        let remedy = GitRemedy {
            commit: commit.or(remedy.commit.clone()),
            pull_request: Some(told(&pull, now)),
            ..remedy
        };
        self.keep(case, remedy).await?;
        self.tell(case, &run, reason);
        Ok(())
    }
}

/// What the forge says of it. Blocks.
fn look(
    means: &Means,
    repository: &Repository,
    number: u64,
    runtime: &tokio::runtime::Handle,
    now: Timestamp,
) -> Result<Pull, git::Error> {
    let remote = undo::remote(repository, means.local)?;
    let host = || remote.at.host().to_owned();
    let account = means.forge.as_ref();
    let account = account.ok_or_else(|| git::forge::Error::Unknown { host: host() })?;
    let place = Place::of(&remote.at, account)?;
    let when = (&means.tokens, now);
    let forge = Forge::new(place, account, remote.authority.as_deref(), when)?;
    Ok(runtime.block_on(forge.look(number))?)
}
