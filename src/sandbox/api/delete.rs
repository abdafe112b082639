//! Deletion: preconditions, finalizers, and grace for pods.
//!
//! What becomes of dependents and of a namespace's content is in `collect`.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Api;
use super::answer::Answer;
use super::call::{Call, Target};
use super::collect::{collect, delete_at, empty_namespace, finish_namespace, orphan, settle};
use super::kinds::Kind;
use super::metadata;
use super::options;
use super::read::{key, selector};
use super::refusal::Refusal;
use super::store::{Key, Stored, owners};

pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) grace: Option<i64>,
    pub(super) policy: String,
    /// It was asked in so many words not to wait for dependents.
    pub(super) lets_go: bool,
    pub(super) uid: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) dry_run: bool,
}

impl Options {
    fn of(call: &Call) -> Result<Self, Refusal> {
        let body = call.parse()?;
        let text = |field: &str| {
            let inside = body[field].as_str().map(str::to_owned);
            inside.or_else(|| call.param(field).map(str::to_owned))
        };
        let dry_run = body["dryRun"].get(0).and_then(Value::as_str);
        options::delete(
            text("propagationPolicy").as_deref(),
            dry_run.or_else(|| call.param("dryRun")),
        )?;
        let policy = text("propagationPolicy");
        let grace = body["gracePeriodSeconds"].as_i64();
        let orphan = body["orphanDependents"] == true;
        Ok(Self {
            grace: grace.or_else(|| {
                call.param("gracePeriodSeconds")
                    .and_then(|text| text.parse().ok())
            }),
            lets_go: policy
                .as_deref()
                .is_some_and(|policy| policy != "Foreground"),
            policy: policy.unwrap_or_else(|| if orphan { "Orphan" } else { "Background" }.into()),
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
            return Ok(gone(api, kind, &object, &options));
        }
        match attempt(api, &key, &object, &options) {
            Some(Outcome::Gone) => return Ok(gone(api, kind, &object, &options)),
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
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if kind.custom.is_some() {
        meta["continue"] = json!("");
    }
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
    for (asked, field, word, hint) in [
        (&options.uid, "uid", "UID", "deleted and then recreated"),
        (
            &options.revision,
            "resourceVersion",
            "ResourceVersion",
            "modified",
        ),
    ] {
        if let Some(asked) = asked
            && metadata[field] != *asked.as_str()
        {
            let now = metadata[field].as_str().unwrap_or_default();
            let why = format!(
                "the {word} in the precondition ({asked}) does not match the {word} in record ({now}). The object might have been {hint}"
            );
            let name = metadata["name"].as_str().unwrap_or_default();
            // The real server names the kind here, not the resource.
            let named = Kind {
                plural: kind.kind.clone(),
                ..kind.clone()
            };
            return Err(Refusal::conflict(&named, name, &why));
        }
    }
    Ok(())
}

/// The answer to a deletion that is done: of a pod or a Service the object, else a status.
fn gone(api: &Api, kind: &Kind, object: &Stored, options: &Options) -> Answer {
    if kind.is("", "Pod") {
        let grace = if options.dry_run {
            grace(&place(kind, &object.value), &object.value, options)
        } else {
            0
        };
        return Answer::value(&marked(api, &object.value, grace, false));
    }
    if kind.is("", "Service") {
        return Answer::value(&object.value);
    }
    let metadata = &object.value["metadata"];
    let mut details =
        json!({"name": metadata["name"], "kind": kind.plural, "uid": metadata["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    Answer::value(&json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    }))
}

pub(super) enum Outcome {
    Gone,
    Marked(Stored),
}

/// One attempt; `None` when somebody else wrote meanwhile.
pub(super) fn attempt(api: &Api, key: &Key, object: &Stored, options: &Options) -> Option<Outcome> {
    if options.policy == "Orphan" {
        orphan(api, object);
    }
    let grace = grace(key, &object.value, options);
    let holds = waits_for_dependents(api, key, object, options);
    let mut value = object.value.clone();
    if options.lets_go {
        forget_foreground(&mut value);
    }
    if grace == 0
        && !holds
        && metadata::finalizers(&value).is_empty()
        && &*key.storage != "namespaces"
    {
        return remove_at(api, key, object).then_some(Outcome::Gone);
    }
    let value = marked(api, &value, grace, holds);
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

/// A deletion that asks not to wait for dependents ends one that did.
fn forget_foreground(value: &mut Value) {
    if let Some(finalizers) = value["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FOREGROUND);
    }
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
        .map_or(30, |seconds| if seconds < 0 { 1 } else { seconds })
}

/// The object with its deletion begun.
fn marked(api: &Api, object: &Value, grace: i64, foreground: bool) -> Value {
    let mut value = object.clone();
    let at = api.clock().now() + SignedDuration::from_secs(grace);
    let begun = value["metadata"]["deletionTimestamp"].is_string();
    let generation = value["metadata"]["generation"].as_i64();
    let kind = value["kind"].clone();
    let metadata = metadata::of(&mut value);
    let shorter = metadata
        .get("deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|now| grace < now);
    if !begun || shorter {
        metadata.insert("deletionTimestamp".into(), json!(metadata::stamp(at)));
        metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
        if kind == "Namespace" {
            metadata.remove("deletionGracePeriodSeconds");
        }
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

pub(super) fn uid(object: &Stored) -> &str {
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

pub(super) fn remove_at(api: &Api, key: &Key, object: &Stored) -> bool {
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
