//! Where objects are kept, and the log of their changes that watches read.
//!
//! One revision counter orders all writes. Each resource has its objects, ordered by namespace
//! and name, and a bounded log of events. A write names the revision it is based on, so callers
//! compute outside the lock and try again when they lost. The lock is held for microseconds
//! and never over an await.
//!
//! Not here: what a valid object is, who may write it, and what happens to dependents.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

/// Events kept for each resource before a watch from further back gets 410.
const LOG_LENGTH: usize = 8192;

/// One version of one object. Never changed, only replaced.
#[derive(Debug)]
pub struct Object {
    /// The whole object, with its resourceVersion.
    pub value: Value,
    /// The same resourceVersion as a number.
    pub revision: u64,
    json: OnceLock<Bytes>,
}

impl Object {
    fn new(value: Value, revision: u64) -> Self {
        Self {
            value,
            revision,
            json: OnceLock::new(),
        }
    }

    /// An object that is not stored: the outcome of a dry run.
    pub fn detached(value: Value) -> Stored {
        Arc::new(Self::new(value, 0))
    }

    /// The object in JSON, rendered once whatever the number of readers.
    pub fn json(&self) -> Bytes {
        self.json
            .get_or_init(|| Bytes::from(self.value.to_string()))
            .clone()
    }
}

/// A shared version of an object.
pub type Stored = Arc<Object>;

/// What names an object in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `deployments.apps`.
    pub storage: Arc<str>,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision that the change made.
    pub revision: u64,
    /// The object after the change; for a removal, its last form.
    pub object: Stored,
    /// The object before the change; `None` when it was made.
    pub previous: Option<Stored>,
    /// Whether the object is gone.
    pub removed: bool,
}

/// Somebody else wrote first, or the object exists, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object changed since it was read")]
pub struct Stale;

/// The log does not reach to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log starts after revision {asked}: its oldest is {oldest}")]
pub struct TooOld {
    /// The revision that was asked for.
    pub asked: u64,
    /// The oldest revision from which events are known.
    pub oldest: u64,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<(String, String), Stored>,
    log: VecDeque<Event>,
    oldest: u64,
    changed: Arc<Notify>,
}

/// Is told of each change, in order, before its watches are.
pub type Observer = Box<dyn Fn(&str, &Event) + Send + Sync>;

#[derive(Default)]
struct State {
    observers: Vec<Observer>,
    revision: u64,
    collections: HashMap<Arc<str>, Collection>,
    uids: HashMap<String, Key>,
    dependents: HashMap<String, BTreeSet<Key>>,
}

/// All objects. Cheap to share by reference.
#[derive(Default)]
pub struct Store {
    state: Mutex<State>,
    serial: AtomicU64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `observer` of every change from now on. It must not ask the store.
    pub fn observe(&self, observer: Observer) {
        self.lock().observers.push(observer);
    }

    /// A number that is given out once: uids and generated names are made of it.
    pub fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Stored> {
        let state = self.lock();
        let objects = &state.collections.get(&key.storage)?.objects;
        objects
            .get(&(key.namespace.clone(), key.name.clone()))
            .cloned()
    }

    /// The objects of one namespace, or of all, with the revision they are of.
    pub fn list(&self, storage: &Arc<str>, namespace: Option<&str>) -> (Vec<Stored>, u64) {
        let state = self.lock();
        let found = state
            .collections
            .get(storage)
            .map(|c| c.within(namespace))
            .unwrap_or_default();
        (found, state.revision)
    }

    /// Writes an object whose present revision is `based_on` (`None`: it must not exist).
    pub fn put(&self, key: &Key, mut value: Value, based_on: Option<u64>) -> Result<Stored, Stale> {
        let mut state = self.lock();
        let previous = state.current(key, based_on)?;
        state.revision += 1;
        let revision = state.revision;
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let object = Arc::new(Object::new(value, revision));
        if let Some(previous) = &previous {
            state.unlink(key, previous);
        }
        state.link(key, &object);
        let event = Event {
            revision,
            object: object.clone(),
            previous,
            removed: false,
        };
        state.record(key, event);
        Ok(object)
    }

    /// Removes an object whose present revision is `based_on`.
    pub fn remove(&self, key: &Key, based_on: u64) -> Result<Stored, Stale> {
        let mut state = self.lock();
        let previous = state.current(key, Some(based_on))?.ok_or(Stale)?;
        state.revision += 1;
        let revision = state.revision;
        let mut value = previous.value.clone();
        value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let object = Arc::new(Object::new(value, revision));
        state.unlink(key, &previous);
        let event = Event {
            revision,
            object: object.clone(),
            previous: Some(previous),
            removed: true,
        };
        state.record(key, event);
        Ok(object)
    }

    /// The keys of the objects that name this uid as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Key> {
        let state = self.lock();
        state
            .dependents
            .get(uid)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The object that has this uid.
    pub fn by_uid(&self, uid: &str) -> Option<Key> {
        self.lock().uids.get(uid).cloned()
    }

    /// The keys of everything in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Key> {
        let state = self.lock();
        let mut keys: Vec<Key> = state
            .uids
            .values()
            .filter(|k| k.namespace == namespace)
            .cloned()
            .collect();
        keys.sort();
        keys
    }

    /// The events after `revision` and the newest revision they lead to. A revision that is still
    /// to come is from another life of this store: its reader must list anew.
    pub fn since(&self, storage: &Arc<str>, revision: u64) -> Result<(Vec<Event>, u64), TooOld> {
        let state = self.lock();
        if revision > state.revision {
            return Err(TooOld {
                asked: revision,
                oldest: state.revision,
            });
        }
        let Some(collection) = state.collections.get(storage) else {
            return Ok((Vec::new(), state.revision));
        };
        if revision < collection.oldest {
            return Err(TooOld {
                asked: revision,
                oldest: collection.oldest,
            });
        }
        let from = collection
            .log
            .partition_point(|event| event.revision <= revision);
        Ok((
            collection.log.range(from..).cloned().collect(),
            state.revision,
        ))
    }

    /// Wakes at every change of a resource.
    pub fn changes(&self, storage: &Arc<str>) -> Arc<Notify> {
        let mut state = self.lock();
        let collection = state.collections.entry(storage.clone()).or_default();
        collection.changed.clone()
    }

    /// Forgets all logs: watches from before now get 410.
    pub fn compact(&self) {
        let mut state = self.lock();
        let revision = state.revision;
        for collection in state.collections.values_mut() {
            collection.log.clear();
            collection.oldest = revision;
        }
    }
}

impl State {
    fn current(&self, key: &Key, based_on: Option<u64>) -> Result<Option<Stored>, Stale> {
        let place = (key.namespace.clone(), key.name.clone());
        let found = self
            .collections
            .get(&key.storage)
            .and_then(|c| c.objects.get(&place))
            .cloned();
        if found.as_ref().map(|object| object.revision) == based_on {
            Ok(found)
        } else {
            Err(Stale)
        }
    }

    fn link(&mut self, key: &Key, object: &Stored) {
        if let Some(uid) = object.value["metadata"]["uid"].as_str() {
            self.uids.insert(uid.to_owned(), key.clone());
        }
        for owner in owners(&object.value) {
            self.dependents
                .entry(owner.to_owned())
                .or_default()
                .insert(key.clone());
        }
    }

    fn unlink(&mut self, key: &Key, object: &Stored) {
        if let Some(uid) = object.value["metadata"]["uid"].as_str() {
            self.uids.remove(uid);
        }
        for owner in owners(&object.value) {
            if let Some(keys) = self.dependents.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn record(&mut self, key: &Key, event: Event) {
        for observer in &self.observers {
            observer(&key.storage, &event);
        }
        let place = (key.namespace.clone(), key.name.clone());
        let collection = self.collections.entry(key.storage.clone()).or_default();
        if event.removed {
            collection.objects.remove(&place);
        } else {
            collection.objects.insert(place, event.object.clone());
        }
        collection.log.push_back(event);
        if collection.log.len() > LOG_LENGTH
            && let Some(dropped) = collection.log.pop_front()
        {
            collection.oldest = dropped.revision;
        }
        // In the order of their asking, so that a simulation is the same each time.
        collection.changed.notify_waiters();
    }
}

impl Collection {
    fn within(&self, namespace: Option<&str>) -> Vec<Stored> {
        let Some(namespace) = namespace else {
            return self.objects.values().cloned().collect();
        };
        let from = (namespace.to_owned(), String::new());
        let same = |entry: &(&(String, String), &Stored)| entry.0.0 == namespace;
        self.objects
            .range(from..)
            .take_while(same)
            .map(|(_, object)| object.clone())
            .collect()
    }
}

/// The uids of an object's owners.
pub fn owners(value: &Value) -> impl Iterator<Item = &str> {
    let list = value["metadata"]["ownerReferences"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key {
            storage: "pods".into(),
            namespace: "a".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_write_based_on_an_old_revision_is_stale() {
        let store = Store::default();
        let first = store.put(&key("x"), json!({"metadata": {}}), None).unwrap();
        store
            .put(&key("x"), json!({"metadata": {}}), Some(first.revision))
            .unwrap();
        assert_eq!(
            store
                .put(&key("x"), json!({"metadata": {}}), Some(first.revision))
                .unwrap_err(),
            Stale
        );
        assert_eq!(
            store
                .put(&key("x"), json!({"metadata": {}}), None)
                .unwrap_err(),
            Stale
        );
    }

    #[test]
    fn the_log_gives_what_happened_since_a_revision_or_says_that_it_cannot() {
        let store = Store::default();
        let first = store.put(&key("x"), json!({"metadata": {}}), None).unwrap();
        store.put(&key("y"), json!({"metadata": {}}), None).unwrap();
        store.remove(&key("x"), first.revision).unwrap();
        let (events, newest) = store.since(&"pods".into(), first.revision).unwrap();
        assert_eq!(
            events.iter().map(|e| e.removed).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(newest, 3);
        let to_come = TooOld {
            asked: 4,
            oldest: 3,
        };
        assert_eq!(store.since(&"pods".into(), 4).unwrap_err(), to_come);
        store.compact();
        assert_eq!(
            store.since(&"pods".into(), 1).unwrap_err(),
            TooOld {
                asked: 1,
                oldest: 3
            }
        );
    }

    #[test]
    fn dependents_are_found_by_their_owners_uid() {
        let store = Store::default();
        let owned = json!({"metadata": {"uid": "c", "ownerReferences": [{"uid": "o"}]}});
        let child = store.put(&key("child"), owned, None).unwrap();
        assert_eq!(store.dependents("o"), [key("child")]);
        store.remove(&key("child"), child.revision).unwrap();
        assert!(store.dependents("o").is_empty());
    }
}
