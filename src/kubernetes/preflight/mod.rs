//! Before any pod is made: can this Deployment have a canary, and what should people know?
//!
//! Everything that would make a canary fail for reasons other than the release, or make traffic
//! go where nobody wants it, is a refusal with a reason; what is merely unexpected is a warning.
//! The answer also says what was found: Ingress or `HTTPRoute`, stable Service, and the label to change.
//!
//! Not here: building the objects (`canary`), and whether the gate stands (`gate`).

mod gateway_api;
mod ingress_nginx;
mod rival;
mod service;
mod workload;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::canary;
use super::entries::Beside;
use super::http_route::HttpRoute;
use super::labels::{self, ArmLabel, Labels};
use crate::rollout::plan::{Match, WorkloadKind};

/// What is seen of a namespace; everything is of the Rollout's own, classes apart.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The Rollout's uid: what it owns is not in its own way.
    pub rollout_uid: &'a str,
    /// Kind of the guarded workload.
    pub kind: WorkloadKind,
    /// The guarded workload, as a Deployment.
    pub target: &'a Deployment,
    /// The template to be tried; the target's own when nothing is.
    pub template: &'a PodTemplateSpec,
    /// How the traffic comes.
    pub way: Way<'a>,
    /// All Services.
    pub services: Vec<&'a Service>,
    /// All Deployments.
    pub deployments: Vec<&'a Beside>,
    /// All network policies.
    pub policies: Vec<&'a NetworkPolicy>,
    /// All disruption budgets.
    pub budgets: Vec<&'a PodDisruptionBudget>,
    /// All volume claims.
    pub claims: Vec<&'a PersistentVolumeClaim>,
}

/// How the traffic comes.
#[derive(Debug, Clone)]
pub enum Way<'a> {
    /// By ingress-nginx.
    Nginx(Nginx<'a>),
    /// By a Gateway.
    Gateway(Gateway<'a>),
}

/// What is seen where the traffic comes by ingress-nginx.
#[derive(Debug, Clone)]
pub struct Nginx<'a> {
    /// Name of the main Ingress.
    pub ingress: &'a str,
    /// Name of the stable Service, if the Rollout says it.
    pub service: Option<&'a str>,
    /// Prefix of the annotations, without a slash.
    pub prefix: &'a str,
    /// All Ingresses.
    pub ingresses: Vec<&'a Ingress>,
    /// All Ingress classes of the cluster; None where they cannot be read.
    pub classes: Option<Vec<&'a IngressClass>>,
}

/// What is seen where the traffic comes by a Gateway.
#[derive(Debug, Clone)]
pub struct Gateway<'a> {
    /// Name of the `HTTPRoute`.
    pub http_route: &'a str,
    /// Name of the stable Service, if the Rollout says it.
    pub service: Option<&'a str>,
    /// All `HTTPRoutes`.
    pub http_routes: Vec<&'a HttpRoute>,
    /// Requests that shall reach the canary whatever its weight.
    pub matching: Option<&'a Match>,
}

/// What leads the traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Main<'a> {
    /// The main Ingress.
    Ingress(&'a Ingress),
    /// The route.
    HttpRoute(&'a HttpRoute),
}

/// Why there can be no canary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Flagger releases the target.
    #[error(
        "{workload} is released by Flagger's Canary {canary}, whose Service {service} selects its pods: two would scale it and split its traffic; `sluice import flagger` says how to switch"
    )]
    Flagger {
        /// The workload, by kind and name.
        workload: String,
        /// The Canary.
        canary: String,
        /// The Service by which that is known.
        service: String,
    },
    /// The strategy leaves a moment without endpoints at the promotion.
    #[error(
        "Deployment {0} has strategy Recreate: at the promotion nothing would serve for a moment; use RollingUpdate, or `strategy.rolling` here"
    )]
    Recreate(String),
    /// There is no such Ingress or `HTTPRoute`.
    #[error("{0} is not there")]
    NoRoute(String),
    /// The named Ingress is somebody's canary.
    #[error("Ingress {0} is a canary itself; name the main one")]
    IsCanary(String),
    /// Only a default backend, which no canary rule can match.
    #[error(
        "Ingress {0} has no rule with paths to a Service (only a default or resource backend), and a canary shares rules only"
    )]
    NoRule(String),
    /// No rule of the `HTTPRoute` leads to a Service of its namespace.
    #[error("{0} leads to no Service of its namespace")]
    NoBackend(String),
    /// A weight is too great to be split.
    #[error("{0} has a weight above {most}, which cannot be split in hundredths", most = canary::http_route::HEAVIEST)]
    TooHeavy(String),
    /// The API would not take it with a canary.
    #[error(
        "{0} would have more than 16 rules, backends or headers with a canary, which the Gateway API does not allow"
    )]
    TooMany(String),
    /// A Gateway's controller does not find what the route leads to.
    #[error("{route} leads to what its Gateway does not find: {why}")]
    Unresolved {
        /// The route.
        route: String,
        /// What the controller says.
        why: String,
    },
    /// No path leads to the Service that was named.
    #[error("no path of {route} leads to Service {service}")]
    NoPath {
        /// The Ingress or `HTTPRoute`.
        route: String,
        /// The Service.
        service: String,
    },
    /// There is no such Service.
    #[error("Service {0} is not there")]
    NoService(String),
    /// The Service does not select the pods.
    #[error("Service {0} selects by no label (it has no selector)")]
    NoSelector(String),
    /// The Service does not select the pods.
    #[error("Service {service} does not select the pods of {workload}")]
    NotSelected {
        /// The Service.
        service: String,
        /// The workload, by kind and name.
        workload: String,
    },
    /// None of the Services behind it selects the pods.
    #[error("no Service behind {route} selects the pods of {workload}")]
    NoneSelects {
        /// The Ingress or `HTTPRoute`.
        route: String,
        /// The workload, by kind and name.
        workload: String,
    },
    /// Several do.
    #[error("Services {} behind {route} select the target's pods: say which one in {field}", .services.join(" and "))]
    SeveralSelect {
        /// The Ingress or `HTTPRoute`.
        route: String,
        /// The Services.
        services: Vec<String>,
        /// Where the Rollout says it.
        field: &'static str,
    },
    /// A port is named that the Service does not have.
    #[error("{route} names port {port} of Service {service}, which has no such port")]
    NoPort {
        /// The Ingress or `HTTPRoute`.
        route: String,
        /// The Service.
        service: String,
        /// The port's name or number.
        port: String,
    },
    /// The Service leads to a port by a name that the template does not have.
    #[error(
        "Service {service} leads to a port named {port}, which no container of the template has: its pods would get no request"
    )]
    NoContainerPort {
        /// The Service.
        service: String,
        /// The port's name.
        port: String,
    },
    /// The Service was changed together with the template, which is held; the Service is not.
    #[error(
        "Service {service} no longer leads to the pods that serve: {why}; put the Service back and change it when the release is through, or let the release through at once with `sluice open`"
    )]
    Strays {
        /// The Service.
        service: String,
        /// What it looks for in vain.
        why: String,
    },
    /// No controller serves it.
    #[error("{route} is served by nobody: {why}")]
    Unserved {
        /// The Ingress or `HTTPRoute`.
        route: String,
        /// Which class is missing, or what the Gateway's controller says.
        why: String,
    },
    /// Another one leads to the canary Service.
    #[error("{route} leads to Service {service}, which is to be the canary's")]
    CanaryServiceUsed {
        /// The other Ingress or `HTTPRoute`.
        route: String,
        /// The canary Service.
        service: String,
    },
    /// Another canary competes for the same rule.
    #[error(
        "Ingress {ingress} is a canary for {host}{path} already, and the controller takes one only"
    )]
    SecondCanary {
        /// The other Ingress.
        ingress: String,
        /// The host; `any host` without one.
        host: String,
        /// The path.
        path: String,
    },
    /// Another Rollout has a run behind the same Ingress.
    #[error(
        "{kind} {name} is of the run of Rollout {rollout}, which has the same Ingress: this run waits until that one is over"
    )]
    OthersRun {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The other Rollout.
        rollout: String,
    },
    /// An object of the canary's name exists and is somebody else's.
    #[error("{kind} {name} exists and is not this Rollout's: rename or remove it")]
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Refusal {
    /// Whether it stands in the way of a canary only; else there are no metrics to judge by.
    pub fn is_of_a_canary(&self) -> bool {
        match self {
            Self::Recreate(_)
            | Self::TooHeavy(_)
            | Self::TooMany(_)
            | Self::CanaryServiceUsed { .. }
            | Self::SecondCanary { .. }
            | Self::NoContainerPort { .. }
            | Self::Strays { .. }
            | Self::OthersRun { .. }
            | Self::NameTaken { .. } => true,
            Self::Flagger { .. }
            | Self::NoRoute(_)
            | Self::NoBackend(_)
            | Self::Unresolved { .. }
            | Self::IsCanary(_)
            | Self::NoRule(_)
            | Self::NoPath { .. }
            | Self::NoService(_)
            | Self::NoSelector(_)
            | Self::NotSelected { .. }
            | Self::NoneSelects { .. }
            | Self::SeveralSelect { .. }
            | Self::NoPort { .. }
            | Self::Unserved { .. } => false,
        }
    }

    /// Whether it ends by itself with another run.
    pub fn is_of_another_run(&self) -> bool {
        matches!(self, Self::OthersRun { .. })
    }
}

/// What a canary is built from.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<'a> {
    /// What leads the traffic.
    pub main: Main<'a>,
    /// The stable Service.
    pub service: &'a Service,
    /// The label to change.
    pub label: ArmLabel,
    /// The ports by which it leads to the Service: number or name, as it says.
    pub ports: Vec<String>,
    /// Other Ingresses that lead to the Service by one of these ports: ingress-nginx splits their
    /// requests as well.
    pub others: Vec<&'a str>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Preflight<'a> {
    /// Why there can be no canary; empty if there can.
    pub refusals: Vec<Refusal>,
    /// What people should know, each in a sentence.
    pub warnings: Vec<String>,
    /// What a canary is built from; None where that is refused.
    pub found: Option<Found<'a>>,
}

/// Whether there can be a canary, and what people should know beforehand.
pub fn preflight<'a>(seen: &Seen<'a>) -> Preflight<'a> {
    let mut answer = Preflight {
        refusals: Vec::new(),
        warnings: Vec::new(),
        found: None,
    };
    // It comes first: what else is in the way is mostly Flagger's as well.
    answer.refusals.extend(rival::flagger(seen));
    answer.refusals.extend(workload::refusals(seen));
    match traffic(seen) {
        Err(refusals) => answer.refusals.extend(refusals),
        Ok(traffic) => {
            answer.refusals.extend(traffic.refusals);
            answer.warnings.extend(traffic.warnings);
            let label = &traffic.found.label;
            let pods = workload::warnings(seen, label, &traffic.behind);
            answer.warnings.extend(pods);
            answer.found = Some(traffic.found);
        }
    }
    answer
}

/// Why the Service does not lead to the pods that serve while another template is held.
pub fn strays(
    found: &Found<'_>,
    held: &PodTemplateSpec,
    serving: &PodTemplateSpec,
) -> Option<Refusal> {
    let why = service::astray(found, held, serving)?;
    Some(Refusal::Strays {
        service: name(&found.service.metadata).to_owned(),
        why,
    })
}

/// What was found of the traffic.
struct Traffic<'a> {
    found: Found<'a>,
    /// All Services that the Ingress or `HTTPRoute` leads to.
    behind: Vec<&'a str>,
    /// What stands in the way although everything was found.
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
}

fn traffic<'a>(seen: &Seen<'a>) -> Result<Traffic<'a>, Vec<Refusal>> {
    let mut traffic = match &seen.way {
        Way::Nginx(nginx) => ingress_nginx::traffic(seen, nginx),
        Way::Gateway(gateway) => gateway_api::traffic(seen, gateway),
    }?;
    traffic
        .refusals
        .extend(service::missing_container_ports(seen, &traffic.found));
    traffic.refusals.extend(taken(seen, &traffic.found));
    Ok(traffic)
}

/// Objects of the canary's names that are somebody else's.
fn taken(seen: &Seen<'_>, found: &Found<'_>) -> Vec<Refusal> {
    let service = canary::service_name(name(&found.service.metadata));
    let deployment = canary::deployment_name(seen.target_name());
    let services = seen.taken(&seen.services, "Service", &service);
    let others = seen.deployments.iter();
    let mut others = others.filter(|other| !other.is_owned(seen.rollout_uid));
    let deployments =
        others
            .any(|other| *other.name == *deployment)
            .then_some(Refusal::NameTaken {
                kind: "Deployment",
                name: deployment,
            });
    services.into_iter().chain(deployments).collect()
}

impl<'a> Seen<'a> {
    /// An object of this name, if it is not ours.
    fn taken<K: kube::Resource>(
        &self,
        objects: &[&K],
        kind: &'static str,
        wanted: &str,
    ) -> Option<Refusal> {
        let mut named = objects.iter().map(|object| object.meta());
        let taken = named.find(|meta| name(meta) == wanted && !self.is_own(meta))?;
        let owners = taken.owner_references.iter().flatten();
        let mut rollouts = owners.filter(|owner| owner.kind == "Rollout");
        let name = wanted.to_owned();
        Some(match rollouts.next() {
            Some(other) => Refusal::OthersRun {
                kind,
                name,
                rollout: other.name.clone(),
            },
            None => Refusal::NameTaken { kind, name },
        })
    }

    fn target_name(&self) -> &'a str {
        name(&self.target.metadata)
    }

    fn target_title(&self) -> String {
        format!("{} {}", self.kind, self.target_name())
    }

    fn template_labels(&self) -> Labels {
        let meta = self.template.metadata.as_ref();
        meta.and_then(|meta| meta.labels.clone())
            .unwrap_or_default()
    }

    fn service_named(&self, wanted: &str) -> Option<&'a Service> {
        self.services
            .iter()
            .copied()
            .find(|service| name(&service.metadata) == wanted)
    }

    fn is_own(&self, meta: &ObjectMeta) -> bool {
        canary::is_owned(meta, self.rollout_uid)
    }

    /// The label of the canary that exists, else the best one: it must not change during a run.
    fn label_for(&self, selector: &Labels) -> Option<ArmLabel> {
        let labels = self.template_labels();
        let existing = self.deployments.iter().filter(|deployment| {
            *deployment.name == *canary::deployment_name(self.target_name())
                && deployment.is_owned(self.rollout_uid)
        });
        let known = existing
            .filter_map(|deployment| deployment.selector.match_labels.as_ref())
            .find_map(|canary| labels::recognise(selector, canary));
        known
            .filter(|_| labels::contains(&labels, selector))
            .or_else(|| {
                labels::choose(
                    selector,
                    &self.target.spec.selector,
                    &labels,
                    &self.other_selectors(selector),
                )
            })
    }

    /// Selectors that name labels of pods, other than the target's and the stable Service's.
    fn other_selectors(&self, stable: &Labels) -> Vec<LabelSelector> {
        let services = self
            .services
            .iter()
            .filter_map(|service| service_selector(service));
        let services = services
            .filter(|selector| *selector != stable)
            .map(labels::plain);
        let policies = self
            .policies
            .iter()
            .flat_map(|policy| workload::policy_selectors(policy));
        let budgets = self
            .budgets
            .iter()
            .filter_map(|budget| budget.spec.as_ref()?.selector.clone());
        let target = self.target_name();
        let foreign = |deployment: &&&Beside| {
            *deployment.name != *target && !deployment.is_owned(self.rollout_uid)
        };
        let deployments = self
            .deployments
            .iter()
            .filter(foreign)
            .map(|other| other.selector.clone());
        services
            .chain(policies)
            .chain(budgets)
            .chain(deployments)
            .collect()
    }
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// What a Service selects its pods by. That of an `ExternalName` selects none: it stands for a name somewhere else.
fn service_selector(service: &Service) -> Option<&Labels> {
    let spec = service.spec.as_ref()?;
    let is_a_name = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|_| !is_a_name)
}

#[cfg(test)]
mod tests;
