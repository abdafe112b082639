//! The `ConfigMaps` and Secrets that a template names: what they hold, as a digest, and which are not there.
//!
//! Not here: what a template names (`template`), and objects that a workload owns (`owned`).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::cache::Cache;
use super::entries::Templated;
use super::shelf::Shelf;
use super::template;
use crate::rollout::config::Config;

/// In the place of a digest, where a template names no configuration.
const NONE_NAMED: &str = "none";

/// What the `ConfigMaps` and Secrets that the target's template names hold.
pub fn config(cache: &Cache, namespace: &str, target: &Templated<Deployment>) -> Config {
    let named = template::references(&target.object.spec.template);
    Config {
        maps: digest(&cache.config_maps, namespace, &named.config_maps),
        secrets: digest(&cache.secrets, namespace, &named.secrets),
    }
}

/// What the template needs to start a pod and does not find.
pub fn lacking(cache: &Cache, namespace: &str, template: &PodTemplateSpec) -> Vec<String> {
    let named = template::required(template);
    let maps = missing(&cache.config_maps, namespace, &named.config_maps);
    let secrets = missing(&cache.secrets, namespace, &named.secrets);
    let maps = maps.map(|name| format!("ConfigMap {name}"));
    maps.chain(secrets.map(|name| format!("Secret {name}")))
        .collect()
}

/// Which of these are not there; none while it is not known which there are.
fn missing<'a>(
    shelf: &'a Shelf<String>,
    namespace: &'a str,
    named: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a String> {
    let listed = shelf.is_listed(namespace);
    named
        .iter()
        .filter(move |name| listed && shelf.get(namespace, name).is_none())
}

/// Digest of what is named; none while it is not known which there are.
fn digest(shelf: &Shelf<String>, namespace: &str, named: &BTreeSet<String>) -> Option<String> {
    if named.is_empty() {
        return Some(NONE_NAMED.to_owned());
    }
    if !shelf.is_listed(namespace) {
        return None;
    }
    let each = named.iter().map(|name| {
        let content = shelf.get(namespace, name);
        format!("{name}={}", content.as_deref().map_or("", String::as_str))
    });
    let all: Vec<String> = each.collect();
    Some(template::short_hash(&all.join("\n"), template::HASH_CHARS))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::digested::Digested;
    use crate::kubernetes::shelf::Filler;

    #[test]
    fn what_was_never_listed_has_no_digest_and_what_is_missing_from_a_list_has_one() {
        let (shelf, mut filler) = (Shelf::default(), Filler::new(None));
        let named = BTreeSet::from(["colours".to_owned()]);
        assert_eq!(digest(&shelf, "shop", &named), None);
        let none = digest(&shelf, "shop", &BTreeSet::new());
        assert_eq!(none.as_deref(), Some(NONE_NAMED));

        let content = |map: Digested<ConfigMap>| Some(map.digest);
        filler.take(&shelf, Event::<Digested<ConfigMap>>::InitDone, content);
        let missing = digest(&shelf, "shop", &named);
        let meta = json!({"name": "colours", "namespace": "shop"});
        let map = serde_json::from_value(json!({"metadata": meta, "data": {"a": "b"}}));
        filler.take(&shelf, Event::Apply(map.unwrap()), content);
        let there = digest(&shelf, "shop", &named);
        assert!(missing.is_some() && there.is_some() && missing != there);
    }
}
