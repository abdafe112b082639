//! Objects by kind through the Kubernetes API, as plain JSON.
//!
//! The player treats all kinds alike, so it needs no types: a table says where each kind
//! lives. Not here: how manifests are applied (`manifests`).

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, Error};
use serde_json::Value;

/// Kind, group, version, whether it lives in a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("ClusterRole", "rbac.authorization.k8s.io", "v1", false),
    (
        "ClusterRoleBinding",
        "rbac.authorization.k8s.io",
        "v1",
        false,
    ),
    ("ConfigMap", "", "v1", true),
    ("ControllerRevision", "apps", "v1", true),
    (
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        "v1",
        false,
    ),
    ("DaemonSet", "apps", "v1", true),
    ("Deployment", "apps", "v1", true),
    ("EndpointSlice", "discovery.k8s.io", "v1", true),
    ("Event", "", "v1", true),
    ("Gateway", "gateway.networking.k8s.io", "v1", true),
    ("GatewayClass", "gateway.networking.k8s.io", "v1", false),
    ("HTTPRoute", "gateway.networking.k8s.io", "v1", true),
    ("Ingress", "networking.k8s.io", "v1", true),
    ("IngressClass", "networking.k8s.io", "v1", false),
    (
        "MutatingAdmissionPolicy",
        "admissionregistration.k8s.io",
        "v1",
        false,
    ),
    (
        "MutatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io",
        "v1",
        false,
    ),
    (
        "MutatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        "v1",
        false,
    ),
    ("Namespace", "", "v1", false),
    ("NetworkPolicy", "networking.k8s.io", "v1", true),
    ("Node", "", "v1", false),
    ("PersistentVolumeClaim", "", "v1", true),
    ("Pod", "", "v1", true),
    ("PodDisruptionBudget", "policy", "v1", true),
    ("ReplicaSet", "apps", "v1", true),
    ("ResourceQuota", "", "v1", true),
    ("Rollout", "sluice.dev", "v1alpha1", true),
    ("Secret", "", "v1", true),
    ("Service", "", "v1", true),
    ("ServiceAccount", "", "v1", true),
    ("StatefulSet", "apps", "v1", true),
    (
        "ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io",
        "v1",
        false,
    ),
    (
        "ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io",
        "v1",
        false,
    ),
];

/// Where objects of this kind are; `api_version` decides for kinds the table does not have,
/// which are taken to live in a namespace. An empty namespace stands for all.
pub fn api(
    client: Client,
    kind: &str,
    api_version: Option<&str>,
    namespace: &str,
) -> Api<DynamicObject> {
    let known = KINDS.iter().find(|row| row.0 == kind);
    let (gvk, namespaced) = match (known, api_version) {
        (Some((kind, group, version, namespaced)), _) => {
            (GroupVersionKind::gvk(group, version, kind), *namespaced)
        }
        (None, api_version) => {
            let text = api_version.unwrap_or("v1");
            let (group, version) = text.split_once('/').unwrap_or(("", text));
            (GroupVersionKind::gvk(group, version, kind), true)
        }
    };
    let resource = ApiResource::from_gvk(&gvk);
    if namespaced && !namespace.is_empty() {
        Api::namespaced_with(client, namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    }
}

/// Whether objects of this kind live in a namespace; kinds that are not known are taken to.
pub fn namespaced(kind: &str) -> bool {
    KINDS
        .iter()
        .find(|row| row.0 == kind)
        .is_none_or(|row| row.3)
}

/// One object as JSON, `None` where there is none.
pub async fn get(
    client: &Client,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Error> {
    let found = api(client.clone(), kind, None, namespace)
        .get_opt(name)
        .await?;
    Ok(found.and_then(|object| serde_json::to_value(object).ok()))
}

/// All objects of a kind in a namespace as JSON.
pub async fn list(client: &Client, kind: &str, namespace: &str) -> Result<Vec<Value>, Error> {
    let found = api(client.clone(), kind, None, namespace)
        .list(&ListParams::default())
        .await?;
    Ok(found
        .into_iter()
        .filter_map(|object| serde_json::to_value(object).ok())
        .collect())
}

/// A text at a JSON pointer.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// A number at a JSON pointer; absent counts as 0, as Kubernetes leaves zeros out.
pub fn number(object: &Value, pointer: &str) -> f64 {
    object
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(0.0)
}
