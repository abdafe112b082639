//! Namespace, prefix and suffix, labels, annotations and replicas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::file::Kustomization;
use super::references::refer;
use super::{put, templates, text};

/// Kinds that belong to no namespace.
const CLUSTER: [&str; 18] = [
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "StorageClass",
    "PersistentVolume",
    "IngressClass",
    "PriorityClass",
    "RuntimeClass",
    "GatewayClass",
    "APIService",
    "Node",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "CSIDriver",
];

/// All of it, in kustomize's order.
pub(super) fn all(this: &Kustomization, objects: &mut [Value]) {
    let (prefix, suffix) = (&this.name_prefix, &this.name_suffix);
    if !prefix.is_empty() || !suffix.is_empty() {
        rename(objects, |name| format!("{prefix}{name}{suffix}"));
    }
    for object in objects {
        if !this.namespace.is_empty() {
            place(object, &this.namespace);
        }
        label(object, &this.common_labels, true, true);
        for labels in &this.labels {
            let selectors = labels.include_selectors;
            label(
                object,
                &labels.pairs,
                selectors,
                selectors || labels.include_templates,
            );
        }
        let annotations = ["metadata", "annotations"];
        set(object, &annotations, &this.common_annotations);
        if let Some(template) = templates(object) {
            set(template, &annotations, &this.common_annotations);
        }
        for replicas in &this.replicas {
            let named = text(object, &["metadata", "name"]) == replicas.name;
            if named && object.pointer("/spec/template").is_some() {
                put(object, &["spec"], "replicas", json!(replicas.count));
            }
        }
    }
}

/// Puts an object into a namespace; a Namespace is that one.
fn place(object: &mut Value, namespace: &str) {
    match text(object, &["kind"]) {
        "Namespace" => put(object, &["metadata"], "name", json!(namespace)),
        kind if CLUSTER.contains(&kind) => {}
        _ => put(object, &["metadata"], "namespace", json!(namespace)),
    }
}

/// Renames all objects, and what names them.
fn rename(objects: &mut [Value], name: impl Fn(&str) -> String) {
    let mut renamed = BTreeMap::new();
    for object in objects.iter_mut() {
        let (kind, old) = (
            text(object, &["kind"]).to_owned(),
            text(object, &["metadata", "name"]).to_owned(),
        );
        if kind == "Namespace" || kind == "CustomResourceDefinition" {
            continue;
        }
        let new = name(&old);
        put(object, &["metadata"], "name", json!(new));
        renamed.insert((kind, old), new);
    }
    for object in objects {
        refer(object, &|kind, old| {
            renamed.get(&(kind.to_owned(), old.to_owned())).cloned()
        });
    }
}

fn label(object: &mut Value, pairs: &BTreeMap<String, String>, selectors: bool, template: bool) {
    if pairs.is_empty() {
        return;
    }
    set(object, &["metadata", "labels"], pairs);
    if selectors {
        match text(object, &["kind"]) {
            "Service" => set(object, &["spec", "selector"], pairs),
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => {
                set(object, &["spec", "selector", "matchLabels"], pairs);
            }
            _ => {}
        }
    }
    if template && let Some(template) = templates(object) {
        set(template, &["metadata", "labels"], pairs);
    }
}

fn set(object: &mut Value, keys: &[&str], pairs: &BTreeMap<String, String>) {
    for (key, value) in pairs {
        put(object, keys, key, json!(value));
    }
}
