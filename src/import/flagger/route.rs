//! How traffic reaches a Canary's target: by an Ingress, or by a route of the user's own in the place of Flagger's.
//!
//! Not here: the switch (`flagger`).

use serde_json::{Value, json};

use crate::import::{Converted, metadata, text};

/// The way that traffic reaches its target.
pub fn of(canary: &Value, about: &str, all: &mut Converted) -> Value {
    if by_gateway(canary) {
        let route = http_route(canary);
        let name = route["metadata"]["name"].clone();
        all.note(
            about,
            "analysis.rules: name those of your Gateway's implementation (docs/reference/rules.md)",
        );
        all.objects.push(route);
        return json!({"gatewayApi": {"httpRoute": name}});
    }
    json!({"ingressNginx": {"ingress": ingress(canary, about, all)}})
}

/// Whether its traffic is split by the Gateway API.
pub fn by_gateway(canary: &Value) -> bool {
    text(canary, "/spec/provider").starts_with("gatewayapi")
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

/// A route of the user's own in the place of Flagger's, which goes with the Canary.
fn http_route(canary: &Value) -> Value {
    let (apex, service) = (apex(canary), &canary["spec"]["service"]);
    let mut metadata = metadata(canary);
    metadata["name"] = json!(format!("{apex}-route"));
    let mut rule = json!({"backendRefs": [{"name": apex, "port": service["port"]}]});
    if service["match"].is_array() {
        rule["matches"] = service["match"].clone();
    }
    let mut spec = json!({"parentRefs": service["gatewayRefs"], "rules": [rule]});
    if service["hosts"].is_array() {
        spec["hostnames"] = service["hosts"].clone();
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": metadata, "spec": spec,
    })
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
