//! What becomes of dependents: the garbage collector, and the content of namespaces.
//!
//! It works within the request: when an object is gone, objects that name it as their only owner
//! go too; in foreground deletion the owner waits for them. A namespace is emptied when it is
//! deleted, and goes when it is empty.

use std::sync::Arc;

use serde_json::json;

use super::Api;
use super::delete::{FOREGROUND, Options, attempt, is_released, remove_at, uid};
use super::metadata;
use super::store::{Key, Stored, owners};

/// Deletes the dependents of an owner that is gone or going.
pub(super) fn collect(api: &Api, owner: &str, options: &Options) {
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

pub(super) fn orphan(api: &Api, owner: &Stored) {
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
pub(super) fn settle(api: &Api, key: &Key) {
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

pub(super) fn delete_at(api: &Api, key: &Key, options: &Options) {
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

pub(super) fn empty_namespace(api: &Api, namespace: &str) {
    let options = Options {
        policy: "Background".into(),
        ..Options::default()
    };
    for key in api.store().in_namespace(namespace) {
        delete_at(api, &key, &options);
    }
    finish_namespace(api, namespace);
}

pub(super) fn finish_namespace(api: &Api, namespace: &str) {
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
