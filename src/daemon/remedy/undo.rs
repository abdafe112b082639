//! One remedy in one repository: from what the status and Flux know to a pushed commit, and what
//! is said of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tokio::runtime::Handle;

use super::view::{Naming, Template};
use crate::git::{
    self, Address, Change, Commit, Copy, Credentials, Error, Limits, Message, Onto, Order, Outcome,
    Remote, Signer,
};
use crate::kubernetes::crd::{GitPoint, GitRemedy, Rollout};
use crate::kubernetes::flux::{Kustomization, Repository};

/// What every remedy works with, from the settings.
#[derive(Debug, Clone)]
pub struct Means {
    /// Where copies of repositories are kept.
    pub folder: PathBuf,
    /// Who commits.
    pub name: String,
    /// The committer's e-mail address.
    pub email: String,
    /// Signs commits.
    pub signer: Option<Arc<Signer>>,
    /// For all of one remedy.
    pub timeout: Duration,
    /// Bytes that are received for one.
    pub most: u64,
}

/// One remedy.
#[derive(Debug)]
pub struct Job {
    remote: Remote,
    path: String,
    target: String,
    images: Vec<String>,
    good: Oid,
    bad: Oid,
    message: Message,
    now: Timestamp,
}

impl Job {
    /// For the run that was rolled back last.
    pub fn new(
        rollout: &Rollout,
        kustomization: &Kustomization,
        repository: &Repository,
        (good, bad): (&GitPoint, &GitPoint),
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (at, within) = Address::parse(&repository.url)?;
        let mut credentials = Credentials::from_secret(&repository.secret)?;
        if let (Credentials::None, Some(within)) = (&credentials, within) {
            credentials = within;
        }
        let last = rollout
            .status
            .as_ref()
            .and_then(|status| status.last_run.as_ref());
        let rolled_back = last.map(|last| (last.message.clone(), last.revision.images.clone()));
        let (verdict, images) = rolled_back.unwrap_or_default();
        let namespace = rollout.namespace().unwrap_or_default();
        Ok(Self {
            remote: Remote {
                at,
                branch: repository.branch.clone(),
                credentials,
                authority: Credentials::authority(&repository.secret),
            },
            path: kustomization.path.clone(),
            target: rollout.spec.target.name.clone(),
            images,
            good: oid(&good.commit)?,
            bad: oid(&bad.commit)?,
            message: Message {
                rollout: format!("{namespace}/{}", rollout.name_any()),
                run: bad.run.clone().unwrap_or_default(),
                verdict,
                link: None,
            },
            now,
        })
    }

    /// Does it. Blocks.
    pub fn done(&self, means: &Means, runtime: Handle) -> Result<GitRemedy, Error> {
        let limits = Limits {
            time: means.timeout,
            bytes: means.most,
        };
        let mut copy = Copy::open(&means.folder, runtime, self.remote.clone(), limits)?;
        let order = Order {
            good: self.good,
            bad: self.bad,
            message: self.message.clone(),
            committer: (&means.name, &means.email),
            now: self.now.as_second(),
            signer: means.signer.as_deref(),
            onto: Onto::Branch,
        };
        let template = Template {
            path: self.path.clone(),
            name: self.target.clone(),
        };
        match git::undo(&mut copy, &order, &template) {
            Err(Error::View(why)) => {
                let naming = Naming::new(&self.path, &self.images);
                let outcome = git::undo(&mut copy, &order, &naming)?;
                let how = format!(" (by the files that name its images, since {why})");
                Ok(self.told(outcome, &how))
            }
            outcome => Ok(self.told(outcome?, "")),
        }
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
                ("Reverted", Some(commit), message)
            }
            Outcome::Restored { head } => (
                "Restored",
                None,
                format!("{at} deploys the stable template already, as of {head}"),
            ),
            Outcome::Superseded { by } => (
                "Superseded",
                None,
                format!("{at} has gone on: {}; nothing is reverted", one(&by)),
            ),
            Outcome::NotFromHere => {
                let (good, bad) = (Commit(self.good), Commit(self.bad));
                let message = format!(
                    "no commit from {good} to {bad} changes what {path} deploys{how}: the template came from the Kustomization itself or from elsewhere"
                );
                ("NotReverted", None, message)
            }
            Outcome::NotEnough { found } => {
                let message = format!(
                    "taking back {} does not give the stable template{how}; nothing is pushed. By hand: {}",
                    each(&found),
                    by_hand(&found)
                );
                ("NotReverted", None, message)
            }
        };
        GitRemedy {
            run: self.message.run.clone(),
            outcome: outcome.to_owned(),
            message,
            commit: commit.map(|commit| commit.0.to_string()),
            at: Time(self.now),
            applied: None,
        }
    }
}

fn oid(commit: &str) -> Result<Oid, Error> {
    Oid::from_str(commit).map_err(|source| Error::Git {
        doing: "reading the commit's name in status.git",
        source,
    })
}

fn one(change: &Change) -> String {
    format!(
        "{} \"{}\" by {}",
        change.commit, change.summary, change.author
    )
}

fn each(changes: &[Change]) -> String {
    let told: Vec<String> = changes.iter().map(one).collect();
    told.join(", ")
}

/// What a person would run.
fn by_hand(changes: &[Change]) -> String {
    let one = |change: &Change| {
        let mainline = if change.merge { "-m 1 " } else { "" };
        format!("git revert {mainline}{}", change.commit)
    };
    let commands: Vec<String> = changes.iter().map(one).collect();
    commands.join(" && ")
}
