//! A version's way into a branch: as a commit, a pull request, or only as a difference; and what the
//! branch's history says of an environment.
//!
//! The folder must build as before. A push is never forced: where the branch moved, all of it begins anew
//! from what is there. All of this blocks.
//!
//! Not here: what would be written (`change`), and whether it may be (`promote`).

use std::time::Duration;

use git2::Oid;

use super::access;
use super::change::{Change, read};
use super::error::{Error, LISTED};
use super::message::{Message, is_way_back};
use super::past::{self, Stay};
use super::pipeline::{Deliver, Environment};
use super::places::Service;
use super::promote::{Desk, Earlier, Order, Outcome, Report, same};
use super::version::Version;
use crate::git::forge::{Forge, Place, Proposal, State};
use crate::git::{self, Committer, Copy, Limits, Pushed, Signer, Tokens};

/// Fresh starts after others pushed.
const TRIES: usize = 5;
/// For everything that one command does in Git.
const TIME: Duration = Duration::from_secs(120);
/// Bytes that are received for it.
const MOST: u64 = 512 << 20;

impl Desk<'_> {
    /// The present stay of a service in an environment.
    pub(super) fn present_stay(&self, at: &Environment, service: &Service) -> Result<Stay, Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        present_at(&mut copy, head, at, service)
    }

    /// The present stays of several services, of which the branch is fetched once.
    pub(super) fn present_stays(
        &self,
        at: &Environment,
        services: &[&Service],
    ) -> Result<Vec<Result<Stay, Error>>, Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        let each = services.iter();
        Ok(each
            .map(|service| present_at(&mut copy, head, at, service))
            .collect())
    }

    /// The newest stay of a version, and whether it lasts.
    pub(super) fn stay(
        &self,
        from: &Environment,
        service: &Service,
        version: Option<&Version>,
    ) -> Result<(Stay, bool), Error> {
        self.stay_that(same, (from, service), version)
    }

    /// A version as it was there: by its digest where both say one, else by its tag.
    pub(super) fn back_to_stay(
        &self,
        at: &Environment,
        service: &Service,
        version: &Version,
    ) -> Result<Version, Error> {
        let (stay, _) = self.stay_that(Version::agrees, (at, service), Some(version))?;
        let there = stay.version;
        Ok(Version {
            tag: there.tag.or_else(|| version.tag.clone()),
            digest: there.digest.or_else(|| version.digest.clone()),
        })
    }

    fn stay_that(
        &self,
        is: impl Fn(&Version, &Version) -> bool,
        (at, service): (&Environment, &Service),
        version: Option<&Version>,
    ) -> Result<(Stay, bool), Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        let present = read(&copy, head, at.folder()?, service)?.version;
        let wanted = version.unwrap_or(&present);
        let is = |stay: &Stay| is(wanted, &stay.version);
        let stays = past::stays(&mut copy, (at.folder()?, service), |stays| {
            stays.iter().any(is)
        })?;
        let lasts = stays.first().is_some_and(is);
        if let Some(found) = stays.iter().find(|stay| is(stay)) {
            return Ok((found.clone(), lasts));
        }
        Err(Error::NeverThere {
            service: service.name.clone(),
            version: wanted.to_string(),
            environment: at.name.clone(),
            present: present.to_string(),
            were: others(&stays, &present),
        })
    }

    pub(super) fn earlier_stay(
        &self,
        at: &Environment,
        service: &Service,
    ) -> Result<Earlier, Error> {
        let mut copy = self.copy(at)?;
        let head = copy.fetch()?;
        let present = read(&copy, head, at.folder()?, service)?.version;
        let stays = past::stays(&mut copy, (at.folder()?, service), |stays| stays.len() > 1)?;
        let stay = stays.first().filter(|stay| stay.version == present);
        let back = stay.filter(|stay| {
            let messages = past::messages(copy.repository(), stay.commit);
            let mut messages = messages.iter();
            messages.any(|text| is_way_back(text, &service.name, &at.name))
        });
        let back = back.map(|stay| stay.since);
        match stays.into_iter().find(|stay| stay.version != present) {
            Some(before) => Ok(Earlier::new(present, before.version, back)),
            None => Err(Error::NothingBefore {
                service: service.name.clone(),
                environment: at.name.clone(),
                present: present.to_string(),
            }),
        }
    }

    /// Writes it as a commit.
    pub(super) fn write(&self, order: &Order<'_>) -> Result<Report, Error> {
        let mut copy = self.copy(order.to)?;
        // What a pull request is known by: one for each time that the environment changes.
        let of = (order.to.folder()?, order.service);
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

fn present_at(
    copy: &mut Copy,
    head: Oid,
    at: &Environment,
    service: &Service,
) -> Result<Stay, Error> {
    let folder = at.folder()?;
    // Says why, where there is no version.
    read(copy, head, folder, service)?;
    let stays = past::stays_at(copy, head, (folder, service), |stays| !stays.is_empty())?;
    stays.into_iter().next().ok_or_else(|| Error::NotThere {
        service: service.name.clone(),
        folder: folder.to_owned(),
        hint: "its history could not be read".to_owned(),
    })
}

/// The versions that were there beside the present one, the newest first, each once.
fn others(stays: &[Stay], present: &Version) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    for stay in stays.iter().filter(|stay| stay.version != *present) {
        let name = stay.version.short();
        if !others.contains(&name) {
            others.push(name);
        }
    }
    others.truncate(LISTED);
    others
}
