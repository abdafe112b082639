//! Small kinds: configuration, leases, definitions.

use serde_json::{Value, json};

use super::super::refusal::Cause;

const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is wrong with a `ConfigMap`.
pub fn config_map(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    keys(&object["data"], causes);
    unchanged_if_immutable(object, old, causes);
}

/// What is wrong with a Secret.
pub fn secret(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if old.is_some_and(|old| old["type"] != object["type"]) {
        causes.push(Cause::invalid(
            "type",
            &object["type"],
            "field is immutable",
        ));
    }
    unchanged_if_immutable(object, old, causes);
    keys(&object["data"], causes);
}

fn keys(data: &Value, causes: &mut Vec<Cause>) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    for (key, _) in data.as_object().into_iter().flatten() {
        if !key.chars().all(good) {
            causes.push(Cause::invalid(format!("data[{key}]"), &json!(key), KEY));
        }
    }
}

fn unchanged_if_immutable(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if let Some(old) = old.filter(|old| old["immutable"] == true)
        && old["data"] != object["data"]
    {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            field: "data".into(),
            message: "Forbidden: field is immutable when `immutable` is set".into(),
        });
    }
}

/// What is wrong with a Lease.
pub fn lease(spec: &Value, causes: &mut Vec<Cause>) {
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, duration, "must be greater than 0"));
    }
    let transitions = &spec["leaseTransitions"];
    if transitions.as_i64().is_some_and(|count| count < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", transitions, why));
    }
}

/// What is wrong with a `CustomResourceDefinition`.
pub fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let want = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or_default(),
        spec["group"].as_str().unwrap_or_default()
    );
    if object["metadata"]["name"] != want {
        causes.push(Cause::invalid(
            "metadata.name",
            &object["metadata"]["name"],
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if spec["scope"] != "Namespaced" && spec["scope"] != "Cluster" {
        causes.push(Cause::unsupported(
            "spec.scope",
            &spec["scope"],
            &[json!("Cluster"), json!("Namespaced")],
        ));
    }
    for (at, version) in spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            causes.push(Cause::required(
                format!("spec.versions[{at}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
}
