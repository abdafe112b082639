//! The sandbox's node: it takes every pod, makes it run as its annotations say, and lets it go.
//!
//! An ordinary API client that plays scheduler and kubelet, so it also serves a real
//! kube-apiserver. Reacts to events at once and to time where a pod's life says so. Not here:
//! resources, probes, init containers, logs and exec.

mod addresses;
mod apps;
mod behaviour;
mod life;
mod object;
mod references;
mod report;

#[cfg(any(test, fuzzing))]
pub(crate) use behaviour::fuzzing;

pub use apps::{Answer, Apps, Unanswered};
pub use behaviour::{Behaviour, Misunderstood};

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodStatus, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::addresses::Addresses;
use self::life::{Life, Stage, life_of};
use self::references::{Known, Reference};
use crate::clock::{Clock, elapsed};
use crate::sandbox::cache::{Cache, Change, Key, key_of, watch_in};
use crate::sandbox::drive::{Agenda, Part, after, drive};
use crate::sandbox::events::{Note, tell};

/// The node's name.
pub const NAME: &str = "sandbox";

/// A leaving pod stays at least this long, and as long as it works on requests.
const LEAVES_AFTER: Duration = Duration::from_secs(1);
const LOOKS_AGAIN: Duration = Duration::from_millis(100);

/// Why the node did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("creating the Node object")]
    CreateNode(#[source] kube::Error),
}

/// Runs the node until `shutdown`; its pods' applications are registered in `apps`. It takes the
/// pods of this namespace only, if one is given.
///
/// # Errors
/// If the Node object cannot be created.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    clock: Clock,
    apps: Apps,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    object::create(&client, clock.now())
        .await
        .map_err(Error::CreateNode)?;
    let events = select_all([
        watch_in(&client, namespace).map(Seen::Pod).boxed(),
        watch_in(&client, namespace).map(Seen::ConfigMap).boxed(),
        watch_in(&client, namespace).map(Seen::Secret).boxed(),
    ]);
    drive(Node::new(client, clock, apps), events, clock, shutdown).await;
    Ok(())
}

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Seen {
    Pod(Event<Pod>),
    ConfigMap(Event<ConfigMap>),
    Secret(Event<Secret>),
}

/// A pod that is here.
struct Tenant {
    uid: String,
    life: Life,
    ip: String,
    reported: Option<PodStatus>,
    told: Option<&'static str>,
    serving: bool,
    leaves: Option<Timestamp>,
}

struct Node {
    client: Client,
    clock: Clock,
    apps: Apps,
    pods: Cache<Pod>,
    maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
    tenants: HashMap<Key, Tenant>,
    blocked: HashSet<Key>,
    addresses: Addresses,
    agenda: Agenda<Key>,
    /// Whether the API server knows pods' `binding`; a plain patch is the fallback.
    binds: bool,
}

impl Part for Node {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        match seen {
            Seen::Pod(event) => {
                for change in self.pods.seen(event) {
                    self.pod_changed(&change);
                }
            }
            Seen::ConfigMap(event) => {
                let changes = self.maps.seen(event);
                changes
                    .iter()
                    .flat_map(Change::sides)
                    .for_each(|map| self.look_again(map.namespace()));
            }
            Seen::Secret(event) => {
                let changes = self.secrets.seen(event);
                changes
                    .iter()
                    .flat_map(Change::sides)
                    .for_each(|secret| self.look_again(secret.namespace()));
            }
        }
    }

    async fn work(&mut self) {
        if !self.is_ready() {
            return;
        }
        while let Some(key) = self.agenda.pop(self.clock.now()) {
            if let Err(error) = self.attend(&key).await {
                tracing::debug!(pod = %key.1, %error, "attending to a pod");
                self.agenda
                    .add_at(key, after(self.clock.now(), Duration::from_millis(200)));
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.next().filter(|_| self.is_ready())
    }
}

impl Node {
    fn new(client: Client, clock: Clock, apps: Apps) -> Self {
        Self {
            client,
            clock,
            apps,
            pods: Cache::default(),
            maps: Cache::default(),
            secrets: Cache::default(),
            tenants: HashMap::new(),
            blocked: HashSet::new(),
            addresses: Addresses::default(),
            agenda: Agenda::default(),
            binds: true,
        }
    }

    fn is_ready(&self) -> bool {
        self.pods.is_listed() && self.maps.is_listed() && self.secrets.is_listed()
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        for pod in change.sides() {
            self.agenda.add(key_of(pod.as_ref()));
        }
        if let Some(pod) = &change.after {
            let status = pod.status.as_ref();
            if let Some(ip) = status.and_then(|status| status.pod_ip.clone()) {
                self.addresses.take(ip);
            }
        }
    }

    fn look_again(&mut self, namespace: Option<String>) {
        let namespace = namespace.unwrap_or_default();
        let waiting = self.blocked.iter().filter(|key| key.0 == namespace);
        waiting.cloned().for_each(|key| self.agenda.add(key));
    }

    async fn attend(&mut self, key: &Key) -> kube::Result<()> {
        let pod = self.pods.get(key).cloned();
        let uid = pod.as_ref().and_then(|pod| pod.uid());
        if self
            .tenants
            .get(key)
            .is_some_and(|tenant| Some(&tenant.uid) != uid.as_ref())
        {
            self.gone(key);
        }
        let Some(pod) = pod else { return Ok(()) };
        match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
            None if pod.metadata.deletion_timestamp.is_none() => self.bind(&pod).await,
            Some(NAME) if pod.metadata.deletion_timestamp.is_some() => {
                self.see_off(key, &pod).await
            }
            Some(NAME) => self.keep(key, &pod).await,
            _ => Ok(()),
        }
    }

    async fn bind(&mut self, pod: &Pod) -> kube::Result<()> {
        let api = self.pods_in(pod);
        if self.binds {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NAME}});
            let params = PostParams::default();
            let bound: kube::Result<Value> = api
                .create_subresource("binding", &pod.name_any(), &params, &binding)
                .await;
            match bound {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {
                    self.binds = false;
                }
                other => return other.map(drop),
            }
        }
        let patch = json!({"metadata": {"uid": pod.uid()}, "spec": {"nodeName": NAME}});
        let bound = api
            .patch(
                &pod.name_any(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        self.took(bound)
    }

    /// Brings a pod to where it should be now, and reports it if that changed.
    async fn keep(&mut self, key: &Key, pod: &Pod) -> kube::Result<()> {
        let now = self.clock.now();
        let missing = references::missing(pod, |reference| self.look_up(&key.0, reference));
        self.move_in(key, pod, now);
        let Some(tenant) = self.tenants.get_mut(key) else {
            return Ok(());
        };
        tenant.life.advance(missing.as_deref(), now);
        if matches!(tenant.life.stage, Stage::Blocked(_)) {
            self.blocked.insert(key.clone());
        } else {
            self.blocked.remove(key);
        }
        if let Some(when) = tenant.life.wakes_at() {
            self.agenda.add_at(key.clone(), when);
        }
        serve(&self.apps, pod, tenant);
        self.report(key, pod).await
    }

    fn move_in(&mut self, key: &Key, pod: &Pod, now: Timestamp) {
        if self.tenants.contains_key(key) {
            return;
        }
        let known = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let tenant = Tenant {
            uid: pod.uid().unwrap_or_default(),
            life: life_of(pod, now),
            ip: known.unwrap_or_else(|| self.addresses.next()),
            reported: None,
            told: None,
            serving: false,
            leaves: None,
        };
        self.tenants.insert(key.clone(), tenant);
    }

    fn look_up(&self, namespace: &str, reference: &Reference) -> Known {
        let key = (namespace.to_owned(), reference.name.clone());
        let has = if reference.secret {
            self.secrets.get(&key).map(|secret| {
                let data = secret.data.as_ref();
                reference
                    .key
                    .as_ref()
                    .is_none_or(|key| data.is_some_and(|data| data.contains_key(key)))
            })
        } else {
            self.maps.get(&key).map(|map| {
                let (text, bytes) = (map.data.as_ref(), map.binary_data.as_ref());
                let has = |key| {
                    text.is_some_and(|data| data.contains_key(key))
                        || bytes.is_some_and(|data| data.contains_key(key))
                };
                reference.key.as_ref().is_none_or(has)
            })
        };
        match has {
            None => Known::Absent,
            Some(false) => Known::WithoutKey,
            Some(true) => Known::Present,
        }
    }

    async fn report(&mut self, key: &Key, pod: &Pod) -> kube::Result<()> {
        let Some(tenant) = self.tenants.get_mut(key) else {
            return Ok(());
        };
        let status = report::status(pod, &tenant.life, &tenant.ip);
        if tenant.reported.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": tenant.uid}, "status": status}));
        let written = self
            .pods_in(pod)
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await;
        if written.is_ok()
            && let Some(tenant) = self.tenants.get_mut(key)
        {
            tenant.reported = Some(status);
        }
        self.took(written)?;
        self.tell(key, pod).await;
        Ok(())
    }

    /// Says once, as an Event, why a container waits.
    async fn tell(&mut self, key: &Key, pod: &Pod) {
        let Some(tenant) = self.tenants.get_mut(key) else {
            return;
        };
        let Some((reason, message)) =
            report::waiting(&tenant.life.stage).filter(|_| tenant.life.stage != Stage::New)
        else {
            return;
        };
        if tenant.told == Some(reason) {
            return;
        }
        tenant.told = Some(reason);
        let reason = match tenant.life.stage {
            Stage::PullBackOff { .. } | Stage::BackOff { .. } => "BackOff",
            Stage::Misunderstood(_) => reason,
            _ => "Failed",
        };
        let note = Note {
            component: "kubelet",
            warning: true,
            reason,
            message: &message,
        };
        tell(&self.client, pod, note, self.clock.now()).await;
    }

    /// Lets a pod go: it finishes its requests, at most for its grace period.
    async fn see_off(&mut self, key: &Key, pod: &Pod) -> kube::Result<()> {
        let now = self.clock.now();
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let mut killed = false;
        if let Some(tenant) = self.tenants.get_mut(key) {
            let began = *tenant.leaves.get_or_insert(now);
            let busy = self.apps.in_flight(&tenant.ip) > 0;
            let (stayed, runs) = (elapsed(began, now), tenant.life.runs());
            if runs && stayed < LEAVES_AFTER.min(grace) {
                self.agenda
                    .add_at(key.clone(), after(began, LEAVES_AFTER.min(grace)));
                return Ok(());
            }
            if runs && busy && stayed < grace {
                self.agenda.add_at(key.clone(), after(now, LOOKS_AGAIN));
                return Ok(());
            }
            killed = busy;
        }
        self.apps_end(key, killed);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default().grace_period(0)
        };
        match self.pods_in(pod).delete(&pod.name_any(), &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
        self.gone(key);
        self.pods.erased(pod);
        Ok(())
    }

    fn apps_end(&mut self, key: &Key, killed: bool) {
        if let Some(tenant) = self.tenants.get_mut(key)
            && std::mem::take(&mut tenant.serving)
        {
            self.apps.end(&tenant.ip, killed);
        }
    }

    fn gone(&mut self, key: &Key) {
        self.apps_end(key, true);
        self.blocked.remove(key);
        if let Some(tenant) = self.tenants.remove(key) {
            self.addresses.free(&tenant.ip);
        }
    }

    fn took(&mut self, written: kube::Result<Pod>) -> kube::Result<()> {
        match written {
            Ok(pod) => {
                if let Some(change) = self.pods.wrote(pod) {
                    self.pod_changed(&change);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn pods_in(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// Registers the pod's application while it is ready.
fn serve(apps: &Apps, pod: &Pod, tenant: &mut Tenant) {
    let (ready, was) = (tenant.life.ready, tenant.serving);
    tenant.serving = ready;
    if was && !ready {
        apps.end(&tenant.ip, true);
    }
    if let Some(behaviour) = tenant.life.behaviour().filter(|_| ready && !was) {
        let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let image = first
            .and_then(|container| container.image.as_deref())
            .unwrap_or_default();
        apps.start(
            &tenant.ip,
            &pod.name_any(),
            image,
            behaviour.clone(),
            tenant.life.turned,
        );
    }
}
