//! Which Ingresses another controller than ingress-nginx serves: by their class, and by annotations that it reads.
//!
//! Such a one may keep requests out by what is not read here, so `guards` asks before it is lost. Not here: controllers that
//! do something else for an Ingress (`controllers`).
//!
//! Sources: each controller's documentation of its annotations, and of the `IngressClass` that it is installed with.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::annotations::short;
use super::{Given, beside};

/// What the annotations of other ingress controllers begin with.
const OF_INGRESSES: [&str; 18] = [
    "alb.ingress.kubernetes.io",
    "appgw.ingress.kubernetes.io",
    "getambassador.io",
    "haproxy-ingress.github.io",
    "haproxy.org",
    "haproxy.com",
    "ingress.cilium.io",
    "ingress.citrix.com",
    "ingress.kubernetes.io",
    "k8s.apisix.apache.org",
    "konghq.com",
    "networking.gke.io",
    "nginx.com",
    "nginx.org",
    "projectcontour.io",
    "route.openshift.io",
    "traefik.ingress.kubernetes.io",
    "zalando.org",
];
/// Classes that other controllers are installed with.
const OTHER_CLASSES: [&str; 16] = [
    "alb",
    "apisix",
    "azure-application-gateway",
    "azure/application-gateway",
    "cilium",
    "contour",
    "gce",
    "gce-internal",
    "gloo",
    "haproxy",
    "istio",
    "kong",
    "openshift-default",
    "skipper",
    "tailscale",
    "traefik",
];

/// The class of the Ingress, if it is one of another controller's.
pub fn class(ingress: &Ingress) -> Option<String> {
    let class = beside::class(ingress)?;
    OTHER_CLASSES.contains(&class.as_str()).then_some(class)
}

/// Whether an annotation is read by another ingress controller.
pub fn reads(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    OF_INGRESSES.contains(&prefix)
}

/// The annotations that other ingress controllers read: what they begin with, and all of them.
pub fn annotations(given: &Given) -> Vec<(&'static str, String)> {
    let of = |prefix: &'static str| {
        let theirs = given
            .ingress
            .annotations()
            .iter()
            .filter_map(|(key, value)| {
                let name = key.strip_prefix(prefix)?.strip_prefix('/')?;
                Some(format!("{name}={}", short(value)))
            });
        let theirs: Vec<String> = theirs.collect();
        (!theirs.is_empty()).then(|| (prefix, theirs.join(", ")))
    };
    // Whoever names the prefix as ingress-nginx' own has it read as such.
    let foreign = OF_INGRESSES.into_iter().filter(|one| *one != given.prefix);
    foreign.filter_map(of).collect()
}
