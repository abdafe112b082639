//! A `ConfigMap` or a Secret as it is watched: its name, its owners, and a digest of what it holds.
//!
//! Whoever may make one in any namespace chooses what it holds. A hundred thousand empty keys are a megabyte on the
//! wire and many times that as a map, and a first list has all of them: so of an entry nothing is kept but a hash, from
//! the moment it is read, and of the metadata only what is looked at.
//!
//! Guarantees: the digest follows the keys, the values and the field in which they stand; neither their order nor the
//! metadata. It tells nothing about a value that could not be guessed anyhow.
//!
//! Not here: the watch (`cache`), and which of them a template names (`template`).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::template::hex;

/// Of a digest, in hexadecimal digits: too many for two contents of one digest to be looked for.
const DIGEST_CHARS: usize = 32;

/// An object of kind `K`, without what it holds.
pub struct Digested<K> {
    metadata: ObjectMeta,
    /// The digest of what it holds.
    pub digest: String,
    of: PhantomData<fn() -> K>,
}

impl<K> Clone for Digested<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            digest: self.digest.clone(),
            of: PhantomData,
        }
    }
}

impl<K> fmt::Debug for Digested<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digested")
            .field("metadata", &self.metadata)
            .field("digest", &self.digest)
            .finish()
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Digested<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de, K: Resource<DynamicType = ()>> Deserialize<'de> for Digested<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(deserializer)?;
        let mut sum = Sha256::new();
        sum.update(Sha256::digest(K::kind(&()).as_bytes()));
        for field in [read.data, read.binary_data] {
            let mut entries = field.unwrap_or_default().0;
            entries.sort_unstable();
            sum.update((entries.len() as u64).to_be_bytes());
            for entry in &entries {
                sum.update(entry);
            }
        }
        Ok(Self {
            metadata: read.metadata.into(),
            digest: hex(&sum.finalize(), DIGEST_CHARS),
            of: PhantomData,
        })
    }
}

/// An object as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    data: Option<Entries>,
    #[serde(default)]
    binary_data: Option<Entries>,
}

/// What is looked at of the metadata. Managed fields name each key once more.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        Self {
            name: meta.name,
            namespace: meta.namespace,
            resource_version: meta.resource_version,
            owner_references: meta.owner_references,
            ..Self::default()
        }
    }
}

/// A hash of each entry of a map of texts.
#[derive(Default)]
struct Entries(Vec<[u8; 32]>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EachEntry)
    }
}

struct EachEntry;

impl<'de> Visitor<'de> for EachEntry {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some((Hashed(key), Hashed(value))) = map.next_entry()? {
            // Both are of one length, so that no two entries run together alike.
            let sum = Sha256::new().chain_update(key).chain_update(value);
            entries.0.push(sum.finalize().into());
        }
        Ok(entries)
    }
}

/// The hash of a text; that of none is the empty text's.
struct Hashed([u8; 32]);

impl<'de> Deserialize<'de> for Hashed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneText)
    }
}

struct OneText;

impl Visitor<'_> for OneText {
    type Value = Hashed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Hashed, E> {
        Ok(Hashed(Sha256::digest(text.as_bytes()).into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Hashed, E> {
        self.visit_str("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use serde_json::{Value, json};

    fn digest<K: Resource<DynamicType = ()>>(text: &str) -> String {
        let object: Digested<K> = serde_json::from_str(text).unwrap();
        object.digest
    }

    #[test]
    fn a_digest_follows_the_content_and_not_its_order() {
        let same = [
            r#"{"data": {"a": "b", "c": "d"}}"#,
            r#"{"data": {"c": "d", "a": "b"}, "immutable": true, "metadata": {"labels": {"l": "1"}}}"#,
            r#"{"binaryData": null, "data": {"a": "\u0062", "c": "d"}}"#,
        ];
        let others = [
            "{}",
            r#"{"data": {"a": "b"}}"#,
            r#"{"data": {"a": "bc", "": "d"}}"#,
            r#"{"data": {"a": "d", "c": "b"}}"#,
            r#"{"binaryData": {"a": "b", "c": "d"}}"#,
            r#"{"data": {"a": "b"}, "binaryData": {"c": "d"}}"#,
        ];
        let one = digest::<ConfigMap>(same[0]);
        assert_eq!(same.map(digest::<ConfigMap>), [&*one; 3]);
        let mut seen = std::collections::BTreeSet::from([one, digest::<Secret>(same[0])]);
        for other in others {
            assert!(seen.insert(digest::<ConfigMap>(other)), "{other}");
        }
        let (none, empty) = (r#"{"data": {"a": null}}"#, r#"{"data": {"a": ""}}"#);
        assert_eq!(digest::<Secret>(none), digest::<Secret>(empty));
        let number: Result<Digested<ConfigMap>, _> = serde_json::from_str(r#"{"data": {"a": 1}}"#);
        assert!(number.unwrap_err().to_string().contains("a text"));
    }

    #[test]
    fn nothing_is_kept_of_an_object_but_its_name_its_owners_and_a_digest() {
        let keys = (0..1_000).map(|n| (format!("key-{n}"), Value::from("secret")));
        let owner = json!({"apiVersion": "v1", "kind": "Rollout", "name": "shop", "uid": "1"});
        let object = json!({
            "metadata": {
                "name": "m", "namespace": "shop", "resourceVersion": "7", "ownerReferences": [owner],
                "annotations": {"kept": "secret"}, "managedFields": [{"fieldsV1": {"f:secret": {}}}],
            },
            "data": keys.collect::<serde_json::Map<_, _>>(),
        });
        let read: Digested<ConfigMap> = serde_json::from_value(object).unwrap();
        let kept = ObjectMeta {
            name: Some("m".to_owned()),
            namespace: Some("shop".to_owned()),
            resource_version: Some("7".to_owned()),
            owner_references: serde_json::from_value(json!([owner])).unwrap(),
            ..ObjectMeta::default()
        };
        assert_eq!(*read.meta(), kept);
        assert_eq!(read.digest.len(), DIGEST_CHARS);
        let kind = (
            Digested::<Secret>::kind(&()),
            Digested::<Secret>::url_path(&(), None),
        );
        assert_eq!(kind, ("Secret".into(), "/api/v1/secrets".to_owned()));
    }
}
