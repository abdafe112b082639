//! Traffic by ingress-nginx: Ingress, stable Service, class, and who else is in the way.
//!
//! What is refused follows from how ingress-nginx merges canaries: the policy sits on the canary
//! Service and port and the link on the stable ones, so a second user of either would share or
//! take what was not meant for it.
//!
//! Not here: the pods (`workload`).

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressClass, IngressServiceBackend,
};

use super::service::{self, Behind};
use super::{Found, Main, Nginx, Refusal, Seen, Traffic, name};
use crate::kubernetes::canary;
use crate::kubernetes::canary::ingress::{LEGACY_CLASS, is_canary};

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// The controller that is known to honour the canary annotations. Traefik's provider for them serves the same; of
/// `traefik.io/ingress-controller`, which Traefik's own classes name, a canary would be an ordinary second Ingress.
const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// Ingress, stable Service, label and ports, or why they cannot be told.
pub(super) fn traffic<'a>(seen: &Seen<'a>, nginx: &Nginx<'a>) -> Result<Traffic<'a>, Vec<Refusal>> {
    let ingress = main_ingress(nginx).map_err(|refusal| vec![refusal])?;
    let found = find(seen, nginx, ingress).map_err(|refusal| vec![refusal])?;
    Ok(Traffic {
        refusals: refusals(seen, nginx, ingress, &found),
        warnings: warnings(seen, nginx, ingress, &found),
        behind: behind(ingress),
        found,
    })
}

fn find<'a>(
    seen: &Seen<'a>,
    nginx: &Nginx<'a>,
    ingress: &'a Ingress,
) -> Result<Found<'a>, Refusal> {
    let behind = Behind {
        title: title(ingress),
        field: "spec.route.ingressNginx.service",
        services: behind(ingress),
    };
    let (service, label) = service::stable(seen, behind, nginx.service)?;
    let ports = ports(ingress, name(&service.metadata));
    let others = others(seen, nginx, ingress, name(&service.metadata));
    let shares =
        |other: &Other<'_>| !other.apart && other.ports.iter().any(|port| ports.contains(port));
    Ok(Found {
        main: Main::Ingress(ingress),
        service,
        label,
        others: others.filter(shares).map(|other| other.name).collect(),
        ports,
    })
}

fn behind(ingress: &Ingress) -> Vec<&str> {
    let all = backends(ingress);
    all.map(|backend| backend.name.as_str()).collect()
}

fn title(ingress: &Ingress) -> String {
    format!("Ingress {}", name(&ingress.metadata))
}

/// Another Ingress that leads to the Service.
struct Other<'a> {
    name: &'a str,
    /// The ports by which it does.
    ports: Vec<String>,
    /// Another controller serves it: it knows nothing of a canary beside the main Ingress.
    apart: bool,
}

fn others<'a>(
    seen: &Seen<'a>,
    nginx: &Nginx<'a>,
    main: &'a Ingress,
    service: &str,
) -> impl Iterator<Item = Other<'a>> {
    let others = nginx.ingresses.iter().copied().filter(|other| {
        name(&other.metadata) != nginx.ingress
            && !is_canary(other, nginx.prefix)
            && !seen.is_own(&other.metadata)
    });
    let others = others.map(move |other| Other {
        name: name(&other.metadata),
        ports: ports(other, service),
        apart: served_apart(nginx, main, other),
    });
    others.filter(|other| !other.ports.is_empty())
}

/// Whether two Ingresses are known to be served by different controllers.
fn served_apart(nginx: &Nginx<'_>, one: &Ingress, two: &Ingress) -> bool {
    let [Some(one), Some(two)] = [one, two].map(|ingress| class_of(nginx, ingress)) else {
        return false;
    };
    match [one, two].map(|class| controller_of(nginx, class)) {
        [Some(one), Some(two)] => one != two,
        _ => one != two,
    }
}

/// The class that an Ingress has by its field, by the legacy annotation, or by default.
fn class_of<'a>(nginx: &Nginx<'a>, ingress: &'a Ingress) -> Option<&'a str> {
    match class_name(ingress) {
        Class::Named(class) | Class::Legacy(class) => Some(class),
        Class::Default => {
            let mut classes = nginx.classes.as_ref()?.iter();
            let class = classes.find(|class| is_default(class))?;
            Some(name(&class.metadata))
        }
    }
}

/// The controller that serves a class.
fn controller_of<'a>(nginx: &Nginx<'a>, class: &str) -> Option<&'a str> {
    let mut classes = nginx.classes.as_ref()?.iter();
    let class = classes.find(|known| name(&known.metadata) == class)?;
    class.spec.as_ref()?.controller.as_deref()
}

fn main_ingress<'a>(nginx: &Nginx<'a>) -> Result<&'a Ingress, Refusal> {
    let called = nginx.ingress.to_owned();
    let mut all = nginx.ingresses.iter().copied();
    let ingress = all
        .find(|ingress| name(&ingress.metadata) == nginx.ingress)
        .ok_or_else(|| Refusal::NoRoute(format!("Ingress {called}")))?;
    if is_canary(ingress, nginx.prefix) {
        return Err(Refusal::IsCanary(called));
    }
    if backends(ingress).next().is_none() {
        return Err(Refusal::NoRule(called));
    }
    Ok(ingress)
}

/// What stands in the way although everything was found.
fn refusals(
    seen: &Seen<'_>,
    nginx: &Nginx<'_>,
    ingress: &Ingress,
    found: &Found<'_>,
) -> Vec<Refusal> {
    let canary_service = canary::service_name(name(&found.service.metadata));
    let mut all = service::missing_ports(&title(ingress), found);
    all.extend(unserved(nginx, ingress));
    for other in nginx
        .ingresses
        .iter()
        .filter(|ingress| !seen.is_own(&ingress.metadata))
    {
        if backends(other).any(|backend| backend.name == canary_service) {
            all.push(Refusal::CanaryServiceUsed {
                route: title(other),
                service: canary_service.clone(),
            });
        } else if is_canary(other, nginx.prefix) {
            all.extend(same_rule(ingress, found, other));
        }
    }
    let ours = canary::ingress_name(nginx.ingress);
    all.extend(seen.taken(&nginx.ingresses, "Ingress", &ours));
    all
}

/// The first host and path that another canary claims of those that lead to the stable Service.
fn same_rule(ingress: &Ingress, found: &Found<'_>, other: &Ingress) -> Option<Refusal> {
    let stable = name(&found.service.metadata);
    let ours: Vec<(&str, &str)> = paths(ingress)
        .filter(|(_, path)| {
            path.backend
                .service
                .as_ref()
                .is_some_and(|service| service.name == stable)
        })
        .map(|(host, path)| (host, path.path.as_deref().unwrap_or("/")))
        .collect();
    let theirs = paths(other).map(|(host, path)| (host, path.path.as_deref().unwrap_or("/")));
    let (host, path) = theirs.into_iter().find(|rule| ours.contains(rule))?;
    Some(Refusal::SecondCanary {
        ingress: name(&other.metadata).to_owned(),
        host: if host.is_empty() {
            "any host, ".to_owned()
        } else {
            host.to_owned()
        },
        path: path.to_owned(),
    })
}

/// Whether the class of the Ingress exists. Which controller serves it is only a warning.
fn unserved(nginx: &Nginx<'_>, ingress: &Ingress) -> Option<Refusal> {
    let classes = nginx.classes.as_ref()?;
    let why = match class_name(ingress) {
        // The legacy annotation needs no object: the controller is told the word.
        Class::Legacy(_) => return None,
        Class::Named(class) if classes.iter().any(|known| name(&known.metadata) == class) => {
            return None;
        }
        Class::Named(class) => format!("there is no IngressClass {class}"),
        Class::Default if classes.iter().any(|class| is_default(class)) => return None,
        Class::Default => "it names no class and no IngressClass is the default".to_owned(),
    };
    Some(Refusal::Unserved {
        route: title(ingress),
        why,
    })
}

enum Class<'a> {
    Named(&'a str),
    Legacy(&'a str),
    Default,
}

fn class_name(ingress: &Ingress) -> Class<'_> {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let annotations = ingress.metadata.annotations.as_ref();
    let legacy = annotations.and_then(|all| all.get(LEGACY_CLASS));
    match (named, legacy) {
        (Some(class), _) => Class::Named(class),
        (None, Some(class)) => Class::Legacy(class),
        (None, None) => Class::Default,
    }
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DEFAULT_CLASS))
        .is_some_and(|value| value == "true")
}

/// What people should know about the traffic.
fn warnings(
    seen: &Seen<'_>,
    nginx: &Nginx<'_>,
    ingress: &Ingress,
    found: &Found<'_>,
) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(controller(nginx, ingress));
    all.extend(affinity(nginx, ingress));
    let odd = ANNOTATIONS.into_iter();
    let odd = odd.filter(|(annotation, _)| said(nginx, ingress, annotation));
    all.extend(odd.map(|(annotation, follows)| format!("{annotation} is set: {follows}")));
    all.extend(hosts(ingress, found));
    let stable = name(&found.service.metadata);
    for other in others(seen, nginx, ingress, stable) {
        all.extend(shared(ingress, found, &other));
    }
    all
}

/// Another Ingress leads to the stable Service: by the same port, by others, or by both.
fn shared(ingress: &Ingress, found: &Found<'_>, other: &Other<'_>) -> Vec<String> {
    let stable = name(&found.service.metadata);
    let Other {
        name: other,
        ports,
        apart,
    } = other;
    if *apart {
        return vec![format!(
            "Service {stable} is behind Ingress {other} too, which another controller serves: that traffic stays with stable, and is not counted"
        )];
    }
    let apart = ports.iter().filter(|port| !found.ports.contains(port));
    let apart: Vec<&str> = apart.map(String::as_str).collect();
    let mut all = Vec::new();
    if apart.len() < ports.len() {
        all.push(format!("Service {stable} is behind Ingress {other} too: that traffic goes to the canary as well, and is counted"));
    }
    if !apart.is_empty() {
        let (apart, main) = (apart.join(", "), name(&ingress.metadata));
        all.push(format!("Service {stable} is behind Ingress {other} by port {apart}, which Ingress {main} does not lead to: that traffic stays with stable"));
    }
    all
}

fn controller(nginx: &Nginx<'_>, ingress: &Ingress) -> Option<String> {
    let Class::Named(wanted) = class_name(ingress) else {
        return None;
    };
    let class = nginx
        .classes
        .as_ref()?
        .iter()
        .find(|class| name(&class.metadata) == wanted)?;
    let controller = class.spec.as_ref()?.controller.as_deref()?;
    (controller != CONTROLLER).then(|| {
        format!("IngressClass {wanted} is served by {controller}, which is not known to honour canary annotations")
    })
}

/// Annotations with which a canary cannot be had, or is not like stable, and what follows from each.
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "ssl-passthrough",
        "the controller does not see requests, so that it can neither split nor count them",
    ),
    (
        "service-upstream",
        "stable is reached by its Service's address, the canary by its pods': the arms differ in more than the release",
    ),
    (
        "upstream-vhost",
        "with a service mesh at the controller that name decides who answers, and the canary's share may go to stable",
    ),
];

/// Whether an annotation of the controller is set, and not to `false`.
fn said(nginx: &Nginx<'_>, ingress: &Ingress, annotation: &str) -> bool {
    let all = ingress.metadata.annotations.as_ref();
    let value = all.and_then(|all| all.get(&format!("{}/{annotation}", nginx.prefix)));
    value.is_some_and(|value| value != "false")
}

fn affinity(nginx: &Nginx<'_>, ingress: &Ingress) -> Option<String> {
    let annotations = ingress.metadata.annotations.as_ref()?;
    annotations.get(&format!("{}/affinity", nginx.prefix)).map(|kind| {
        format!("session affinity ({kind}) is on: users stay with their arm, so that the share of requests follows the weight slowly")
    })
}

/// Hosts for which the controller exports no request metrics by default.
fn hosts(ingress: &Ingress, found: &Found<'_>) -> Option<String> {
    let stable = name(&found.service.metadata);
    let silent = paths(ingress)
        .filter(|(_, path)| {
            path.backend
                .service
                .as_ref()
                .is_some_and(|service| service.name == stable)
        })
        .any(|(host, _)| host.is_empty() || host.starts_with("*."));
    silent.then(|| {
        let ingress = name(&ingress.metadata);
        format!(
            "Ingress {ingress} has rules without a host or with a wildcard: the controller exports no request metrics \
             for them by default (--metrics-per-host=false does), and a run would stay undecided"
        )
    })
}

/// Number or name of each port by which an Ingress leads to a Service.
fn ports(ingress: &Ingress, service: &str) -> Vec<String> {
    let mut all: Vec<String> = backends(ingress)
        .filter(|backend| backend.name == service)
        .filter_map(|backend| backend.port.as_ref())
        .filter_map(|port| {
            port.name
                .clone()
                .or_else(|| port.number.map(|number| number.to_string()))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Each path with its host; the host is empty where there is none.
fn paths(ingress: &Ingress) -> impl Iterator<Item = (&str, &HTTPIngressPath)> {
    let rules = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten());
    rules.flat_map(|rule| {
        let host = rule.host.as_deref().unwrap_or_default();
        rule.http
            .iter()
            .flat_map(move |http| http.paths.iter().map(move |path| (host, path)))
    })
}

fn backends(ingress: &Ingress) -> impl Iterator<Item = &IngressServiceBackend> {
    paths(ingress).filter_map(|(_, path)| path.backend.service.as_ref())
}
