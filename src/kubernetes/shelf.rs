//! A shelf: the objects of one kind as they were last seen, by namespace and name.
//!
//! Why not kube's `Store`: several namespaces may feed one shelf, a namespace is a range and not
//! a scan, and an entry keeps what was computed when it came (a template's revision), not more
//! of the object than is used.
//!
//! Not here: watching (`cache`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use kube::runtime::watcher::Event;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
pub type Key = (String, String);

/// The objects of one kind.
#[derive(Debug)]
pub struct Shelf<V> {
    entries: RwLock<BTreeMap<Key, Arc<V>>>,
    /// The namespaces whose first list came; none for all.
    listed: RwLock<BTreeSet<Option<String>>>,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self {
            entries: RwLock::new(BTreeMap::new()),
            listed: RwLock::new(BTreeSet::new()),
        }
    }
}

impl<V> Shelf<V> {
    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.read().get(&key).cloned()
    }

    /// Whether what is not here of a namespace is known not to be there: its list came, and was not refused.
    pub fn is_listed(&self, namespace: &str) -> bool {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        listed.contains(&None) || listed.contains(&Some(namespace.to_owned()))
    }

    /// All objects of a namespace, by name.
    pub fn within(&self, namespace: &str) -> Vec<Arc<V>> {
        let from = (namespace.to_owned(), String::new());
        self.read()
            .range(from..)
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// The same with their names.
    pub fn named(&self, namespace: &str) -> Vec<(String, Arc<V>)> {
        let from = (namespace.to_owned(), String::new());
        self.read()
            .range(from..)
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|((_, name), entry)| (name.clone(), entry.clone()))
            .collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<V>> {
        self.read().values().cloned().collect()
    }

    /// All objects with their keys.
    pub fn keyed(&self) -> Vec<(Key, Arc<V>)> {
        let entries = self.read();
        let all = entries.iter();
        all.map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Key, Arc<V>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<Key, Arc<V>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: Key, entry: V) {
        self.write().insert(key, Arc::new(entry));
    }

    fn take(&self, key: &Key) {
        self.write().remove(key);
    }

    /// Keeps these only, of a namespace or of all; returns the keys that are gone.
    fn keep(&self, scope: Option<&str>, these: &BTreeSet<Key>) -> Vec<Key> {
        let mut entries = self.write();
        let within = |key: &Key| scope.is_none_or(|namespace| key.0 == namespace);
        let gone = entries
            .keys()
            .filter(|key| within(key) && !these.contains(*key));
        let gone: Vec<Key> = gone.cloned().collect();
        for key in &gone {
            entries.remove(key);
        }
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        listed.insert(scope.map(str::to_owned));
        gone
    }
}

/// Fills a shelf from one watch; a watch that starts anew replaces what it had given before.
///
/// Assumes that no other watch gives what is in its scope.
#[derive(Debug, Default)]
pub struct Filler {
    /// The namespace that is watched; none for all.
    scope: Option<String>,
    fresh: BTreeSet<Key>,
}

impl Filler {
    /// Has given nothing yet.
    pub fn new(scope: Option<&str>) -> Self {
        Self {
            scope: scope.map(str::to_owned),
            fresh: BTreeSet::new(),
        }
    }

    /// Takes one event in, as `entry` keeps it, or not at all; returns the keys that it touched.
    pub fn take<K, V>(
        &mut self,
        shelf: &Shelf<V>,
        event: Event<K>,
        entry: impl Fn(K) -> Option<V>,
    ) -> Vec<Key>
    where
        K: kube::Resource,
    {
        match event {
            Event::Init => {
                self.fresh.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = key(&object);
                if let Some(entry) = entry(object) {
                    self.fresh.insert(key.clone());
                    shelf.put(key.clone(), entry);
                }
                vec![key]
            }
            Event::InitDone => shelf.keep(self.scope.as_deref(), &std::mem::take(&mut self.fresh)),
            Event::Apply(object) => {
                let key = key(&object);
                match entry(object) {
                    Some(entry) => shelf.put(key.clone(), entry),
                    None => shelf.take(&key),
                }
                vec![key]
            }
            Event::Delete(object) => {
                let key = key(&object);
                shelf.take(&key);
                vec![key]
            }
        }
    }
}

fn key<K: kube::Resource>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn names(shelf: &Shelf<ConfigMap>, namespace: &str) -> Vec<String> {
        let within = shelf.within(namespace);
        within
            .iter()
            .filter_map(|map| map.metadata.name.clone())
            .collect()
    }

    #[test]
    fn a_watch_that_starts_anew_drops_what_is_gone_and_only_what_it_gave() {
        let shelf = Shelf::default();
        let (mut one, mut two) = (Filler::new(Some("a")), Filler::new(Some("b")));
        one.take(&shelf, Event::Apply(map("a", "x")), Some);
        one.take(&shelf, Event::Apply(map("a", "y")), Some);
        two.take(&shelf, Event::Apply(map("b", "z")), Some);
        one.take(&shelf, Event::<ConfigMap>::Init, Some);
        one.take(&shelf, Event::InitApply(map("a", "y")), Some);
        let gone = one.take(&shelf, Event::<ConfigMap>::InitDone, Some);
        assert_eq!(gone, [("a".to_owned(), "x".to_owned())]);
        assert_eq!(names(&shelf, "a"), ["y"]);
        assert_eq!(names(&shelf, "b"), ["z"]);
    }

    #[test]
    fn what_is_missing_is_only_known_of_what_was_listed() {
        for (scope, elsewhere) in [(Some("a"), false), (None, true)] {
            let shelf = Shelf::default();
            let mut filler = Filler::new(scope);
            filler.take(&shelf, Event::<ConfigMap>::Init, Some);
            filler.take(&shelf, Event::InitApply(map("a", "x")), Some);
            assert!(!shelf.is_listed("a"), "{scope:?}");
            filler.take(&shelf, Event::<ConfigMap>::InitDone, Some);
            assert!(shelf.is_listed("a"), "{scope:?}");
            assert_eq!(shelf.is_listed("b"), elsewhere, "{scope:?}");
        }
    }

    #[test]
    fn what_is_not_kept_any_more_goes() {
        let shelf = Shelf::default();
        let mut filler = Filler::new(None);
        filler.take(&shelf, Event::Apply(map("a", "x")), Some);
        filler.take(&shelf, Event::Apply(map("a", "x")), |_| None);
        assert!(names(&shelf, "a").is_empty());
    }

    #[test]
    fn a_namespace_does_not_see_its_neighbour() {
        let shelf = Shelf::default();
        let mut filler = Filler::new(None);
        for (namespace, name) in [("a", "x"), ("ab", "y"), ("b", "z")] {
            filler.take(&shelf, Event::Apply(map(namespace, name)), Some);
        }
        assert_eq!(names(&shelf, "a"), ["x"]);
    }
}
