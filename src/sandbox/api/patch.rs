//! The kinds of patch, told apart by their content type.

use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::kinds::Kind;
use super::refusal::{Cause, Refusal};
use super::write::Write;

/// Content type of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// The object that a JSON, merge or strategic merge patch makes of `old`.
pub fn patched(kind: &Kind, call: &Call, old: &Value, body: &Value) -> Result<Value, Refusal> {
    match call.media.as_str() {
        "application/json-patch+json" => json_patched(kind, old, body),
        "application/merge-patch+json" => {
            let mut object = old.clone();
            json_patch::merge(&mut object, body);
            Ok(object)
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

/// Server-side apply.
pub fn apply(write: Write<'_>, body: Value) -> Result<Answer, Refusal> {
    let _ = body;
    Err(Refusal::unsupported_media(&write.call.media))
}
