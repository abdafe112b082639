//! A service in an environment that follows the registry: what its tag leads to, and moving that tag.
//!
//! Guarantees: what is written is a manifest that is there already, byte for byte, under another tag. Where
//! the tag leads to is read before the gates are judged, before it is written, and after: a registry
//! compares nothing, so somebody who moves it between the last two is found out, not kept out. What was
//! there is recorded first, so the way back is known whatever comes.
//!
//! Not here: what was there before (`back`), how records are named (`record`), requests (`crate::registry`).

mod back;

use jiff::{SignedDuration, Timestamp};

use super::error::Error;
use super::gates::{Answer, Since};
use super::pipeline::{Environment, Follows};
use super::places::Service;
use super::promote::{Desk, Order, Outcome, Report, Seen, same};
use super::record::{Record, is_record};
use super::version::Version;
use crate::registry::{Image, Registry};

/// Records that are read to find when the present version came.
const RECORDS: usize = 20;
/// Versions that are asked for their digest to find the name of one.
const NAMES: usize = 50;

/// A service's tags, as one environment sees them.
pub(super) struct Shelf<'a> {
    desk: &'a Desk<'a>,
    environment: &'a Environment,
    follows: &'a Follows,
    service: &'a Service,
    image: Image,
    registry: Registry,
}

/// What is to be written.
struct Move {
    /// The tag.
    tag: String,
    /// Where it leads to now.
    before: Option<String>,
    /// Where it shall.
    digest: String,
}

impl<'a> Shelf<'a> {
    pub fn new(
        desk: &'a Desk<'a>,
        environment: &'a Environment,
        follows: &'a Follows,
        service: &'a Service,
    ) -> Result<Self, Error> {
        let image = Image::parse(service.image.as_deref().unwrap_or_default())?;
        let registry = Registry::new(&image.host, &desk.pipeline.registry)?;
        Ok(Self {
            desk,
            environment,
            follows,
            service,
            image,
            registry,
        })
    }

    /// What the environment has now.
    pub fn present(&self) -> Result<Seen, Error> {
        let tags = self.tags()?;
        let (tag, digest) = self.current(&tags)?;
        let records = Record::all(&self.environment.name, &tags);
        let (mut since, mut name) = (Since::Unknown, None);
        for record in records.iter().take(RECORDS) {
            if self.digest(&record.tag)?.as_ref() != Some(&digest) {
                break;
            }
            since = Since::At(record.at);
            name = name.or_else(|| record.name.clone());
        }
        let name = match self.follows {
            Follows::Newest(_) => Some(tag),
            Follows::Tag(_) if name.is_some() => name,
            Follows::Tag(_) => self.name_of(&digest, &tags)?,
        };
        let version = Version {
            tag: name,
            digest: Some(digest),
        };
        Ok(Seen {
            version,
            since,
            commit: None,
        })
    }

    /// The present version, or one that was there, if that is asked for.
    pub fn seen(&self, wanted: Option<&Version>) -> Result<Seen, Error> {
        let present = self.present()?;
        let Some(wanted) = wanted else {
            return Ok(present);
        };
        if same(wanted, &present.version)
            || (wanted.digest.is_some() && wanted.digest == present.version.digest)
        {
            return Ok(present);
        }
        let seen = |version, since| Seen {
            version,
            since,
            commit: None,
        };
        if let Some(version) = self.past(wanted)? {
            return Ok(seen(version, Since::Over));
        }
        match self.in_range(wanted)? {
            Some(version) => Ok(seen(version, Since::Unproven)),
            None => Err(self.never(wanted, &present.version)?),
        }
    }

    /// Makes the environment's tag lead to a version.
    pub fn deliver(&self, order: &Order<'_>) -> Result<Report, Error> {
        let tags = self.tags()?;
        let present = match self.present() {
            Ok(seen) => seen.version,
            // The first version comes.
            Err(Error::NoTag { .. }) => Version::default(),
            Err(error) => return Err(error),
        };
        let way_back = order.from.is_none();
        if let (Follows::Newest(range), true) = (self.follows, way_back) {
            return Err(Error::NewestWins {
                environment: self.environment.name.clone(),
                range: range.to_string(),
                present: present.tag.unwrap_or_default(),
            });
        }
        let digest = self.resolved(&order.version, way_back)?;
        let mut gates = order.gates.clone();
        let goal = self.goal(&order.version, &present, &tags, &mut gates);
        let before = self.digest(&goal)?;
        if let (Follows::Newest(_), Some(before)) = (self.follows, &before)
            && *before != digest
        {
            let why = format!("{goal} leads to {before} already, and a version is not moved");
            gates.push(shut(why));
        }
        let wanted = Move {
            tag: goal,
            before,
            digest,
        };
        let version = Version {
            tag: order.version.tag.clone(),
            digest: Some(wanted.digest.clone()),
        };
        let outcome = self.outcome(&wanted, (&present, &version), &gates, way_back)?;
        Ok(Report {
            service: order.service.name.clone(),
            from: order.from.map(|from| from.name.clone()),
            to: order.to.name.clone(),
            version,
            before: present,
            gates,
            notes: self.notes(),
            diff: self.diff(&wanted),
            outcome,
        })
    }

    fn outcome(
        &self,
        wanted: &Move,
        (present, version): (&Version, &Version),
        gates: &[Answer],
        way_back: bool,
    ) -> Result<Outcome, Error> {
        if !gates.iter().all(|answer| answer.open) {
            return Ok(Outcome::Refused);
        }
        let there = wanted.before.as_ref() == Some(&wanted.digest);
        if self.desk.dry_run {
            return Ok(if there {
                Outcome::Already
            } else {
                Outcome::DryRun
            });
        }
        if there {
            // It may have been moved by hand, or we ended before it was recorded.
            self.recorded(present, self.desk.now, false)?;
            return Ok(Outcome::Already);
        }
        if present.digest.is_some() {
            self.recorded(present, self.desk.now, false)?;
        }
        let later = SignedDuration::from_secs(1);
        let later = self.desk.now.checked_add(later).unwrap_or(self.desk.now);
        if way_back {
            // Before the tag is moved: whoever asks again after a crash must not be led forth again.
            self.recorded(version, later, true)?;
        }
        self.moved(wanted)?;
        self.recorded(version, later, way_back)?;
        Ok(Outcome::Tagged {
            tag: wanted.tag.clone(),
            digest: wanted.digest.clone(),
        })
    }

    /// Writes the tag, if it still leads where it did.
    fn moved(&self, wanted: &Move) -> Result<(), Error> {
        let repository = &self.image.repository;
        let asked = self.registry.manifest(repository, &wanted.digest);
        let manifest = self.wait(asked)?;
        self.must_lead(&wanted.tag, wanted.before.as_ref())?;
        self.wait(self.registry.put(repository, &wanted.tag, &manifest))?;
        self.must_lead(&wanted.tag, Some(&wanted.digest))
    }

    fn must_lead(&self, tag: &str, to: Option<&String>) -> Result<(), Error> {
        let now = self.digest(tag)?;
        if now.as_ref() == to {
            return Ok(());
        }
        Err(Error::TagMoved {
            image: self.image.to_string(),
            tag: tag.to_owned(),
            to: now.unwrap_or_else(|| "nothing".to_owned()),
        })
    }

    /// Notes what the environment has, unless the newest record says so.
    fn recorded(&self, version: &Version, at: Timestamp, back: bool) -> Result<(), Error> {
        let Some(digest) = &version.digest else {
            return Ok(());
        };
        let records = Record::all(&self.environment.name, &self.tags()?);
        if let Some(newest) = records.first()
            && self.digest(&newest.tag)?.as_ref() == Some(digest)
        {
            return Ok(());
        }
        // Records have seconds, and the newest must be known among two that are made within one.
        let after = records.first().and_then(|newest| {
            let second = SignedDuration::from_secs(1);
            newest.at.checked_add(second).ok()
        });
        let at = after.map_or(at, |after| at.max(after));
        let repository = &self.image.repository;
        let manifest = self.wait(self.registry.manifest(repository, digest))?;
        let record = Record::new(&self.environment.name, at, version, back);
        let put = self.registry.put(repository, &record.tag, &manifest);
        Ok(self.wait(put)?)
    }

    /// The digest of a version: its own, which its tag must lead to if it is there, except on a way back; else
    /// that of its tag.
    fn resolved(&self, version: &Version, way_back: bool) -> Result<String, Error> {
        let named = match &version.tag {
            Some(tag) if !way_back => self.digest(tag)?,
            _ => None,
        };
        match (&version.digest, named) {
            (Some(digest), Some(other)) if *digest != other => Err(Error::OtherBytes {
                image: self.image.to_string(),
                tag: version.tag.clone().unwrap_or_default(),
                digest: digest.clone(),
                other,
            }),
            (Some(digest), _) => Ok(digest.clone()),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(Error::NoTag {
                image: self.image.to_string(),
                tag: version.to_string(),
            }),
        }
    }

    /// What a registry does not keep, and a commit would.
    fn notes(&self) -> Vec<String> {
        let by = self.desk.by.is_some().then_some("who did it (--by)");
        let why = self.desk.despite.is_some();
        let why = why.then_some("the reason of --despite-freeze");
        [by, why]
            .into_iter()
            .flatten()
            .map(|what| format!("a tag keeps no words: {what} is recorded nowhere"))
            .collect()
    }

    /// The tag to be written.
    fn goal(
        &self,
        version: &Version,
        present: &Version,
        tags: &[String],
        gates: &mut Vec<Answer>,
    ) -> String {
        let range = match self.follows {
            Follows::Tag(tag) => return tag.clone(),
            Follows::Newest(range) => range,
        };
        let Some(goal) = released(version, range) else {
            let why = format!("{version} is not within {range}, nor is its release");
            gates.push(shut(why));
            return version.tag.clone().unwrap_or_default();
        };
        let newest = present.semantic();
        if let Some(newest) = newest.filter(|newest| goal.semantic() < Some(newest.clone())) {
            let why = format!(
                "{} has {newest}, which is newer: nothing would change",
                self.environment.name
            );
            gates.push(shut(why));
        }
        let plain = goal.tag.unwrap_or_default();
        // Written as the others are: with `v` or without.
        let other = plain
            .strip_prefix('v')
            .map_or_else(|| format!("v{plain}"), str::to_owned);
        let is_there = tags.contains(&other) && !tags.contains(&plain);
        if is_there { other } else { plain }
    }

    /// The tag that the environment runs, and its digest.
    fn current(&self, tags: &[String]) -> Result<(String, String), Error> {
        let tag = match self.follows {
            Follows::Tag(tag) => Some(tag.clone()),
            Follows::Newest(range) => versions(tags).into_iter().find_map(|version| {
                let tag = version.tag.clone();
                tag.filter(|_| version.is_within(range))
            }),
        };
        let none = |tag: &str| Error::NoTag {
            image: self.image.to_string(),
            tag: tag.to_owned(),
        };
        let tag = tag.ok_or_else(|| none("VERSION"))?;
        let digest = self.digest(&tag)?.ok_or_else(|| none(&tag))?;
        Ok((tag, digest))
    }

    /// The newest version that leads to a digest too.
    fn name_of(&self, digest: &str, tags: &[String]) -> Result<Option<String>, Error> {
        for version in versions(tags).into_iter().take(NAMES) {
            let tag = version.tag.unwrap_or_default();
            if self.digest(&tag)?.as_deref() == Some(digest) {
                return Ok(Some(tag));
            }
        }
        Ok(None)
    }

    fn tags(&self) -> Result<Vec<String>, Error> {
        Ok(self.wait(self.registry.tags(&self.image.repository))?)
    }

    fn digest(&self, tag: &str) -> Result<Option<String>, Error> {
        Ok(self.wait(self.registry.digest(&self.image.repository, tag))?)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.desk.runtime.block_on(work)
    }

    fn diff(&self, wanted: &Move) -> String {
        let Move {
            tag,
            before,
            digest,
        } = wanted;
        let image = &self.image;
        match before {
            Some(before) if before == digest => String::new(),
            Some(before) => format!("-{image}:{tag} {before}\n+{image}:{tag} {digest}\n"),
            None => format!("+{image}:{tag} {digest}\n"),
        }
    }
}

fn shut(why: String) -> Answer {
    Answer {
        gate: "tag",
        open: false,
        why,
    }
}

/// The semantic versions among tags, newest first.
fn versions(tags: &[String]) -> Vec<Version> {
    let all = tags.iter().filter(|tag| !is_record(tag));
    let all = all.filter_map(|tag| tag.parse::<Version>().ok());
    let mut all: Vec<Version> = all.filter(|version| version.semantic().is_some()).collect();
    all.sort_by_key(|version| std::cmp::Reverse(version.semantic()));
    all
}

/// A version as a range takes it: itself, or as the release that its candidate was for.
fn released(version: &Version, range: &semver::VersionReq) -> Option<Version> {
    if version.is_within(range) {
        return Some(version.clone());
    }
    let tag = version.tag.as_deref()?;
    let release = tag.split_once('-').map(|(release, _)| release)?;
    let release: Version = release.parse().ok()?;
    release.is_within(range).then_some(release)
}
