//! A Rollout against its schema: every field that is unknown, missing or of the wrong type.
//!
//! The schema is the one that the API server gets, so both refuse the same. Only what it uses
//! is understood: types, properties, required, enums, bounds, items.
//!
//! Not here: what is beyond a schema (`kubernetes::conversion`).

use kube::CustomResourceExt;
use serde_json::Value;

use crate::kubernetes::crd::Rollout;
use crate::yaml::{Kind, Node, Place};

/// Everything that is wrong, with its place.
pub fn check(rollout: &Node) -> Vec<(Place, String)> {
    let mut faults = Vec::new();
    let crd = serde_json::to_value(Rollout::crd()).unwrap_or_default();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    match rollout.get("spec") {
        Some(spec) => walk(schema, spec, spec.place, "spec", &mut faults),
        None => faults.push((
            rollout.place,
            "spec: found nothing, wanted a mapping".to_owned(),
        )),
    }
    faults
}

type Faults = Vec<(Place, String)>;

fn walk(schema: &Value, node: &Node, place: Place, path: &str, faults: &mut Faults) {
    if node.kind == Kind::Null && schema["nullable"] == true {
        return;
    }
    let wanted = wanted(schema);
    if !fits(schema, node) {
        let found = found(node);
        faults.push((place, format!("{path}: found {found}, wanted {wanted}")));
        return;
    }
    match &node.kind {
        Kind::Map(_) => mapping(schema, node, path, faults),
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                walk(&schema["items"], item, item.place, &path, faults);
            }
        }
        _ => {}
    }
}

fn mapping(schema: &Value, node: &Node, path: &str, faults: &mut Faults) {
    let (Kind::Map(entries), Some(properties)) = (&node.kind, schema["properties"].as_object())
    else {
        return;
    };
    for entry in entries {
        let path = format!("{path}.{}", entry.key);
        if let Some(schema) = properties.get(&entry.key) {
            walk(schema, &entry.value, entry.place, &path, faults);
            continue;
        }
        let known = properties.keys().cloned().collect::<Vec<_>>().join(", ");
        let fault = format!("{path}: found an unknown field, wanted one of: {known}");
        faults.push((entry.place, fault));
    }
    let required = schema["required"].as_array().into_iter().flatten();
    for key in required.filter_map(Value::as_str) {
        if node.get(key).is_none() {
            let wanted = wanted(&properties[key]);
            faults.push((
                node.place,
                format!("{path}.{key}: found nothing, wanted {wanted}"),
            ));
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
