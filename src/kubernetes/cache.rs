//! What Sluice sees of a cluster: one watch a kind, and which Rollouts an event concerns.
//!
//! Guarantees: nothing is asked of the API server but lists and watches; contents of
//! `ConfigMaps` and Secrets are not kept, only their digests; managed fields are not kept.
//!
//! Not here: what an observation makes of it (`observe`).

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::crd::Rollout;
use super::entries::{
    Seen, Set, Shelved, Templated, daemon_set, deployment, kept, owner, pod, replica_set,
    stateful_set, value, whole, workload_of,
};
use super::http_route::HttpRoute;
use super::pods::PodRow;
use super::shelf::{Filler, Key, Shelf};
use super::template;
use crate::causes;
use crate::rollout::plan::WorkloadKind;

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Cache {
    pub rollouts: Shelf<Rollout>,
    pub deployments: Shelf<Shelved>,
    /// As the Deployments that say the same.
    pub stateful_sets: Shelf<Shelved>,
    /// As the Deployments that say the same.
    pub daemon_sets: Shelf<Shelved>,
    /// Those that have or want pods.
    pub replica_sets: Shelf<Set>,
    /// Those of canaries, and of what has no `ReplicaSets`.
    pub pods: Shelf<Seen>,
    /// A line of each pod that a Deployment has, for people.
    pub rows: Shelf<PodRow>,
    pub services: Shelf<Service>,
    pub ingresses: Shelf<Ingress>,
    /// Empty where the Gateway API is not installed.
    pub http_routes: Shelf<HttpRoute>,
    pub network_policies: Shelf<NetworkPolicy>,
    pub revisions: Shelf<ControllerRevision>,
    /// Digest of the contents.
    pub config_maps: Shelf<String>,
    /// Digest of the contents.
    pub secrets: Shelf<String>,
    pub claims: Shelf<PersistentVolumeClaim>,
    pub budgets: Shelf<PodDisruptionBudget>,
    pub classes: Shelf<IngressClass>,
    /// The gate's policies and bindings, as JSON.
    pub policies: Shelf<serde_json::Value>,
    pub policy_bindings: Shelf<serde_json::Value>,
    pub sayings: Shelf<serde_json::Value>,
    pub saying_bindings: Shelf<serde_json::Value>,
    /// The gate's webhook configuration, as JSON.
    pub webhooks: Shelf<serde_json::Value>,
}

impl Cache {
    /// The workload of this kind and name.
    pub fn workload(
        &self,
        kind: WorkloadKind,
        (namespace, name): (&str, &str),
    ) -> Option<Arc<Templated<Deployment>>> {
        let shelf = match kind {
            WorkloadKind::Deployment => &self.deployments,
            WorkloadKind::StatefulSet => &self.stateful_sets,
            WorkloadKind::DaemonSet => &self.daemon_sets,
        };
        shelf.get(namespace, name)?.whole().map(Arc::new)
    }

    /// What a Rollout guards.
    pub fn guarded(&self, rollout: &Rollout) -> Option<Arc<Templated<Deployment>>> {
        let target = &rollout.spec.target;
        let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
        let kind = WorkloadKind::named(&target.kind)?;
        self.workload(kind, (namespace, &target.name))
    }
}

/// What an event concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// One Rollout.
    Rollout(Key),
    /// Each Rollout of a namespace whose workload or canary has this name.
    Workload(Key),
    /// Each Rollout of a namespace.
    Namespace(String),
    /// Each Rollout.
    Everything,
}

/// Objects in one answer of a first list. Lists of all kinds come at once, and an allocator keeps
/// much of what their objects took before they were made small.
const PAGE: u32 = 50;

/// What the watches need.
#[derive(Clone)]
struct Feed {
    client: Client,
    namespaces: Vec<String>,
    touched: mpsc::UnboundedSender<Touched>,
    stop: CancellationToken,
}

/// What of the gate is watched.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Policies and bindings.
    pub policies: bool,
    /// The webhook configuration of this name.
    pub webhook: Option<String>,
}

/// Watches that are filled for the first time, of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Filled so far.
    pub done: usize,
    /// All.
    pub all: usize,
    /// How often one broke, without an answer of the API server.
    pub broken: u64,
}

/// Starts all watches in `tasks`; the receiver tells how many are filled.
pub fn start(
    client: &Client,
    namespaces: &[String],
    admission: &Admission,
    stop: &CancellationToken,
    tasks: &mut tokio::task::JoinSet<()>,
) -> (
    Arc<Cache>,
    mpsc::UnboundedReceiver<Touched>,
    watch::Receiver<Filled>,
) {
    let cache = Arc::new(Cache::default());
    let (touched, receiver) = mpsc::unbounded_channel();
    let (filled, progress) = watch::channel(Filled::default());
    let mut starter = Starter {
        feed: Feed {
            client: client.clone(),
            namespaces: namespaces.to_vec(),
            touched,
            stop: stop.clone(),
        },
        filled: Arc::new(filled),
        tasks,
    };
    starter.workloads(&cache);
    starter.surroundings(&cache);
    if admission.policies {
        starter.admission(&cache);
    }
    if let Some(name) = &admission.webhook {
        starter.webhook(&cache, name);
    }
    (cache, receiver, progress)
}

struct Starter<'a> {
    feed: Feed,
    filled: Arc<watch::Sender<Filled>>,
    tasks: &'a mut tokio::task::JoinSet<()>,
}

impl Starter<'_> {
    fn workloads(&mut self, cache: &Arc<Cache>) {
        self.namespaced(
            cache,
            |c| &c.rollouts,
            whole::<Rollout>,
            |rollout: &Rollout| Touched::Rollout(key(rollout.meta())),
        );
        self.namespaced(
            cache,
            |c| &c.deployments,
            deployment,
            |object: &Deployment| Touched::Workload(key(object.meta())),
        );
        self.namespaced(
            cache,
            |c| &c.stateful_sets,
            stateful_set,
            |object: &StatefulSet| Touched::Workload(key(object.meta())),
        );
        self.namespaced(
            cache,
            |c| &c.daemon_sets,
            daemon_set,
            |object: &DaemonSet| Touched::Workload(key(object.meta())),
        );
        self.namespaced(
            cache,
            |c| &c.replica_sets,
            replica_set,
            |object: &ReplicaSet| Touched::Workload(owner(object.meta())),
        );
        self.taken(cache, pods, |object: &Pod| {
            Touched::Workload(workload_of(object))
        });
        self.namespaced(cache, |c| &c.revisions, kept, revision_touches);
    }

    fn surroundings(&mut self, cache: &Arc<Cache>) {
        fn around<K: Resource>(object: &K) -> Touched {
            Touched::Namespace(object.meta().namespace.clone().unwrap_or_default())
        }
        self.namespaced(cache, |c| &c.services, whole::<Service>, around);
        self.namespaced(cache, |c| &c.ingresses, whole::<Ingress>, around);
        self.namespaced(cache, |c| &c.http_routes, whole::<HttpRoute>, around);
        self.namespaced(
            cache,
            |c| &c.network_policies,
            whole::<NetworkPolicy>,
            around,
        );
        self.namespaced(
            cache,
            |c| &c.config_maps,
            |map: ConfigMap| Some(template::config_map_digest(&map)),
            around,
        );
        self.namespaced(
            cache,
            |c| &c.secrets,
            |secret: Secret| Some(template::secret_digest(&secret)),
            around,
        );
        self.namespaced(cache, |c| &c.claims, whole::<PersistentVolumeClaim>, around);
        self.namespaced(cache, |c| &c.budgets, whole::<PodDisruptionBudget>, around);
        self.everywhere(cache, |c| &c.classes, whole::<IngressClass>);
    }

    fn admission(&mut self, cache: &Arc<Cache>) {
        self.everywhere(cache, |c| &c.policies, value::<MutatingAdmissionPolicy>);
        self.everywhere(
            cache,
            |c| &c.policy_bindings,
            value::<MutatingAdmissionPolicyBinding>,
        );
        self.everywhere(cache, |c| &c.sayings, value::<ValidatingAdmissionPolicy>);
        self.everywhere(
            cache,
            |c| &c.saying_bindings,
            value::<ValidatingAdmissionPolicyBinding>,
        );
    }

    fn webhook(&mut self, cache: &Arc<Cache>, name: &str) {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.feed.client.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let take = onto(|c| &c.webhooks, value::<MutatingWebhookConfiguration>);
        self.follow_only(cache, (api, only), take, |_| Touched::Everything);
    }

    fn namespaced<K, V>(
        &mut self,
        cache: &Arc<Cache>,
        shelf: fn(&Cache) -> &Shelf<V>,
        entry: fn(K) -> Option<V>,
        touches: fn(&K) -> Touched,
    ) where
        K: Watched<Scope = k8s_openapi::NamespaceResourceScope>,
        V: Send + Sync + 'static,
    {
        self.taken(cache, || onto(shelf, entry), touches);
    }

    fn taken<K>(
        &mut self,
        cache: &Arc<Cache>,
        take: impl Fn() -> Take<K>,
        touches: fn(&K) -> Touched,
    ) where
        K: Watched<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let client = &self.feed.client;
        let apis: Vec<Api<K>> = if self.feed.namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            let each = self.feed.namespaces.iter();
            each.map(|namespace| Api::namespaced(client.clone(), namespace))
                .collect()
        };
        for api in apis {
            self.follow(cache, api, take(), touches);
        }
    }

    fn everywhere<K, V>(
        &mut self,
        cache: &Arc<Cache>,
        shelf: fn(&Cache) -> &Shelf<V>,
        entry: fn(K) -> Option<V>,
    ) where
        K: Watched<Scope = k8s_openapi::ClusterResourceScope>,
        V: Send + Sync + 'static,
    {
        let api: Api<K> = Api::all(self.feed.client.clone());
        self.follow(cache, api, onto(shelf, entry), |_| Touched::Everything);
    }

    fn follow<K: Watched>(
        &mut self,
        cache: &Arc<Cache>,
        api: Api<K>,
        take: Take<K>,
        touches: fn(&K) -> Touched,
    ) {
        self.follow_only(cache, (api, watcher::Config::default()), take, touches);
    }

    fn follow_only<K: Watched>(
        &mut self,
        cache: &Arc<Cache>,
        (api, which): (Api<K>, watcher::Config),
        take: Take<K>,
        touches: fn(&K) -> Touched,
    ) {
        self.filled.send_modify(|filled| filled.all += 1);
        let feed = self.feed.clone();
        let filled = self.filled.clone();
        let cache = cache.clone();
        let stop = self.feed.stop.clone();
        self.tasks.spawn(async move {
            let work = fill(feed, cache, (api, which), take, touches, filled);
            stop.run_until_cancelled(work).await;
        });
    }
}

/// Puts the events of one watch on their shelves; the keys that were touched.
type Take<K> = Box<dyn FnMut(&Cache, watcher::Event<K>) -> Vec<Key> + Send>;

/// Onto one shelf.
fn onto<K, V>(shelf: fn(&Cache) -> &Shelf<V>, entry: fn(K) -> Option<V>) -> Take<K>
where
    K: Watched,
    V: Send + Sync + 'static,
{
    let mut filler = Filler::new();
    Box::new(move |cache, event| filler.take(shelf(cache), event, entry))
}

/// The pods that are judged, and a line of each other one.
fn pods() -> Take<Pod> {
    let (mut judged, mut told) = (Filler::new(), Filler::new());
    Box::new(move |cache, event| {
        told.take(&cache.rows, event.clone(), |pod| PodRow::of(&pod));
        judged.take(&cache.pods, event, pod)
    })
}

/// What we keep is a Rollout's; what a controller keeps is its workload's.
fn revision_touches(object: &ControllerRevision) -> Touched {
    let owners = object.metadata.owner_references.iter().flatten();
    let ours = owners.clone().any(|owner| owner.kind == "Rollout");
    let owner = owner(object.meta());
    if ours {
        Touched::Rollout(owner)
    } else {
        Touched::Workload(owner)
    }
}

/// What a watched kind must be.
trait Watched:
    Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Follows one watch for ever; errors are logged and waited out by the watcher's back-off.
async fn fill<K: Watched>(
    feed: Feed,
    cache: Arc<Cache>,
    (api, which): (Api<K>, watcher::Config),
    mut take: Take<K>,
    touches: fn(&K) -> Touched,
    filled: Arc<watch::Sender<Filled>>,
) {
    let mut first = true;
    let config = which.timeout(290).page_size(PAGE);
    let waits = backoff::backoff(&K::kind(&()));
    let mut events = watcher(api, config).backoff(waits).boxed();
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                let why = causes::told(&error);
                if unserved(&error) {
                    tracing::debug!(kind = %K::kind(&()), "not served by this cluster");
                } else if broken(&error) {
                    tracing::debug!(kind = %K::kind(&()), error = why, "watch broke; trying again");
                    filled.send_modify(|filled| filled.broken += 1);
                } else if expired(&error) {
                    tracing::debug!(kind = %K::kind(&()), error = why, "watch lists anew");
                } else {
                    tracing::warn!(kind = %K::kind(&()), error = why, "watch failed; trying again");
                }
                // What we may not see, we do without: it is not waited for.
                if (forbidden(&error) || unserved(&error)) && std::mem::take(&mut first) {
                    filled.send_modify(|filled| filled.done += 1);
                }
                continue;
            }
        };
        let done = matches!(event, watcher::Event::InitDone);
        let touched = match &event {
            watcher::Event::Apply(object)
            | watcher::Event::Delete(object)
            | watcher::Event::InitApply(object) => Some(touches(object)),
            watcher::Event::Init | watcher::Event::InitDone => None,
        };
        let gone = take(&cache, event);
        let touched = touched.or_else(|| (done && !gone.is_empty()).then_some(Touched::Everything));
        if let Some(touched) = touched
            && feed.touched.send(touched).is_err()
        {
            break;
        }
        if done && std::mem::take(&mut first) {
            filled.send_modify(|filled| filled.done += 1);
        }
    }
}

/// Whether there was no answer, rather than one that says no.
fn broken(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => !matches!(error, kube::Error::Api(_)),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

/// Whether it only has to list anew.
fn expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    code(error) == Some(403)
}

/// Whether the cluster does not have the kind. It may come: a custom resource is installed at any time.
fn unserved(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

fn key(meta: &ObjectMeta) -> Key {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
