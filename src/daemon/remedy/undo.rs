//! One remedy in one repository: from what the status and Flux know to a pushed commit or a pull
//! request.
//!
//! A conflict, commits that brought more than what failed, and a branch that takes no pushes lead to a
//! pull request where a forge is known, and else to the person who has to do it by hand.
//!
//! Not here: what is said of it (`told`), and what becomes of a pull request (`pull`).

use git2::Oid;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::runtime::Handle;

use super::means::Means;
use super::policies::{Excluded, Failed, excluding};
use super::pull;
use super::source::Deployed;
use super::told::{by_hand, by_hand_beside, each, one, proposal};
use super::view::{Naming, Release, Template, names};
use crate::causes;
use crate::git::forge::{Account, Forge, Place, Proposal};
use crate::git::{
    self, Address, Beside, Commit, Copy, Credentials, Error, Limits, Message, Onto, Order, Outcome,
    Remote,
};
use crate::kubernetes::crd::{GitMode, GitPoint, GitRemedy, Rollout};
use crate::kubernetes::flux::{Named, Repository};
use crate::rollout::remedy::RemedyOutcome;

/// One remedy.
#[derive(Debug)]
pub struct Job {
    remote: Remote,
    path: String,
    kind: String,
    target: String,
    /// Its namespace, where the manifests decide on it.
    namespace: Option<String>,
    /// The `HelmRelease` that deploys the target, if one does.
    release: Option<Named>,
    images: Vec<String>,
    /// Whose tags are excluded, if any are.
    failed: Option<Failed>,
    good: Oid,
    bad: Oid,
    message: Message,
    mode: GitMode,
    now: Timestamp,
}

impl Job {
    /// Of a target that Helm deploys.
    #[must_use]
    pub fn of_release(self, release: Option<Named>) -> Self {
        Self { release, ..self }
    }

    /// By a commit that excludes the tags of the failed template too.
    #[must_use]
    pub fn excluding(self, failed: Option<Failed>) -> Self {
        Self { failed, ..self }
    }

    /// For the run that was rolled back last.
    pub fn new(
        rollout: &Rollout,
        deployed: &Deployed,
        (good, bad): (&GitPoint, &GitPoint),
        (local, now): (bool, Timestamp),
    ) -> Result<Self, Error> {
        let last = rollout
            .status
            .as_ref()
            .and_then(|status| status.last_run.as_ref());
        let rolled_back = last.map(|last| (last.message.clone(), last.revision.images.clone()));
        let (verdict, images) = rolled_back.unwrap_or_default();
        let namespace = rollout.namespace().unwrap_or_default();
        Ok(Self {
            remote: remote(&deployed.repository, local)?,
            path: deployed.path.clone(),
            kind: rollout.spec.target.kind.clone(),
            target: rollout.spec.target.name.clone(),
            namespace: deployed.namespace.clone(),
            release: None,
            images,
            failed: None,
            good: oid(&good.commit)?,
            bad: oid(&bad.commit)?,
            message: Message {
                rollout: format!("{namespace}/{}", rollout.name_any()),
                run: bad.run.clone().unwrap_or_default(),
                verdict,
                link: None,
            },
            mode: mode(rollout),
            now,
        })
    }

    /// Does it. Blocks.
    ///
    /// # Errors
    /// Those that may pass; others are an outcome too.
    pub fn done(&self, means: &Means, runtime: &Handle) -> Result<GitRemedy, Error> {
        match self.tried(means, runtime) {
            Err(error @ Error::Refused { .. }) => {
                means.tokens.forget();
                Err(error)
            }
            Err(error) if !error.may_pass() => Ok(self.not_done(&error)),
            done => done,
        }
    }

    fn tried(&self, means: &Means, runtime: &Handle) -> Result<GitRemedy, Error> {
        let limits = Limits {
            time: means.timeout,
            bytes: means.most,
        };
        let remote = self.remote.clone().signed_in(&means.tokens, self.now);
        let remote = runtime.block_on(remote)?;
        let mut copy = Copy::open(&means.folder, runtime.clone(), remote, limits)?;
        if self.mode == GitMode::PullRequest {
            return match &means.forge {
                Some(account) => self.proposed(&mut copy, means, account, (runtime, None)),
                None => self.left_on_a_branch(&mut copy, means),
            };
        }
        match (self.undone(&mut copy, means, Onto::Branch), &means.forge) {
            (Err(Error::Conflict { .. } | Error::Protected { .. }), Some(account)) => {
                self.proposed(&mut copy, means, account, (runtime, None))
            }
            (Err(error @ Error::Others { .. }), Some(account)) => {
                let others = Some(causes::told(&error));
                self.proposed(&mut copy, means, account, (runtime, others))
            }
            (done, _) => {
                let (outcome, how) = done?;
                let excluded = self.left_out(&copy, &outcome)?;
                Ok(excluding(self.told(outcome, &how), excluded))
            }
        }
    }

    /// By the template that the path deploys, else by the release of Helm that it deploys, else by the
    /// files that name its images; and a word on which.
    fn undone(
        &self,
        copy: &mut Copy,
        means: &Means,
        onto: Onto,
    ) -> Result<(Outcome, String), Error> {
        let order = Order {
            good: self.good,
            bad: self.bad,
            message: self.message.clone(),
            committer: (&means.name, &means.email),
            now: self.now.as_second(),
            signer: means.signer.as_deref(),
            onto,
            beside: self.failed.as_ref().map(|failed| failed as &dyn Beside),
        };
        let template = Template {
            path: self.path.clone(),
            kind: self.kind.clone(),
            name: self.target.clone(),
            namespace: self.namespace.clone(),
            images: names(&self.images),
        };
        let mut why = match git::undo(copy, &order, &template) {
            Err(Error::View(why)) => why,
            outcome => return Ok((outcome?, String::new())),
        };
        if let Some(at) = self.release.clone() {
            let path = self.path.clone();
            let how = format!(
                " (by the chart and values of HelmRelease {}/{}, which are not rendered here)",
                at.namespace, at.name
            );
            let images = names(&self.images);
            match git::undo(copy, &order, &Release { path, at, images }) {
                Err(Error::View(else_why)) => why = else_why,
                outcome => return Ok((outcome?, how)),
            }
        }
        let naming = Naming::new(&self.path, &self.images);
        let outcome = git::undo(copy, &order, &naming)?;
        let how = format!(" (by the files that name its images, since {why})");
        Ok((outcome, how))
    }

    /// The commit on a branch of its own, and a pull request for it; `others` says what it takes back besides.
    fn proposed(
        &self,
        copy: &mut Copy,
        means: &Means,
        account: &Account,
        (runtime, others): (&Handle, Option<String>),
    ) -> Result<GitRemedy, Error> {
        let place = Place::of(&self.remote.at, account)?;
        let branch = self.own_branch();
        let on_top = self.undone(copy, means, Onto::Own(branch.clone()));
        let (done, conflict) = match on_top {
            Err(error @ Error::Conflict { .. }) => {
                let apart = self.undone(copy, means, Onto::Apart(branch.clone()));
                (apart?, Some(causes::told(&error)))
            }
            done => (done?, None),
        };
        let excluded = self.left_out(copy, &done.0)?;
        let (branch, commit, undone, how) = match done {
            (Outcome::Pushed { commit, undone }, how) => (branch, commit, undone, how),
            (
                Outcome::Shared {
                    branch,
                    commit,
                    undone,
                },
                how,
            ) => {
                let how = format!("{how}, as for another Rollout");
                (branch, commit, undone, how)
            }
            (outcome, how) => return Ok(self.told(outcome, &how)),
        };
        let (verdict, trailers) = (&self.message.verdict, self.message.trailers());
        let wanted = Proposal {
            branch,
            onto: self.remote.branch.clone(),
            title: self.message.subject(&undone),
            text: proposal(
                verdict,
                &undone,
                (conflict.as_deref(), others.as_deref()),
                &trailers,
            ),
        };
        let authority = self.remote.authority.as_deref();
        let forge = Forge::new(place, account, authority, (&means.tokens, self.now))?;
        let pull = runtime.block_on(forge.ensure(&wanted))?;
        let whys = [others, conflict].into_iter().flatten();
        let done = format!("{} takes back {}{how}", pull.url, each(&undone));
        let message: Vec<String> = std::iter::once(done).chain(whys).collect();
        let message = message.join("; ");
        let remedy = GitRemedy {
            commit: Some(commit.0.to_string()),
            pull_request: Some(pull::told(&pull, self.now)),
            ..GitRemedy::none(
                &self.message.run,
                RemedyOutcome::PullRequested,
                &message,
                self.now,
            )
        };
        Ok(excluding(remedy, excluded))
    }

    fn left_out(&self, copy: &Copy, outcome: &Outcome) -> Result<(Vec<Excluded>, String), Error> {
        match &self.failed {
            Some(failed) => failed.left_out(copy.repository(), outcome),
            None => Ok((Vec::new(), String::new())),
        }
    }

    /// The commit, where no forge is known to open a pull request on.
    fn left_on_a_branch(&self, copy: &mut Copy, means: &Means) -> Result<GitRemedy, Error> {
        let branch = self.own_branch();
        match self.undone(copy, means, Onto::Own(branch.clone()))? {
            (Outcome::Pushed { commit, undone }, how) => Ok(self.none(&format!(
                "no forge is configured (git.forge in the settings): open a pull request for {branch}, where {commit} takes back {}{how}",
                each(&undone)
            ))),
            (Outcome::Shared { branch, undone, .. }, how) => Ok(self.none(&format!(
                "no forge is configured (git.forge in the settings): open a pull request for {branch}, where another Rollout's commit takes back {}{how}",
                each(&undone)
            ))),
            (outcome, how) => Ok(self.told(outcome, &how)),
        }
    }

    /// Known by the run, so that it is found again; and by the Rollout, since two may start the
    /// same template in the same second.
    fn own_branch(&self) -> String {
        let rollout = self.message.rollout.replace('/', "-");
        format!("sluice/revert/{rollout}-{}", self.message.run)
    }

    fn none(&self, why: &str) -> GitRemedy {
        GitRemedy::none(&self.message.run, RemedyOutcome::NotReverted, why, self.now)
    }

    /// Why not, and what a person would run.
    fn not_done(&self, error: &Error) -> GitRemedy {
        let (why, branch) = (causes::told(error), &self.remote.branch);
        let by_hand = match (error, error.found()) {
            (_, []) => return self.none(&why),
            (Error::Protected { .. }, found) => by_hand_beside(branch, &self.own_branch(), found),
            (_, found) => by_hand(branch, found),
        };
        self.none(&format!("{why}. By hand: {by_hand}"))
    }

    fn told(&self, outcome: Outcome, how: &str) -> GitRemedy {
        let at = format!("{} of {}", self.remote.branch, self.remote.at);
        let path = match self.path.trim_start_matches("./") {
            "" => "/",
            path => path,
        };
        let (outcome, commit, message) = match outcome {
            Outcome::Pushed { commit, undone } => {
                let what = match undone.as_slice() {
                    [] => String::new(),
                    undone => format!(": it takes back {}", each(undone)),
                };
                let message = format!("pushed {commit} to {at}{what}{how}");
                (RemedyOutcome::Reverted, Some(commit), message)
            }
            Outcome::Shared { branch, undone, .. } => {
                let message = format!("{branch} of {at} takes back {}{how}", each(&undone));
                (RemedyOutcome::NotReverted, None, message)
            }
            Outcome::Restored { head } => (
                RemedyOutcome::Restored,
                None,
                format!("{at} deploys the stable template already, as of {head}"),
            ),
            Outcome::Superseded { by } => (
                RemedyOutcome::Superseded,
                None,
                format!("{at} has gone on: {}; nothing is reverted", one(&by)),
            ),
            Outcome::NotFromHere => {
                let (good, bad) = (Commit(self.good), Commit(self.bad));
                let message = format!(
                    "no commit from {good} to {bad} changes what {path} deploys{how}: the template came from the Kustomization itself or from elsewhere"
                );
                (RemedyOutcome::NotReverted, None, message)
            }
            Outcome::NotEnough { found } => {
                let message = format!(
                    "taking back {} does not give the stable template{how}; nothing is pushed. By hand: {}",
                    each(&found),
                    by_hand(&self.remote.branch, &found)
                );
                (RemedyOutcome::NotReverted, None, message)
            }
        };
        GitRemedy {
            commit: commit.map(|commit| commit.0.to_string()),
            ..GitRemedy::none(&self.message.run, outcome, &message, self.now)
        }
    }
}

/// Where a `GitRepository` leads, and as whom; into our own file system only if that is allowed.
pub(super) fn remote(repository: &Repository, local: bool) -> Result<Remote, Error> {
    let own = Address::local(&repository.url).filter(|_| local);
    let (at, within) = match own {
        Some(own) => (own, None),
        None => Address::parse(&repository.url)?,
    };
    let mut credentials = Credentials::from_secret(&repository.secret)?;
    if let (Credentials::None, Some(within)) = (&credentials, within) {
        credentials = within;
    }
    Ok(Remote {
        at,
        branch: repository.branch.clone(),
        credentials,
        authority: Credentials::authority(&repository.secret),
    })
}

fn mode(rollout: &Rollout) -> GitMode {
    let on_failure = rollout.spec.on_failure.as_ref();
    let git = on_failure.and_then(|on_failure| on_failure.git.as_ref());
    git.map_or(GitMode::Revert, |git| git.mode)
}

fn oid(commit: &str) -> Result<Oid, Error> {
    Oid::from_str(commit).map_err(|source| Error::Git {
        doing: "reading the commit's name in status.git",
        source,
    })
}
