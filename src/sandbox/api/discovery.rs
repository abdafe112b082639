//! What the server serves, as clients discover it: versions, groups, resources, health.
//!
//! Both the old documents (one for each group version) and the aggregated ones are given.

use serde_json::{Value, json};

use super::Api;
use super::answer::Answer;
use super::call::Call;
use super::kinds::{Kind, Registry};
use super::openapi;
use super::refusal::Refusal;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Answers a path that names no resource.
pub fn answer(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let words: Vec<&str> = call
        .path
        .split('/')
        .filter(|word| !word.is_empty())
        .collect();
    let kinds = api.kinds();
    match words.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Ok(Answer::text("ok")),
        ["version"] => Ok(Answer::value(&version())),
        ["openapi", "v2"] => Err(Refusal::new(
            406,
            "NotAcceptable",
            "only OpenAPI v3 is served",
        )),
        ["openapi", "v3"] => Ok(Answer::value(&openapi::index(&kinds))),
        ["openapi", "v3", "api", version] => openapi::document(api, "", version),
        ["openapi", "v3", "apis", group, version] => openapi::document(api, group, version),
        ["api"] if aggregated(call) => Ok(aggregate(&kinds, true)),
        ["apis"] if aggregated(call) => Ok(aggregate(&kinds, false)),
        ["api"] => Ok(Answer::value(&json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        }))),
        ["apis"] => Ok(Answer::value(&groups(&kinds))),
        ["apis", group, ..] if !kinds.groups().contains_key(group) => Ok(Answer::missing_page()),
        ["apis", group] => group_document(&kinds, group).map(|value| Answer::value(&value)),
        ["api", version] => resources(&kinds, "", version),
        ["apis", group, version] => resources(&kinds, group, version),
        ["api", ..] => Err(Refusal::no_such_path()),
        _ => Ok(Answer::missing_page()),
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3+sluice-sandbox", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn aggregated(call: &Call) -> bool {
    call.accept
        .split(',')
        .next()
        .is_some_and(|first| first.contains("as=APIGroupDiscoveryList"))
}

fn groups(kinds: &Registry) -> Value {
    let groups: Vec<Value> = kinds
        .groups()
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(g, v)| group_value(g, v))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn group_document(kinds: &Registry, group: &str) -> Result<Value, Refusal> {
    let groups = kinds.groups();
    let versions = groups.get(group).ok_or_else(Refusal::no_such_path)?;
    let mut document = group_value(group, versions);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Ok(document)
}

fn resources(kinds: &Registry, group: &str, version: &str) -> Result<Answer, Refusal> {
    let mut list = Vec::new();
    for kind in kinds
        .all()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        list.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind), "shortNames": kind.short, "categories": kind.categories,
        }));
        for (name, scope, verbs) in subresources(kind) {
            let mut entry = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": scope["kind"], "verbs": verbs,
            });
            if scope["group"] != json!(kind.group) {
                entry["group"] = scope["group"].clone();
                entry["version"] = scope["version"].clone();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Ok(Answer::value(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list,
    })))
}

fn verbs(kind: &Kind) -> Vec<&'static str> {
    if kind.kind.ends_with("Review") {
        vec!["create"]
    } else {
        VERBS.to_vec()
    }
}

/// Name, kind and verbs of each subresource.
fn subresources(kind: &Kind) -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let mut list = Vec::new();
    let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    if kind.is("", "Pod") {
        list.push((
            "eviction",
            json!({"group": "policy", "version": "v1", "kind": "Eviction"}),
            vec!["create"],
        ));
    }
    if kind.scale {
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        list.push(("scale", scale, vec!["get", "patch", "update"]));
    }
    if kind.status {
        list.push(("status", own, vec!["get", "patch", "update"]));
    }
    list
}

fn aggregate(kinds: &Registry, core: bool) -> Answer {
    let mut items = Vec::new();
    for (group, versions) in kinds
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
    {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| aggregate_version(kinds, group, version))
            .collect();
        let metadata = if core {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": group, "creationTimestamp": null})
        };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    Answer {
        media,
        ..Answer::value(&list)
    }
}

fn aggregate_version(kinds: &Registry, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in kinds
        .all()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        let subresources: Vec<Value> = subresources(kind)
            .into_iter()
            .map(|(name, scope, verbs)| json!({"subresource": name, "responseKind": scope, "verbs": verbs}))
            .collect();
        let mut entry = json!({
            "resource": kind.plural, "singularResource": kind.singular, "verbs": verbs(kind),
            "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "shortNames": kind.short, "categories": kind.categories,
        });
        if !subresources.is_empty() {
            entry["subresources"] = json!(subresources);
        }
        resources.push(entry);
    }
    json!({"version": version, "resources": resources, "freshness": "Current"})
}
