//! The scale subresource: an `autoscaling/v1` Scale in front of `spec.replicas`.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::Api;
use super::answer::Answer;
use super::call::{Call, Target};
use super::kinds::Kind;
use super::prepare::Operation;
use super::refusal::{Cause, Refusal};
use super::write::Write;
use super::{managed, patch, read};

/// Answers a request to `/scale`.
pub fn answer(
    api: &Api,
    kind: &Arc<Kind>,
    call: &Call,
    target: &Target,
) -> Result<Answer, Refusal> {
    if call.method == Method::GET {
        return Ok(Answer::value(&scale_of(
            &read::find(api, kind, target)?.value,
        )));
    }
    let body = call.parse()?;
    let desired = |old: &Value| -> Result<Value, Refusal> {
        let scale = match call.method {
            Method::PUT => Ok(body.clone()),
            Method::PATCH => patch::patched(kind, call, &scale_of(old), &body),
            _ => Err(Refusal::method_not_allowed()),
        }?;
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let cause = Cause::invalid(
                "spec.replicas",
                &json!(replicas),
                "must be greater than or equal to 0",
            );
            let named = Kind {
                group: "autoscaling".into(),
                kind: "Scale".into(),
                ..Kind::clone(kind)
            };
            let name = target.name.as_deref().unwrap_or_default();
            return Err(Refusal::invalid(&named, name, &[cause]));
        }
        let mut object = old.clone();
        object["spec"]["replicas"] = json!(replicas);
        object["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
        Ok(object)
    };
    if call.media == patch::APPLY {
        return apply(api, kind, call, target, &body);
    }
    let mut write = Write::new(api, kind, target, call);
    let stored = write.update(Operation::Update, &|old| Ok((desired(old)?, false)))?;
    Ok(Answer {
        warnings: write.warnings,
        ..Answer::value(&scale_of(&stored.value))
    })
}

/// Server-side apply of a Scale: of the object one field.
fn apply(
    api: &Api,
    kind: &Arc<Kind>,
    call: &Call,
    target: &Target,
    body: &Value,
) -> Result<Answer, Refusal> {
    let mut write = Write::new(api, kind, target, call);
    let (writer, force) = (write.writer(), call.flag("force"));
    let config = json!({"spec": {"replicas": body["spec"]["replicas"]}});
    let stored = write.update(Operation::Update, &|old| {
        Ok((managed::apply(old, &config, kind, &writer, force)?, true))
    })?;
    Ok(Answer {
        warnings: write.warnings,
        ..Answer::value(&scale_of(&stored.value))
    })
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let labels = object["spec"]["selector"]["matchLabels"].as_object();
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",")},
    })
}
