//! What a pod's containers need before they can start: its `ConfigMaps` and Secrets.
//!
//! Pure: given what exists, what is missing first? Not here: other volume types, which the
//! sandbox takes as present, and the contents.

use k8s_openapi::api::core::v1::{Pod, PodSpec, ProjectedVolumeSource};

/// A `ConfigMap` or Secret that a pod names, perhaps one key of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub secret: bool,
    pub name: String,
    pub key: Option<String>,
}

/// What is known of the object that a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Absent,
    WithoutKey,
    Present,
}

/// The kubelet's message for the first reference that is not satisfied.
pub fn missing(pod: &Pod, look: impl Fn(&Reference) -> Known) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    required(spec).into_iter().find_map(|reference| {
        let Reference { secret, name, key } = &reference;
        match look(&reference) {
            Known::Present => None,
            Known::Absent => Some(format!(
                "{} \"{name}\" not found",
                if *secret { "secret" } else { "configmap" }
            )),
            Known::WithoutKey => {
                let kind = if *secret { "Secret" } else { "ConfigMap" };
                let key = key.as_deref().unwrap_or_default();
                Some(format!(
                    "couldn't find key {key} in {kind} {namespace}/{name}"
                ))
            }
        }
    })
}

/// All references that are not optional.
pub fn required(spec: &PodSpec) -> Vec<Reference> {
    let mut found = Found::default();
    for container in spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
    {
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|env| env.value_from.as_ref())
        {
            if let Some(from) = &source.config_map_key_ref {
                found.add(false, &from.name, Some(&from.key), from.optional);
            }
            if let Some(from) = &source.secret_key_ref {
                found.add(true, &from.name, Some(&from.key), from.optional);
            }
        }
        for source in container.env_from.iter().flatten() {
            if let Some(from) = &source.config_map_ref {
                found.add(false, &from.name, None, from.optional);
            }
            if let Some(from) = &source.secret_ref {
                found.add(true, &from.name, None, from.optional);
            }
        }
    }
    for volume in spec.volumes.iter().flatten() {
        if let Some(from) = &volume.config_map {
            found.add(false, &from.name, None, from.optional);
        }
        if let Some(from) = &volume.secret {
            found.add(
                true,
                from.secret_name.as_deref().unwrap_or_default(),
                None,
                from.optional,
            );
        }
        volume
            .projected
            .iter()
            .for_each(|projected| found.add_projected(projected));
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Reference>);

impl Found {
    fn add(&mut self, secret: bool, name: &str, key: Option<&str>, optional: Option<bool>) {
        if optional != Some(true) {
            let (name, key) = (name.to_owned(), key.map(str::to_owned));
            self.0.push(Reference { secret, name, key });
        }
    }

    fn add_projected(&mut self, projected: &ProjectedVolumeSource) {
        for source in projected.sources.iter().flatten() {
            if let Some(from) = &source.config_map
                && from.name != "kube-root-ca.crt"
            {
                self.add(false, &from.name, None, from.optional);
            }
            if let Some(from) = &source.secret {
                self.add(true, &from.name, None, from.optional);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "containers": [{
                    "name": "c",
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}],
                    "envFrom": [{"secretRef": {"name": "passwords"}}, {"secretRef": {"name": "extra", "optional": true}}]
                }],
                "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "files"}}]}}]
            }
        }))
        .unwrap()
    }

    #[test]
    fn the_first_thing_missing_is_said_as_a_kubelet_says_it() {
        let table = [
            (
                ("settings", Known::Absent),
                Some("configmap \"settings\" not found"),
            ),
            (
                ("settings", Known::WithoutKey),
                Some("couldn't find key a in ConfigMap shop/settings"),
            ),
            (
                ("passwords", Known::Absent),
                Some("secret \"passwords\" not found"),
            ),
            (
                ("files", Known::Absent),
                Some("configmap \"files\" not found"),
            ),
            (("extra", Known::Absent), None),
        ];
        for ((name, known), expected) in table {
            let look = |reference: &Reference| {
                if reference.name == name {
                    known
                } else {
                    Known::Present
                }
            };
            assert_eq!(missing(&pod(), look).as_deref(), expected, "{name}");
        }
    }
}
