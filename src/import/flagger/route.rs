//! How traffic reaches a Canary's target: by an Ingress, or by a route of the user's own in the place of Flagger's.
//!
//! Not here: what the route says (`http_route`), the switch (`switch`).

use serde_json::{Value, json};

use super::http_route;
use crate::import::{Converted, list, text};

/// The way that traffic reaches its target.
///
/// # Errors
/// If the route by which it comes cannot be written.
pub fn of(canary: &Value, about: &str, all: &mut Converted) -> Result<Value, String> {
    if !by_gateway(canary) {
        return Ok(json!({"ingressNginx": {"ingress": ingress(canary, about, all)}}));
    }
    let route = http_route::of(canary)?;
    let name = route["metadata"]["name"].clone();
    all.note(
        about,
        "analysis.rules: name those of your Gateway's implementation (docs/reference/rules.md)",
    );
    for (at, parent) in list(canary, "/spec/service/gatewayRefs").iter().enumerate() {
        if parent["kind"] == "Service" {
            let text = format!(
                "spec.service.gatewayRefs[{at}]: {} is a Service, so a mesh splits its requests; see that yours takes the HTTPRoute that is written",
                text(parent, "/name")
            );
            all.note(about, &text);
        }
    }
    all.objects.push(route);
    Ok(json!({"gatewayApi": {"httpRoute": name}}))
}

/// Whether its traffic is split by the Gateway API: it says so, or names Gateways and leaves the rest to Flagger's own setting.
pub fn by_gateway(canary: &Value) -> bool {
    let provider = text(canary, "/spec/provider");
    let named = !list(canary, "/spec/service/gatewayRefs").is_empty();
    provider.starts_with("gatewayapi") || (provider.is_empty() && named)
}

/// Whether the requests come by a route that Flagger made, of a kind that is not written here.
pub fn is_flaggers(canary: &Value) -> bool {
    let by_service = text(canary, "/spec/provider") == "kubernetes";
    let by_ingress = !text(canary, "/spec/ingressRef/name").is_empty();
    !by_gateway(canary) && !by_service && !by_ingress
}

/// The name of its Service, and of the `HTTPRoute` that Flagger makes.
pub fn apex(canary: &Value) -> &str {
    match text(canary, "/spec/service/name") {
        "" => text(canary, "/spec/targetRef/name"),
        name => name,
    }
}

fn ingress(canary: &Value, about: &str, all: &mut Converted) -> String {
    let provider = text(canary, "/spec/provider");
    let named = text(canary, "/spec/ingressRef/name");
    if !matches!(provider, "" | "nginx" | "traefik") {
        let text =
            format!("spec.provider: {provider} has no counterpart; traffic is split at an Ingress");
        all.note(about, &text);
    }
    if named.is_empty() {
        let target = text(canary, "/spec/targetRef/name");
        let text = format!(
            "spec.ingressRef: none is named; {target} is written, name the Ingress that leads to it"
        );
        all.note(about, &text);
        return target.to_owned();
    }
    named.to_owned()
}
