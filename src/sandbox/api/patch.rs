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
        "application/json-patch+json" => json_patched(kind, old, body),
        "application/merge-patch+json" => {
            let mut object = old.clone();
            json_patch::merge(&mut object, body);
            Ok(object)
        }
        "application/strategic-merge-patch+json" if kind.custom.is_none() => {
            Ok(strategic::patch(old, body, Shape::root(kind)))
        }
        other => Err(Refusal::unsupported_media(other)),
    }
}

fn json_patched(kind: &Kind, old: &Value, body: &Value) -> Result<Value, Refusal> {
    let patch: json_patch::Patch = serde_json::from_value(body.clone())
        .map_err(|error| Refusal::bad_request(format!("error decoding JSON patch: {error}")))?;
    let mut object = old.clone();
    json_patch::patch(&mut object, &patch).map_err(|error| {
        let cause = Cause {
            reason: "FieldValueInvalid",
            field: "patch".into(),
            message: error.to_string(),
        };
        let name = old["metadata"]["name"].as_str().unwrap_or_default();
        let mut refusal = Refusal::invalid(kind, name, &[cause]);
        refusal.message =
            format!("the server rejected our request due to an error in our request: {error}");
        refusal
    })?;
    Ok(object)
}

/// Server-side apply: makes the object or merges into it.
pub fn apply(mut write: Write<'_>, mut config: Value) -> Result<Answer, Refusal> {
    write.check_type(&mut config)?;
    let kind = write.kind;
    let name = write.key.name.clone();
    if write.call.param("fieldManager").is_none() {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(Refusal::new(422, "Invalid", message));
    }
    if config["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    config["metadata"]["name"] = json!(name);
    if kind.namespaced {
        config["metadata"]["namespace"] = json!(write.key.namespace);
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
