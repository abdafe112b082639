//! What a folder of manifests deploys, as `kustomize build` would say it: enough of it to compare
//! one workload between two commits.
//!
//! Done: resources, components, generated ConfigMaps and Secrets with their changing names,
//! patches of all forms, namespace, prefix and suffix, labels, annotations, replicas, images; and a
//! folder without a kustomization, which Flux takes as all manifests below it. What is not done
//! (remote bases, Helm charts, replacements, plugins) is an error that names it, so that nobody
//! takes half a build for a whole one; who wants what is known all the same says so (`build_partly`).
//!
//! A generated name ends in a digest of our own, not kustomize's: equal where the content is.
//! Files come from disk or from Git (`sources`); the rest of this folder asks for them as `Files`.
//!
//! Source: the Kustomization file reference of kustomize (v1beta1).

mod build;
mod file;
mod gaps;
mod generate;
mod images;
mod labels;
mod merge;
mod patch;
mod references;
mod sources;

pub use build::{build, build_partly, join};
pub use gaps::{Gap, Objects, Partly, Unknown};
pub use sources::{Disk, Rewritten, Tracked, blob};

use serde_json::{Map, Value};

/// An image without its tag and digest.
pub fn image_name(image: &str) -> &str {
    images::parts(image).0
}

/// An image's tag and digest with what stands before them: `:v1@sha256:...`, or nothing.
pub fn image_version(image: &str) -> &str {
    images::parts(image).1
}

/// Where manifests come from. Paths are relative to the root, with `/`, without `.` and `..`.
pub trait Files {
    /// A file's text; `None` if there is no such file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn text(&self, path: &str) -> Result<Option<String>, String>;

    /// The names in a folder, those of folders ending in `/`; `None` if there is no such folder.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String>;
}

/// Why a folder cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Error {
    /// The file or folder.
    pub file: String,
    /// What was found, and what would be right.
    pub why: String,
}

impl Error {
    fn new(file: &str, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            why: why.into(),
        }
    }
}

/// The text at `keys` of an object, or nothing.
fn text<'a>(object: &'a Value, keys: &[&str]) -> &'a str {
    let found = keys.iter().try_fold(object, |object, key| object.get(key));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// The mapping at `keys`, made where there is nothing; none where people wrote something else.
fn mapping<'a>(object: &'a mut Value, keys: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut at = object;
    for key in keys {
        at = filled(at)?.entry(*key).or_insert(Value::Null);
    }
    filled(at)
}

fn filled(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// Puts a field into the mapping at `keys`, if that is one.
fn put(object: &mut Value, keys: &[&str], field: &str, value: Value) {
    if let Some(fields) = mapping(object, keys) {
        fields.insert(field.to_owned(), value);
    }
}

/// The pod template's metadata and spec within a workload, wherever its kind keeps it.
fn templates(object: &mut Value) -> Option<&mut Value> {
    match text(object, &["kind"]) {
        "CronJob" => object.pointer_mut("/spec/jobTemplate/spec/template"),
        "Pod" => Some(object),
        _ => object.pointer_mut("/spec/template"),
    }
}
