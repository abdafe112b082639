//! The traffic side: Ingress, stable Service, class, and who else is in the way.
//!
//! What is refused follows from how ingress-nginx merges canaries: the policy sits on the canary
//! Service and port and the link on the stable ones, so a second user of either would share or
//! take what was not meant for it.
//!
//! Not here: the pods (`workload`).

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressClass, IngressServiceBackend,
};
use kube::Resource;

use super::{Found, Refusal, Seen, name, service_selector};
use crate::kubernetes::canary;
use crate::kubernetes::canary::ingress::{LEGACY_CLASS, is_canary};
use crate::kubernetes::labels::{Labels, contains};

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// Controllers that are known to honour the canary annotations.
const CONTROLLERS: [&str; 2] = ["k8s.io/ingress-nginx", "traefik.io/ingress-controller"];

/// Ingress, stable Service, label and ports, or why they cannot be told.
pub(super) fn find<'a>(seen: &Seen<'a>) -> Result<Found<'a>, Vec<Refusal>> {
    let ingress = main_ingress(seen).map_err(|refusal| vec![refusal])?;
    let service = stable_service(seen, ingress).map_err(|refusal| vec![refusal])?;
    let refused = || Refusal::NotSelected {
        service: name(&service.metadata).to_owned(),
        workload: seen.target_title(),
    };
    let selector = service_selector(service).cloned().unwrap_or_default();
    let label = seen.label_for(&selector).ok_or_else(|| vec![refused()])?;
    let ports = ports(ingress, name(&service.metadata));
    let others = others(seen, name(&service.metadata));
    let shares = |(_, theirs): &(&str, Vec<String>)| theirs.iter().any(|port| ports.contains(port));
    Ok(Found {
        ingress,
        service,
        label,
        others: others.filter(shares).map(|(name, _)| name).collect(),
        ports,
    })
}

/// Other Ingresses that lead to the Service, each with the ports by which it does.
fn others<'a>(seen: &Seen<'a>, service: &str) -> impl Iterator<Item = (&'a str, Vec<String>)> {
    let others = seen.ingresses.iter().copied().filter(|other| {
        name(&other.metadata) != seen.ingress
            && !is_canary(other, seen.prefix)
            && !seen.is_own(&other.metadata)
    });
    let ports = others.map(|other| (name(&other.metadata), ports(other, service)));
    ports.filter(|(_, ports)| !ports.is_empty())
}

fn main_ingress<'a>(seen: &Seen<'a>) -> Result<&'a Ingress, Refusal> {
    let title = seen.ingress.to_owned();
    let ingress = seen
        .main_ingress()
        .ok_or_else(|| Refusal::NoIngress(title.clone()))?;
    if is_canary(ingress, seen.prefix) {
        return Err(Refusal::IsCanary(title));
    }
    if backends(ingress).next().is_none() {
        return Err(Refusal::NoRule(title));
    }
    Ok(ingress)
}

fn stable_service<'a>(seen: &Seen<'a>, ingress: &'a Ingress) -> Result<&'a Service, Refusal> {
    match seen.service {
        Some(title) => named_service(seen, ingress, title),
        None => only_service(seen, ingress),
    }
}

fn named_service<'a>(
    seen: &Seen<'a>,
    ingress: &Ingress,
    title: &str,
) -> Result<&'a Service, Refusal> {
    let service = title.to_owned();
    if !backends(ingress).any(|backend| backend.name == title) {
        return Err(Refusal::NoPath {
            ingress: seen.ingress.to_owned(),
            service,
        });
    }
    let found = seen
        .service_named(title)
        .ok_or_else(|| Refusal::NoService(service.clone()))?;
    match service_selector(found) {
        Some(selector) if !selector.is_empty() => Ok(found),
        Some(_) | None => Err(Refusal::NoSelector(service)),
    }
}

/// The one Service behind the Ingress that selects the target's pods.
fn only_service<'a>(seen: &Seen<'a>, ingress: &Ingress) -> Result<&'a Service, Refusal> {
    let mut names: Vec<&str> = backends(ingress)
        .map(|backend| backend.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let labels = seen.template_labels();
    let selecting: Vec<&Service> = names
        .into_iter()
        .filter_map(|wanted| seen.service_named(wanted))
        .filter(|service| selects(service, &labels))
        .collect();
    match selecting.as_slice() {
        [service] => Ok(service),
        [] => Err(Refusal::NoneSelects {
            ingress: seen.ingress.to_owned(),
            workload: seen.target_title(),
        }),
        several => Err(Refusal::SeveralSelect {
            ingress: seen.ingress.to_owned(),
            services: several
                .iter()
                .map(|service| name(&service.metadata).to_owned())
                .collect(),
        }),
    }
}

fn selects(service: &Service, labels: &Labels) -> bool {
    service_selector(service)
        .is_some_and(|selector| !selector.is_empty() && contains(labels, selector))
}

/// What stands in the way although everything was found.
pub(super) fn refusals(seen: &Seen<'_>, found: &Found<'_>) -> Vec<Refusal> {
    let canary_service = canary::service_name(name(&found.service.metadata));
    let mut all = missing_ports(seen, found);
    all.extend(unserved(seen, found.ingress));
    for other in seen
        .ingresses
        .iter()
        .filter(|ingress| !seen.is_own(&ingress.metadata))
    {
        if backends(other).any(|backend| backend.name == canary_service) {
            let ingress = name(&other.metadata).to_owned();
            all.push(Refusal::CanaryServiceUsed {
                ingress,
                service: canary_service.clone(),
            });
        } else if is_canary(other, seen.prefix) {
            all.extend(same_rule(found, other));
        }
    }
    all.extend(taken(
        seen,
        &seen.ingresses,
        "Ingress",
        &canary::ingress_name(seen.ingress),
    ));
    all.extend(taken(seen, &seen.services, "Service", &canary_service));
    let deployment = canary::deployment_name(seen.target_name());
    all.extend(taken(seen, &seen.deployments, "Deployment", &deployment));
    all
}

fn taken<K: Resource>(
    seen: &Seen<'_>,
    objects: &[&K],
    kind: &'static str,
    wanted: &str,
) -> Option<Refusal> {
    objects
        .iter()
        .any(|object| name(object.meta()) == wanted && !seen.is_own(object.meta()))
        .then(|| Refusal::NameTaken {
            kind,
            name: wanted.to_owned(),
        })
}

fn missing_ports(seen: &Seen<'_>, found: &Found<'_>) -> Vec<Refusal> {
    let ports = found
        .service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    let known: Vec<String> = ports
        .flat_map(|port| [Some(port.port.to_string()), port.name.clone()])
        .flatten()
        .collect();
    let lacking = found.ports.iter().filter(|port| !known.contains(port));
    lacking
        .map(|port| Refusal::NoPort {
            ingress: seen.ingress.to_owned(),
            service: name(&found.service.metadata).to_owned(),
            port: port.clone(),
        })
        .collect()
}

/// The first host and path that another canary claims of those that lead to the stable Service.
fn same_rule(found: &Found<'_>, other: &Ingress) -> Option<Refusal> {
    let stable = name(&found.service.metadata);
    let ours: Vec<(&str, &str)> = paths(found.ingress)
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
fn unserved(seen: &Seen<'_>, ingress: &Ingress) -> Option<Refusal> {
    let classes = seen.classes.as_ref()?;
    let why = match class_name(ingress) {
        // The legacy annotation needs no object: the controller is told the word.
        Class::Legacy => return None,
        Class::Named(class) if classes.iter().any(|known| name(&known.metadata) == class) => {
            return None;
        }
        Class::Named(class) => format!("there is no IngressClass {class}"),
        Class::Default if classes.iter().any(|class| is_default(class)) => return None,
        Class::Default => "it names no class and no IngressClass is the default".to_owned(),
    };
    Some(Refusal::Unserved {
        ingress: seen.ingress.to_owned(),
        why,
    })
}

enum Class<'a> {
    Named(&'a str),
    Legacy,
    Default,
}

fn class_name(ingress: &Ingress) -> Class<'_> {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let legacy = ingress
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(LEGACY_CLASS));
    match named {
        Some(class) => Class::Named(class),
        None if legacy => Class::Legacy,
        None => Class::Default,
    }
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DEFAULT_CLASS))
        .is_some_and(|value| value == "true")
}

/// What people should know about the traffic.
pub(super) fn warnings(seen: &Seen<'_>, found: &Found<'_>) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(controller(seen, found.ingress));
    all.extend(affinity(seen, found.ingress));
    all.extend(hosts(found));
    let stable = name(&found.service.metadata);
    for (other, ports) in others(seen, stable) {
        all.extend(shared(found, other, &ports));
    }
    all
}

/// Another Ingress leads to the stable Service: by the same port, by others, or by both.
fn shared(found: &Found<'_>, other: &str, ports: &[String]) -> Vec<String> {
    let stable = name(&found.service.metadata);
    let apart = ports.iter().filter(|port| !found.ports.contains(port));
    let apart: Vec<&str> = apart.map(String::as_str).collect();
    let mut all = Vec::new();
    if apart.len() < ports.len() {
        all.push(format!("Service {stable} is behind Ingress {other} too: that traffic goes to the canary as well, and is counted"));
    }
    if !apart.is_empty() {
        let (apart, main) = (apart.join(", "), name(&found.ingress.metadata));
        all.push(format!("Service {stable} is behind Ingress {other} by port {apart}, which Ingress {main} does not lead to: that traffic stays with stable"));
    }
    all
}

fn controller(seen: &Seen<'_>, ingress: &Ingress) -> Option<String> {
    let Class::Named(wanted) = class_name(ingress) else {
        return None;
    };
    let class = seen
        .classes
        .as_ref()?
        .iter()
        .find(|class| name(&class.metadata) == wanted)?;
    let controller = class.spec.as_ref()?.controller.as_deref()?;
    (!CONTROLLERS.contains(&controller)).then(|| {
        format!("IngressClass {wanted} is served by {controller}, which is not known to honour canary annotations")
    })
}

fn affinity(seen: &Seen<'_>, ingress: &Ingress) -> Option<String> {
    let annotations = ingress.metadata.annotations.as_ref()?;
    annotations.get(&format!("{}/affinity", seen.prefix)).map(|kind| {
        format!("session affinity ({kind}) is on: users stay with their arm, so that the share of requests follows the weight slowly")
    })
}

/// Hosts for which the controller exports no request metrics by default.
fn hosts(found: &Found<'_>) -> Option<String> {
    let stable = name(&found.service.metadata);
    let silent = paths(found.ingress)
        .filter(|(_, path)| {
            path.backend
                .service
                .as_ref()
                .is_some_and(|service| service.name == stable)
        })
        .any(|(host, _)| host.is_empty() || host.starts_with("*."));
    silent.then(|| {
        let ingress = name(&found.ingress.metadata);
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
