//! Annotations of other controllers than ingress-nginx: what they did for the Ingress, nobody does for a route.
//!
//! Two of them undo something when the Ingress goes: cert-manager's Certificate belongs to the Ingress and is deleted with
//! it, so nobody renews the host's certificate; external-dns, where it may, deletes the host's record. These get a step.
//!
//! Sources: cert-manager's documentation of ingress-shim and of annotated Gateways, external-dns' of its sources.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::{Gateway, Given};

const CERT_MANAGER: [&str; 3] = [
    "cert-manager.io/",
    "acme.cert-manager.io/",
    "kubernetes.io/tls-acme",
];
const EXTERNAL_DNS: &str = "external-dns.alpha.kubernetes.io/";
/// Annotations of who wrote the object, and of which controller serves it.
const OF_NO_MATTER: [&str; 11] = [
    "kubectl.kubernetes.io/",
    "kubernetes.io/ingress.class",
    "kubernetes.io/description",
    "meta.helm.sh/",
    "helm.sh/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "argocd.argoproj.io/",
    "config.kubernetes.io/",
    "internal.config.kubernetes.io/",
    "sluice.dev/",
];

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
pub fn other_class(ingress: &Ingress) -> Option<String> {
    let class = super::beside::class(ingress)?;
    OTHER_CLASSES.contains(&class.as_str()).then_some(class)
}

/// The annotations that other ingress controllers read: what they begin with, and all of them.
pub fn of_other_ingresses(given: &Given) -> Vec<(&'static str, String)> {
    let of = |prefix: &'static str| {
        let theirs = others(given).filter_map(|(key, value)| {
            let name = key.strip_prefix(prefix)?.strip_prefix('/')?;
            Some(format!("{name}={}", super::annotations::short(value)))
        });
        let theirs: Vec<String> = theirs.collect();
        (!theirs.is_empty()).then(|| (prefix, theirs.join(", ")))
    };
    OF_INGRESSES.into_iter().filter_map(of).collect()
}

/// The annotations of the Ingress that are neither ingress-nginx' nor of no matter.
fn others(given: &Given) -> impl Iterator<Item = (&String, &String)> {
    let own = format!("{}/", given.prefix);
    let all = given.ingress.annotations().iter();
    all.filter(move |(key, _)| {
        !key.starts_with(&own) && !OF_NO_MATTER.iter().any(|one| key.starts_with(one))
    })
}

/// Each of them, but for those that `guards` speaks of.
pub fn say(given: &Given, notes: &mut Vec<String>) {
    let name = given.ingress.name_any();
    let guarded = |key: &str| {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        OF_INGRESSES.contains(&prefix)
    };
    let told = others(given).filter(|(key, _)| !guarded(key)).map(|(key, value)| {
        let value = super::annotations::short(value);
        format!("Ingress {name}: {key}: {value}: it is for another controller, and the routes do not have it")
    });
    notes.extend(told);
}

/// The steps before the Ingress is deleted.
pub fn steps(given: &Given, gateway: &Gateway, place: &str) -> Vec<String> {
    let name = given.ingress.name_any();
    let of = |owners: &[&str]| -> Vec<String> {
        let theirs = others(given).filter(|(key, _)| owners.iter().any(|one| key.starts_with(one)));
        theirs
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    };
    let mut steps = Vec::new();
    let issuers = of(&CERT_MANAGER);
    if !issuers.is_empty() {
        let there = gateway.namespace.as_ref();
        let there = there.map_or_else(|| place.to_owned(), |namespace| format!(" -n {namespace}"));
        steps.push(format!(
            "cert-manager's Certificate belongs to the Ingress {name} and is deleted with it; then nobody renews it. Have one made \
             for the Gateway first (cert-manager with Gateway API enabled, the listener's certificateRefs naming the Secret): \
             kubectl annotate gateway{there} {} {}; go on when kubectl get certificate{there} says Ready.",
            gateway.name,
            issuers.join(" ")
        ));
    }
    if !of(&[EXTERNAL_DNS]).is_empty() {
        steps.push(format!(
            "external-dns must read routes (--source=gateway-httproute) before the Ingress {name} goes: with --policy=sync it deletes the \
             records of hosts that nothing names any more."
        ));
    }
    steps
}
