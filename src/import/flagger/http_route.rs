//! The `HTTPRoute` of the user's own in the place of the one that Flagger makes, with the same rules.
//!
//! Flagger reads conditions, header changes and rewrites in Istio's form and writes them in the Gateway API's. The same is
//! done here, so that a request that came by its route comes by this one in the same way. Not here: the backends of a
//! run, which are Sluice's.
//!
//! Source: Flagger 1.41, `pkg/router/gateway_api.go`.

use serde_json::{Map, Value, json};

use super::route::apex;
use crate::import::{list, metadata, text};

/// What of `spec.service` becomes a part of the route.
pub const CONVERTED: [&str; 6] = ["hosts", "match", "rewrite", "headers", "mirror", "timeout"];

/// The route; its rules lead to the Service alone.
///
/// # Errors
/// If a condition has no counterpart: without it more requests, or fewer, would come by this route.
pub fn of(canary: &Value) -> Result<Value, String> {
    let (apex, service) = (apex(canary), &canary["spec"]["service"]);
    if !service["port"].is_number() {
        return Err("spec.service.port: found nothing, wanted the Service's port".to_owned());
    }
    let mut rule = Map::new();
    rule.insert(
        "backendRefs".to_owned(),
        json!([{"name": apex, "port": service["port"]}]),
    );
    for (key, found) in [
        ("matches", matches(service)?),
        ("filters", filters(service)),
    ] {
        if !found.is_empty() {
            rule.insert(key.to_owned(), json!(found));
        }
    }
    let timeout = text(service, "/timeout");
    if !timeout.is_empty() {
        rule.insert("timeouts".to_owned(), json!({"request": timeout}));
    }
    let mut spec = json!({"parentRefs": service["gatewayRefs"], "rules": [rule]});
    if !list(service, "/hosts").is_empty() {
        spec["hostnames"] = service["hosts"].clone();
    }
    Ok(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": named(canary), "spec": spec,
    }))
}

/// The name that Flagger's has not, and the labels and annotations that it has.
fn named(canary: &Value) -> Value {
    let mut metadata = metadata(canary);
    metadata["name"] = json!(format!("{}-route", apex(canary)));
    for key in ["labels", "annotations"] {
        let found = &canary["spec"]["service"]["apex"][key];
        if found.as_object().is_some_and(|found| !found.is_empty()) {
            metadata[key] = found.clone();
        }
    }
    metadata
}

/// A way to compare in Istio's form, and its name in the Gateway API's.
type Way = (&'static str, &'static str);

const OF_PATHS: [Way; 3] = [
    ("regex", "RegularExpression"),
    ("exact", "Exact"),
    ("prefix", "PathPrefix"),
];
const OF_METHODS: [Way; 1] = [("exact", "Exact")];
const OF_VALUES: [Way; 2] = [("exact", "Exact"), ("regex", "RegularExpression")];

fn matches(service: &Value) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for (at, one) in list(service, "/match").iter().enumerate() {
        let found = one_match(one, &format!("spec.service.match[{at}]"))?;
        if !found.is_empty() {
            all.push(Value::Object(found));
        }
    }
    Ok(all)
}

fn one_match(one: &Value, place: &str) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    if one["uri"].is_object() {
        let (way, value) = compared(&one["uri"], &OF_PATHS, &format!("{place}.uri"))?;
        found.insert("path".to_owned(), json!({"type": way, "value": value}));
    }
    if one["method"].is_object() {
        let (_, value) = compared(&one["method"], &OF_METHODS, &format!("{place}.method"))?;
        found.insert("method".to_owned(), json!(value));
    }
    for key in ["headers", "queryParams"] {
        let mut conditions = Vec::new();
        for (name, how) in sorted(&one[key]) {
            let (way, value) = compared(how, &OF_VALUES, &format!("{place}.{key}.{name}"))?;
            conditions.push(json!({"name": name, "type": way, "value": value}));
        }
        if !conditions.is_empty() {
            found.insert(key.to_owned(), json!(conditions));
        }
    }
    Ok(found)
}

/// The first of the ways that is given.
fn compared<'a>(
    how: &'a Value,
    ways: &[Way],
    place: &str,
) -> Result<(&'static str, &'a str), String> {
    let given = |(theirs, ours): &Way| {
        let value = how[theirs].as_str().filter(|value| !value.is_empty())?;
        Some((*ours, value))
    };
    ways.iter().find_map(given).ok_or_else(|| {
        let ways: Vec<&str> = ways.iter().map(|(theirs, _)| *theirs).collect();
        format!(
            "{place}: found {how}, wanted {}; Flagger makes no HTTPRoute of it either",
            ways.join(" or ")
        )
    })
}

fn filters(service: &Value) -> Vec<Value> {
    let headers = [
        ("request", "RequestHeaderModifier", "requestHeaderModifier"),
        (
            "response",
            "ResponseHeaderModifier",
            "responseHeaderModifier",
        ),
    ];
    let headers = headers.into_iter().filter_map(|(side, kind, key)| {
        let changes = changes(&service["headers"][side]);
        (!changes.is_empty()).then(|| json!({"type": kind, key: changes}))
    });
    let mirrors = list(service, "/mirror").iter().map(
        |mirror| json!({"type": "RequestMirror", "requestMirror": {"backendRef": mirror["backendRef"]}}),
    );
    headers
        .chain(rewrite(&service["rewrite"]))
        .chain(mirrors)
        .collect()
}

/// What is added, set and removed of the headers of one side.
fn changes(of: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    for key in ["add", "set"] {
        let headers = sorted(&of[key]);
        if !headers.is_empty() {
            let headers = headers
                .into_iter()
                .map(|(name, value)| json!({"name": name, "value": value}));
            all.insert(key.to_owned(), headers.collect());
        }
    }
    if !list(of, "/remove").is_empty() {
        all.insert("remove".to_owned(), of["remove"].clone());
    }
    all
}

fn rewrite(of: &Value) -> Option<Value> {
    let mut all = Map::new();
    if !text(of, "/authority").is_empty() {
        all.insert("hostname".to_owned(), of["authority"].clone());
    }
    let path = text(of, "/uri");
    if !path.is_empty() {
        let path = match text(of, "/type") {
            "ReplacePrefixMatch" => {
                json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": path})
            }
            _ => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
        };
        all.insert("path".to_owned(), path);
    }
    (!all.is_empty()).then(|| json!({"type": "URLRewrite", "urlRewrite": all}))
}

fn sorted(of: &Value) -> Vec<(&String, &Value)> {
    let mut all: Vec<(&String, &Value)> = of.as_object().into_iter().flatten().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}
