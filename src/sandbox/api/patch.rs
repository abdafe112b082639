//! The kinds of patch, told apart by their content type.

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::kinds::Kind;
use super::managed;
use super::prepare::Operation;
use super::refusal::{Cause, Refusal};
use super::shape::Shape;
use super::strategic;
use super::write::{Write, check_object};

/// Content type of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// The object that a JSON, merge or strategic merge patch makes of `old`.
pub fn patched(kind: &Kind, call: &Call, old: &Value, body: &Value) -> Result<Value, Refusal> {
    let object = merged(kind, call, old, body)?;
    check_object(&object)?;
    Ok(object)
}

fn merged(kind: &Kind, call: &Call, old: &Value, body: &Value) -> Result<Value, Refusal> {
    match call.media.as_str() {
        "application/json-patch+json" => json_patched(old, body),
        "application/merge-patch+json" => {
            check_map(body)?;
            let mut object = old.clone();
            json_patch::merge(&mut object, body);
            Ok(object)
        }
        "application/strategic-merge-patch+json" if kind.custom.is_none() => {
            check_map(body)?;
            if let Some((item, key)) = strategic::keyless(body, Shape::root(kind)) {
                let message = format!(
                    "map: {} does not contain declared merge key: {key}",
                    in_go(&item)
                );
                return Err(Refusal::new(500, "", message));
            }
            Ok(strategic::patch(old, body, Shape::root(kind)))
        }
        "application/strategic-merge-patch+json" => Err(Refusal::unknown_format(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            APPLY,
        ])),
        _ => Err(Refusal::unsupported_media()),
    }
}

fn json_patched(old: &Value, body: &Value) -> Result<Value, Refusal> {
    if !body.is_array() {
        let message = format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            word(body)
        );
        return Err(Refusal::bad_request(message));
    }
    let patch: json_patch::Patch =
        serde_json::from_value(body.clone()).map_err(|_| Refusal::unprocessable())?;
    let mut object = old.clone();
    json_patch::patch(&mut object, &patch).map_err(|_| Refusal::unprocessable())?;
    Ok(object)
}

fn check_map(body: &Value) -> Result<(), Refusal> {
    if body.is_object() {
        return Ok(());
    }
    let message = format!(
        "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
        word(body)
    );
    Err(Refusal::bad_request(message))
}

/// What Go's JSON calls a value.
pub fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Go prints it.
fn in_go(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", in_go(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_go).collect();
            format!("[{}]", items.join(" "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What an apply must be besides a part of an object.
fn check_apply(write: &mut Write<'_>, config: &Value) -> Result<(), Refusal> {
    if write.call.param("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Refusal::invalid_options("PatchOptions", &[cause]));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&config["apiVersion"]), text(&config["kind"]));
    if version.is_empty() || kind.is_empty() {
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let version = version.rsplit('/').next().unwrap_or_default();
        let message = format!("invalid object type: {group}/{version}, Kind={kind}");
        return Err(Refusal::bad_request(message));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    let name = text(&config["metadata"]["name"]);
    if !name.is_empty() && name != write.key.name {
        return Err(Refusal::wrong_name(&name, &write.key.name));
    }
    Ok(())
}

/// Server-side apply: makes the object or merges into it.
pub fn apply(mut write: Write<'_>, mut config: Value) -> Result<Answer, Refusal> {
    check_apply(&mut write, &config)?;
    write.check_type(&mut config)?;
    let kind = write.kind;
    let name = write.key.name.clone();
    config["metadata"]["name"] = json!(name);
    if kind.namespaced {
        config["metadata"]["namespace"] = json!(write.key.namespace);
    }
    if kind.status
        && write.target.subresource.is_empty()
        && let Some(map) = config.as_object_mut()
    {
        map.remove("status");
    }
    let writer = write.writer();
    let force = write.call.flag("force");
    if write.api.store().get(&write.key).is_none() && write.target.subresource.is_empty() {
        let object = managed::apply(&json!({}), &config, kind, &writer, force)?;
        let stored = write.create_owned(object)?;
        return Ok(write.answer(201, &stored));
    }
    let stored = write.update(Operation::Update, &|old| {
        Ok((managed::apply(old, &config, kind, &writer, force)?, true))
    })?;
    Ok(write.answer(200, &stored))
}
