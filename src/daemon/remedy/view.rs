//! What a tree of a repository deploys for one workload: its pod template, as built from the
//! path; or the `HelmRelease` that deploys it; or, where neither can be built, the files under the path that
//! name one of its images.

use git2::{ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use serde_json::{Value, json};

use super::others::{Trees, differing, manifests};
use super::own::Own;
use crate::git::{Error, View};
use crate::kubernetes::flux::Named;
use crate::kustomize::{self, Tracked, build};

/// The pod template that a path deploys.
#[derive(Debug, Clone)]
pub struct Template {
    /// The path, from the root.
    pub path: String,
    /// The workload's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where the manifests decide on it.
    pub namespace: Option<String>,
    /// The failed images, without their versions.
    pub images: Vec<String>,
}

impl Template {
    fn is(&self, object: &Value) -> bool {
        let written = object["metadata"]["namespace"].as_str();
        // What Flux substitutes is not known here.
        let written = written.filter(|written| !written.contains("${"));
        let own = self.namespace.as_deref();
        object["kind"] == self.kind.as_str()
            && object["metadata"]["name"] == self.name.as_str()
            && written.zip(own).is_none_or(|(written, own)| written == own)
    }
}

impl View for Template {
    fn of(&self, repository: &Repository, tree: &Tree<'_>) -> Result<String, Error> {
        let files = Tracked { repository, tree };
        let objects = build(&files, &self.path).map_err(|error| Error::View(error.to_string()))?;
        let mut found = objects.into_iter().filter(|object| self.is(object));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one["spec"]["template"].to_string()),
            (None, _) => Err(Error::View(format!(
                "{} deploys no {} {}",
                self.path, self.kind, self.name
            ))),
            (Some(_), Some(_)) => Err(Error::View(format!(
                "{} deploys several {}",
                self.path, self.name
            ))),
        }
    }

    fn others(
        &self,
        repository: &Repository,
        before: &Tree<'_>,
        after: &Tree<'_>,
    ) -> Result<Vec<String>, Error> {
        let trees = Trees {
            repository,
            before,
            after,
        };
        let own = Own::of(trees, &self.path, &|object| self.is(object))?;
        let ours = |object: &Value| self.is(object) || own.has(object);
        differing(trees, &self.path, &self.images, ours)
    }
}

/// A `HelmRelease` that a path deploys: its chart and its values, which are compared, not rendered.
#[derive(Debug, Clone)]
pub struct Release {
    /// The path, from the root.
    pub path: String,
    /// The object.
    pub at: Named,
    /// The failed images, without their versions.
    pub images: Vec<String>,
}

impl Release {
    fn is(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        object["kind"] == "HelmRelease"
            && object["metadata"]["name"] == self.at.name.as_str()
            && namespace.is_none_or(|namespace| namespace == self.at.namespace)
    }
}

impl View for Release {
    fn of(&self, repository: &Repository, tree: &Tree<'_>) -> Result<String, Error> {
        let files = Tracked { repository, tree };
        let objects = build(&files, &self.path).map_err(|error| Error::View(error.to_string()))?;
        let Named { namespace, name } = &self.at;
        let release = objects.iter().find(|it| self.is(it)).ok_or_else(|| {
            Error::View(format!(
                "{} deploys no HelmRelease {namespace}/{name}",
                self.path
            ))
        })?;
        let spec = &release["spec"];
        let parts = ["chart", "chartRef", "values", "postRenderers"].map(|part| &spec[part]);
        Ok(json!([parts, values_from(spec, &objects)]).to_string())
    }

    fn others(
        &self,
        repository: &Repository,
        before: &Tree<'_>,
        after: &Tree<'_>,
    ) -> Result<Vec<String>, Error> {
        let trees = Trees {
            repository,
            before,
            after,
        };
        let own = Own::of(trees, &self.path, &|object| self.is(object))?;
        let ours = |object: &Value| self.is(object) || own.has(object);
        differing(trees, &self.path, &self.images, ours)
    }
}

/// What the values are taken from, as far as the same path deploys it.
fn values_from<'a>(spec: &Value, objects: &'a [Value]) -> Vec<&'a Value> {
    let from = spec["valuesFrom"].as_array();
    from.into_iter()
        .flatten()
        .filter_map(|from| {
            let named = |object: &&Value| {
                object["kind"] == from["kind"] && object["metadata"]["name"] == from["name"]
            };
            objects.iter().find(named)
        })
        .collect()
}

/// The files under a path that name an image.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The path, from the root.
    pub path: String,
    /// Images without their tags.
    pub images: Vec<String>,
}

impl Naming {
    /// For these images, tags and digests left out.
    pub fn new(path: &str, images: &[String]) -> Self {
        Self {
            path: path.to_owned(),
            images: names(images),
        }
    }
}

/// Images without their versions, each once.
pub fn names(images: &[String]) -> Vec<String> {
    let name = |image: &String| kustomize::image_name(image).to_owned();
    let mut names: Vec<String> = images.iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl View for Naming {
    fn of(&self, repository: &Repository, tree: &Tree<'_>) -> Result<String, Error> {
        let folder = self.path.trim_start_matches("./").trim_matches('/');
        let below = match folder {
            "" | "." => tree.clone(),
            folder => {
                let entry = tree.get_path(std::path::Path::new(folder));
                let found = entry.and_then(|entry| repository.find_tree(entry.id()));
                found.map_err(|_| Error::View(format!("there is no folder {folder}")))?
            }
        };
        let mut seen = String::new();
        let walked = below.walk(TreeWalkMode::PreOrder, |parent, entry| {
            if entry.kind() == Some(ObjectType::Blob)
                && let Ok(blob) = kustomize::blob(repository, entry.id())
                && self.named_in(blob.content())
            {
                let name = String::from_utf8_lossy(entry.name_bytes());
                seen.extend([parent, &name, " ", &entry.id().to_string(), "\n"]);
            }
            TreeWalkResult::Ok
        });
        walked.map_err(|error| Error::View(error.message().to_owned()))?;
        if seen.is_empty() {
            Err(Error::View(format!(
                "no file under {} names {}",
                self.path,
                self.images.join(" or ")
            )))
        } else {
            Ok(seen)
        }
    }

    fn others(
        &self,
        repository: &Repository,
        before: &Tree<'_>,
        after: &Tree<'_>,
    ) -> Result<Vec<String>, Error> {
        let trees = Trees {
            repository,
            before,
            after,
        };
        manifests(trees, |_, text| self.named_in(text.as_bytes()))
    }
}

impl Naming {
    fn named_in(&self, content: &[u8]) -> bool {
        let text = String::from_utf8_lossy(content);
        self.images
            .iter()
            .any(|image| text.contains(image.as_str()))
    }
}
