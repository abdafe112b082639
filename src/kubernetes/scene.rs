//! The scene: every object that one Rollout concerns, as last seen, and what its canary's
//! objects should be.
//!
//! Observing compares the scene with what is wanted; executing writes what is wanted. Both are
//! built here, so that they cannot disagree.
//!
//! Not here: facts (`observe`) and requests (`execute`).

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolumeClaim, Pod, PodTemplateSpec, Service,
};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;

use super::cache::Cache;
use super::canary::http_route::{self, Arms};
use super::canary::{self, ArmLabel, Trial};
use super::crd::Rollout;
use super::entries::{Set, Shelved, Templated};
use super::events::{reference, workload};
use super::http_route::HttpRoute;
use super::labels;
use super::members::{self, Known, Member};
use super::named;
use super::owned;
use super::preflight::{self, Found, Gateway, Main, Nginx, Preflight, Seen, Way};
use crate::rollout::config::Config;
use crate::rollout::observation::Past;
use crate::rollout::plan::{Plan, Route, WorkloadKind};
use crate::rollout::revision::{Revision, short};

/// The label on a `ControllerRevision` that says what its template is kept for.
pub const KEEPS: &str = "sluice.dev/keeps";
/// Kept as what serves.
pub const STABLE: &str = "stable";
/// Kept as what a person wants, while an older one is finished.
pub const DESIRED: &str = "desired";

/// Every object that one Rollout concerns.
#[derive(Debug)]
pub struct Scene {
    pub rollout: Arc<Rollout>,
    /// Other Rollouts of the namespace for the same workload.
    pub rivals: Vec<Arc<Rollout>>,
    /// The guarded workload, as a Deployment.
    pub target: Option<Arc<Templated<Deployment>>>,
    /// The target's `ReplicaSets`, or what its pods count as.
    pub sets: Vec<Arc<Set>>,
    /// The target's pods, where no `ReplicaSets` count them.
    pub members: Vec<Member>,
    /// The revisions that the target's controller keeps, where there are no `ReplicaSets`.
    pub known: Vec<Known>,
    pub canary: Option<Arc<Templated<Deployment>>>,
    pub canary_sets: Vec<Arc<Set>>,
    pub canary_pods: Vec<Arc<Pod>>,
    pub services: Vec<Arc<Service>>,
    pub ingresses: Vec<Arc<Ingress>>,
    pub http_routes: Vec<Arc<HttpRoute>>,
    pub policies: Vec<Arc<NetworkPolicy>>,
    pub budgets: Vec<Arc<PodDisruptionBudget>>,
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    pub classes: Vec<Arc<IngressClass>>,
    /// Deployments of the namespace, for their selectors.
    pub neighbours: Vec<Arc<Shelved>>,
    /// What the target's `ReplicaSets` hold, those without pods too; only where somebody asks.
    pub past: Vec<Past>,
    /// Templates that Sluice keeps for this Rollout.
    pub kept: Vec<Arc<ControllerRevision>>,
    /// What the configuration that the target's template names holds.
    pub config: Config,
    /// `ConfigMaps` and Secrets without which stable starts no pod, and that are not there.
    pub lacks: Vec<String>,
    /// Why a pod of the target finds no node; only looked up when a promotion makes no progress.
    pub unplaced: Option<String>,
}

/// Other Rollouts for the same workload.
fn rivals(cache: &Cache, plan: &Plan) -> Vec<Arc<Rollout>> {
    let all = cache.rollouts.texts().named(&plan.namespace).into_iter();
    let same = all.filter(|(name, text)| {
        let (kind, target) = &text.head.target;
        *kind == Some(plan.kind) && **target == *plan.target && *name != plan.name
    });
    same.filter_map(|(name, _)| cache.rollouts.get(&plan.namespace, &name))
        .collect()
}

/// The names by which requests and metrics know the two arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteNames {
    /// The Ingress or `HTTPRoute`.
    pub ingress: String,
    /// Other Ingresses whose requests the canary gets too.
    pub other_ingresses: Vec<String>,
    pub service: String,
    pub canary_service: String,
    /// The Service's port, as the Ingress or `HTTPRoute` names it.
    pub port: String,
    /// The other ports that it leads to.
    pub other_ports: Vec<String>,
}

/// The Services of the two arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    stable: String,
    canary: String,
}

impl Services {
    /// The same, as a split names them.
    pub fn arms<'a>(&'a self, plan: &'a Plan) -> Arms<'a> {
        Arms {
            namespace: &plan.namespace,
            stable: &self.stable,
            canary: &self.canary,
        }
    }
}

/// The canary's objects, as they should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub deployment: Deployment,
    pub service: Service,
    pub policies: Vec<NetworkPolicy>,
}

/// What the canary's objects are marked with.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// The run's id.
    pub run: &'a str,
    /// The revision under trial, with its configuration if that is on trial.
    pub revision: &'a str,
}

/// Why the canary's objects cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Rollout is not stored yet")]
    NotStored,
    #[error("there is no {0}")]
    NoTarget(String),
    #[error("{0} does not lead to the target any more")]
    NoRoute(String),
    #[error("no template of revision {} is known", short(.0))]
    NoTemplate(String),
    #[error(transparent)]
    Canary(#[from] canary::Error),
}

impl Scene {
    /// The Rollout and its workload, as Events are told of them.
    pub fn regarding(&self, kind: WorkloadKind) -> Vec<ObjectReference> {
        let target = self.target.iter();
        let target = target.map(|target| workload(kind, &target.object));
        std::iter::once(reference(&*self.rollout))
            .chain(target)
            .collect()
    }

    /// Gathers what concerns a Rollout.
    pub fn gather(cache: &Cache, rollout: Arc<Rollout>, plan: &Plan) -> Self {
        let namespace = plan.namespace.as_str();
        let target = cache.workload(plan.kind, (namespace, &plan.target));
        let (members, known) = owned::counted(cache, plan, target.as_ref());
        let canary = canary::deployment_name(&plan.target);
        let canary = cache
            .workload(WorkloadKind::Deployment, (namespace, &canary))
            .filter(|canary| canary::is_owned(&canary.object.metadata, &plan.uid));
        let sets = cache.replica_sets.within(namespace);
        let canary_sets = owned::sets(&sets, canary.as_ref());
        let target_sets = if plan.kind.is_deployment() {
            owned::sets(&sets, target.as_ref())
        } else {
            members::sets(&owned::uid(target.as_ref()), &members, &known)
        };
        let mut scene = Self {
            rivals: rivals(cache, plan),
            sets: target_sets,
            members,
            known,
            canary_pods: owned::pods(cache, namespace, &canary_sets),
            canary_sets,
            past: Vec::new(),
            config: target
                .as_ref()
                .map(|target| named::config(cache, namespace, target))
                .unwrap_or_default(),
            kept: owned::kept(cache, namespace, &plan.uid),
            services: cache.services.within(namespace),
            ingresses: cache.ingresses.within(namespace),
            http_routes: cache.http_routes.within(namespace),
            policies: cache.network_policies.within(namespace),
            budgets: cache.budgets.within(namespace),
            claims: cache.claims.within(namespace),
            classes: cache.classes.all(),
            neighbours: cache.deployments.within(namespace),
            target,
            canary,
            rollout,
            lacks: Vec::new(),
            unplaced: None,
        };
        scene.lacks = scene.lacking(cache, namespace);
        scene
    }

    /// What stable's template needs to start a pod and does not find.
    fn lacking(&self, cache: &Cache, namespace: &str) -> Vec<String> {
        let status = self.rollout.status.as_ref();
        let stable = status.and_then(|status| status.stable.as_ref());
        let template = stable.and_then(|stable| self.template(&stable.hash));
        template.map_or_else(Vec::new, |template| {
            named::lacking(cache, namespace, &template)
        })
    }

    /// The canary Ingress beside the one of this name, if it is ours.
    pub fn canary_ingress(&self, plan: &Plan, main: &str) -> Option<&Arc<Ingress>> {
        let name = canary::ingress_name(main);
        let candidates = self.ingresses.iter();
        candidates
            .filter(|candidate| canary::is_owned(&candidate.metadata, &plan.uid))
            .find(|candidate| candidate.name_any() == name)
    }

    /// The `HTTPRoute` of this name.
    pub fn http_route(&self, name: &str) -> Option<&Arc<HttpRoute>> {
        let mut all = self.http_routes.iter();
        all.find(|route| route.name_any() == name)
    }

    /// The Services between which a route is split: those of the canary that exists, else those that
    /// preflight finds. So a split is known although the target or the stable Service is gone.
    pub fn arms(&self, plan: &Plan, route: &HttpRoute) -> Option<Services> {
        let all = route.spec.rules.iter().flat_map(http_route::backends);
        let named: Vec<&str> = all.filter_map(|to| to.get("name")?.as_str()).collect();
        let own = self
            .services
            .iter()
            .filter(|service| canary::is_owned(&service.metadata, &plan.uid));
        let mut split = own.filter_map(|service| {
            let canary = service.name_any();
            // Somebody may have taken stable out of the route; the canary in it is known all the same.
            let stable = named
                .iter()
                .find(|name| canary::service_name(name) == canary);
            named.contains(&canary.as_str()).then(|| Services {
                stable: stable.copied().unwrap_or_default().to_owned(),
                canary: canary.clone(),
            })
        });
        split.next().or_else(|| {
            let names = self.names(plan)?;
            Some(Services {
                stable: names.service,
                canary: names.canary_service,
            })
        })
    }

    /// Whether there can be a canary, and what it is built from.
    pub fn preflight<'a>(&'a self, plan: &'a Plan) -> Option<Preflight<'a>> {
        let target = &self.target.as_ref()?.object;
        Some(preflight::preflight(&Seen {
            rollout_uid: &plan.uid,
            kind: plan.kind,
            target,
            template: &target.spec.template,
            way: self.way(plan),
            services: self.services.iter().map(|service| &**service).collect(),
            deployments: self.neighbours.iter().map(|other| &other.beside).collect(),
            policies: self.policies.iter().map(|policy| &**policy).collect(),
            budgets: self.budgets.iter().map(|budget| &**budget).collect(),
            claims: self.claims.iter().map(|claim| &**claim).collect(),
        }))
    }

    fn way<'a>(&'a self, plan: &'a Plan) -> Way<'a> {
        match &plan.route {
            Route::IngressNginx {
                ingress,
                service,
                prefix,
            } => Way::Nginx(Nginx {
                ingress,
                service: service.as_deref(),
                prefix,
                ingresses: self.ingresses.iter().map(|ingress| &**ingress).collect(),
                classes: Some(self.classes.iter().map(|class| &**class).collect()),
            }),
            Route::GatewayApi {
                http_route,
                service,
            } => Way::Gateway(Gateway {
                http_route,
                service: service.as_deref(),
                http_routes: self.http_routes.iter().map(|route| &**route).collect(),
                matching: plan.matching.as_ref(),
            }),
        }
    }

    /// The names by which requests and metrics know the arms.
    pub fn names(&self, plan: &Plan) -> Option<RouteNames> {
        self.preflight(plan)?.found.map(|found| names(&found))
    }

    /// Labels of the target's pods.
    fn template_labels(&self) -> labels::Labels {
        self.target
            .as_ref()
            .and_then(|target| target.object.spec.template.metadata.as_ref())
            .and_then(|meta| meta.labels.clone())
            .unwrap_or_default()
    }

    /// A template by its hash: the target's, one of its `ReplicaSets`', or one that is kept.
    pub fn template(&self, hash: &str) -> Option<Cow<'_, PodTemplateSpec>> {
        let target = self.target.as_ref()?;
        if target.revision.hash == hash {
            return Some(Cow::Borrowed(&target.object.spec.template));
        }
        let set = self.sets.iter().find(|set| set.revision.hash == hash);
        set.and_then(|set| set.template())
            .or_else(|| members::template(&self.known, hash))
            .or_else(|| self.kept_template(hash))
            .map(Cow::Owned)
    }

    fn kept_template(&self, hash: &str) -> Option<PodTemplateSpec> {
        let kept = self
            .kept
            .iter()
            .find(|kept| kept_revision(kept).hash == hash)?;
        // The cache keeps the template as text.
        kept.data
            .0
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
    }

    fn found<'a>(&'a self, plan: &'a Plan) -> Result<Found<'a>, Error> {
        let preflight = self
            .preflight(plan)
            .ok_or_else(|| Error::NoTarget(format!("{} {}", plan.kind, plan.target)))?;
        preflight
            .found
            .ok_or_else(|| Error::NoRoute(plan.route.title()))
    }

    /// The canary's objects as they should be.
    pub fn wanted(
        &self,
        plan: &Plan,
        mark: Mark<'_>,
        template: &PodTemplateSpec,
        replicas: i32,
    ) -> Result<Wanted, Error> {
        let target = self
            .target
            .as_ref()
            .ok_or_else(|| Error::NoTarget(format!("{} {}", plan.kind, plan.target)))?;
        let found = self.found(plan)?;
        let owner = canary::owner(&self.rollout).ok_or(Error::NotStored)?;
        let trial = trial(plan, &owner, mark, &found.label);
        let policies: Vec<NetworkPolicy> = self
            .policies
            .iter()
            .map(|policy| (**policy).clone())
            .collect();
        Ok(Wanted {
            deployment: canary::deployment::deployment(&target.object, template, replicas, &trial)?,
            service: canary::service::service(found.service, &trial),
            policies: canary::network_policy::network_policies(
                &policies,
                &self.template_labels(),
                &trial,
            ),
        })
    }

    /// The canary Ingress as it should be.
    pub fn wanted_ingress(
        &self,
        plan: &Plan,
        prefix: &str,
        mark: Mark<'_>,
        weight: u8,
    ) -> Result<Ingress, Error> {
        let found = self.found(plan)?;
        let Main::Ingress(main) = found.main else {
            return Err(Error::NoRoute(plan.route.title()));
        };
        let names = names(&found);
        let owner = canary::owner(&self.rollout).ok_or(Error::NotStored)?;
        let traffic = canary::ingress::Traffic {
            stable: &names.service,
            canary: &names.canary_service,
            prefix,
            weight,
            matching: plan.matching.as_ref(),
        };
        Ok(canary::ingress::ingress(
            main,
            &traffic,
            &trial(plan, &owner, mark, &found.label),
        )?)
    }
}

fn trial<'a>(
    plan: &'a Plan,
    owner: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference,
    mark: Mark<'a>,
    label: &'a ArmLabel,
) -> Trial<'a> {
    Trial {
        rollout: &plan.name,
        owner,
        run: mark.run,
        revision: mark.revision,
        label,
    }
}

fn names(found: &Found<'_>) -> RouteNames {
    let service = found.service.name_any();
    RouteNames {
        ingress: match found.main {
            Main::Ingress(ingress) => ingress.name_any(),
            Main::HttpRoute(route) => route.name_any(),
        },
        canary_service: canary::service_name(&service),
        service,
        other_ingresses: found.others.iter().map(|name| (*name).to_owned()).collect(),
        port: found.ports.first().cloned().unwrap_or_default(),
        other_ports: found.ports.iter().skip(1).cloned().collect(),
    }
}

/// The revision that a kept template is of.
pub fn kept_revision(kept: &ControllerRevision) -> Revision {
    let annotations = kept.annotations();
    let images = annotations
        .get("sluice.dev/images")
        .map(String::as_str)
        .unwrap_or_default();
    Revision {
        hash: annotations
            .get(canary::REVISION)
            .cloned()
            .unwrap_or_default(),
        images: images
            .split(',')
            .filter(|image| !image.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}
