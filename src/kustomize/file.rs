//! One `kustomization.yaml`, as people write it.
//!
//! Fields that change what is built and are not done are refused by name; fields that do not
//! (`metadata`, `buildMetadata`, `openapi` and the like) are read over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Files};

/// The names a kustomization may have, in kustomize's order.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// What would change the result and is not done.
const NOT_DONE: [&str; 9] = [
    "replacements",
    "vars",
    "helmCharts",
    "helmChartInflationGenerator",
    "helmGlobals",
    "generators",
    "transformers",
    "crds",
    "configurations",
];

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
    pub fn read(files: &dyn Files, folder: &str) -> Result<Option<(String, Self)>, Error> {
        for name in NAMES {
            let path = super::build::join(folder, name)?;
            let found = files.text(&path).map_err(|why| Error::new(&path, why))?;
            if let Some(text) = found {
                return Self::parse(&path, &text).map(|this| Some((path, this)));
            }
        }
        Ok(None)
    }

    fn parse(path: &str, text: &str) -> Result<Self, Error> {
        let mut documents = super::build::documents(path, text)?;
        if documents.len() > 1 {
            return Err(Error::new(path, "found several documents, want one"));
        }
        let document = documents
            .pop()
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if let Some(field) = NOT_DONE
            .iter()
            .find(|field| document.get(**field).is_some())
        {
            return Err(Error::new(path, format!("{field} is not understood here")));
        }
        serde_json::from_value(document).map_err(|error| Error::new(path, error.to_string()))
    }
}
