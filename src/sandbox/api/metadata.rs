//! What the server itself writes into an object's metadata.
//!
//! Names, uids, creation and deletion times, generations. Clients cannot change these; what
//! they send is replaced by what is stored. Managed fields are in `managed`.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::kinds::Kind;

fn digest(salt: &str, serial: u64, now: Timestamp) -> [u8; 32] {
    Sha256::digest(format!("{salt} {serial} {now}")).into()
}

/// A new uid, for a serial number that the server gives out once.
pub fn uid(serial: u64, now: Timestamp) -> String {
    let bytes = digest("uid", serial, now);
    let hex = bytes.iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing to a String does not fail.
        write!(hex, "{byte:02x}").ok();
        hex
    });
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[0..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// Five letters and digits for a generated name.
pub fn suffix(serial: u64, now: Timestamp) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes = digest("name", serial, now);
    bytes
        .iter()
        .take(5)
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// The time as metadata has it: whole seconds, UTC.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The object's metadata, made if need be.
pub fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object just above"),
    }
}

/// Writes the metadata of a new object.
pub fn create(object: &mut Value, kind: &Kind, serial: u64, now: Timestamp) {
    let metadata = of(object);
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), json!(uid(serial, now)));
    metadata.insert("creationTimestamp".into(), json!(stamp(now)));
    if has_generation(kind) {
        metadata.insert("generation".into(), json!(1));
    }
}

/// Keeps what a client cannot change from the stored object.
pub fn carry(object: &mut Value, old: &Value) {
    const KEPT: [&str; 8] = [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "selfLink",
        "generateName",
    ];
    let old = &old["metadata"];
    let metadata = of(object);
    for field in KEPT {
        match old.get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    for field in ["name", "namespace"] {
        if let Some(value) = old.get(field) {
            metadata.insert(field.into(), value.clone());
        }
    }
    if !metadata.contains_key("managedFields")
        && let Some(fields) = old.get("managedFields")
    {
        metadata.insert("managedFields".into(), fields.clone());
    }
}

/// Counts the generation up if anything but metadata and status changed.
pub fn bump_generation(object: &mut Value, old: &Value, kind: &Kind) {
    // A Deployment's controller reads its annotations too.
    let annotated = kind.is("apps", "Deployment")
        && object["metadata"]["annotations"] != old["metadata"]["annotations"];
    if !has_generation(kind) || (same_desire(object, old) && !annotated) {
        return;
    }
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    of(object).insert("generation".into(), json!(generation));
}

fn same_desire(a: &Value, b: &Value) -> bool {
    let desire = |value: &Value| -> Vec<(String, Value)> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .filter(|(key, _)| {
                !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    match (a.get("spec"), b.get("spec")) {
        (Some(a), Some(b)) if a != b => false,
        _ => desire(a) == desire(b),
    }
}

fn has_generation(kind: &Kind) -> bool {
    const WITH: [&str; 8] = [
        "apps",
        "batch",
        "networking.k8s.io",
        "policy",
        "apiextensions.k8s.io",
        "admissionregistration.k8s.io",
        "discovery.k8s.io",
        "coordination",
    ];
    if kind.kind == "ControllerRevision" {
        return false;
    }
    kind.custom.is_some() || kind.is("", "Pod") || WITH.contains(&kind.group.as_str())
}

/// Whether two versions differ in anything that counts as a change.
pub fn differ(a: &Value, b: &Value) -> bool {
    let outside = |object: &Value| object.as_object().map_or(0, serde_json::Map::len);
    let entries = a.as_object().into_iter().flatten();
    let mut others = entries.filter(|(field, _)| *field != "metadata");
    if outside(a) != outside(b) || others.any(|(field, value)| b.get(field) != Some(value)) {
        return true;
    }
    let (a, b) = (&a["metadata"], &b["metadata"]);
    a != b && bare(a) != bare(b)
}

fn bare(metadata: &Value) -> Value {
    let mut holder = json!({"metadata": metadata});
    let metadata = of(&mut holder);
    metadata.remove("resourceVersion");
    for entry in metadata
        .get_mut("managedFields")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("time");
        }
    }
    holder
}

/// The object's finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn the_generation_counts_changes_of_the_desire_only() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let old = json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {}});
        for (new, want) in [
            (
                json!({"metadata": {"generation": 3, "labels": {"a": "b"}}, "spec": {"replicas": 1}}),
                3,
            ),
            (
                json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"x": 1}}),
                3,
            ),
            (
                json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}}),
                4,
            ),
        ] {
            let mut new = new;
            bump_generation(&mut new, &old, &kind);
            assert_eq!(new["metadata"]["generation"], want, "{new}");
        }
    }

    #[test]
    fn clients_cannot_change_identity() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t"}});
        let mut new = json!({"metadata": {"uid": "x", "deletionTimestamp": "now"}});
        carry(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn uids_look_like_uids_and_differ() {
        let (a, b) = (uid(1, Timestamp::UNIX_EPOCH), uid(2, Timestamp::UNIX_EPOCH));
        assert_eq!((a.len(), a.matches('-').count()), (36, 4));
        assert_ne!(a, b);
    }
}
