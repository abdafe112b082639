//! Which Service the traffic goes to: the one that is named, else the one behind the Ingress or `HTTPRoute`
//! that selects the target's pods.
//!
//! Not here: the rules that lead to it (`ingress_nginx`, `gateway_api`).

use k8s_openapi::api::core::v1::Service;

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
            route: route.to_owned(),
            service: name(&found.service.metadata).to_owned(),
            port: port.clone(),
        })
        .collect()
}
