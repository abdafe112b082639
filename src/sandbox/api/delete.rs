//! Deletion: finalizers, grace for pods, and what becomes of dependents.
//!
//! The garbage collector works within the request: when an object is gone, objects that name it
//! as their only owner go too. A namespace is emptied and goes when it is empty.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Api;
use super::answer::Answer;
use super::call::{Call, Target};
use super::kinds::Kind;
use super::metadata;
use super::read::{key, selector};
use super::refusal::Refusal;
use super::store::{Key, Stored, owners};

const FOREGROUND: &str = "foregroundDeletion";

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
struct Options {
    grace: Option<i64>,
    policy: String,
    uid: Option<String>,
    revision: Option<String>,
    dry_run: bool,
}

impl Options {
    fn of(call: &Call) -> Result<Self, Refusal> {
        let body = call.parse()?;
        let text = |field: &str| {
            let inside = body[field].as_str().map(str::to_owned);
            inside.or_else(|| call.param(field).map(str::to_owned))
        };
        let grace = body["gracePeriodSeconds"].as_i64();
        let orphan = body["orphanDependents"] == true;
        Ok(Self {
            grace: grace.or_else(|| {
                call.param("gracePeriodSeconds")
                    .and_then(|text| text.parse().ok())
            }),
            policy: text("propagationPolicy")
                .unwrap_or_else(|| if orphan { "Orphan" } else { "Background" }.into()),
            uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
            revision: body["preconditions"]["resourceVersion"]
                .as_str()
                .map(str::to_owned),
            dry_run: call.dry_run()
                || body["dryRun"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty()),
        })
    }
}

/// Answers a delete of one object.
pub fn one(api: &Api, kind: &Arc<Kind>, target: &Target, call: &Call) -> Result<Answer, Refusal> {
    let options = Options::of(call)?;
    let key = key(kind, target);
    loop {
        let object = api
            .store()
            .get(&key)
            .ok_or_else(|| Refusal::not_found(kind, &key.name))?;
        check(kind, &object, &options)?;
        if options.dry_run {
            return Ok(gone(kind, &object));
        }
        match attempt(api, &key, &object, &options) {
            Some(Outcome::Gone) => return Ok(gone(kind, &object)),
            Some(Outcome::Marked(stored)) => return Ok(Answer::json(200, stored.json())),
            None => {}
        }
    }
}

/// Answers a delete of all selected objects.
pub fn collection(
    api: &Api,
    kind: &Arc<Kind>,
    target: &Target,
    call: &Call,
) -> Result<Answer, Refusal> {
    let options = Options::of(call)?;
    let selector = selector(target, call)?;
    let (objects, revision) = api.store().list(&kind.storage, target.namespace.as_deref());
    let chosen: Vec<Stored> = objects
        .into_iter()
        .filter(|object| selector.matches(&object.value))
        .collect();
    if !options.dry_run {
        for object in &chosen {
            delete_at(api, &place(kind, &object.value), &options);
        }
    }
    let meta = json!({"resourceVersion": revision.to_string()});
    Ok(Answer::json(
        200,
        super::answer::View::Plain.list(kind, &chosen, &meta, api.clock().now()),
    ))
}

fn place(kind: &Kind, object: &Value) -> Key {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Key {
        storage: kind.storage.clone(),
        namespace: text("namespace"),
        name: text("name"),
    }
}

fn check(kind: &Kind, object: &Stored, options: &Options) -> Result<(), Refusal> {
    let metadata = &object.value["metadata"];
    for (asked, field, word) in [
        (&options.uid, "uid", "UID"),
        (&options.revision, "resourceVersion", "ResourceVersion"),
    ] {
        if let Some(asked) = asked
            && metadata[field] != *asked.as_str()
        {
            let now = metadata[field].as_str().unwrap_or_default();
            let why = format!(
                "Precondition failed: {word} in precondition: {asked}, {word} in object meta: {now}"
            );
            let name = metadata["name"].as_str().unwrap_or_default();
            return Err(Refusal::conflict(kind, name, &why));
        }
    }
    Ok(())
}

fn gone(kind: &Kind, object: &Stored) -> Answer {
    let metadata = &object.value["metadata"];
    Answer::value(&json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": metadata["name"], "group": kind.group, "kind": kind.plural, "uid": metadata["uid"]},
    }))
}

enum Outcome {
    Gone,
    Marked(Stored),
}

/// One attempt; `None` when somebody else wrote meanwhile.
fn attempt(api: &Api, key: &Key, object: &Stored, options: &Options) -> Option<Outcome> {
    if options.policy == "Orphan" {
        orphan(api, object);
    }
    let grace = grace(key, &object.value, options);
    let holds = waits_for_dependents(api, key, object, options);
    if grace == 0
        && !holds
        && metadata::finalizers(&object.value).is_empty()
        && &*key.storage != "namespaces"
    {
        return remove_at(api, key, object).then_some(Outcome::Gone);
    }
    let value = marked(api, &object.value, grace, holds);
    if value == object.value {
        return Some(Outcome::Marked(object.clone()));
    }
    let stored = api.store().put(key, value, Some(object.revision)).ok()?;
    if holds {
        collect(
            api,
            uid(&stored),
            &Options {
                policy: "Foreground".into(),
                ..Options::default()
            },
        );
        settle(api, key);
    }
    if &*key.storage == "namespaces" {
        empty_namespace(api, &key.name);
    }
    Some(Outcome::Marked(stored))
}

fn waits_for_dependents(api: &Api, key: &Key, object: &Stored, options: &Options) -> bool {
    let _ = key;
    options.policy == "Foreground" && !api.store().dependents(uid(object)).is_empty()
}

/// Seconds of grace: only a pod on a node has any.
fn grace(key: &Key, object: &Value, options: &Options) -> i64 {
    let over = matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if &*key.storage != "pods"
        || object["spec"]["nodeName"]
            .as_str()
            .is_none_or(str::is_empty)
        || over
    {
        return 0;
    }
    options
        .grace
        .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30)
        .max(0)
}

/// The object with its deletion begun.
fn marked(api: &Api, object: &Value, grace: i64, foreground: bool) -> Value {
    let mut value = object.clone();
    let at = api.clock().now() + SignedDuration::from_secs(grace);
    let begun = value["metadata"]["deletionTimestamp"].is_string();
    let generation = value["metadata"]["generation"].as_i64();
    let metadata = metadata::of(&mut value);
    let shorter = metadata
        .get("deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|now| grace < now);
    if !begun || shorter {
        metadata.insert("deletionTimestamp".into(), json!(metadata::stamp(at)));
        metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
    }
    if let (false, Some(generation)) = (begun, generation) {
        metadata.insert("generation".into(), json!(generation + 1));
    }
    let has = metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| list.contains(&json!(FOREGROUND)));
    if foreground && !has {
        match metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            Some(list) => list.push(json!(FOREGROUND)),
            None => drop(metadata.insert("finalizers".into(), json!([FOREGROUND]))),
        }
    }
    if value["kind"] == "Namespace" {
        value["status"]["phase"] = json!("Terminating");
    }
    value
}

fn uid(object: &Stored) -> &str {
    object.value["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Whether an object under deletion has nothing left that keeps it.
pub fn is_released(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["deletionTimestamp"].is_string()
        && metadata::finalizers(object).is_empty()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && object["kind"] != "Namespace"
}

/// Removes an object and what depends on it.
pub fn remove(api: &Api, key: &Key, object: &Stored) {
    remove_at(api, key, object);
}

fn remove_at(api: &Api, key: &Key, object: &Stored) -> bool {
    let Ok(removed) = api.store().remove(key, object.revision) else {
        return false;
    };
    api.after_remove(key, &removed);
    collect(
        api,
        uid(&removed),
        &Options {
            policy: "Background".into(),
            ..Options::default()
        },
    );
    for owner in owners(&removed.value) {
        if let Some(owner) = api.store().by_uid(owner) {
            settle(api, &owner);
        }
    }
    finish_namespace(api, &key.namespace);
    true
}

/// Deletes the dependents of an owner that is gone or going.
fn collect(api: &Api, owner: &str, options: &Options) {
    for key in api.store().dependents(owner) {
        loop {
            let Some(object) = api.store().get(&key) else {
                break;
            };
            let others =
                owners(&object.value).any(|uid| uid != owner && api.store().by_uid(uid).is_some());
            let done = if others {
                disown(api, &key, &object, owner)
            } else {
                attempt(api, &key, &object, options).is_some()
            };
            if done {
                break;
            }
        }
    }
}

fn orphan(api: &Api, owner: &Stored) {
    for key in api.store().dependents(uid(owner)) {
        while let Some(object) = api.store().get(&key) {
            if disown(api, &key, &object, uid(owner)) {
                break;
            }
        }
    }
}

fn disown(api: &Api, key: &Key, object: &Stored, owner: &str) -> bool {
    let mut value = object.value.clone();
    if let Some(list) = value["metadata"]["ownerReferences"].as_array_mut() {
        list.retain(|reference| reference["uid"] != owner);
    }
    if value["metadata"]["ownerReferences"] == json!([]) {
        metadata::of(&mut value).remove("ownerReferences");
    }
    api.store().put(key, value, Some(object.revision)).is_ok()
}

/// Lets an owner go that waited for its dependents in foreground deletion.
fn settle(api: &Api, key: &Key) {
    while let Some(object) = api.store().get(key) {
        let waiting = metadata::finalizers(&object.value).contains(&FOREGROUND);
        if !waiting || !api.store().dependents(uid(&object)).is_empty() {
            return;
        }
        let mut value = object.value.clone();
        if let Some(list) = value["metadata"]["finalizers"].as_array_mut() {
            list.retain(|finalizer| finalizer != FOREGROUND);
        }
        let released = is_released(&value);
        if let Ok(stored) = api.store().put(key, value, Some(object.revision)) {
            if released {
                remove_at(api, key, &stored);
            }
            return;
        }
    }
}

fn delete_at(api: &Api, key: &Key, options: &Options) {
    while let Some(object) = api.store().get(key) {
        if attempt(api, key, &object, options).is_some() {
            return;
        }
    }
}

/// Collects a new object whose owners are all gone.
pub fn collect_orphan(api: &Api, key: &Key, object: &Stored) {
    let mut owners = owners(&object.value).peekable();
    if owners.peek().is_some() && owners.all(|uid| api.store().by_uid(uid).is_none()) {
        let options = Options {
            policy: "Background".into(),
            ..Options::default()
        };
        delete_at(api, key, &options);
    }
}

/// Removes all objects of a resource whose definition is gone.
pub fn all_of(api: &Api, storage: &Arc<str>) {
    for object in api.store().list(storage, None).0 {
        let text = |field: &str| {
            object.value["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = Key {
            storage: storage.clone(),
            namespace: text("namespace"),
            name: text("name"),
        };
        while let Some(object) = api.store().get(&key) {
            if remove_at(api, &key, &object) {
                break;
            }
        }
    }
}

fn empty_namespace(api: &Api, namespace: &str) {
    let options = Options {
        policy: "Background".into(),
        ..Options::default()
    };
    for key in api.store().in_namespace(namespace) {
        delete_at(api, &key, &options);
    }
    finish_namespace(api, namespace);
}

fn finish_namespace(api: &Api, namespace: &str) {
    let key = Key {
        storage: "namespaces".into(),
        namespace: String::new(),
        name: namespace.to_owned(),
    };
    if namespace.is_empty() {
        return;
    }
    let Some(object) = api.store().get(&key) else {
        return;
    };
    let terminating = object.value["metadata"]["deletionTimestamp"].is_string();
    if terminating
        && api.store().in_namespace(namespace).is_empty()
        && api.store().remove(&key, object.revision).is_ok()
    {
        api.after_remove(&key, &object);
    }
}
