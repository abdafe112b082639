//! What a client knows of one kind of object: a watch's events and its own writes, merged.
//!
//! A controller that acts on a watch alone acts twice, since its own writes come back late.
//! So what a write answered goes in here at once, and an older event never overwrites it.
//! Assumes that resource versions of one kind can be compared as numbers, which Kubernetes
//! promises since 1.35 and etcd has always given.
//! Not here: what to do about a change (each part's own business).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Namespace (empty for cluster-wide kinds) and name.
pub type Key = (String, String);

/// The key of an object.
pub fn key_of<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// The uid of the controller among the object's owners, if its kind is `kind`.
pub fn controller_uid<'a, K: Resource>(object: &'a K, kind: &str) -> Option<&'a str> {
    controller_of(object)
        .filter(|owner| owner.kind == kind)
        .map(|owner| owner.uid.as_str())
}

/// The owner that controls the object.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// One object before and after; `after` is none when it is gone.
#[derive(Debug)]
pub struct Change<K> {
    pub before: Option<Arc<K>>,
    pub after: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The states before and after, those that exist.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.before.iter().chain(self.after.iter())
    }
}

/// All known objects of one kind, by key.
#[derive(Debug)]
pub struct Cache<K> {
    objects: BTreeMap<Key, Arc<K>>,
    erased: HashSet<String>,
    listing: Option<BTreeSet<Key>>,
    listed: bool,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            erased: HashSet::new(),
            listing: None,
            listed: false,
        }
    }
}

impl<K: Resource> Cache<K> {
    /// Whether the first list is complete.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<K>)> {
        self.objects.iter()
    }

    /// The objects of one namespace.
    pub fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        self.objects
            .range((namespace.to_owned(), String::new())..)
            .take_while(move |((within, _), _)| within == namespace)
            .map(|(_, object)| object)
    }

    /// Takes in a watch event; says what it changed.
    pub fn seen(&mut self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Apply(object) => self.wrote(object).into_iter().collect(),
            Event::Delete(object) => self.deleted(&object).into_iter().collect(),
            Event::Init => {
                self.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(key_of(&object));
                }
                self.wrote(object).into_iter().collect()
            }
            Event::InitDone => self.list_done(),
        }
    }

    /// Takes in what a write answered (or a watch told). Nothing if it is older than what is known.
    pub fn wrote(&mut self, object: K) -> Option<Change<K>> {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        if self.erased.contains(uid) {
            return None;
        }
        let key = key_of(&object);
        let before = self.objects.get(&key).cloned();
        if before
            .as_ref()
            .is_some_and(|b| version(b.as_ref()) >= version(&object))
        {
            return None;
        }
        let after = Arc::new(object);
        self.objects.insert(key, after.clone());
        Some(Change {
            before,
            after: Some(after),
        })
    }

    /// Takes in that a write has removed this object: later news of it are old news.
    pub fn erased(&mut self, object: &K) -> Option<Change<K>> {
        let uid = object.meta().uid.clone().unwrap_or_default();
        let change = self.remove(&key_of(object), &uid)?;
        self.erased.insert(uid);
        Some(change)
    }

    fn deleted(&mut self, object: &K) -> Option<Change<K>> {
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.erased.remove(&uid);
        self.remove(&key_of(object), &uid)
    }

    fn remove(&mut self, key: &Key, uid: &str) -> Option<Change<K>> {
        let known = self.objects.get(key)?;
        if known.meta().uid.as_deref().unwrap_or_default() != uid {
            return None;
        }
        let before = self.objects.remove(key);
        Some(Change {
            before,
            after: None,
        })
    }

    fn list_done(&mut self) -> Vec<Change<K>> {
        self.listed = true;
        self.erased.clear();
        let Some(listing) = self.listing.take() else {
            return Vec::new();
        };
        let stale: Vec<Key> = self
            .objects
            .keys()
            .filter(|key| !listing.contains(*key))
            .cloned()
            .collect();
        let gone = stale.iter().filter_map(|key| self.objects.remove(key));
        gone.map(|object| Change {
            before: Some(object),
            after: None,
        })
        .collect()
    }
}

fn version<K: Resource>(object: &K) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// Keys filed under strings: pods by owner uid, pods by label.
#[derive(Debug, Default)]
pub struct Index(HashMap<String, BTreeSet<Key>>);

impl Index {
    /// The keys filed under `entry`.
    pub fn get(&self, entry: &str) -> impl Iterator<Item = &Key> {
        self.0.get(entry).into_iter().flatten()
    }

    /// How many keys are filed under `entry`.
    pub fn count(&self, entry: &str) -> usize {
        self.0.get(entry).map_or(0, BTreeSet::len)
    }

    /// Moves the change's object from the entries it had to those it has.
    pub fn refile<K: Resource>(&mut self, change: &Change<K>, entries: impl Fn(&K) -> Vec<String>) {
        for entry in change.before.iter().flat_map(|object| entries(object)) {
            let key = change.before.as_deref().map(key_of).unwrap_or_default();
            if let Some(keys) = self.0.get_mut(&entry) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.0.remove(&entry);
                }
            }
        }
        if let Some(object) = &change.after {
            for entry in entries(object) {
                self.0
                    .entry(entry)
                    .or_default()
                    .insert(key_of(object.as_ref()));
            }
        }
    }
}

/// Watches all objects of a kind in all namespaces, for ever; errors are logged and tried again.
pub fn watch<K>(client: &Client) -> BoxStream<'static, Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(Api::all(client.clone()))
}

/// The events of one namespace only, where one is given.
pub fn watch_in<K>(client: &Client, namespace: Option<&str>) -> BoxStream<'static, Event<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    match namespace {
        Some(namespace) => follow(Api::namespaced(client.clone(), namespace)),
        None => watch(client),
    }
}

/// How long until a watch that failed is tried again: the same each time, since a scenario must play the
/// same each time, and the API server is in this process.
struct Again;

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(800))
    }
}

impl Backoff for Again {
    fn reset(&mut self) {}
}

fn follow<K>(api: Api<K>) -> BoxStream<'static, Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher::watcher(api, watcher::Config::default())
        .backoff(Again)
        .filter_map(|event| async {
            event
                .inspect_err(|error| tracing::debug!(kind = %K::kind(&()), %error, "watch"))
                .ok()
        })
        .boxed()
}

/// A shorthand for messages: `namespace/name`.
pub fn title<K: Resource>(object: &K) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some("shop".into());
        map.metadata.name = Some(name.into());
        map.metadata.uid = Some(uid.into());
        map.metadata.resource_version = Some(version.to_string());
        map
    }

    fn versions(cache: &Cache<ConfigMap>) -> Vec<u64> {
        cache
            .iter()
            .map(|(_, object)| version(object.as_ref()))
            .collect()
    }

    #[test]
    fn an_older_event_does_not_overwrite_a_newer_write() {
        let mut cache = Cache::default();
        assert!(cache.wrote(object("a", "1", 12)).is_some());
        assert!(cache.seen(Event::Apply(object("a", "1", 9))).is_empty());
        assert_eq!(versions(&cache), [12]);
        assert_eq!(cache.seen(Event::Apply(object("a", "1", 13))).len(), 1);
    }

    #[test]
    fn late_news_of_an_erased_object_do_not_bring_it_back() {
        let mut cache = Cache::default();
        cache.wrote(object("a", "1", 5));
        assert!(cache.erased(&object("a", "1", 5)).is_some());
        assert!(cache.seen(Event::Apply(object("a", "1", 6))).is_empty());
        assert!(cache.seen(Event::Delete(object("a", "1", 7))).is_empty());
        assert_eq!(cache.seen(Event::Apply(object("a", "2", 8))).len(), 1);
    }

    #[test]
    fn the_deletion_of_a_predecessor_leaves_the_successor() {
        let mut cache = Cache::default();
        cache.wrote(object("a", "2", 9));
        assert!(cache.seen(Event::Delete(object("a", "1", 7))).is_empty());
        assert_eq!(versions(&cache), [9]);
    }

    #[test]
    fn what_a_new_list_leaves_out_is_gone() {
        let mut cache = Cache::default();
        for (name, version) in [("a", 1), ("b", 2)] {
            cache.wrote(object(name, name, version));
        }
        cache.seen(Event::Init);
        cache.seen(Event::InitApply(object("b", "b", 2)));
        let changes = cache.seen(Event::InitDone);
        assert_eq!(changes.len(), 1);
        assert!(changes[0].after.is_none());
        assert!(cache.is_listed());
    }
}
