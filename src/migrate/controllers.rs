//! Annotations of controllers beside the one that serves: what they did for the Ingress, nobody does for a route.
//!
//! Two of them undo something when the Ingress goes: cert-manager's Certificate belongs to the Ingress and is deleted with
//! it, so nobody renews the host's certificate; external-dns, where it may, deletes the host's record. These get a step.
//!
//! Not here: controllers that serve Ingresses themselves (`another`).
//!
//! Sources: cert-manager's documentation of ingress-shim and of annotated Gateways, external-dns' of its sources.

use kube::ResourceExt;

use super::{Gateway, Given, another};

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

/// The annotations of the Ingress that are neither ingress-nginx' nor of no matter.
fn others(given: &Given) -> impl Iterator<Item = (&String, &String)> {
    let own = format!("{}/", given.prefix);
    let all = given.ingress.annotations().iter();
    all.filter(move |(key, _)| {
        !key.starts_with(&own) && !OF_NO_MATTER.iter().any(|one| key.starts_with(one))
    })
}

/// Each of them; `guards` speaks of those that serve Ingresses.
pub fn say(given: &Given, notes: &mut Vec<String>) {
    let name = given.ingress.name_any();
    let told = others(given).filter(|(key, _)| !another::reads(key)).map(|(key, value)| {
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
