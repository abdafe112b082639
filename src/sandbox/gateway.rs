//! Gateway API in the sandbox: the kind `HTTPRoute` as far as router and load read it, and its definition.
//!
//! The definition is a stand-in with the fields, defaults and list types that matter to a split of
//! traffic, and leaves everything else as it comes; the schema in `gateway.networking.k8s.io`'s own release
//! is much larger. There are no Gateways: a route is served whatever its parents are.
//!
//! Not here: which rule takes a request (`router::gateway`).

use std::sync::Arc;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An `HTTPRoute`'s spec.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    schema = "disabled",
    namespaced
)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    pub parent_refs: Vec<Value>,
    /// All hosts if there is none.
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

/// What leads where.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Any of these; everything if there is none.
    pub matches: Vec<Match>,
    pub backend_refs: Vec<Backend>,
}

/// All of these.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Match {
    pub path: Option<Matcher>,
    pub headers: Vec<Matcher>,
    pub method: Option<String>,
}

/// How a path or a header must be.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Matcher {
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Of a header.
    pub name: String,
    pub value: String,
}

/// A Service's port, and its part of the requests.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq)]
pub struct Backend {
    pub name: String,
    pub port: Option<i32>,
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl HttpRoute {
    /// Host and path of each match, for requests that shall come this way.
    pub fn targets(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let any = ["any.test".to_owned()];
        let hosts: &[String] = if self.spec.hostnames.is_empty() {
            &any
        } else {
            &self.spec.hostnames
        };
        let everything = [Match::default()];
        let mut all = Vec::new();
        for host in hosts {
            let host: Arc<str> = host.replace("*.", "any.").into();
            for rule in &self.spec.rules {
                let matches = if rule.matches.is_empty() {
                    &everything
                } else {
                    rule.matches.as_slice()
                };
                // Nobody sends headers, or anything but GET.
                let plain = |one: &&Match| one.headers.is_empty() && one.method.is_none();
                for one in matches.iter().filter(plain) {
                    let path = one.path.as_ref().map_or("/", |path| path.value.as_str());
                    all.push((host.clone(), path.into()));
                }
            }
        }
        all
    }
}

/// The definition of the kind, as it is applied where a scenario wants the Gateway API.
pub fn definition() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let backend = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["name"],
        "properties": {
            "group": {"type": "string", "default": ""},
            "kind": {"type": "string", "default": "Service"},
            "name": {"type": "string"},
            "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
            "weight": {"type": "integer", "format": "int32", "default": 1, "minimum": 0, "maximum": 1_000_000},
        },
    });
    let header = json!({
        "type": "object", "required": ["name", "value"],
        "properties": {
            "type": {"type": "string", "default": "Exact", "enum": ["Exact", "RegularExpression"]},
            "name": {"type": "string"}, "value": {"type": "string"},
        },
    });
    let path = json!({
        "type": "object",
        "properties": {
            "type": {"type": "string", "default": "PathPrefix", "enum": ["Exact", "PathPrefix", "RegularExpression"]},
            "value": {"type": "string", "default": "/"},
        },
    });
    let list =
        |items: Value| json!({"type": "array", "x-kubernetes-list-type": "atomic", "items": items});
    let matches = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "path": path, "method": {"type": "string"},
            "headers": {"type": "array", "items": header, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        },
    });
    let rule = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"matches": list(matches), "backendRefs": list(backend)},
    });
    let spec = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"hostnames": list(json!({"type": "string"})), "parentRefs": list(open.clone()), "rules": list(rule)},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "httproutes.gateway.networking.k8s.io",
            // Without it the API server refuses kinds of this group.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute", "listKind": "HTTPRouteList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": open}}},
            }],
        },
    })
}
