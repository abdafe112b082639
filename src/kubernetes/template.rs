//! A pod template's identity: its hash, its images, and what it reads from elsewhere.
//!
//! Two templates have one [`Revision`] only if Kubernetes itself would start nothing when the
//! one takes the other's place: nil equals empty, quantities compare by value, lists by order,
//! `pod-template-hash` does not count (`apiequality.Semantic.DeepEqual` of stored objects). Where
//! in doubt two templates differ: that costs a needless canary, the reverse would release an
//! unproven one. `kubectl.kubernetes.io/restartedAt` is left out, so that a restart is no revision.
//!
//! Not here: the API server's defaulting. Compare what is stored, never what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, PodSpec, PodTemplateSpec, Volume,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::quantity;

/// The label that the Deployment controller adds.
pub const TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation that `kubectl rollout restart` sets.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Of a hash, in hexadecimal digits. Whoever may change a template may look for two of one hash: with ten digits
/// they are found in seconds, and the second goes where the first was let through.
pub(super) const HASH_CHARS: usize = 32;

/// The identity of a pod template, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

/// The template's revision; a restart does not change it.
pub fn revision(template: &PodTemplateSpec) -> Revision {
    revision_of(&as_value(template))
}

/// The same with the time of the last restart in it: equal only if Kubernetes would start nothing.
pub fn revision_with_restart(template: &PodTemplateSpec) -> Revision {
    hash(&normalise_template(as_value(template), true))
}

/// The revision of a template as it came over the wire, with fields that this build does not know.
pub fn revision_of(template: &Value) -> Revision {
    hash(&normalise_template(template.clone(), false))
}

/// The template without what a `ReplicaSet` adds: fit for putting back into a Deployment.
pub fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.remove(TEMPLATE_HASH);
    }
    template
}

/// Images of the containers, init containers last.
pub fn images(template: &PodTemplateSpec) -> Vec<String> {
    let Some(spec) = &template.spec else {
        return Vec::new();
    };
    containers(spec)
        .filter_map(|container| container.image.clone())
        .collect()
}

/// What a template reads by name when its pods start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Names of `ConfigMaps`.
    pub config_maps: BTreeSet<String>,
    /// Names of Secrets; those for pulling images are left out.
    pub secrets: BTreeSet<String>,
}

/// The `ConfigMaps` and Secrets that a template names in env, envFrom and volumes.
pub fn references(template: &PodTemplateSpec) -> References {
    References::of(template, |_| true)
}

/// Those without which no pod of it starts.
pub fn required(template: &PodTemplateSpec) -> References {
    References::of(template, |optional| optional != Some(true))
}

/// Whether a reference counts, by its field `optional`.
type Counts = fn(Option<bool>) -> bool;

impl References {
    fn of(template: &PodTemplateSpec, counts: Counts) -> Self {
        let mut found = Self::default();
        let Some(spec) = &template.spec else {
            return found;
        };
        for container in containers(spec) {
            for variable in container.env.iter().flatten() {
                found.add_variable(variable, counts);
            }
            for source in container.env_from.iter().flatten() {
                found.add_source(source, counts);
            }
        }
        for volume in spec.volumes.iter().flatten() {
            found.add_volume(volume, counts);
        }
        found.config_maps.remove("");
        found.secrets.remove("");
        found
    }

    fn add_variable(&mut self, variable: &EnvVar, counts: Counts) {
        let Some(from) = &variable.value_from else {
            return;
        };
        let map = from.config_map_key_ref.iter();
        let map = map.filter(|key| counts(key.optional));
        self.config_maps.extend(map.map(|key| key.name.clone()));
        let secret = from.secret_key_ref.iter();
        let secret = secret.filter(|key| counts(key.optional));
        self.secrets.extend(secret.map(|key| key.name.clone()));
    }

    fn add_source(&mut self, source: &EnvFromSource, counts: Counts) {
        let map = source.config_map_ref.iter();
        let map = map.filter(|map| counts(map.optional));
        self.config_maps.extend(map.map(|map| map.name.clone()));
        let secret = source.secret_ref.iter();
        let secret = secret.filter(|secret| counts(secret.optional));
        self.secrets
            .extend(secret.map(|secret| secret.name.clone()));
    }

    fn add_volume(&mut self, volume: &Volume, counts: Counts) {
        let map = volume.config_map.iter();
        let map = map.filter(|map| counts(map.optional));
        self.config_maps.extend(map.map(|map| map.name.clone()));
        let secret = volume.secret.iter();
        let secret = secret.filter(|secret| counts(secret.optional));
        self.secrets
            .extend(secret.filter_map(|secret| secret.secret_name.clone()));
        let projected = volume.projected.iter();
        for source in projected.flat_map(|projected| projected.sources.iter().flatten()) {
            let map = source.config_map.iter();
            let map = map.filter(|map| counts(map.optional));
            self.config_maps.extend(map.map(|map| map.name.clone()));
            let secret = source.secret.iter();
            let secret = secret.filter(|secret| counts(secret.optional));
            self.secrets
                .extend(secret.map(|secret| secret.name.clone()));
        }
    }
}

/// The first `chars` hexadecimal digits of the SHA-256 of a text.
pub(super) fn short_hash(text: &str, chars: usize) -> String {
    hex(&Sha256::digest(text.as_bytes()), chars)
}

/// The first `chars` hexadecimal digits of these bytes.
pub(super) fn hex(bytes: &[u8], chars: usize) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .take(chars)
        .collect()
}

fn hash(normal: &Value) -> Revision {
    // `serde_json` keeps the keys of an object sorted, so equal values have equal texts.
    Revision(short_hash(&normal.to_string(), HASH_CHARS))
}

fn as_value(template: &PodTemplateSpec) -> Value {
    serde_json::to_value(template).unwrap_or_default()
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
}

fn normalise_template(mut template: Value, keep_restart: bool) -> Value {
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(TEMPLATE_HASH);
    }
    let annotations = template
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    if let (false, Some(annotations)) = (keep_restart, annotations) {
        annotations.remove(RESTARTED_AT);
    }
    normalise(template, "template")
}

/// One value in its normal form; `key` is the field that holds it, or that holds its list.
fn normalise(value: Value, key: &str) -> Value {
    match value {
        Value::Object(fields) if is_map(key) => Value::Object(normalise_map(fields, key)),
        Value::Object(fields) => Value::Object(normalise_struct(fields, key)),
        Value::Array(items) => items.into_iter().map(|item| normalise(item, key)).collect(),
        Value::String(text) if is_quantity(key) => Value::String(quantity::canonical(&text)),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

fn normalise_struct(fields: Map<String, Value>, parent: &str) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| {
            let value = normalise(value, &name);
            (name, value)
        })
        .filter(|(name, value)| !is_absent(name, value, parent))
        .collect()
}

/// A map's keys are the user's own: nothing is dropped, only quantities are rewritten.
fn normalise_map(fields: Map<String, Value>, key: &str) -> Map<String, Value> {
    let quantities = matches!(key, "limits" | "requests" | "overhead");
    fields
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) if quantities => (name, Value::String(quantity::canonical(&text))),
            Value::Number(number) if quantities => (
                name,
                Value::String(quantity::canonical(&number.to_string())),
            ),
            other => (name, other),
        })
        .collect()
}

/// Whether a field with this value means the same as no field at all.
///
/// True only where Kubernetes' own Go types cannot tell the two apart (lists, maps, structs and
/// scalars that are not pointers). An empty object behind a pointer, as `emptyDir: {}`, counts.
fn is_absent(name: &str, value: &Value, parent: &str) -> bool {
    let struct_by_value = (name == "resources"
        && matches!(parent, "containers" | "initContainers"))
        || (parent == "template" && matches!(name, "metadata" | "spec"));
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && (is_map(name) || struct_by_value),
        Value::Bool(set) => {
            !set && matches!(
                name,
                "hostNetwork" | "hostPID" | "hostIPC" | "stdin" | "stdinOnce" | "tty"
            )
        }
        Value::String(text) => text.is_empty() && name == "value" && parent == "env",
        Value::Number(_) => false,
    }
}

fn is_map(key: &str) -> bool {
    const MAPS: [&str; 7] = [
        "labels",
        "annotations",
        "nodeSelector",
        "limits",
        "requests",
        "overhead",
        "matchLabels",
    ];
    MAPS.contains(&key)
}

fn is_quantity(key: &str) -> bool {
    matches!(key, "sizeLimit" | "divisor")
}

/// The names that were read before and what they held: what has changed since.
pub fn changed<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    now.iter()
        .filter(|(name, digest)| before.get(*name).is_some_and(|old| old != *digest))
        .map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{
                "name": "main", "image": "shop:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            }]},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut changed = base();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert(key.into(), value);
        changed
    }

    fn typed(value: &Value) -> PodTemplateSpec {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn where_kubernetes_would_start_nothing_the_revision_stays() {
        let table = [
            with(
                "/metadata/labels",
                json!({"app": "x", "pod-template-hash": "abc"}),
            ),
            with("/metadata/annotations", json!({})),
            with(
                "/metadata/annotations",
                json!({RESTARTED_AT: "2026-01-01T00:00:00Z"}),
            ),
            with("/metadata/creationTimestamp", Value::Null),
            with(
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}}),
            ),
            with(
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": 1, "memory": "1073741824"}}),
            ),
            with(
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {}}),
            ),
            with("/spec/volumes", json!([])),
            with("/spec/nodeSelector", json!({})),
            with("/spec/hostNetwork", json!(false)),
            with("/spec/containers/0/command", json!([])),
        ];
        for same in table {
            assert_eq!(revision(&typed(&same)), revision(&typed(&base())), "{same}");
        }
    }

    #[test]
    fn where_kubernetes_would_start_pods_the_revision_changes() {
        let table = [
            with("/spec/containers/0/image", json!("shop:2")),
            with(
                "/spec/containers/0/env",
                json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
            ),
            with(
                "/spec/containers/0/resources",
                json!({"limits": {"cpu": "1001m", "memory": "1Gi"}}),
            ),
            with("/metadata/labels", json!({"app": "x", "tier": ""})),
            with("/metadata/annotations", json!({"a": ""})),
            with("/spec/volumes", json!([{"name": "scratch"}])),
            with(
                "/spec/volumes",
                json!([{"name": "scratch", "emptyDir": {}}]),
            ),
            with("/spec/automountServiceAccountToken", json!(false)),
            with("/spec/securityContext", json!({})),
        ];
        let mut seen = BTreeSet::from([revision(&typed(&base()))]);
        for other in table {
            assert!(seen.insert(revision(&typed(&other))), "{other}");
        }
    }

    #[test]
    fn a_field_that_this_build_does_not_know_changes_the_revision_of_the_wire_form() {
        assert_ne!(
            revision_of(&with("/spec/fieldOfNextYear", json!(true))),
            revision_of(&base())
        );
        assert_eq!(revision_of(&base()), revision(&typed(&base())));
    }

    #[test]
    fn a_restart_shows_only_where_it_is_asked_for() {
        let restarted = typed(&with(
            "/metadata/annotations",
            json!({RESTARTED_AT: "2026-01-01T00:00:00Z"}),
        ));
        assert_eq!(revision(&restarted), revision(&typed(&base())));
        assert_ne!(
            revision_with_restart(&restarted),
            revision_with_restart(&typed(&base()))
        );
    }

    #[test]
    fn a_revision_is_stable_over_releases_of_sluice() {
        // A changed hash would start a run for every Deployment at the next upgrade.
        assert_eq!(
            revision(&typed(&base())).as_str(),
            "b8374525c77f393d9465f04ae7d5a88f"
        );
    }

    /// Two templates that were looked for: 40 bits of their SHA-256 are the same.
    #[test]
    fn templates_whose_hashes_begin_alike_are_two_revisions() {
        let of = |nonce: &str| {
            let built = with("/metadata/annotations", json!({"build": nonce}));
            String::from(revision(&typed(&built)))
        };
        let (one, other) = (of("896904"), of("2751707"));
        assert_eq!(one[..10], other[..10]);
        assert_ne!(one, other);
    }

    #[test]
    fn every_way_to_name_a_config_map_or_secret_is_found() {
        let template = typed(&json!({"spec": {
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}]}],
            "containers": [{"name": "m", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
            ]}],
            "volumes": [
                {"name": "a", "configMap": {"name": "c3"}}, {"name": "b", "secret": {"secretName": "s3"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}]}},
            ],
            "imagePullSecrets": [{"name": "registry"}],
        }}));
        let names = |prefix: &str| {
            (1..=4)
                .map(|n| format!("{prefix}{n}"))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(
            references(&template),
            References {
                config_maps: names("c"),
                secrets: names("s")
            }
        );
    }

    #[test]
    fn images_are_listed_with_init_containers_last() {
        let template = typed(&json!({"spec": {
            "containers": [{"name": "a", "image": "a:1"}], "initContainers": [{"name": "b", "image": "b:2"}]
        }}));
        assert_eq!(images(&template), ["a:1", "b:2"]);
    }
}
