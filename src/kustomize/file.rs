//! One `kustomization.yaml`, as people write it.
//!
//! Fields that change what is built and are not done are gaps, by name; fields that do not
//! (`metadata`, `buildMetadata`, `openapi` and the like) are read over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::build::Build;
use super::gaps::{Gap, Unknown};
use super::{Error, Files};

/// The names a kustomization may have, in kustomize's order.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// What would change the result and is not done, and what is not known for it. `configurations` say where names and
/// labels stand besides where they always do.
const NOT_DONE: [(&str, Unknown); 9] = [
    ("replacements", Unknown::Objects),
    ("vars", Unknown::Variables),
    ("helmCharts", Unknown::Others),
    ("helmChartInflationGenerator", Unknown::Others),
    ("helmGlobals", Unknown::Others),
    ("generators", Unknown::Others),
    ("transformers", Unknown::Objects),
    ("crds", Unknown::Objects),
    ("configurations", Unknown::Others),
];

/// The pattern of every kind.
const ANY: &str = ".*";

/// A kustomization.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Kustomization {
    pub resources: Vec<String>,
    pub bases: Vec<String>,
    pub components: Vec<String>,
    pub config_map_generator: Vec<Generator>,
    pub secret_generator: Vec<Generator>,
    pub generator_options: Options,
    pub patches_strategic_merge: Vec<String>,
    pub patches_json6902: Vec<Patch>,
    pub patches: Vec<Patch>,
    pub namespace: String,
    pub name_prefix: String,
    pub name_suffix: String,
    pub common_labels: BTreeMap<String, String>,
    pub labels: Vec<Labels>,
    pub common_annotations: BTreeMap<String, String>,
    pub images: Vec<Image>,
    pub replicas: Vec<Replicas>,
    /// Patterns of the kinds of its objects that something may change that is not done.
    #[serde(skip)]
    pub changed: Vec<String>,
}

/// A generator of ConfigMaps or Secrets.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Generator {
    pub name: String,
    pub namespace: String,
    pub behavior: String,
    pub files: Vec<String>,
    pub literals: Vec<String>,
    pub envs: Vec<String>,
    pub env: String,
    pub options: Options,
}

/// Options of generators.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    pub disable_name_suffix_hash: bool,
}

/// A patch and what it is for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Patch {
    pub path: String,
    #[serde(rename = "patch")]
    pub inline: String,
    pub target: Option<Target>,
}

/// Which objects a patch is for; patterns match as a whole.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub label_selector: String,
    pub annotation_selector: String,
}

/// Labels that are set.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Labels {
    pub pairs: BTreeMap<String, String>,
    pub include_selectors: bool,
    pub include_templates: bool,
}

/// An image that is renamed or pinned.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Image {
    pub name: String,
    pub new_name: String,
    pub new_tag: Option<Value>,
    pub digest: String,
}

/// A number of replicas that is set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replicas {
    pub name: String,
    pub count: i64,
}

impl Kustomization {
    /// The kustomization of a folder, with its path; `None` if there is none.
    pub fn read(build: &Build<'_>, folder: &str) -> Result<Option<(String, Self)>, Error> {
        for name in NAMES {
            let path = super::build::join(folder, name)?;
            let found = build.text(&path).map_err(|why| Error::new(&path, why))?;
            if let Some(text) = found {
                return Self::parse(build, &path, &text).map(|this| Some((path, this)));
            }
        }
        Ok(None)
    }

    fn parse(build: &Build<'_>, path: &str, text: &str) -> Result<Self, Error> {
        let mut documents = super::build::documents(path, text)?;
        if documents.len() > 1 {
            return Err(Error::new(path, "found several documents, want one"));
        }
        let document = documents
            .pop()
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let mut changed = Vec::new();
        for (field, unknown) in NOT_DONE {
            let Some(value) = document.get(field) else {
                continue;
            };
            let error = Error::new(path, format!("{field} is not understood here"));
            build.gap(Gap::new(error, field, unknown))?;
            match (unknown, field) {
                (Unknown::Objects, "replacements") => changed.extend(replaced(value)),
                (Unknown::Objects, _) => changed.push(ANY.to_owned()),
                (Unknown::Others | Unknown::Variables, _) => {}
            }
        }
        let this: Self = serde_json::from_value(document)
            .map_err(|error| Error::new(path, error.to_string()))?;
        Ok(Self { changed, ..this })
    }
}

/// The kinds that replacements are for. Names are left out, since objects are found by those they had before, too.
fn replaced(replacements: &Value) -> Vec<String> {
    let mut kinds = Vec::new();
    for replacement in replacements.as_array().into_iter().flatten() {
        match replacement.get("targets").and_then(Value::as_array) {
            Some(targets) => kinds.extend(targets.iter().map(|target| {
                let kind = super::text(target, &["select", "kind"]);
                if kind.is_empty() { ANY } else { kind }.to_owned()
            })),
            // They stand in another file.
            None => kinds.push(ANY.to_owned()),
        }
    }
    kinds
}
