//! The `EndpointSlice` controller: which pods stand behind a Service, and which are ready.
//!
//! One slice for each distinct set of resolved ports (named target ports may differ between
//! pods). A pod that is going away stays in, as terminating, until it is gone. Not here:
//! Services without a selector, more than one address family, topology hints, and the split
//! of large Services into slices of a hundred.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sandbox::cache::{Cache, Change, Index, Key, key_of, watch};
use crate::sandbox::drive::{Agenda, Part, after, drive};

/// The label that names the slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURSELVES: &str = "endpointslice-controller.k8s.io";

/// Port name, number and protocol: what tells slices of one Service apart.
type Ports = Vec<(String, i32, String)>;

/// The endpoints that a Service should have, by ports.
fn wanted(service: &Service, pods: &[&Arc<Pod>]) -> BTreeMap<Ports, Vec<Endpoint>> {
    let spec = service.spec.clone().unwrap_or_default();
    let unready_too = spec.publish_not_ready_addresses == Some(true);
    let mut slices: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods {
        if let Some(endpoint) = endpoint(pod, unready_too) {
            let ports = ports(spec.ports.as_deref().unwrap_or_default(), pod);
            slices.entry(ports).or_default().push(endpoint);
        }
    }
    for endpoints in slices.values_mut() {
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    }
    slices
}

fn endpoint(pod: &Pod, unready_too: bool) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let ready =
        |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
    let serving = unready_too || status.conditions.iter().flatten().any(ready);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    Some(Endpoint {
        addresses: vec![ip],
        conditions: Some(EndpointConditions {
            ready: Some(serving && (unready_too || !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.namespace(),
            name: Some(pod.name_any()),
            uid: pod.uid(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

fn ports(ports: &[ServicePort], pod: &Pod) -> Ports {
    let resolve = |port: &ServicePort| {
        let number = target(port, pod)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some((port.name.clone().unwrap_or_default(), number, protocol))
    };
    ports.iter().filter_map(resolve).collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port)
        }
    }
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = selector(service);
    !selector.is_empty()
        && selector
            .iter()
            .all(|(name, value)| pod.labels().get(name) == Some(value))
}

fn selector(service: &Service) -> BTreeMap<String, String> {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.selector.clone())
        .unwrap_or_default()
}

fn slice_ports(slice: &EndpointSlice) -> Ports {
    let port = |port: &EndpointPort| {
        let name = port.name.clone().unwrap_or_default();
        (
            name,
            port.port.unwrap_or(0),
            port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        )
    };
    slice.ports.iter().flatten().map(port).collect()
}

fn slice(service: &Service, ports: Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let labels = [
        (SERVICE_NAME, service.name_any()),
        (MANAGED_BY, OURSELVES.to_owned()),
    ];
    let port = |(name, number, protocol)| EndpointPort {
        name: Some(name),
        port: Some(number),
        protocol: Some(protocol),
        app_protocol: None,
    };
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.name_any())),
            namespace: service.namespace(),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            owner_references: service.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(endpoints),
        ports: Some(ports.into_iter().map(port).collect()),
    }
}

/// What to do with a Service's slices.
#[derive(Debug, PartialEq)]
enum Write {
    Create(EndpointSlice),
    Replace(EndpointSlice),
    Delete(Arc<EndpointSlice>),
}

/// Compares the endpoints a Service should have with its slices. A Service without endpoints
/// keeps one empty slice.
fn writes(
    service: &Service,
    mut wanted: BTreeMap<Ports, Vec<Endpoint>>,
    slices: &[Arc<EndpointSlice>],
) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut left = Vec::new();
    for known in slices {
        match wanted.remove(&slice_ports(known)) {
            Some(endpoints) if known.endpoints.as_ref() != Some(&endpoints) => {
                writes.push(Write::Replace(EndpointSlice {
                    endpoints: Some(endpoints),
                    ..known.as_ref().clone()
                }));
            }
            Some(_) => {}
            None => left.push(known.clone()),
        }
    }
    let serves = slices.len() > left.len() || !wanted.is_empty();
    writes.extend(
        wanted
            .into_iter()
            .map(|(ports, endpoints)| Write::Create(slice(service, ports, endpoints))),
    );
    let mut left = left.into_iter();
    if !serves {
        writes.extend(emptied(service, left.next()));
    }
    writes.extend(left.map(Write::Delete));
    writes
}

fn emptied(service: &Service, known: Option<Arc<EndpointSlice>>) -> Option<Write> {
    match known {
        None => Some(Write::Create(slice(service, Ports::new(), Vec::new()))),
        Some(known)
            if known
                .endpoints
                .as_ref()
                .is_some_and(|list| !list.is_empty()) =>
        {
            Some(Write::Replace(EndpointSlice {
                endpoints: Some(Vec::new()),
                ..known.as_ref().clone()
            }))
        }
        Some(_) => None,
    }
}

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Seen {
    Service(Event<Service>),
    Pod(Event<Pod>),
    Slice(Event<EndpointSlice>),
}

/// Runs until `shutdown`.
pub async fn run(client: Client, clock: Clock, shutdown: CancellationToken) {
    let events = select_all([
        watch(&client).map(Seen::Service).boxed(),
        watch(&client).map(Seen::Pod).boxed(),
        watch(&client).map(Seen::Slice).boxed(),
    ]);
    let controller = Controller {
        client,
        clock,
        services: Cache::default(),
        pods: Cache::default(),
        slices: Cache::default(),
        pods_by_label: Index::default(),
        services_by_label: Index::default(),
        slices_by_service: Index::default(),
        agenda: Agenda::default(),
    };
    drive(controller, events, clock, shutdown).await;
}

struct Controller {
    client: Client,
    clock: Clock,
    services: Cache<Service>,
    pods: Cache<Pod>,
    slices: Cache<EndpointSlice>,
    pods_by_label: Index,
    /// By the first pair of the selector only: a pod that has it may be selected.
    services_by_label: Index,
    slices_by_service: Index,
    agenda: Agenda<Key>,
}

impl Part for Controller {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        match seen {
            Seen::Service(event) => {
                for change in self.services.seen(event) {
                    let first = |service: &Service| {
                        labels_of(service, &selector(service))
                            .into_iter()
                            .take(1)
                            .collect()
                    };
                    self.services_by_label.refile(&change, first);
                    change
                        .sides()
                        .for_each(|service| self.agenda.add(key_of(service.as_ref())));
                }
            }
            Seen::Pod(event) => {
                for change in self.pods.seen(event) {
                    self.pod_changed(&change);
                }
            }
            Seen::Slice(event) => {
                for change in self.slices.seen(event) {
                    self.slice_changed(&change);
                }
            }
        }
    }

    async fn work(&mut self) {
        if !self.is_ready() {
            return;
        }
        while let Some(key) = self.agenda.pop(self.clock.now()) {
            if let Err(error) = self.reconcile(&key).await {
                tracing::debug!(service = %key.1, %error, "reconciling EndpointSlices");
                self.agenda
                    .add_at(key, after(self.clock.now(), Duration::from_millis(200)));
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.next().filter(|_| self.is_ready())
    }
}

/// How an object's labels (or a selector's pairs) are filed.
fn labels_of<K: Resource>(object: &K, labels: &BTreeMap<String, String>) -> Vec<String> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    labels
        .iter()
        .map(|(name, value)| format!("{namespace}/{name}={value}"))
        .collect()
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let ours = slice
        .labels()
        .get(MANAGED_BY)
        .is_some_and(|by| by == OURSELVES);
    let name = slice.labels().get(SERVICE_NAME).filter(|_| ours)?;
    Some((slice.namespace().unwrap_or_default(), name.clone()))
}

impl Controller {
    fn is_ready(&self) -> bool {
        self.services.is_listed() && self.pods.is_listed() && self.slices.is_listed()
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        self.pods_by_label
            .refile(change, |pod| labels_of(pod, pod.labels()));
        for pod in change.sides() {
            for entry in labels_of(pod.as_ref(), pod.labels()) {
                let services = self
                    .services_by_label
                    .get(&entry)
                    .filter_map(|key| self.services.get(key));
                let services = services.filter(|service| selects(service, pod));
                services.for_each(|service| self.agenda.add(key_of(service.as_ref())));
            }
        }
    }

    fn slice_changed(&mut self, change: &Change<EndpointSlice>) {
        let entry =
            |slice: &EndpointSlice| service_of(slice).map(|key| format!("{}/{}", key.0, key.1));
        self.slices_by_service
            .refile(change, |slice| entry(slice).into_iter().collect());
        for slice in change.sides() {
            if let Some(key) = service_of(slice) {
                self.agenda.add(key);
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> kube::Result<()> {
        let Some(service) = self.services.get(key).cloned() else {
            return Ok(());
        };
        if selector(&service).is_empty() || service.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let entry = format!("{}/{}", key.0, key.1);
        let slices = self.slices_by_service.get(&entry);
        let slices: Vec<_> = slices
            .filter_map(|key| self.slices.get(key).cloned())
            .collect();
        let writes = writes(
            &service,
            wanted(&service, &self.pods_behind(&service)),
            &slices,
        );
        for write in writes {
            self.write(&key.0, write).await?;
        }
        Ok(())
    }

    /// The selected pods, found through the rarest pair of the selector.
    fn pods_behind(&self, service: &Service) -> Vec<&Arc<Pod>> {
        let pairs = labels_of(service, &selector(service));
        let Some(rarest) = pairs
            .iter()
            .min_by_key(|pair| self.pods_by_label.count(pair))
        else {
            return Vec::new();
        };
        let pods = self
            .pods_by_label
            .get(rarest)
            .filter_map(|key| self.pods.get(key));
        pods.filter(|pod| selects(service, pod)).collect()
    }

    async fn write(&mut self, namespace: &str, write: Write) -> kube::Result<()> {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), namespace);
        let change = match write {
            Write::Create(slice) => self
                .slices
                .wrote(api.create(&PostParams::default(), &slice).await?),
            Write::Replace(slice) => {
                let name = slice.name_any();
                self.slices
                    .wrote(api.replace(&name, &PostParams::default(), &slice).await?)
            }
            Write::Delete(slice) => {
                api.delete(&slice.name_any(), &DeleteParams::default())
                    .await?;
                self.slices.erased(slice.as_ref())
            }
        };
        if let Some(change) = change {
            self.slice_changed(&change);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "namespace": "shop", "uid": "s"},
            "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}]}
        }))
        .unwrap()
    }

    fn member(ip: &str, ready: bool, leaving: bool, port: i32) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": ip, "namespace": "shop", "labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        }))
        .unwrap();
        if leaving {
            pod.metadata.deletion_timestamp = Some(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
            );
        }
        Arc::new(pod)
    }

    #[test]
    fn an_endpoint_is_ready_only_if_its_pod_is_and_stays() {
        let table = [
            (true, false, [true, true, false]),
            (false, false, [false, false, false]),
            (true, true, [false, true, true]),
        ];
        for (ready, leaving, expected) in table {
            let conditions = endpoint(&member("10.0.0.1", ready, leaving, 1), false)
                .unwrap()
                .conditions
                .unwrap();
            let seen =
                [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap);
            assert_eq!(seen, expected, "ready {ready}, leaving {leaving}");
        }
    }

    #[test]
    fn pods_with_other_ports_get_a_slice_of_their_own() {
        let pods = [
            member("10.0.0.1", true, false, 80),
            member("10.0.0.2", true, false, 81),
            member("10.0.0.3", true, false, 80),
        ];
        let slices = wanted(&service(), &pods.iter().collect::<Vec<_>>());
        let sizes: Vec<_> = slices
            .iter()
            .map(|(ports, endpoints)| (ports[0].1, endpoints.len()))
            .collect();
        assert_eq!(sizes, [(80, 2), (81, 1)]);
    }

    #[test]
    fn slices_are_written_only_when_they_differ() {
        let pod = member("10.0.0.1", true, false, 80);
        let wanted = || wanted(&service(), &[&pod]);
        let created = match writes(&service(), wanted(), &[]).remove(0) {
            Write::Create(slice) => Arc::new(slice),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            writes(&service(), wanted(), std::slice::from_ref(&created)),
            []
        );
        let emptied = writes(&service(), BTreeMap::new(), &[created]);
        assert!(
            matches!(&emptied[..], [Write::Replace(slice)] if slice.endpoints.as_ref().unwrap().is_empty())
        );
        let placeholder = writes(&service(), BTreeMap::new(), &[]);
        assert!(matches!(&placeholder[..], [Write::Create(_)]));
    }
}
