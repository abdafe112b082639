//! Strategic merge, as far as manifests in kustomizations need it: lists of a pod's parts merge by
//! their keys, other lists are replaced, `null` and `$patch: delete` remove.
//!
//! The keys are those of Kubernetes' API (`patchMergeKey` in its `OpenAPI` document). Kinds that
//! Kubernetes does not know merge as plain JSON merge patches, as kustomize does it.

use serde_json::{Map, Value};

/// The key by which the items of a list merge, by the list's name.
fn key_of(list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "ports" => "containerPort",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

/// Lays a patch over an object; `by_key` where Kubernetes knows the kind.
pub(super) fn merge(object: &mut Value, patch: &Value, by_key: bool) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        let mut patch = patch.clone();
        patch.remove("$patch");
        *object = Value::Object(patch);
        return;
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(object) = object else {
        return;
    };
    for (name, value) in patch {
        field(object, name, value, by_key);
    }
}

fn field(object: &mut Map<String, Value>, name: &str, value: &Value, by_key: bool) {
    let key = key_of(name).filter(|_| by_key);
    match (value, key) {
        (Value::Null, _) => drop(object.remove(name)),
        (Value::Object(patch), _)
            if patch.get("$patch").and_then(Value::as_str) == Some("delete") =>
        {
            object.remove(name);
        }
        (Value::Array(items), Some(key)) if keyed(items, key) => {
            let old = object
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(old) = old {
                merge_items(old, items, key);
            }
        }
        (Value::Object(_), _) => merge(object.entry(name).or_insert(Value::Null), value, by_key),
        _ => drop(object.insert(name.to_owned(), value.clone())),
    }
}

/// Whether every item says which it is; a Service's ports, for one, do not by this key.
fn keyed(items: &[Value], key: &str) -> bool {
    let directive = |item: &Value| item.get("$patch").is_some();
    items
        .iter()
        .all(|item| item.get(key).is_some() || directive(item))
}

fn merge_items(old: &mut Vec<Value>, items: &[Value], key: &str) {
    let directive = |item: &Value| {
        item.get("$patch")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let wholly =
        |item: &Value| directive(item).as_deref() == Some("replace") && item.get(key).is_none();
    if items.iter().any(wholly) {
        old.clear();
    }
    // kustomize puts new items before the old ones; the order of containers means nothing.
    for item in items.iter().filter(|item| !wholly(item)) {
        let at = old.iter().position(|one| one.get(key) == item.get(key));
        match (directive(item).as_deref(), at) {
            (Some("delete"), at) => drop(at.map(|at| old.remove(at))),
            (_, Some(at)) => merge(&mut old[at], item, true),
            (_, None) => old.push(item.clone()),
        }
    }
}
