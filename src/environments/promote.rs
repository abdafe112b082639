//! A version's way to an environment: from the next one below it through the gates, or back to
//! what was there before.
//!
//! Nothing is written unless every gate is open. Doing it again finds what was done. All of this
//! blocks.
//!
//! Not here: how it is written, by a commit (`branch`) or by a tag in the registry (`shelf`), what clusters
//! say (given as `Standing`), and the text that people read.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;
use tokio::runtime::Handle;

use super::error::Error;
use super::gates::{self, Answer, Facts, Since, Smoked, Standing};
use super::past::Stay;
use super::pipeline::{Environment, Follows, Pipeline};
use super::places::Service;
use super::shelf::Shelf;
use super::version::Version;

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
    /// The smoke tests that were made in the environment before, if any were.
    pub smoked: Option<Vec<Smoked>>,
    /// Why it is done in spite of a freeze.
    pub despite: Option<String>,
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
    /// The tag leads to it.
    Tagged {
        /// The tag.
        tag: String,
        /// Where it leads to.
        digest: String,
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

/// What was there before the present version.
pub(super) enum Earlier {
    /// This, which may come back.
    Version(Version),
    /// What the present version's way back led away from.
    Left {
        /// The present version.
        present: Version,
        /// The one before.
        left: Version,
        /// When that was.
        at: Timestamp,
    },
}

impl Earlier {
    /// What was before `present`, which came by a way back at a time, if it did.
    pub(super) fn new(present: Version, before: Version, back: Option<Timestamp>) -> Self {
        match back {
            Some(at) => Self::Left {
                present,
                left: before,
                at,
            },
            None => Self::Version(before),
        }
    }
}

impl<'a> Desk<'a> {
    /// A desk that writes nothing, with copies in `folder`.
    pub fn reading(
        pipeline: &'a Pipeline,
        folder: PathBuf,
        runtime: Handle,
        now: Timestamp,
    ) -> Self {
        Self {
            pipeline,
            folder,
            runtime,
            now,
            by: None,
            dry_run: true,
            smoked: None,
            despite: None,
        }
    }
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
        let seen = self.seen(from, service, version)?;
        let version = seen.version;
        let facts = Facts {
            environment: &from.name,
            to: &to.name,
            service,
            since: seen.since,
            rollout,
            now: self.now,
            smoked: self.smoked.as_deref(),
            target_pins: self.pins(to, service),
            despite: self.despite.as_deref(),
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

    /// The version that is, or was, in an environment; by default the present one.
    pub fn version(
        &self,
        at: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<Version, Error> {
        Ok(self.seen(at, service, version)?.version)
    }

    /// The same, if the environment has it still.
    pub fn lasting(
        &self,
        at: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<Option<Version>, Error> {
        let seen = self.seen(at, service, version)?;
        Ok(seen.since.lasts().then_some(seen.version))
    }

    /// Whether only a Rollout can show that a version was in an environment; by default the present one is meant,
    /// which is.
    pub fn unproven(
        &self,
        at: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<bool, Error> {
        if version.is_none() || !matches!(at.follows(), Some(Follows::Newest(_))) {
            return Ok(false);
        }
        Ok(self.seen(at, service, version)?.since == Since::Unproven)
    }

    /// Puts back a version that was there, by default the one before the present one, unless that was left by
    /// a way back.
    pub fn roll_back(
        &self,
        environment: &str,
        service: &str,
        version: Option<&Version>,
    ) -> Result<Report, Error> {
        let to = self.pipeline.environment(environment)?;
        let service = self.pipeline.service(service)?;
        let version = match version {
            Some(version) => self.back_to(to, service, version)?,
            None => match self.earlier(to, service)? {
                Earlier::Version(version) => version,
                Earlier::Left { present, left, at } => {
                    return Ok(self.back_already(service, to, present, (&left, at)));
                }
            },
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

    /// Nothing is done, since that was done before: once more would lead to what was left then.
    fn back_already(
        &self,
        service: &Service,
        to: &Environment,
        present: Version,
        (left, at): (&Version, Timestamp),
    ) -> Report {
        let ago = gates::ago(self.now, at);
        let note = format!(
            "{} went back from {} to {} {ago} ago: any other version takes --to",
            to.name,
            left.short(),
            present.short()
        );
        Report {
            service: service.name.clone(),
            from: None,
            to: to.name.clone(),
            version: present.clone(),
            before: present,
            gates: Vec::new(),
            notes: vec![note],
            diff: String::new(),
            outcome: Outcome::Already,
        }
    }

    /// Whether an environment names digests, where that is asked for.
    fn pins(&self, at: &Environment, service: &Service) -> Option<bool> {
        if !at.gates.same_digest || at.follows().is_some() {
            return Some(at.follows().is_some());
        }
        let present = self.present(at, service).ok()?;
        Some(present.version.digest.is_some())
    }

    /// What an environment has of a service now.
    pub(super) fn present(&self, at: &Environment, service: &Service) -> Result<Seen, Error> {
        match at.follows() {
            None => self.present_stay(at, service).map(Seen::from),
            Some(follows) => Shelf::new(self, at, follows, service)?.present(),
        }
    }

    /// The same of several services, each by itself; an error concerns all of them.
    pub(super) fn present_of_all(
        &self,
        at: &Environment,
        services: &[&Service],
    ) -> Result<Vec<Result<Seen, Error>>, Error> {
        if at.follows().is_some() {
            let each = services.iter();
            return Ok(each.map(|service| self.present(at, service)).collect());
        }
        let stays = self.present_stays(at, services)?;
        Ok(stays.into_iter().map(|stay| stay.map(Seen::from)).collect())
    }

    /// What it has, or had, of this version; by default of the present one.
    fn seen(
        &self,
        at: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<Seen, Error> {
        let Some(follows) = at.follows() else {
            let (stay, lasts) = self.stay(at, service, version)?;
            let seen = Seen::from(stay);
            let since = if lasts { seen.since } else { Since::Over };
            return Ok(Seen { since, ..seen });
        };
        Shelf::new(self, at, follows, service)?.seen(version)
    }

    /// The version before the present one.
    fn earlier(&self, at: &Environment, service: &Service) -> Result<Earlier, Error> {
        match at.follows() {
            None => self.earlier_stay(at, service),
            Some(follows) => Shelf::new(self, at, follows, service)?.earlier(),
        }
    }

    /// A version as it was there; an error if it never was.
    fn back_to(&self, at: &Environment, of: &Service, version: &Version) -> Result<Version, Error> {
        match at.follows() {
            None => self.back_to_stay(at, of, version),
            Some(follows) => Shelf::new(self, at, follows, of)?.back_to(version),
        }
    }

    fn deliver(&self, order: &Order<'_>) -> Result<Report, Error> {
        match order.to.follows() {
            None => self.write(order),
            Some(follows) => Shelf::new(self, order.to, follows, order.service)?.deliver(order),
        }
    }
}

/// What an environment has, or had, of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) version: Version,
    pub(super) since: Since,
    /// The commit that brought it, and the first line of its message.
    pub(super) commit: Option<(String, String)>,
}

impl From<Stay> for Seen {
    fn from(stay: Stay) -> Self {
        Self {
            version: stay.version,
            since: Since::At(stay.since),
            commit: Some((stay.commit.to_string(), stay.summary)),
        }
    }
}

/// Whether this is the version that is asked for, which may leave the digest out.
pub(super) fn same(wanted: &Version, there: &Version) -> bool {
    match (&wanted.tag, &wanted.digest) {
        (None, digest) => *digest == there.digest,
        (_, Some(_)) => wanted == there,
        (tag, None) => *tag == there.tag,
    }
}
