//! A shelf whose objects are kept as text: their parts take far more memory, and most of them belong to
//! Rollouts at rest, which nobody looks at for days.
//!
//! Guarantees: an object comes from the shelf as it was seen. Whoever looks at a namespace finds what did not
//! change since the last look read already; that is kept for the few namespaces that were looked at last.
//!
//! Not here: watching (`cache`), and what is left out of an object (`entries`).

use std::any::type_name;
use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shelf::Shelf;

/// Namespaces whose objects are at hand.
const VIEWS: usize = 4;

/// An object as text, with what is asked of all.
#[derive(Debug)]
pub struct Text<K, H = ()> {
    /// What is asked of all.
    pub head: H,
    json: Box<str>,
    of: PhantomData<fn() -> K>,
}

impl<K: Serialize + DeserializeOwned, H> Text<K, H> {
    /// The text of an object; none where it cannot be written as JSON.
    pub fn of(object: &K, head: H) -> Option<Self> {
        let text = serde_json::to_string(object);
        let text =
            text.inspect_err(|error| tracing::error!(%error, "{} is not kept", type_name::<K>()));
        Some(Self {
            head,
            json: fitted(&text.ok()?),
            of: PhantomData,
        })
    }

    /// The object; none where it cannot be read.
    pub fn read(&self) -> Option<Arc<K>> {
        let object = serde_json::from_str(&self.json);
        let object =
            object.inspect_err(|error| tracing::error!(%error, "{} is not read", type_name::<K>()));
        object.ok().map(Arc::new)
    }
}

/// The text in no more memory than it needs. A string that is shrunk may be left by the allocator where it was
/// written, in up to twice as much.
pub(super) fn fitted(text: &str) -> Box<str> {
    text.into()
}

/// An object with the text that it was read from.
type Known<K, H> = (Arc<Text<K, H>>, Arc<K>);

/// The objects of one namespace.
struct View<K, H> {
    namespace: String,
    objects: Vec<Known<K, H>>,
}

/// The objects of one kind, as text.
pub struct Packed<K, H = ()> {
    texts: Shelf<Text<K, H>>,
    /// The one that was looked at last is the last one.
    views: Mutex<VecDeque<Arc<View<K, H>>>>,
}

impl<K, H> Default for Packed<K, H> {
    fn default() -> Self {
        Self {
            texts: Shelf::default(),
            views: Mutex::default(),
        }
    }
}

impl<K, H> Debug for Packed<K, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").finish_non_exhaustive()
    }
}

impl<K: Serialize + DeserializeOwned, H> Packed<K, H> {
    /// Where the texts are put.
    pub fn texts(&self) -> &Shelf<Text<K, H>> {
        &self.texts
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.texts.get(namespace, name)?.read()
    }

    /// All objects of a namespace, by name.
    pub fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        let texts = self.texts.within(namespace);
        if texts.is_empty() {
            return Vec::new();
        }
        let before = self.view(namespace);
        let before = before
            .as_deref()
            .map_or(&[][..], |view| view.objects.as_slice());
        // A text that is in the view lives as long as it, so none other has its address.
        let known: HashMap<_, _> = before
            .iter()
            .map(|(text, object)| (Arc::as_ptr(text), object))
            .collect();
        let read = |text: Arc<Text<K, H>>| match known.get(&Arc::as_ptr(&text)) {
            Some(object) => Some((text, Arc::clone(object))),
            None => text.read().map(|object| (text, object)),
        };
        let objects: Vec<_> = texts.into_iter().filter_map(read).collect();
        let all = objects.iter().map(|(_, object)| Arc::clone(object));
        let all = all.collect();
        self.put_view(View {
            namespace: namespace.to_owned(),
            objects,
        });
        all
    }

    /// The objects of a namespace for whose heads this holds, by name.
    pub fn within_where(&self, namespace: &str, holds: impl Fn(&H) -> bool) -> Vec<Arc<K>> {
        let texts = self.texts.within(namespace);
        let texts = texts.iter().filter(|text| holds(&text.head));
        texts.filter_map(|text| text.read()).collect()
    }

    /// All objects for whose heads this holds.
    pub fn all_where(&self, holds: impl Fn(&H) -> bool) -> Vec<Arc<K>> {
        let texts = self.texts.all();
        let texts = texts.iter().filter(|text| holds(&text.head));
        texts.filter_map(|text| text.read()).collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.all_where(|_| true)
    }

    fn view(&self, namespace: &str) -> Option<Arc<View<K, H>>> {
        let views = self.views();
        let mut views = views.iter();
        views.find(|view| view.namespace == namespace).cloned()
    }

    fn put_view(&self, view: View<K, H>) {
        let mut views = self.views();
        views.retain(|other| other.namespace != view.namespace);
        if views.len() >= VIEWS {
            views.pop_front();
        }
        views.push_back(Arc::new(view));
    }

    fn views(&self) -> MutexGuard<'_, VecDeque<Arc<View<K, H>>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;

    use super::super::shelf::Filler;
    use super::*;

    fn map(namespace: &str, name: &str, word: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.metadata.name = Some(name.to_owned());
        map.data = Some([("word".to_owned(), word.to_owned())].into());
        map
    }

    fn put(packed: &Packed<ConfigMap, bool>, map: ConfigMap) {
        let text = |map: ConfigMap| Text::of(&map, map.metadata.name.as_deref() == Some("a"));
        Filler::new(None).take(packed.texts(), Event::Apply(map), text);
    }

    #[test]
    fn only_what_changed_is_read_anew() {
        let packed = Packed::default();
        put(&packed, map("n", "a", "\"1\""));
        put(&packed, map("n", "b", "2"));
        let before = packed.within("n");
        assert_eq!(
            before.iter().map(|map| &**map).cloned().collect::<Vec<_>>(),
            [map("n", "a", "\"1\""), map("n", "b", "2")]
        );
        put(&packed, map("n", "b", "3"));
        let after = packed.within("n");
        assert!(Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!(*after[1], map("n", "b", "3"));
        assert_eq!(*packed.get("n", "b").unwrap(), *after[1]);
        assert_eq!(packed.all_where(|is_a| *is_a), [before[0].clone()]);
        put(&packed, map("m", "a", ""));
        assert_eq!(packed.within_where("n", |is_a| *is_a), [before[0].clone()]);
    }

    #[test]
    fn the_namespaces_that_were_looked_at_last_are_at_hand() {
        let packed = Packed::default();
        let namespaces: Vec<String> = (0..=VIEWS).map(|index| index.to_string()).collect();
        for namespace in &namespaces {
            put(&packed, map(namespace, "a", ""));
        }
        let first: Vec<_> = namespaces.iter().map(|n| packed.within(n)).collect();
        let same = |at: usize| Arc::ptr_eq(&first[at][0], &packed.within(&namespaces[at])[0]);
        assert!(same(VIEWS));
        assert!(!same(0));
        assert!(!same(1), "the other look took its place");
        assert!(packed.within("none").is_empty());
    }
}
