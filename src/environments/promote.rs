//! A version's way to an environment: from the next one below it through the gates, or back to
//! what was there before; as a commit, a pull request, or only as a difference.
//!
//! Nothing is written unless every gate is open and the folder can be built as before. A push is
//! never forced: where the branch moved, all of it begins anew from what is there. Doing it
//! again finds what was done. All of this blocks.
//!
//! Not here: what would be written (`change`), what clusters say (given as `Standing`), and the text
//! that people read.

use std::path::PathBuf;
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use serde::Serialize;
use tokio::runtime::Handle;

use super::access;
use super::change::{Change, read};
use super::error::Error;
use super::gates::{self, Answer, Facts, Standing};
use super::message::Message;
use super::past::{self, Stay};
use super::pipeline::{Deliver, Environment, Pipeline};
use super::places::Service;
use super::version::Version;
use crate::git::forge::{Forge, Place, Proposal, State};
use crate::git::{self, Committer, Copy, Limits, Pushed, Signer, Tokens};

/// Fresh starts after others pushed.
const TRIES: usize = 5;
/// For everything that one command does in Git.
const TIME: Duration = Duration::from_secs(120);
/// Bytes that are received for it.
const MOST: u64 = 512 << 20;

/// What every command on a pipeline works with.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Where copies of repositories are kept.
    pub folder: PathBuf,
    /// For requests to servers.
    pub runtime: Handle,
    /// The present time.
    pub now: Timestamp,
    /// Who asks, name and e-mail address; else the committer.
    pub by: Option<(String, String)>,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The service.
    pub service: String,
    /// Where the version comes from; `None` on a way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The environment that gets it.
    pub to: String,
    /// The version.
    pub version: Version,
    /// The version that was there.
    pub before: Version,
    /// Each gate's answer.
    pub gates: Vec<Answer>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// The change, unified.
    pub diff: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "outcome",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Outcome {
    /// A gate is shut.
    Refused,
    /// The environment has it already.
    Already,
    /// It would be done.
    DryRun,
    /// It is on the branch.
    Pushed {
        /// The branch.
        branch: String,
        /// The commit.
        commit: String,
    },
    /// People are asked to merge it.
    Proposed {
        /// The branch with the commit.
        branch: String,
        /// The commit.
        commit: String,
        /// The pull request; `None`: no forge is known, so a person opens it.
        url: Option<String>,
        /// Whether it is open still.
        open: bool,
    },
}

/// What is to be written, and what stands in its way.
pub(super) struct Order<'a> {
    pub(super) service: &'a Service,
    pub(super) from: Option<&'a Environment>,
    pub(super) to: &'a Environment,
    pub(super) version: Version,
    pub(super) gates: Vec<Answer>,
}

impl Desk<'_> {
    /// Promotes a service's version, by default the present one of `from`.
    pub fn promote(
        &self,
        (service, from, to): (&str, &str, &str),
        version: Option<&Version>,
        rollout: Option<&Standing>,
    ) -> Result<Report, Error> {
        let service = self.pipeline.service(service)?;
        let (from, to) = self.pipeline.way(from, to)?;
        let stay = self.stay(from, service, version)?;
        let (version, since) = (stay.0.version.clone(), stay.1.then_some(stay.0.since));
        let facts = Facts {
            environment: &from.name,
            since,
            rollout,
            now: self.now,
        };
        let order = Order {
            gates: gates::answers(&to.gates, &version, &facts),
            service,
            from: Some(from),
            to,
            version,
        };
        self.deliver(&order)
    }

    /// Puts back a version, by default the one before the present one.
    pub fn roll_back(
        &self,
        environment: &str,
        service: &str,
        version: Option<&Version>,
    ) -> Result<Report, Error> {
        let to = self.pipeline.environment(environment)?;
        let service = self.pipeline.service(service)?;
        let version = match version {
            Some(version) => version.clone(),
            None => self.earlier(to, service)?,
        };
        let order = Order {
            service,
            from: None,
            to,
            version,
            gates: Vec::new(),
        };
        self.deliver(&order)
    }

    /// The present stay of a service in an environment.
    pub(super) fn present(&self, at: &Environment, service: &Service) -> Result<Stay, Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        // Says why, where there is no version.
        read(&copy, head, &at.path, service)?;
        let stays = past::stays(&mut copy, (&at.path, service), |stays| !stays.is_empty())?;
        stays.into_iter().next().ok_or_else(|| Error::NotThere {
            service: service.name.clone(),
            folder: at.path.clone(),
        })
    }

    /// The newest stay of a version, and whether it lasts.
    fn stay(
        &self,
        from: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<(Stay, bool), Error> {
        let mut copy = self.copy(from)?;
        let head = copy.fetch()?;
        let present = read(&copy, head, &from.path, service)?.version;
        let wanted = version.unwrap_or(&present);
        let is = |stay: &Stay| same(wanted, &stay.version);
        let stays = past::stays(&mut copy, (&from.path, service), |stays| {
            stays.iter().any(is)
        })?;
        let lasts = stays.first().is_some_and(is);
        let found = stays.into_iter().find(is);
        found
            .map(|stay| (stay, lasts))
            .ok_or_else(|| Error::NeverThere {
                service: service.name.clone(),
                version: wanted.to_string(),
                environment: from.name.clone(),
                present: present.to_string(),
            })
    }

    fn earlier(&self, at: &Environment, service: &Service) -> Result<Version, Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        let present = read(&copy, head, &at.path, service)?.version;
        let stays = past::stays(&mut copy, (&at.path, service), |stays| stays.len() > 1)?;
        let before = stays.into_iter().find(|stay| stay.version != present);
        before
            .map(|stay| stay.version)
            .ok_or_else(|| Error::NothingBefore {
                service: service.name.clone(),
                environment: at.name.clone(),
                present: present.to_string(),
            })
    }

    fn deliver(&self, order: &Order<'_>) -> Result<Report, Error> {
        let mut copy = self.copy(order.to)?;
        // What a pull request is known by: one for each time that the environment changes.
        let of = (order.to.path.as_str(), order.service);
        let stays = past::stays(&mut copy, of, |stays| !stays.is_empty())?;
        let stay = stays
            .first()
            .map_or(String::new(), |stay| stay.commit.to_string());
        for _ in 0..TRIES {
            let head = copy.fetch()?;
            let change = Change::new(&copy, head, order)?;
            let outcome = if !change.open(order) {
                Some(Outcome::Refused)
            } else if change.texts.is_empty() {
                Some(Outcome::Already)
            } else if self.dry_run {
                Some(Outcome::DryRun)
            } else {
                self.sent(&copy, (head, &stay), order, &change)?
            };
            if let Some(outcome) = outcome {
                return Ok(change.report(order, outcome));
            }
        }
        Err(Error::Git(git::Error::Moved {
            branch: order.to.branch.clone(),
            tries: TRIES,
        }))
    }

    /// `None` if somebody else pushed first.
    fn sent(
        &self,
        copy: &Copy,
        (head, stay): (Oid, &str),
        order: &Order<'_>,
        change: &Change,
    ) -> Result<Option<Outcome>, Error> {
        let message = Message {
            service: &order.service.name,
            from: order.from.map(|from| from.name.as_str()),
            to: &order.to.name,
            version: &order.version,
            before: &change.before,
            gates: &order.gates,
        };
        if order.to.deliver == Deliver::PullRequest {
            return self
                .proposed(copy, (head, stay), change, &message)
                .map(Some);
        }
        let commit = self.commit(copy, head, change, &message)?;
        let branch = copy.branch().to_owned();
        Ok(match copy.push(commit, &branch)? {
            Pushed::Done => Some(Outcome::Pushed {
                branch,
                commit: commit.to_string(),
            }),
            Pushed::Moved => None,
        })
    }

    fn proposed(
        &self,
        copy: &Copy,
        (head, stay): (Oid, &str),
        change: &Change,
        message: &Message<'_>,
    ) -> Result<Outcome, Error> {
        let branch = message.branch(stay);
        let commit = if let Some(there) = copy.fetch_other(&branch)? {
            there
        } else {
            let commit = self.commit(copy, head, change, message)?;
            match copy.push(commit, &branch)? {
                Pushed::Done => commit,
                Pushed::Moved => copy.fetch_other(&branch)?.unwrap_or(commit),
            }
        };
        let (url, open) = match &self.pipeline.forge {
            None => (None, true),
            Some(account) => {
                let remote = access::remote(self.pipeline, copy.branch())?;
                let forge = Place::of(&remote.at, account).and_then(|place| {
                    let when = (&Tokens::default(), self.now);
                    Forge::new(place, account, remote.authority.as_deref(), when)
                });
                let wanted = Proposal {
                    branch: branch.clone(),
                    onto: copy.branch().to_owned(),
                    title: message.subject(),
                    text: message.proposal(),
                };
                let forge = forge.map_err(git::Error::from)?;
                let pull = self.runtime.block_on(forge.ensure(&wanted));
                let pull = pull.map_err(git::Error::from)?;
                (Some(pull.url), pull.state == State::Open)
            }
        };
        Ok(Outcome::Proposed {
            branch,
            commit: commit.to_string(),
            url,
            open,
        })
    }

    fn commit(
        &self,
        copy: &Copy,
        head: Oid,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<Oid, Error> {
        let signer = access::signer(self.pipeline)?;
        let committer = self.committer(signer.as_ref());
        let texts = change.texts.iter();
        let texts = texts.map(|(path, text)| (path.as_str(), text.as_str()));
        let commit = committer.rewrite(copy.repository(), head, texts, &message.text());
        commit.map_err(Error::Git)
    }

    fn committer<'s>(&'s self, signer: Option<&'s Signer>) -> Committer<'s> {
        let (name, email) = &self.pipeline.committer;
        Committer {
            name,
            email,
            author: self
                .by
                .as_ref()
                .map(|(name, email)| (name.as_str(), email.as_str())),
            now: self.now.as_second(),
            signer,
        }
    }

    fn copy(&self, of: &Environment) -> Result<Copy, Error> {
        let remote = access::remote(self.pipeline, &of.branch)?;
        let limits = Limits {
            time: TIME,
            bytes: MOST,
        };
        let copy = Copy::open(&self.folder, self.runtime.clone(), remote, limits);
        copy.map_err(Error::Git)
    }
}

/// Whether a stay is of the version that is asked for, which may leave the digest out.
fn same(wanted: &Version, there: &Version) -> bool {
    match &wanted.digest {
        Some(_) => wanted == there,
        None => wanted.tag == there.tag,
    }
}
