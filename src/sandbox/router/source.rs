//! The router's watches: Ingresses, their classes, Services and `EndpointSlices`.
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
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::Router;
use super::table::Table;
use crate::sandbox::cache::{Cache, Index, watch, watch_in};
use crate::sandbox::drive::{Part, after, drive};
use crate::sandbox::random::Random;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Seen {
    Ingress(Event<Ingress>),
    Class(Event<IngressClass>),
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
}

/// Keeps the router's table up to date until `shutdown`.
pub async fn run(router: Router, client: Client, shutdown: CancellationToken) {
    let namespace = router.options().namespace.as_deref();
    let events = select_all([
        watch_in(&client, namespace).map(Seen::Ingress).boxed(),
        watch(&client).map(Seen::Class).boxed(),
        watch_in(&client, namespace).map(Seen::Service).boxed(),
        watch_in(&client, namespace).map(Seen::Slice).boxed(),
    ]);
    let clock = router.clock();
    let source = Source {
        random: Random::new(router.options().seed ^ 0x5eed),
        router,
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
    random: Random,
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
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.reload_at.filter(|_| self.is_ready())
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

impl Source {
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
        Table::build(
            &ingresses,
            &self.router.options().prefix,
            &|namespace, service| self.endpoints(namespace, service),
        )
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
