//! Fields of kustomizations that kustomize does not know, and numbers where it wants text: it refuses the folder.
//!
//! Building reads over them (`crate::kustomize`), since Flux leaves some of them out of what it builds.
//!
//! Source: kustomize's types (`api/types`), which it decodes with unknown fields disallowed.

use super::sources::Document;
use super::{Finding, Level};
use crate::yaml::{Entry, Kind, Node, Place};

/// Field, and what its value is.
type Fields = &'static [(&'static str, Value)];

/// What a field holds.
#[derive(Clone, Copy)]
enum Value {
    Any,
    Text,
    /// A list of objects with these fields.
    Each(Fields),
    /// An object with these fields.
    One(Fields),
}

use Value::{Any, Each, One, Text};

const FIELDS: Fields = &[
    ("apiVersion", Text),
    ("kind", Text),
    ("metadata", Any),
    ("openapi", Any),
    ("namePrefix", Text),
    ("nameSuffix", Text),
    ("namespace", Text),
    ("commonLabels", Any),
    ("labels", Each(LABELS)),
    ("commonAnnotations", Any),
    ("patchesStrategicMerge", Any),
    ("patchesJson6902", Each(PATCH)),
    ("patches", Each(PATCH)),
    ("images", Each(IMAGE)),
    ("imageTags", Each(IMAGE)),
    ("replacements", Any),
    ("replicas", Each(REPLICAS)),
    ("vars", Any),
    ("sortOptions", Any),
    ("resources", Any),
    ("components", Any),
    ("crds", Any),
    ("bases", Any),
    ("configMapGenerator", Each(GENERATOR)),
    ("secretGenerator", Each(GENERATOR)),
    ("helmGlobals", Any),
    ("helmCharts", Any),
    ("helmChartInflationGenerator", Any),
    ("generatorOptions", One(OPTIONS)),
    ("configurations", Any),
    ("generators", Any),
    ("transformers", Any),
    ("validators", Any),
    ("buildMetadata", Any),
];
const IMAGE: Fields = &[
    ("name", Text),
    ("newName", Text),
    ("tagSuffix", Text),
    ("newTag", Text),
    ("digest", Text),
];
const REPLICAS: Fields = &[("name", Text), ("count", Any)];
const LABELS: Fields = &[
    ("pairs", Any),
    ("includeSelectors", Any),
    ("includeTemplates", Any),
    ("fields", Any),
];
const PATCH: Fields = &[
    ("path", Text),
    ("patch", Text),
    ("target", One(TARGET)),
    ("options", Any),
];
const TARGET: Fields = &[
    ("group", Text),
    ("version", Text),
    ("kind", Text),
    ("name", Text),
    ("namespace", Text),
    ("annotationSelector", Text),
    ("labelSelector", Text),
];
const GENERATOR: Fields = &[
    ("namespace", Text),
    ("name", Text),
    ("behavior", Text),
    ("literals", Any),
    ("files", Any),
    ("envs", Any),
    ("env", Text),
    ("options", One(OPTIONS)),
    ("type", Text),
];
const OPTIONS: Fields = &[
    ("labels", Any),
    ("annotations", Any),
    ("disableNameSuffixHash", Any),
    ("immutable", Any),
];

/// What is wrong with the kustomizations that were read.
pub(super) fn check(documents: &[Document]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents
        .iter()
        .filter(|document| document.is_kustomization())
    {
        let mut told = |place: Place, message: String| {
            findings.push(Finding {
                rule: "builds",
                level: Level::Error,
                file: document.file.clone(),
                line: place.line,
                column: place.column,
                object: String::new(),
                message,
            });
        };
        object(&document.node, FIELDS, "", &mut told);
    }
    findings
}

fn object(node: &Node, fields: Fields, path: &str, told: &mut impl FnMut(Place, String)) {
    let Kind::Map(entries) = &node.kind else {
        return;
    };
    for entry in entries {
        // As Go reads JSON, a name may be written in any case.
        let known = |field: &&(&str, Value)| field.0.eq_ignore_ascii_case(&entry.key);
        let path = format!("{path}{}", entry.key);
        match fields.iter().find(known) {
            Some((_, value)) => field(entry, *value, &path, told),
            None => told(
                entry.place,
                format!("{path}: kustomize knows no such field"),
            ),
        }
    }
}

fn field(entry: &Entry, value: Value, path: &str, told: &mut impl FnMut(Place, String)) {
    match (value, &entry.value.kind) {
        (Text, Kind::Int(_) | Kind::Float(_) | Kind::Bool(_)) => told(
            entry.value.place,
            format!("{path}: kustomize wants text here; put it in quotes"),
        ),
        (One(fields), _) => object(&entry.value, fields, &format!("{path}."), told),
        (Each(fields), Kind::List(items)) => {
            for (number, item) in items.iter().enumerate() {
                object(item, fields, &format!("{path}[{number}]."), told);
            }
        }
        (Any | Text | Each(_), _) => {}
    }
}
