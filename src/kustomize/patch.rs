//! Patches: strategic merge and JSON 6902, by name or by target.

use regex::Regex;
use serde_json::Value;

use super::build::{documents, join};
use super::file::{Kustomization, Patch, Target};
use super::merge::merge;
use super::{Error, Files, put, text};
use crate::yaml::{self, Kind, Node};

/// Groups whose kinds merge by Kubernetes' keys.
const BUILT_IN: [&str; 5] = [
    "apps",
    "batch",
    "policy",
    "autoscaling",
    "networking.k8s.io",
];

/// All patches of a kustomization.
pub(super) fn all(
    files: &dyn Files,
    folder: &str,
    path: &str,
    this: &Kustomization,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    for given in &this.patches_strategic_merge {
        let patch = if is_inline(given) {
            Patch {
                inline: given.clone(),
                ..Patch::default()
            }
        } else {
            Patch {
                path: given.clone(),
                ..Patch::default()
            }
        };
        one(files, folder, path, &patch, objects)?;
    }
    for patch in this.patches.iter().chain(&this.patches_json6902) {
        one(files, folder, path, patch, objects)?;
    }
    Ok(())
}

/// Whether it is a patch itself, and not the name of a file: kustomize tries to read it as one.
fn is_inline(given: &str) -> bool {
    let patch = |node: &Node| matches!(node.kind, Kind::Map(_));
    given.contains('\n') || yaml::documents(given).is_ok_and(|nodes| nodes.iter().any(patch))
}

fn one(
    files: &dyn Files,
    folder: &str,
    path: &str,
    patch: &Patch,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let (at, given) = match patch.path.as_str() {
        "" => (path.to_owned(), patch.inline.clone()),
        named => {
            let at = join(folder, named).map_err(|error| Error::new(path, error.why))?;
            let given = files.text(&at).map_err(|why| Error::new(&at, why))?;
            let given =
                given.ok_or_else(|| Error::new(path, format!("patch {named}: no such file")))?;
            (at, given)
        }
    };
    let targets = patch
        .target
        .as_ref()
        .map(|target| Matching::new(&at, target))
        .transpose()?;
    for document in documents(&at, &given)? {
        match &document {
            Value::Array(_) => operations(&at, targets.as_ref(), &document, objects)?,
            _ => laid_over(&at, targets.as_ref(), &document, objects)?,
        }
    }
    Ok(())
}

fn operations(
    at: &str,
    targets: Option<&Matching>,
    document: &Value,
    objects: &mut [Value],
) -> Result<(), Error> {
    let targets = targets.ok_or_else(|| Error::new(at, "a JSON patch needs a target"))?;
    let patch: json_patch::Patch = serde_json::from_value(document.clone())
        .map_err(|error| Error::new(at, format!("JSON patch: {error}")))?;
    for object in objects.iter_mut().filter(|object| targets.fit(object)) {
        json_patch::patch(object, &patch).map_err(|error| Error::new(at, error.to_string()))?;
    }
    Ok(())
}

fn laid_over(
    at: &str,
    targets: Option<&Matching>,
    patch: &Value,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let fits = |object: &Value| match targets {
        Some(targets) => targets.fit(object),
        None => same(object, patch),
    };
    if targets.is_none() && !objects.iter().any(fits) {
        let (kind, name) = (text(patch, &["kind"]), text(patch, &["metadata", "name"]));
        return Err(Error::new(
            at,
            format!("patches {kind}/{name}, which is not there"),
        ));
    }
    if patch.get("$patch").and_then(Value::as_str) == Some("delete") {
        objects.retain(|object| !fits(object));
        return Ok(());
    }
    for object in objects.iter_mut().filter(|object| fits(object)) {
        let kept = (object["kind"].clone(), object["metadata"]["name"].clone());
        merge(object, patch, is_built_in(object));
        put(object, &[], "kind", kept.0);
        put(object, &["metadata"], "name", kept.1);
    }
    Ok(())
}

fn is_built_in(object: &Value) -> bool {
    match text(object, &["apiVersion"]).split_once('/') {
        None => true,
        Some((group, _)) => BUILT_IN.contains(&group),
    }
}

fn same(object: &Value, patch: &Value) -> bool {
    let namespace = text(patch, &["metadata", "namespace"]);
    text(object, &["kind"]) == text(patch, &["kind"])
        && text(object, &["metadata", "name"]) == text(patch, &["metadata", "name"])
        && (namespace.is_empty() || text(object, &["metadata", "namespace"]) == namespace)
}

/// A target with its patterns.
struct Matching {
    patterns: Vec<(&'static [&'static str], Regex)>,
    group: String,
    version: String,
    labels: String,
    annotations: String,
}

impl Matching {
    fn new(at: &str, target: &Target) -> Result<Self, Error> {
        let mut patterns: Vec<(&'static [&'static str], Regex)> = Vec::new();
        let fields: [(&'static [&'static str], &String); 3] = [
            (&["kind"], &target.kind),
            (&["metadata", "name"], &target.name),
            (&["metadata", "namespace"], &target.namespace),
        ];
        for (path, pattern) in fields {
            if !pattern.is_empty() {
                let whole = Regex::new(&format!("^(?:{pattern})$"));
                let whole = whole.map_err(|error| Error::new(at, format!("target: {error}")))?;
                patterns.push((path, whole));
            }
        }
        Ok(Self {
            patterns,
            group: target.group.clone(),
            version: target.version.clone(),
            labels: simple(at, &target.label_selector)?,
            annotations: simple(at, &target.annotation_selector)?,
        })
    }

    fn fit(&self, object: &Value) -> bool {
        let api = text(object, &["apiVersion"]);
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let has = |what: &str, pairs: &str| {
            pairs
                .split(',')
                .filter(|pair| !pair.is_empty())
                .all(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    text(object, &["metadata", what, key.trim()])
                        == value.trim_start_matches('=').trim()
                })
        };
        self.patterns
            .iter()
            .all(|(path, whole)| whole.is_match(text(object, path)))
            && (self.group.is_empty() || self.group == group)
            && (self.version.is_empty() || self.version == version)
            && has("labels", &self.labels)
            && has("annotations", &self.annotations)
    }
}

/// A selector of pairs; sets and negations are refused.
fn simple(at: &str, selector: &str) -> Result<String, Error> {
    let odd = selector.contains(['(', '!'])
        || selector
            .split(',')
            .any(|pair| !pair.is_empty() && !pair.contains('='));
    if odd {
        Err(Error::new(
            at,
            format!("target: the selector {selector} is not understood here"),
        ))
    } else {
        Ok(selector.to_owned())
    }
}
