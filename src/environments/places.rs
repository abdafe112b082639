//! Where a service's version stands in a folder of manifests.
//!
//! In this order, and only the first that is found, since it overrides the others: `images` of a
//! kustomization (also of Flux's Kustomization and Argo CD's Application), a patch that sets `image`, values of
//! a chart (`image.repository` with `image.tag`, or one text, or the service's own field), `image` of a plain
//! manifest. Several places must agree.
//!
//! Not here: the looking (`search`), the writing (`scalar`), and what is built of it (`crate::kustomize`).

mod search;

use std::collections::BTreeMap;

use super::error::Error;
use super::validate::images;
use super::version::Version;
use crate::kustomize::{Files, build, image_name, image_version, join};
use crate::yaml::Place;
use crate::yaml::scalar::{self, Fault};
use search::Search;

/// A service as its images call it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its image without tag; else any whose last part is the name.
    pub image: Option<String>,
    /// The Rollout that brings it out; else of the same name.
    pub rollout: Option<String>,
    /// The field of values that holds its tag where no image stands beside it, as `backend.image.tag`.
    pub tag_field: Option<String>,
}

impl Service {
    /// Whether an image, with a tag or without, is its own.
    pub(super) fn has(&self, image: &str) -> bool {
        let name = image_name(image);
        match &self.image {
            Some(own) => in_full(name) == in_full(own),
            None => name.rsplit('/').next() == Some(&self.name),
        }
    }
}

/// Without Docker Hub's host and its `library`, which need not be written.
fn in_full(image: &str) -> &str {
    const HOSTS: [&str; 2] = ["docker.io/", "index.docker.io/"];
    let hub = HOSTS.iter().find_map(|host| image.strip_prefix(host));
    let name = hub.unwrap_or(image);
    name.strip_prefix("library/").unwrap_or(name)
}

/// What kind of field a version stands in; the first that is there overrides the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Kustomization,
    Patch,
    Values,
    Manifest,
    /// Values that a ConfigMap holds: of a chart if nothing else is there.
    Config,
}

/// One place.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    rank: Rank,
    file: String,
    /// The line of the entry or the image.
    line: u64,
    /// Whether it is a file of values for a chart, which no build reads.
    loose: bool,
    field: Field,
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    /// Values of their own.
    Apart {
        tag: Option<Spot>,
        digest: Option<Spot>,
    },
    /// Within an image reference.
    Within { image: Spot },
}

/// A scalar.
#[derive(Debug, Clone, PartialEq)]
struct Spot {
    /// Where it begins in its text.
    place: Place,
    /// Where its text begins in the file, if that is a text within it, as a patch in a kustomization.
    within: Option<Place>,
    /// What it says.
    says: Result<String, Fault>,
}

/// Where a service's version stands, and which it is.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The version.
    pub version: Version,
    texts: BTreeMap<String, String>,
    places: Vec<Found>,
}

impl Pinned {
    /// Reads the folder, or the one file.
    pub fn read(files: &dyn Files, folder: &str, service: &Service) -> Result<Self, Error> {
        let folder = join("", folder).map_err(Error::Manifests)?;
        let Search {
            mut texts,
            mut found,
            bare,
            ..
        } = Search::of(files, &folder, service)?;
        let first = found.iter().map(|found| found.rank).min();
        found.retain(|found| Some(found.rank) == first);
        texts.retain(|path, _| found.iter().any(|found| found.file == *path));
        let mut this = Self {
            version: Version::default(),
            texts,
            places: found,
        };
        let agreed = this.agreed(service)?;
        this.version = agreed.ok_or_else(|| Error::NotThere {
            service: service.name.clone(),
            hint: bare.map_or_else(
                || hint(files, &folder, service),
                |place| format!("{place} names its image without one"),
            ),
            folder,
        })?;
        Ok(this)
    }

    fn agreed(&self, service: &Service) -> Result<Option<Version>, Error> {
        let mut told = Vec::new();
        let mut agreed: Option<Version> = None;
        let mut differ = false;
        for found in &self.places {
            let version = found.version()?;
            told.push(format!("{} says {version}", found.told()));
            differ |= agreed.as_ref().is_some_and(|agreed| *agreed != version);
            agreed = Some(version);
        }
        if differ {
            return Err(Error::Disagree {
                service: service.name.clone(),
                places: told.join(", "),
            });
        }
        Ok(agreed)
    }

    /// The files with another version, by their paths; every other byte as it was.
    pub fn with(&self, version: &Version) -> Result<BTreeMap<String, String>, Error> {
        let mut texts = self.texts.clone();
        // From the end, so that the places before stay where they are.
        let mut edits = Vec::new();
        for found in &self.places {
            edits.extend(found.edits(version)?);
        }
        edits.sort_by_key(|(_, spot, _)| {
            std::cmp::Reverse((spot.within.unwrap_or(spot.place), spot.place))
        });
        for (found, spot, value) in edits {
            if let Some(text) = texts.get_mut(&found.file) {
                let replaced = match spot.within {
                    None => scalar::replaced(text, spot.place, &value),
                    Some(within) => scalar::replaced_within(text, within, spot.place, &value),
                };
                *text = replaced.map_err(|fault| found.fault(fault))?;
            }
        }
        texts.retain(|path, text| self.texts.get(path) != Some(text));
        Ok(texts)
    }

    /// Whether it stands in values for a chart only, which are rendered elsewhere.
    pub(super) fn is_loose(&self) -> bool {
        self.places.iter().all(|found| found.loose)
    }

    /// The text of a file that says the version.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether a version would be pinned less tightly here than it is given.
    pub fn drops_digest(&self, version: &Version) -> bool {
        let drops = |found: &Found| match &found.field {
            Field::Apart {
                tag: Some(tag),
                digest: None,
            } => !tag.is_by_digest(),
            Field::Apart { .. } | Field::Within { .. } => false,
        };
        version.digest.is_some() && self.places.iter().any(drops)
    }
}

impl Found {
    fn version(&self) -> Result<Version, Error> {
        let said = |spot: &Spot| spot.says.clone().map_err(|fault| self.fault(fault));
        let version = match &self.field {
            Field::Within { image } => Version::of_image(&said(image)?),
            Field::Apart { tag, digest } => {
                let parts = [tag, digest].into_iter().flatten();
                let parts = parts.map(said).collect::<Result<Vec<_>, _>>()?;
                parts.join("@").parse()
            }
        };
        version.map_err(|why| Error::NoVersion {
            place: self.told(),
            why,
        })
    }

    fn edits<'a>(&'a self, version: &Version) -> Result<Vec<(&'a Self, &'a Spot, String)>, Error> {
        let lacks = |what: &'static str| Error::Lacks {
            place: self.told(),
            version: version.to_string(),
            what,
        };
        let mut edits = Vec::new();
        match &self.field {
            Field::Within { image } => {
                let said = image.says.clone().map_err(|fault| self.fault(fault))?;
                if version.digest.is_none() && image_version(&said).contains('@') {
                    return Err(lacks("digest"));
                }
                let between = if version.tag.is_some() { ":" } else { "@" };
                edits.push((
                    self,
                    image,
                    format!("{}{between}{version}", image_name(&said)),
                ));
            }
            Field::Apart { tag, digest } => {
                if let Some(spot) = tag {
                    let tag = version.tag.clone().ok_or_else(|| lacks("tag"))?;
                    let whole = spot.is_by_digest() && digest.is_none();
                    if whole && version.digest.is_none() {
                        return Err(lacks("digest"));
                    }
                    edits.push((self, spot, if whole { version.to_string() } else { tag }));
                }
                if let Some(spot) = digest {
                    let digest = version.digest.clone().ok_or_else(|| lacks("digest"))?;
                    edits.push((self, spot, digest));
                }
            }
        }
        Ok(edits)
    }

    fn told(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    fn fault(&self, source: Fault) -> Error {
        Error::Scalar {
            place: self.told(),
            source,
        }
    }
}

impl Spot {
    /// Whether it holds a digest behind its tag, as charts without a field for it are given one.
    fn is_by_digest(&self) -> bool {
        self.says.as_ref().is_ok_and(|says| says.contains('@'))
    }
}

/// What would say the version, by what the folder deploys.
fn hint(files: &dyn Files, folder: &str, service: &Service) -> String {
    // A folder that cannot be built says so elsewhere (`sluice validate`).
    let objects = build(files, folder).unwrap_or_default();
    let mut images: Vec<String> = images(&objects)
        .into_iter()
        .map(|(.., image)| image)
        .collect();
    images.sort();
    images.dedup();
    if let Some(own) = images.iter().find(|image| service.has(image)) {
        let name = image_name(own);
        return format!(
            "it deploys {own} by a file outside, or in a form that is not read; pin it in the kustomization of {folder}, as `images: [{{name: {name}, newTag: v1.0.0}}]`"
        );
    }
    if images.is_empty() {
        return "want its image in `images` of a kustomization, in values or in a manifest; where values hold a tag alone, name their field as `tagField` of the service".to_owned();
    }
    format!(
        "its images are {}; name the service's own in the pipeline (services[].image)",
        images.join(", ")
    )
}

#[cfg(test)]
mod tests;
