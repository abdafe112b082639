//! Pod templates: when two are the same, and the hash that names a `ReplicaSet`.
//!
//! The hash is not byte for byte Kubernetes' (that one hashes a Go struct dump), only of the
//! same kind: 32 bits of FNV-1a in the same safe alphabet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the pods of one `ReplicaSet` from another's.
pub const HASH_LABEL: &str = "pod-template-hash";

type Strings = BTreeMap<String, String>;

/// Whether two templates make the same pods, whatever their `pod-template-hash`.
pub fn same(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    let meta = |template: &PodTemplateSpec| template.metadata.clone().unwrap_or_default();
    let (one, other) = (meta(left), meta(right));
    left.spec == right.spec
        && unhashed(one.labels.as_ref()) == unhashed(other.labels.as_ref())
        && one.annotations.unwrap_or_default() == other.annotations.unwrap_or_default()
}

fn unhashed(labels: Option<&Strings>) -> Vec<(&String, &String)> {
    labels
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != HASH_LABEL)
        .collect()
}

/// A short name for a template; `collisions` gives another one if the first is taken.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut text = serde_json::to_string(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    safe(fnv(text.as_bytes()))
}

/// FNV-1a, 32 bits.
pub fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The number's digits in the alphabet that Kubernetes uses, which spells no words.
fn safe(number: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digit = |c: u8| char::from(ALPHABET[usize::from(c) % ALPHABET.len()]);
    number.to_string().bytes().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(labels: &[(&str, &str)]) -> PodTemplateSpec {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        let mut template = PodTemplateSpec::default();
        template.metadata.get_or_insert_default().labels = Some(labels);
        template
    }

    #[test]
    fn the_hash_label_makes_no_difference() {
        let plain = template(&[("app", "shop")]);
        assert!(same(
            &plain,
            &template(&[("app", "shop"), (HASH_LABEL, "x")])
        ));
        assert!(!same(&plain, &template(&[("app", "cart")])));
    }

    #[test]
    fn a_collision_gives_another_hash() {
        let plain = template(&[("app", "shop")]);
        assert_eq!(hash(&plain, None), hash(&plain, None));
        assert_ne!(hash(&plain, None), hash(&plain, Some(1)));
        assert!(
            hash(&plain, None)
                .bytes()
                .all(|c| c.is_ascii_alphanumeric())
        );
    }
}
