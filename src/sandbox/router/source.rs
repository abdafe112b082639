//! The router's watches: Ingresses, their classes, Services and `EndpointSlices`, and `HTTPRoutes` where
//! it serves them.
//!
//! A change takes effect after the reload delay, together with all others that came meanwhile,
//! as the controller's configuration reload does. Not here: what the table means.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressServiceBackend};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Router;
use super::gateway;
use super::table::Table;
use crate::sandbox::cache::{Cache, Index, watch, watch_in};
use crate::sandbox::drive::{Part, after, drive};
use crate::sandbox::gateway::HttpRoute;
use crate::sandbox::random::Random;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// By which it signs what it says of `HTTPRoutes`.
const CONTROLLER: &str = "sandbox.sluice.dev/gateway";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Seen {
    Ingress(Event<Ingress>),
    Class(Event<IngressClass>),
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
    Route(Event<HttpRoute>),
}

/// Keeps the router's table up to date until `shutdown`.
pub async fn run(router: Router, client: Client, shutdown: CancellationToken) {
    let namespace = router.options().namespace.as_deref();
    let mut watches = vec![
        watch_in(&client, namespace).map(Seen::Ingress).boxed(),
        watch(&client).map(Seen::Class).boxed(),
        watch_in(&client, namespace).map(Seen::Service).boxed(),
        watch_in(&client, namespace).map(Seen::Slice).boxed(),
    ];
    if router.options().gateway {
        watches.push(watch_in(&client, namespace).map(Seen::Route).boxed());
    }
    let events = select_all(watches);
    let clock = router.clock();
    let source = Source {
        random: Random::new(router.options().seed ^ 0x5eed),
        router,
        client,
        routes: Cache::default(),
        unsaid: Vec::new(),
        ingresses: Cache::default(),
        classes: Cache::default(),
        services: Cache::default(),
        slices: Cache::default(),
        slices_by_service: Index::default(),
        reload_at: None,
    };
    drive(source, events, clock, shutdown).await;
}

struct Source {
    router: Router,
    client: Client,
    random: Random,
    routes: Cache<HttpRoute>,
    /// Routes whose status does not say yet that they are served.
    unsaid: Vec<Arc<HttpRoute>>,
    ingresses: Cache<Ingress>,
    classes: Cache<IngressClass>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    slices_by_service: Index,
    reload_at: Option<Timestamp>,
}

impl Part for Source {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        let changed = match seen {
            Seen::Ingress(event) => !self.ingresses.seen(event).is_empty(),
            Seen::Route(event) => self.route_seen(event),
            Seen::Class(event) => !self.classes.seen(event).is_empty(),
            Seen::Service(event) => !self.services.seen(event).is_empty(),
            Seen::Slice(event) => {
                let changes = self.slices.seen(event);
                for change in &changes {
                    self.slices_by_service.refile(change, service_of);
                }
                !changes.is_empty()
            }
        };
        if changed && self.reload_at.is_none() {
            // Between half and one and a half times the configured delay.
            let delay = self
                .router
                .options()
                .reload
                .mul_f64(0.5 + self.random.uniform());
            self.reload_at = Some(after(self.router.clock().now(), delay));
        }
    }

    async fn work(&mut self) {
        let due = self
            .reload_at
            .is_some_and(|at| at <= self.router.clock().now());
        if due && self.is_ready() {
            self.reload_at = None;
            self.router.install(self.table());
            self.unsaid = self.unserved();
        }
        for route in std::mem::take(&mut self.unsaid) {
            if !accept(&self.client, &route).await {
                self.unsaid.push(route);
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        let again = || after(self.router.clock().now(), self.router.options().reload);
        let again = (!self.unsaid.is_empty()).then(again);
        let reload = self.reload_at.filter(|_| self.is_ready());
        reload.into_iter().chain(again).min()
    }
}

fn service_of(slice: &EndpointSlice) -> Vec<String> {
    let namespace = slice.namespace().unwrap_or_default();
    let service = slice.labels().get(SERVICE_NAME);
    service
        .map(|service| format!("{namespace}/{service}"))
        .into_iter()
        .collect()
}

/// Says on a route that it is served as it is now; whether that was stored.
async fn accept(client: &Client, route: &HttpRoute) -> bool {
    let namespace = route.namespace().unwrap_or_default();
    let said = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": route.metadata.generation,
            "lastTransitionTime": route.creation_timestamp(),
        })
    };
    let parents = route.spec.parent_refs.iter().map(|parent| {
        json!({
            "parentRef": parent, "controllerName": CONTROLLER, "conditions": [said("Accepted"), said("ResolvedRefs")],
        })
    });
    let status = json!({"status": {"parents": parents.collect::<Vec<_>>()}});
    let api: Api<HttpRoute> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::default();
    let patched = api
        .patch_status(&route.name_any(), &params, &Patch::Merge(status))
        .await;
    match patched {
        Ok(_) => true,
        // It is gone.
        Err(kube::Error::Api(status)) => status.code == 404,
        Err(_) => false,
    }
}

impl Source {
    fn route_seen(&mut self, event: Event<HttpRoute>) -> bool {
        let changes = self.routes.seen(event);
        let generation = |side: &Arc<HttpRoute>| side.metadata.generation;
        changes.iter().any(|change| {
            change.before.as_ref().map(generation) != change.after.as_ref().map(generation)
        })
    }

    /// Routes of which nothing was said since their last change.
    fn unserved(&self) -> Vec<Arc<HttpRoute>> {
        let all = self.routes.iter().map(|(_, route)| route);
        all.cloned().collect()
    }

    fn is_ready(&self) -> bool {
        self.ingresses.is_listed()
            && self.classes.is_listed()
            && self.services.is_listed()
            && self.slices.is_listed()
    }

    fn table(&self) -> Table {
        let served =
            |ingress: &&Arc<Ingress>| class_of(ingress).is_some_and(|class| self.serves(class));
        let ingresses: Vec<_> = self
            .ingresses
            .iter()
            .map(|(_, ingress)| ingress)
            .filter(served)
            .cloned()
            .collect();
        let endpoints =
            |namespace: &str, service: &IngressServiceBackend| self.endpoints(namespace, service);
        let mut table = Table::build(&ingresses, &self.router.options().prefix, &endpoints);
        let routes: Vec<_> = self.routes.iter().map(|(_, route)| route.clone()).collect();
        gateway::add(&mut table, &routes, &endpoints);
        table
    }

    /// Whether a class is ours: its object names this controller, or there is no such object
    /// and it has the configured name.
    fn serves(&self, class: &str) -> bool {
        let options = self.router.options();
        match self.classes.get(&(String::new(), class.to_owned())) {
            Some(known) => {
                known
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.controller.as_ref())
                    == Some(&options.controller)
            }
            None => class == options.class,
        }
    }

    fn endpoints(&self, namespace: &str, backend: &IngressServiceBackend) -> Vec<String> {
        let key = (namespace.to_owned(), backend.name.clone());
        let Some(port) = self
            .services
            .get(&key)
            .and_then(|service| port_name(service, backend))
        else {
            return Vec::new();
        };
        let entry = format!("{namespace}/{}", backend.name);
        let slices = self
            .slices_by_service
            .get(&entry)
            .filter_map(|key| self.slices.get(key));
        let slices = slices.filter(|slice| has_port(slice, &port));
        let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
        let ready = endpoints.filter(|endpoint| {
            let ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready);
            ready.unwrap_or(true)
        });
        let addresses: BTreeSet<_> = ready
            .flat_map(|endpoint| endpoint.addresses.iter().cloned())
            .collect();
        addresses.into_iter().collect()
    }
}

/// The name of the Service's port that the backend means, if there is one.
fn port_name(service: &Service, backend: &IngressServiceBackend) -> Option<String> {
    let wanted = backend.port.as_ref()?;
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let port = ports.iter().find(|port| match wanted.number {
        Some(number) if number > 0 => port.port == number,
        _ => port.name == wanted.name,
    })?;
    Some(port.name.clone().unwrap_or_default())
}

fn has_port(slice: &EndpointSlice, name: &str) -> bool {
    let mut ports = slice.ports.iter().flatten();
    ports.any(|port| port.name.as_deref().unwrap_or_default() == name)
}

fn class_of(ingress: &Ingress) -> Option<&String> {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_ref());
    named.or_else(|| ingress.annotations().get(CLASS_ANNOTATION))
}

/// The reload delay by default.
pub const RELOAD: Duration = Duration::from_millis(300);
