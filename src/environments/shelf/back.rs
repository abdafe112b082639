//! What an environment that follows a registry had before, by the records that moves left behind.
//!
//! Not here: making the tag lead there (`shelf`), and how records are named (`record`).

use super::super::error::{Error, LISTED};
use super::super::pipeline::Follows;
use super::super::promote::Earlier;
use super::super::record::Record;
use super::super::version::Version;
use super::Shelf;

impl Shelf<'_> {
    /// What was there before the present version.
    pub fn earlier(&self) -> Result<Earlier, Error> {
        let present = self.present()?.version;
        if let Follows::Newest(range) = self.follows {
            return Err(Error::NewestWins {
                environment: self.environment.name.clone(),
                range: range.to_string(),
                present: present.tag.unwrap_or_default(),
            });
        }
        let tags = self.tags()?;
        let mut since = None;
        for record in Record::all(&self.environment.name, &tags) {
            let digest = self.digest(&record.tag)?;
            if digest.is_some() && digest == present.digest && record.back {
                since = since.or(Some(record.at));
            }
            if digest.is_some() && digest != present.digest {
                let tag = record.name;
                let version = Version { tag, digest };
                return Ok(Earlier::new(present, version, since));
            }
        }
        Err(Error::NothingBefore {
            service: self.service.name.clone(),
            environment: self.environment.name.clone(),
            present: present.to_string(),
        })
    }

    /// A version that is or was there, as it was then, whatever its tag leads to now.
    pub fn back_to(&self, wanted: &Version) -> Result<Version, Error> {
        if let Follows::Newest(_) = self.follows {
            // Refused for another reason, whether it was there or not.
            return Ok(wanted.clone());
        }
        if let Some(past) = self.past(wanted)? {
            let tag = past.tag.or_else(|| wanted.tag.clone());
            return Ok(Version { tag, ..past });
        }
        let present = match self.present() {
            Ok(seen) => seen.version,
            // The tag is gone; what was there is not.
            Err(Error::NoTag { .. }) => Version::default(),
            Err(error) => return Err(error),
        };
        if wanted.agrees(&present) {
            return Ok(present);
        }
        Err(self.never(wanted, &present)?)
    }

    /// Why a version is not taken: it was never there, and others were.
    pub(super) fn never(&self, wanted: &Version, present: &Version) -> Result<Error, Error> {
        let mut were: Vec<String> = Vec::new();
        for record in Record::all(&self.environment.name, &self.tags()?) {
            let name = record.name.unwrap_or(record.tag);
            if present.tag.as_ref() != Some(&name) && !were.contains(&name) {
                were.push(name);
            }
        }
        were.truncate(LISTED);
        Ok(Error::NeverThere {
            service: self.service.name.clone(),
            version: wanted.to_string(),
            environment: self.environment.name.clone(),
            present: present.to_string(),
            were,
        })
    }

    /// A version that a record says was there, by name or digest.
    pub(super) fn past(&self, wanted: &Version) -> Result<Option<Version>, Error> {
        for record in Record::all(&self.environment.name, &self.tags()?) {
            let by_name = record.name.is_some() && record.name == wanted.tag;
            if !by_name && wanted.digest.is_none() {
                continue;
            }
            let digest = self.digest(&record.tag)?;
            if digest.is_some() && (wanted.digest.is_none() || digest == wanted.digest) {
                let tag = record.name;
                return Ok(Some(Version { tag, digest }));
            }
        }
        Ok(None)
    }

    /// A version that the environment would have had while it was the newest: nothing says whether it ever was.
    pub(super) fn in_range(&self, wanted: &Version) -> Result<Option<Version>, Error> {
        let Follows::Newest(range) = self.follows else {
            return Ok(None);
        };
        let Some(tag) = wanted.tag.as_ref().filter(|_| wanted.is_within(range)) else {
            return Ok(None);
        };
        let digest = self.digest(tag)?;
        let digest = digest.filter(|digest| wanted.digest.as_ref().is_none_or(|of| of == digest));
        let version = |digest| Version {
            tag: Some(tag.clone()),
            digest: Some(digest),
        };
        Ok(digest.map(version))
    }
}
