//! Where a service's version stands in a folder of manifests.
//!
//! In this order, and only the first that is found, since it overrides the others: `images` of a
//! kustomization (also of Flux's Kustomization), values of a `HelmRelease` (`image.repository` with
//! `image.tag`, or one text), `image` of a plain manifest. Several places must agree.
//!
//! Not here: the writing (`scalar`), and what is built of it (`crate::kustomize`).

use std::collections::BTreeMap;

use super::error::Error;
use super::version::Version;
use crate::kustomize::{Files, image_name, image_version, join};
use crate::yaml::scalar;
use crate::yaml::{self, Kind, Node, Place};

/// How deep folders are looked into.
const DEEPEST: usize = 16;

/// A service as its images call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its image without tag; else any whose last part is the name.
    pub image: Option<String>,
    /// The Rollout that brings it out; else of the same name.
    pub rollout: Option<String>,
}

impl Service {
    /// Whether an image, with a tag or without, is its own.
    pub(super) fn has(&self, image: &str) -> bool {
        let name = image_name(image);
        match &self.image {
            Some(own) => name == own,
            None => name.rsplit('/').next() == Some(&self.name),
        }
    }
}

/// What kind of field a version stands in; the first that is there overrides the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Kustomization,
    Values,
    Manifest,
}

/// One place.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    rank: Rank,
    file: String,
    /// Where the entry or the image begins.
    place: Place,
    field: Field,
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    /// Values of their own.
    Apart {
        tag: Option<Place>,
        digest: Option<Place>,
    },
    /// Within an image reference.
    Within { place: Place },
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
    /// Reads the folder.
    pub fn read(files: &dyn Files, folder: &str, service: &Service) -> Result<Self, Error> {
        let folder = join("", folder).map_err(Error::Manifests)?;
        let mut search = Search {
            files,
            service,
            texts: BTreeMap::new(),
            found: Vec::new(),
        };
        search.below(&folder, 0)?;
        let Search {
            mut texts,
            mut found,
            ..
        } = search;
        let first = found.iter().map(|found| found.rank).min();
        found.retain(|found| Some(found.rank) == first);
        texts.retain(|path, _| found.iter().any(|found| found.file == *path));
        let mut this = Self {
            version: Version::default(),
            texts,
            places: found,
        };
        this.version = this.agreed(&folder, service)?;
        Ok(this)
    }

    fn agreed(&self, folder: &str, service: &Service) -> Result<Version, Error> {
        let mut agreed: Option<Version> = None;
        for found in &self.places {
            let version = self.version_at(found)?;
            if agreed.as_ref().is_some_and(|agreed| *agreed != version) {
                let all = self.places.iter().map(Found::told).collect::<Vec<_>>();
                return Err(Error::Disagree {
                    service: service.name.clone(),
                    places: all.join(", "),
                });
            }
            agreed = Some(version);
        }
        agreed.ok_or_else(|| Error::NotThere {
            service: service.name.clone(),
            folder: folder.to_owned(),
        })
    }

    fn version_at(&self, found: &Found) -> Result<Version, Error> {
        let text = self.texts.get(&found.file).map_or("", String::as_str);
        let written = |place| scalar::written(text, place).map_err(|fault| found.fault(fault));
        let version = match &found.field {
            Field::Within { place } => Version::of_image(&written(*place)?),
            Field::Apart { tag, digest } => {
                let tag = tag.map(written).transpose()?;
                let digest = digest.map(written).transpose()?;
                let parts: Vec<String> = [tag, digest].into_iter().flatten().collect();
                parts.join("@").parse()
            }
        };
        version.map_err(|why| Error::NoVersion {
            place: found.told(),
            why,
        })
    }

    /// The files with another version, by their paths; every other byte as it was.
    pub fn with(&self, version: &Version) -> Result<BTreeMap<String, String>, Error> {
        let mut texts = self.texts.clone();
        // From the end, so that the places before stay where they are.
        let mut edits = Vec::new();
        for found in &self.places {
            edits.extend(self.edits(found, version)?);
        }
        edits.sort_by_key(|(_, place, _)| std::cmp::Reverse(*place));
        for (found, place, value) in edits {
            if let Some(text) = texts.get_mut(&found.file) {
                *text =
                    scalar::replaced(text, place, &value).map_err(|fault| found.fault(fault))?;
            }
        }
        texts.retain(|path, text| self.texts.get(path) != Some(text));
        Ok(texts)
    }

    fn edits<'a>(
        &'a self,
        found: &'a Found,
        version: &Version,
    ) -> Result<Vec<(&'a Found, Place, String)>, Error> {
        let lacks = |what: &'static str| Error::Lacks {
            place: found.told(),
            version: version.to_string(),
            what,
        };
        match &found.field {
            Field::Within { place } => {
                let text = self.texts.get(&found.file).map_or("", String::as_str);
                let image = scalar::written(text, *place).map_err(|fault| found.fault(fault))?;
                if version.digest.is_none() && image_version(&image).contains('@') {
                    return Err(lacks("digest"));
                }
                let between = if version.tag.is_some() { ":" } else { "@" };
                let image = format!("{}{between}{version}", image_name(&image));
                Ok(vec![(found, *place, image)])
            }
            Field::Apart { tag, digest } => {
                let mut edits = Vec::new();
                match (tag, &version.tag) {
                    (Some(place), Some(tag)) => edits.push((found, *place, tag.clone())),
                    (Some(_), None) => return Err(lacks("tag")),
                    (None, _) => {}
                }
                match (digest, &version.digest) {
                    (Some(place), Some(digest)) => edits.push((found, *place, digest.clone())),
                    (Some(_), None) => return Err(lacks("digest")),
                    (None, _) => {}
                }
                Ok(edits)
            }
        }
    }

    /// The text of a file that says the version.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether a version would be pinned less tightly here than it is given.
    pub fn drops_digest(&self, version: &Version) -> bool {
        let apart = |found: &Found| matches!(found.field, Field::Apart { digest: None, .. });
        version.digest.is_some() && self.places.iter().any(apart)
    }
}

impl Found {
    fn told(&self) -> String {
        format!("{}:{}", self.file, self.place.line)
    }

    fn fault(&self, source: scalar::Fault) -> Error {
        Error::Scalar {
            place: self.told(),
            source,
        }
    }
}

struct Search<'a> {
    files: &'a dyn Files,
    service: &'a Service,
    texts: BTreeMap<String, String>,
    found: Vec<Found>,
}

impl Search<'_> {
    fn below(&mut self, folder: &str, depth: usize) -> Result<(), Error> {
        let unread = |why| Error::Read {
            path: folder.to_owned(),
            why,
        };
        let names = self.files.list(folder).map_err(unread)?;
        let names = names.ok_or_else(|| unread("there is no such folder".to_owned()))?;
        for name in names {
            let path = join(folder, &name).map_err(Error::Manifests)?;
            if name.ends_with('/') {
                if depth < DEEPEST && !name.starts_with('.') {
                    self.below(&path, depth + 1)?;
                }
            } else if is_yaml(&name) {
                self.file(&path, &name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, name: &str) -> Result<(), Error> {
        let text = self.files.text(path).map_err(|why| Error::Read {
            path: path.to_owned(),
            why,
        })?;
        let text = text.unwrap_or_default();
        let documents = match yaml::documents(&text) {
            Ok(documents) => documents,
            // A template of another tool: of interest only if it names the service.
            Err(_) if !text.contains(&self.service.name) => return Ok(()),
            Err(error) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
            }
        };
        let before = self.found.len();
        for document in &documents {
            self.document(path, name, document);
        }
        if self.found.len() > before {
            self.texts.insert(path.to_owned(), text);
        }
        Ok(())
    }

    fn document(&mut self, path: &str, name: &str, document: &Node) {
        let kind = document.get("kind").and_then(Node::text);
        let group = document.get("apiVersion").and_then(Node::text);
        let group = group.and_then(|version| version.split('/').next());
        let spec = document.get("spec");
        match (kind, group) {
            _ if is_kustomization(name) => self.images(path, document.get("images")),
            (Some("Kustomization"), Some("kustomize.toolkit.fluxcd.io")) => {
                self.images(path, spec.and_then(|spec| spec.get("images")));
            }
            (Some("HelmRelease"), _) => {
                if let Some(values) = spec.and_then(|spec| spec.get("values")) {
                    self.values(path, values, Rank::Values);
                }
            }
            (Some(_), _) => self.values(path, document, Rank::Manifest),
            (None, _) => self.values(path, document, Rank::Values),
        }
    }

    /// The `images` of a kustomization.
    fn images(&mut self, path: &str, images: Option<&Node>) {
        let Some(Kind::List(items)) = images.map(|images| &images.kind) else {
            return;
        };
        for item in items {
            let named = |key: &str| item.get(key).and_then(Node::text);
            let names = [named("name"), named("newName")];
            if names
                .into_iter()
                .flatten()
                .any(|name| self.service.has(name))
            {
                self.apart(Rank::Kustomization, path, item, ("newTag", "digest"));
            }
        }
    }

    fn apart(&mut self, rank: Rank, path: &str, node: &Node, (tag, digest): (&str, &str)) {
        let place = |key: &str| {
            let value = node.get(key).filter(|value| !is_empty(value));
            value.map(|value| value.place)
        };
        self.found.push(Found {
            rank,
            file: path.to_owned(),
            place: node.place,
            field: Field::Apart {
                tag: place(tag),
                digest: place(digest),
            },
        });
    }

    /// Images below a node: one text at `image`, or `repository` beside `tag` or `digest`.
    fn values(&mut self, path: &str, node: &Node, rank: Rank) {
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| self.values(path, item, rank)),
            Kind::Map(entries) => {
                if rank == Rank::Values && self.is_in_parts(node) {
                    self.apart(rank, path, node, ("tag", "digest"));
                }
                for entry in entries {
                    match entry.value.text() {
                        Some(image) if entry.key == "image" && self.service.has(image) => {
                            self.found.push(Found {
                                rank,
                                file: path.to_owned(),
                                place: entry.place,
                                field: Field::Within {
                                    place: entry.value.place,
                                },
                            });
                        }
                        _ => self.values(path, &entry.value, rank),
                    }
                }
            }
            _ => {}
        }
    }

    fn is_in_parts(&self, node: &Node) -> bool {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let Some(repository) = text("repository") else {
            return false;
        };
        let whole = text("registry").map(|registry| format!("{registry}/{repository}"));
        let versioned = node.get("tag").is_some() || node.get("digest").is_some();
        let named = self.service.has(repository) || whole.is_some_and(|w| self.service.has(&w));
        versioned && named
    }
}

fn is_empty(node: &Node) -> bool {
    node.kind == Kind::Null || node.text() == Some("")
}

fn is_yaml(name: &str) -> bool {
    is_kustomization(name) || matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
}

fn is_kustomization(name: &str) -> bool {
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name)
}
