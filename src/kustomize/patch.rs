//! Patches: strategic merge and JSON 6902, by name or by target.

use regex::Regex;
use serde_json::Value;

use super::build::{Build, documents, elsewhere, is_elsewhere, join};
use super::file::{Kustomization, Patch, Target};
use super::gaps::{Gap, Unknown, is_marked, mark};
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
    build: &Build<'_>,
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
        one(build, folder, path, &patch, objects)?;
    }
    for patch in this.patches.iter().chain(&this.patches_json6902) {
        one(build, folder, path, patch, objects)?;
    }
    Ok(())
}

/// Whether it is a patch itself, and not the name of a file: kustomize tries to read it as one.
fn is_inline(given: &str) -> bool {
    let patch = |node: &Node| matches!(node.kind, Kind::Map(_));
    given.contains('\n') || yaml::documents(given).is_ok_and(|nodes| nodes.iter().any(patch))
}

fn one(
    build: &Build<'_>,
    folder: &str,
    path: &str,
    patch: &Patch,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let targets = patch.target.as_ref();
    let targets = targets
        .map(|target| Matching::new(path, target))
        .transpose()?;
    let odd = targets.as_ref().and_then(Matching::odd);
    let why = match odd {
        Some(selector) => Some(Error::new(
            path,
            format!("target: the selector {selector} is not understood here"),
        )),
        None => is_elsewhere(&patch.path).then(|| elsewhere(path, &patch.path)),
    };
    if let Some(error) = why {
        build.gap(Gap::new(error, "patches", Unknown::Objects))?;
        let fits = |object: &&mut Value| targets.as_ref().is_none_or(|targets| targets.fit(object));
        objects.iter_mut().filter(fits).for_each(mark);
        return Ok(());
    }
    let (at, given) = match patch.path.as_str() {
        "" => (path.to_owned(), patch.inline.clone()),
        named => {
            let at = join(folder, named).map_err(|error| Error::new(path, error.why))?;
            let given = build.text(&at).map_err(|why| Error::new(&at, why))?;
            let given =
                given.ok_or_else(|| Error::new(path, format!("patch {named}: no such file")))?;
            (at, given)
        }
    };
    for document in documents(&at, &given)? {
        match &document {
            Value::Array(_) => operations(&at, targets.as_ref(), &document, objects)?,
            _ => laid_over(build, &at, targets.as_ref(), &document, objects)?,
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
        match json_patch::patch(object, &patch) {
            Err(error) if !is_marked(object) => return Err(Error::new(at, error.to_string())),
            // What it lacks may come from what is not known.
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}

fn laid_over(
    build: &Build<'_>,
    at: &str,
    targets: Option<&Matching>,
    patch: &Value,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let fits = |object: &Value| match targets {
        Some(targets) => targets.fit(object),
        None => same(object, patch),
    };
    let deletes = patch.get("$patch").and_then(Value::as_str) == Some("delete");
    if targets.is_none() && !objects.iter().any(fits) {
        let (kind, name) = (text(patch, &["kind"]), text(patch, &["metadata", "name"]));
        if !build.is_open() {
            let why = format!("patches {kind}/{name}, which is not there");
            return Err(Error::new(at, why));
        }
        if !deletes && !kind.is_empty() {
            let mut part = patch.clone();
            mark(&mut part);
            objects.push(part);
        }
        return Ok(());
    }
    if deletes {
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
            labels: target.label_selector.clone(),
            annotations: target.annotation_selector.clone(),
        })
    }

    /// The selector that is not understood, if one of them is not.
    fn odd(&self) -> Option<&str> {
        let mut selectors = [&self.labels, &self.annotations].into_iter();
        selectors
            .find(|selector| !is_simple(selector))
            .map(String::as_str)
    }

    /// Whether an object is a target; a selector that is not understood lets all pass.
    fn fit(&self, object: &Value) -> bool {
        let api = text(object, &["apiVersion"]);
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let has = |what: &str, pairs: &str| {
            !is_simple(pairs)
                || pairs
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

/// A selector of pairs, without sets and negations.
fn is_simple(selector: &str) -> bool {
    let mut pairs = selector.split(',').filter(|pair| !pair.is_empty());
    !selector.contains(['(', '!']) && pairs.all(|pair| pair.contains('='))
}
