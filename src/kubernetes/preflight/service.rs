//! Which Service the traffic goes to: the one that is named, else the one behind the Ingress or `HTTPRoute`
//! that selects the target's pods.
//!
//! Not here: the rules that lead to it (`ingress_nginx`, `gateway_api`).

use k8s_openapi::api::core::v1::{ContainerPort, PodTemplateSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Found, Refusal, Seen, name, service_selector};
use crate::kubernetes::labels::{ArmLabel, Labels, contains};

/// What leads to Services.
pub(super) struct Behind<'s> {
    /// Kind and name: "Ingress web".
    pub title: String,
    /// Where a Rollout says which Service it is.
    pub field: &'static str,
    /// The Services that it leads to.
    pub services: Vec<&'s str>,
}

/// The stable Service, and the label that the canary's pods are to have otherwise.
pub(super) fn stable<'a>(
    seen: &Seen<'a>,
    behind: Behind<'_>,
    named: Option<&str>,
) -> Result<(&'a Service, ArmLabel), Refusal> {
    let service = match named {
        Some(title) => named_service(seen, &behind, title),
        None => only_service(seen, behind),
    }?;
    let selector = service_selector(service).cloned().unwrap_or_default();
    let label = seen.label_for(&selector);
    let label = label.ok_or_else(|| Refusal::NotSelected {
        service: name(&service.metadata).to_owned(),
        workload: seen.target_title(),
    })?;
    Ok((service, label))
}

fn named_service<'a>(
    seen: &Seen<'a>,
    behind: &Behind<'_>,
    title: &str,
) -> Result<&'a Service, Refusal> {
    let service = title.to_owned();
    if !behind.services.contains(&title) {
        return Err(Refusal::NoPath {
            route: behind.title.clone(),
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

/// The one Service that selects the target's pods.
fn only_service<'a>(seen: &Seen<'a>, behind: Behind<'_>) -> Result<&'a Service, Refusal> {
    let mut names = behind.services;
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
            route: behind.title,
            workload: seen.target_title(),
        }),
        several => Err(Refusal::SeveralSelect {
            route: behind.title,
            services: several
                .iter()
                .map(|service| name(&service.metadata).to_owned())
                .collect(),
            field: behind.field,
        }),
    }
}

fn selects(service: &Service, labels: &Labels) -> bool {
    service_selector(service)
        .is_some_and(|selector| !selector.is_empty() && contains(labels, selector))
}

/// Ports that are named and that the Service does not have.
pub(super) fn missing_ports(route: &str, found: &Found<'_>) -> Vec<Refusal> {
    let known: Vec<String> = ports(found).flat_map(titles).collect();
    let lacking = found.ports.iter().filter(|port| !known.contains(port));
    lacking
        .map(|port| Refusal::NoPort {
            route: route.to_owned(),
            service: name(&found.service.metadata).to_owned(),
            port: port.clone(),
        })
        .collect()
}

/// Names of ports that the Service leads to and that no container of the template has: the router would
/// find no pod of it, and send the canary's share to stable without a word.
pub(super) fn missing_container_ports(seen: &Seen<'_>, found: &Found<'_>) -> Vec<Refusal> {
    let led = ports(found).filter(|port| titles(port).any(|title| found.ports.contains(&title)));
    let wanted = led.filter_map(|port| match &port.target_port {
        Some(IntOrString::String(name)) => Some(name),
        Some(IntOrString::Int(_)) | None => None,
    });
    let known: Vec<&String> = container_ports(seen.template)
        .filter_map(|port| port.name.as_ref())
        .collect();
    wanted
        .filter(|port| !known.contains(port) && port.parse::<u16>().is_err())
        .map(|port| Refusal::NoContainerPort {
            service: name(&found.service.metadata).to_owned(),
            port: port.clone(),
        })
        .collect()
}

/// What the Service looks for and the pods that serve do not have, in words. A port by number counts as theirs unless
/// they declare others and the held template declares it: numbers need not be declared.
pub(super) fn astray(
    found: &Found<'_>,
    held: &PodTemplateSpec,
    serving: &PodTemplateSpec,
) -> Option<String> {
    let labels = serving
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone());
    if !selects(found.service, &labels.unwrap_or_default()) {
        return Some("its selector asks for labels that they do not have".to_owned());
    }
    let declares = |template, wanted: &IntOrString| match wanted {
        IntOrString::String(wanted) => {
            container_ports(template).any(|port| port.name.as_deref() == Some(wanted.as_str()))
        }
        IntOrString::Int(wanted) => {
            container_ports(template).any(|port| port.container_port == *wanted)
        }
    };
    let led = ports(found).filter(|port| titles(port).any(|title| found.ports.contains(&title)));
    let mut wanted = led.filter_map(|port| port.target_port.as_ref());
    let missing = wanted.find(|wanted| {
        let others = container_ports(serving).next().is_some();
        others && declares(held, wanted) && !declares(serving, wanted)
    })?;
    let missing = match missing {
        IntOrString::String(name) => name.clone(),
        IntOrString::Int(number) => number.to_string(),
    };
    Some(format!("its port {missing} is none of theirs"))
}

fn container_ports(template: &PodTemplateSpec) -> impl Iterator<Item = &ContainerPort> {
    let pod = template.spec.as_ref();
    let containers = pod.into_iter().flat_map(|pod| {
        let beside = pod.init_containers.iter().flatten();
        pod.containers.iter().chain(beside)
    });
    containers.flat_map(|container| container.ports.iter().flatten())
}

fn ports<'a>(found: &Found<'a>) -> impl Iterator<Item = &'a ServicePort> {
    let spec = found.service.spec.iter();
    spec.flat_map(|spec| spec.ports.iter().flatten())
}

/// By what a route may name a port: its number, its name.
fn titles(port: &ServicePort) -> impl Iterator<Item = String> + use<> {
    let titles = [Some(port.port.to_string()), port.name.clone()];
    titles.into_iter().flatten()
}
