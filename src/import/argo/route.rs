//! How Argo splits the requests, and which Ingress or `HTTPRoute` is split here.
//!
//! Not here: the weights (`strategy`).

use serde_json::{Value, json};

use super::stable_service;
use crate::import::{Converted, list, text};

/// The plugin that splits an `HTTPRoute`.
const PLUGIN: &str = "argoproj-labs/gatewayAPI";
/// What annotations of ingress-nginx begin with, unless something else is said.
const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// The route.
pub fn of(rollout: &Value, target: &str, about: &str, all: &mut Converted) -> Value {
    let canary = &rollout["spec"]["strategy"]["canary"];
    let mut route = match by_gateway(canary) {
        Some(plugin) => http_route(rollout, plugin, target, about, all),
        None => ingress(&canary["trafficRouting"]["nginx"], target, about, all),
    };
    if let Some(service) = stable_service(rollout) {
        route["service"] = json!(service);
    }
    match by_gateway(canary) {
        Some(_) => json!({"gatewayApi": route}),
        None => json!({"ingressNginx": route}),
    }
}

/// The settings of the plugin for the Gateway API, where it splits the requests.
pub fn by_gateway(canary: &Value) -> Option<&Value> {
    Some(&canary["trafficRouting"]["plugins"][PLUGIN]).filter(|plugin| plugin.is_object())
}

/// The names of the `HTTPRoute`s that it splits.
pub fn http_routes(plugin: &Value) -> Vec<&str> {
    let named = list(plugin, "/httpRoutes").iter();
    let all =
        std::iter::once(text(plugin, "/httpRoute")).chain(named.map(|one| text(one, "/name")));
    all.filter(|name| !name.is_empty()).collect()
}

fn http_route(
    rollout: &Value,
    plugin: &Value,
    target: &str,
    about: &str,
    all: &mut Converted,
) -> Value {
    const FIELD: &str = "spec.strategy.canary.trafficRouting.plugins.argoproj-labs/gatewayAPI";
    all.note(
        about,
        "analysis.rules: name those of your Gateway's implementation (docs/reference/rules.md)",
    );
    let routes = http_routes(plugin);
    if let [_, others @ ..] = routes.as_slice()
        && !others.is_empty()
    {
        let text = format!(
            "{FIELD}.httpRoutes: one is split; {} would go on leading to stable",
            others.join(", ")
        );
        all.note(about, &text);
    }
    let (own, theirs) = (
        text(rollout, "/metadata/namespace"),
        text(plugin, "/namespace"),
    );
    if !own.is_empty() && !theirs.is_empty() && own != theirs {
        let text =
            format!("{FIELD}.namespace: found {theirs}; only an HTTPRoute of {own} is split");
        all.note(about, &text);
    }
    for key in [
        "grpcRoutes",
        "grpcRoute",
        "tcpRoutes",
        "tcpRoute",
        "tlsRoutes",
        "tlsRoute",
    ] {
        if !plugin[key].is_null() {
            all.note(about, &format!("{FIELD}.{key}: only HTTPRoutes are split"));
        }
    }
    let name = routes.first().copied().unwrap_or_else(|| {
        let text = format!(
            "{FIELD}: no HTTPRoute is named; {target} is written, name the one that leads to it"
        );
        all.note(about, &text);
        target
    });
    json!({"httpRoute": name})
}

fn ingress(nginx: &Value, target: &str, about: &str, all: &mut Converted) -> Value {
    let named = list(nginx, "/stableIngresses")
        .iter()
        .filter_map(Value::as_str);
    let more = list(nginx, "/additionalStableIngresses")
        .iter()
        .filter_map(Value::as_str);
    let mut names = std::iter::once(text(nginx, "/stableIngress"))
        .chain(named)
        .chain(more)
        .filter(|name| !name.is_empty());
    let name = names.next().unwrap_or_else(|| {
        let text = format!(
            "no stable Ingress is named; {target} is written, name the Ingress that leads to it"
        );
        all.note(about, &text);
        target
    });
    let others: Vec<&str> = names.collect();
    if !others.is_empty() {
        let text = format!(
            "trafficRouting.nginx: one Ingress is split, {name}; {} would go on leading to stable",
            others.join(", ")
        );
        all.note(about, &text);
    }
    let mut route = json!({"ingress": name});
    let prefix = text(nginx, "/annotationPrefix");
    if !prefix.is_empty() {
        route["annotationPrefix"] = json!(prefix);
    }
    route
}

/// What Argo writes onto the canary's Ingress: the field, the name without its prefix, the value.
pub fn annotations(canary: &Value) -> Vec<(String, &str, &Value)> {
    let nginx = &canary["trafficRouting"]["nginx"];
    let prefix = match text(nginx, "/annotationPrefix") {
        "" => PREFIX,
        prefix => prefix,
    };
    let mut all = Vec::new();
    for key in ["additionalIngressAnnotations", "canaryIngressAnnotations"] {
        for (name, value) in nginx[key].as_object().into_iter().flatten() {
            let field = format!("spec.strategy.canary.trafficRouting.nginx.{key}");
            let plain = name
                .strip_prefix(prefix)
                .and_then(|name| name.strip_prefix('/'));
            all.push((field, plain.unwrap_or(name), value));
        }
    }
    all
}
