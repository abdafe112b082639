//! A Rollout against its schema: every field that is unknown, missing or of the wrong type.
//!
//! The schema is the one that the API server gets, so both refuse the same. Only what it uses
//! is understood: types, properties, required, enums, bounds, items.
//!
//! Not here: what is beyond a schema (`kubernetes::conversion`).

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::kubernetes::crd::Rollout;
use crate::yaml::{Entry, Kind, Node, Place};

/// Something that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// The field.
    pub path: String,
    /// What was found and what is wanted.
    pub message: String,
}

/// Everything that is wrong, and the spec without it: what is unknown is left out, what is
/// missing or of the wrong type has a stand-in, so that the rest can be looked at further.
pub fn check(rollout: &Node) -> (Value, Vec<Fault>) {
    let mut faults = Faults::default();
    let crd = serde_json::to_value(Rollout::crd()).unwrap_or_default();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let spec = match rollout.get("spec") {
        Some(spec) => faults.walk(schema, spec, spec.place, "spec"),
        None => faults.stand_in(schema, rollout.place, "spec", "nothing"),
    };
    (spec, faults.0)
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn walk(&mut self, schema: &Value, node: &Node, place: Place, path: &str) -> Value {
        if node.kind == Kind::Null && schema["nullable"] == true {
            return Value::Null;
        }
        if !fits(schema, node) {
            return self.stand_in(schema, place, path, &found(node));
        }
        match &node.kind {
            Kind::Map(entries) => self.mapping(schema, node, entries, path),
            Kind::List(items) => {
                let item = |(index, item): (usize, &Node)| {
                    let path = format!("{path}[{index}]");
                    self.walk(&schema["items"], item, item.place, &path)
                };
                items.iter().enumerate().map(item).collect()
            }
            _ => node.to_json(),
        }
    }

    fn mapping(&mut self, schema: &Value, node: &Node, entries: &[Entry], path: &str) -> Value {
        let Some(properties) = schema["properties"].as_object() else {
            return node.to_json();
        };
        let mut sound = Map::new();
        for entry in entries {
            let path = format!("{path}.{}", entry.key);
            if let Some(schema) = properties.get(&entry.key) {
                let value = self.walk(schema, &entry.value, entry.place, &path);
                sound.insert(entry.key.clone(), value);
                continue;
            }
            let known = properties.keys().cloned().collect::<Vec<_>>().join(", ");
            let wanted = format!("one of: {known}");
            self.tell(entry.place, &path, "an unknown field", &wanted);
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if node.get(key).is_none() {
                let path = format!("{path}.{key}");
                let value = self.stand_in(&properties[key], node.place, &path, "nothing");
                sound.insert(key.to_owned(), value);
            }
        }
        Value::Object(sound)
    }

    fn stand_in(&mut self, schema: &Value, place: Place, path: &str, found: &str) -> Value {
        self.tell(place, path, found, &wanted(schema));
        any(schema)
    }

    fn tell(&mut self, place: Place, path: &str, found: &str, wanted: &str) {
        self.0.push(Fault {
            place,
            path: path.to_owned(),
            message: format!("{path}: found {found}, wanted {wanted}"),
        });
    }
}

/// A value that a schema allows.
fn any(schema: &Value) -> Value {
    if let Some(word) = schema["enum"].get(0) {
        return word.clone();
    }
    match schema["type"].as_str() {
        Some("string") => "x".into(),
        Some("integer" | "number") => schema["minimum"]
            .as_f64()
            .map_or(0.into(), |least| Value::from(least.ceil() as i64)),
        Some("boolean") => false.into(),
        Some("array") => Value::Array(Vec::new()),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten();
            let fields = required.filter_map(Value::as_str);
            let fields = fields.map(|key| (key.to_owned(), any(&schema["properties"][key])));
            Value::Object(fields.collect())
        }
    }
}

fn fits(schema: &Value, node: &Node) -> bool {
    let of_type = match (schema["type"].as_str(), &node.kind) {
        (None, _)
        | (Some("string"), Kind::Text(_))
        | (Some("integer"), Kind::Int(_))
        | (Some("number"), Kind::Int(_) | Kind::Float(_))
        | (Some("boolean"), Kind::Bool(_))
        | (Some("array"), Kind::List(_))
        | (Some("object"), Kind::Map(_)) => true,
        (Some(_), _) => false,
    };
    let json = || node.to_json();
    let in_enum = schema["enum"]
        .as_array()
        .is_none_or(|words| words.contains(&json()));
    let number = json().as_f64();
    let within = number.is_none_or(|number| {
        schema["minimum"]
            .as_f64()
            .is_none_or(|least| number >= least)
            && schema["maximum"].as_f64().is_none_or(|most| number <= most)
    });
    let short = match (&node.kind, schema["maxItems"].as_u64()) {
        (Kind::List(items), Some(most)) => items.len() as u64 <= most,
        _ => true,
    };
    of_type && in_enum && within && short
}

fn wanted(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return format!("one of: {}", words.join(", "));
    }
    let mut wanted = match schema["type"].as_str() {
        Some("string") => "text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        _ => "a mapping",
    }
    .to_owned();
    for (key, word) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("maxItems", "of at most"),
    ] {
        if let Some(bound) = schema[key].as_f64() {
            wanted = format!("{wanted} {word} {bound}");
        }
    }
    wanted
}

fn found(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Int(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Text(text) => format!("{text:?}"),
        Kind::List(items) => format!("a list of {}", items.len()),
        Kind::Map(_) => "a mapping".to_owned(),
    }
}
