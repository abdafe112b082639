//! The layers of the settings: the file and the variables, merged by the `config` crate.
//!
//! Each value carries its origin (`file:line:column` or a variable's name) through the merge,
//! so that a mistake found afterwards can be reported where it was made.
//!
//! Not here: what a value must look like.

use std::path::Path;

use config::{Config, Map, Source, Value, ValueKind};

use super::{KEYS, Problem};
use crate::yaml::{self, Kind, Node, Place};

/// What separates the parts of a key in a variable's name.
const SEPARATOR: &str = "__";
const PREFIX: &str = "SLUICE_";
/// Variables that are not settings: the command line's own.
const OTHERS: &[&str] = &["SLUICE_CONFIG", "SLUICE_PIPELINE", "SLUICE_SERVER"];

/// Merges file and variables. None when the file is no mapping at all: nothing else can be said
/// then, and that is a problem already.
pub fn merge(
    text: &str,
    file: &Path,
    variables: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let file = from_file(text, file, problems);
    let variables = from_variables(variables, problems);
    let file = file?;
    let merged = Config::builder()
        .add_source(file.clone())
        .add_source(variables)
        .build();
    match merged {
        Ok(config) => Some(placed(config.cache, &Value::from(file.0))),
        Err(error) => {
            problems.push(Problem {
                origin: "settings".to_owned(),
                key: "settings".to_owned(),
                found: error.to_string(),
                wanted: "layers that fit together".to_owned(),
            });
            None
        }
    }
}

/// Gives the mappings their places back, which the merge forgets.
fn placed(merged: Value, file: &Value) -> Value {
    let (ValueKind::Table(map), ValueKind::Table(old)) = (&merged.kind, &file.kind) else {
        return merged;
    };
    let children = map.iter().map(|(key, child)| {
        let child = match old.get(key) {
            Some(old) => placed(child.clone(), old),
            None => child.clone(),
        };
        (key.clone(), child)
    });
    let origin = file.origin().map(ToOwned::to_owned);
    Value::new(origin.as_ref(), ValueKind::Table(children.collect()))
}

/// One layer: values with their origins.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn from_file(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<Layer> {
    let file = file.display().to_string();
    let mut problem = |place: Place, found: String, wanted: &str| {
        problems.push(Problem {
            origin: origin(&file, place),
            key: "settings".to_owned(),
            found,
            wanted: wanted.to_owned(),
        });
    };
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(error) => {
            problem(error.place, error.message, "YAML");
            return None;
        }
    };
    if let Some(second) = documents.get(1) {
        problem(second.place, "a second document".to_owned(), "one");
    }
    match documents.first() {
        None => Some(Layer::default()),
        Some(root) => match value(&file, root.place, root).kind {
            ValueKind::Table(map) => Some(Layer(map)),
            other => {
                let found = super::reader::found(&other);
                problem(root.place, found, "a mapping");
                None
            }
        },
    }
}

fn origin(file: &str, place: Place) -> String {
    format!("{file}:{}:{}", place.line, place.column)
}

/// A value of a mapping is placed at its key, an item of a list at itself.
fn value(file: &str, place: Place, node: &Node) -> Value {
    let kind = match &node.kind {
        Kind::Null => ValueKind::Nil,
        Kind::Bool(value) => ValueKind::Boolean(*value),
        Kind::Int(value) => ValueKind::I64(*value),
        Kind::Float(value) => ValueKind::Float(*value),
        Kind::Text(text) => ValueKind::String(text.clone()),
        Kind::List(items) => {
            let items = items.iter().map(|item| value(file, item.place, item));
            ValueKind::Array(items.collect())
        }
        Kind::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|e| (e.key.clone(), value(file, e.place, &e.value)));
            ValueKind::Table(entries.collect())
        }
    };
    Value::new(Some(&origin(file, place)), kind)
}

fn from_variables(variables: &[(String, String)], problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let path = path.replace(SEPARATOR, ".");
        let key = KEYS.iter().find(|(key, _)| key.eq_ignore_ascii_case(&path));
        match key {
            Some((key, list)) => {
                layer
                    .0
                    .insert((*key).to_owned(), variable(name, text, *list));
            }
            None if OTHERS.contains(&name.as_str()) || service_link(name) => {}
            None => problems.push(Problem {
                origin: name.clone(),
                key: path.to_lowercase(),
                found: "an unknown variable".to_owned(),
                wanted: "a key of the settings with __ between its parts".to_owned(),
            }),
        }
    }
    layer
}

fn variable(name: &str, text: &str, list: bool) -> Value {
    let origin = Some(name.to_owned());
    let one = |text: &str| Value::new(origin.as_ref(), ValueKind::String(text.trim().to_owned()));
    if list {
        let items = text.split(',').filter(|item| !item.trim().is_empty());
        Value::new(origin.as_ref(), ValueKind::Array(items.map(one).collect()))
    } else {
        one(text)
    }
}

/// Kubernetes sets `SLUICE_PORT`, `SLUICE_SERVICE_HOST` and the like in pods beside a Service
/// named `sluice` or `sluice-...`.
fn service_link(name: &str) -> bool {
    let name = name.strip_suffix("_PROTO").unwrap_or(name);
    let name = name.strip_suffix("_ADDR").unwrap_or(name);
    let ends = ["_SERVICE_HOST", "_PORT", "_TCP", "_UDP", "_SCTP"];
    let ending = ends.iter().any(|end| name.ends_with(end));
    !name.contains(SEPARATOR) && (ending || name.contains("_SERVICE_PORT"))
}
