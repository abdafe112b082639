//! The steps from the Ingress to the Gateway, in an order in which users notice nothing.
//!
//! Not here: the routes themselves (`route`).

use kube::ResourceExt;
use serde_json::{Value, json};

use super::beside::{self, Beside};
use super::controllers;
use super::ingress::Read;
use super::{Gateway, Given, route};

/// The Rollouts that split the traffic of this Ingress.
pub fn rollouts<'a>(given: &'a Given, ingress: &str) -> Vec<&'a Value> {
    let of_it = |rollout: &&Value| rollout["spec"]["route"]["ingressNginx"]["ingress"] == ingress;
    given.rollouts.iter().filter(of_it).collect()
}

/// A Rollout splits one route: what to know where there are more.
pub fn parted(given: &Given, routes: &[String], rollouts: &[&Value]) -> Option<String> {
    let serving = routes
        .iter()
        .filter(|route| !route.ends_with(route::TO_TLS));
    (!rollouts.is_empty() && serving.count() > 1).then(|| {
        format!(
            "Ingress {}: a Rollout splits one HTTPRoute, and these are several: bring its Service's hosts and paths into one",
            given.ingress.name_any()
        )
    })
}

/// The steps.
pub fn steps(
    given: &Given,
    gateway: &Gateway,
    (routes, rollouts, read, beside): (&[String], &[&Value], &Read, &[Beside]),
) -> Vec<String> {
    let name = given.ingress.name_any();
    let place = given
        .ingress
        .namespace()
        .map_or_else(String::new, |namespace| format!(" -n {namespace}"));
    let own = |host: &String| !read.aliases.contains(host);
    let first = read.hosts().into_iter().find(own);
    let (scheme, port) = match &first {
        Some(host) if read.secrets.contains_key(host) => ("https", 443),
        _ => ("http", 80),
    };
    let host = first
        .unwrap_or_else(|| "HOST".to_owned())
        .replace('*', "www");
    let mut steps = vec![
        format!(
            "Apply the routes: users still come by the Ingress. `kubectl get httproute{place} {} -o yaml` must say Accepted and ResolvedRefs.",
            routes.join(" ")
        ),
        format!(
            "Ask the Gateway {} at its address what the Ingress is asked, each host and path: curl --connect-to {host}:{port}:ADDRESS:{port} {scheme}://{host}/",
            gateway.name
        ),
    ];
    if !rollouts.is_empty() {
        steps.push("Release nothing from here on until the Rollouts are switched (a freeze window): a canary would get its part of one way's traffic only.".to_owned());
    }
    steps.extend(beside::step(beside, gateway));
    steps.push(format!(
        "Lead the hosts to the Gateway's address (DNS, load balancer), and wait until no request comes by the Ingress {name} any more."
    ));
    for rollout in rollouts {
        steps.push(patched(
            rollout,
            routes.first().map_or("", String::as_str),
            &place,
        ));
    }
    steps.extend(controllers::steps(given, gateway, &place));
    let canaries = read.canaries.iter().map(String::as_str);
    let all: Vec<&str> = std::iter::once(name.as_str()).chain(canaries).collect();
    steps.push(format!("kubectl delete ingress{place} {}", all.join(" ")));
    steps
}

/// Leads a Rollout to the route.
fn patched(rollout: &Value, route: &str, place: &str) -> String {
    let name = rollout["metadata"]["name"].as_str().unwrap_or_default();
    let mut way = json!({"httpRoute": route});
    let service = &rollout["spec"]["route"]["ingressNginx"]["service"];
    if service.is_string() {
        way["service"] = service.clone();
    }
    let patch = json!({"spec": {
        "route": {"ingressNginx": null, "gatewayApi": way},
        "analysis": {"rules": ["RULE"]},
    }});
    format!(
        "When the Rollout {name} is Idle: kubectl patch rollouts.sluice.dev{place} {name} --type merge -p '{patch}', with the rules of your Gateway's \
         implementation for RULE (docs/concepts/traffic.md)."
    )
}
