//! `OpenAPI` v3 documents, as far as kubectl reads them.
//!
//! `kubectl explain` takes descriptions from the schemas; apply and replace look whether a patch
//! takes `fieldValidation`. Version 2 exists only as protobuf for kubectl, which does without.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Api;
use super::answer::Answer;
use super::kinds::{Kind, Registry};
use super::library::{Library, METADATA};
use super::refusal::Refusal;

/// The document that names the others.
pub fn index(kinds: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in kinds.groups() {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let url = format!("/openapi/v3/{path}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of one group version.
pub fn document(api: &Api, group: &str, version: &str) -> Result<Answer, Refusal> {
    let registry = api.kinds();
    let kinds: Vec<_> = registry
        .all()
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    if kinds.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for kind in kinds {
        add_schema(kind, &mut schemas);
        add_paths(kind, &mut paths);
    }
    Ok(Answer::value(&json!({
        "openapi": "3.0.0", "info": {"title": "Sluice sandbox", "version": "v1.36.3"},
        "paths": paths, "components": {"schemas": schemas},
    })))
}

/// Group, version and kind in the form of the extension.
fn marker(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn add_schema(kind: &Kind, schemas: &mut Map<String, Value>) {
    let library = Library::get();
    let mut needed = BTreeSet::from([METADATA.to_owned()]);
    if let Some(custom) = &kind.custom {
        let mut schema = custom.schema.clone();
        let metadata = format!("#/components/schemas/{METADATA}");
        schema["properties"]["apiVersion"] =
            json!({"type": "string", "description": "The versioned schema of this object."});
        schema["properties"]["kind"] =
            json!({"type": "string", "description": "The kind of this object."});
        schema["properties"]["metadata"] =
            json!({"description": "Standard object's metadata.", "allOf": [{"$ref": metadata}]});
        schema["x-kubernetes-group-version-kind"] = json!([marker(kind)]);
        let mut words: Vec<&str> = kind.group.split('.').rev().collect();
        words.extend([kind.version.as_str(), kind.kind.as_str()]);
        schemas.insert(words.join("."), schema);
    } else if let Some(name) = library.name_of(kind) {
        needed.insert(name.to_owned());
    }
    while let Some(name) = needed.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(schema) = library.definitions.get(&name) {
            references(schema, &mut needed);
            schemas.insert(name, schema.clone());
        }
    }
    let name = library.name_of(kind).filter(|_| kind.custom.is_none());
    if let Some(schema) = name.and_then(|name| schemas.get_mut(name)) {
        schema["x-kubernetes-group-version-kind"] = json!([marker(kind)]);
    }
}

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next())
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn add_paths(kind: &Kind, paths: &mut Map<String, Value>) {
    let root = if kind.group.is_empty() {
        "/api".to_owned()
    } else {
        format!("/apis/{}", kind.group)
    };
    let scope = if kind.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let path = format!("{root}/{}{scope}/{}", kind.version, kind.plural);
    let taken = json!([{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]);
    let operation = |action: &str| {
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": marker(kind), "parameters": taken,
            "responses": {"200": {"description": "OK"}},
        })
    };
    let mut patching = operation("patch");
    patching["requestBody"] =
        json!({"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}});
    paths.insert(
        path.clone(),
        json!({"get": operation("list"), "post": operation("post")}),
    );
    paths.insert(
        format!("{path}/{{name}}"),
        json!({"get": operation("get"), "put": operation("put"), "patch": patching}),
    );
    if kind.namespaced {
        paths.insert(
            format!("{root}/{}/{}", kind.version, kind.plural),
            json!({"get": operation("list")}),
        );
    }
}
