//! What Sluice sees of a cluster: one watch a kind, and which Rollouts an event concerns.
//!
//! Guarantees: nothing is asked of the API server but lists and watches; contents of
//! `ConfigMaps` and Secrets are not kept, only their digests; managed fields are not kept.
//!
//! Not here: what an observation makes of it (`observe`).

use std::sync::Arc;

use futures::stream::BoxStream;
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
use kube::api::{ObjectMeta, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::crd::Rollout;
use super::entries::{
    Head, Owners, Seen, Set, Shelved, Templated, daemon_set, deployment, kept, owner, pod,
    replica_set, rollout, stateful_set, text, value, whole, workload_of,
};
use super::http_route::HttpRoute;
use super::packed::Packed;
use super::pods::PodRow;
use super::shelf::{Filler, Key, Shelf};
use super::sight::Sight;
use super::template;
use crate::causes;
use crate::rollout::plan::WorkloadKind;

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Cache {
    pub rollouts: Packed<Rollout, Head>,
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
    pub services: Packed<Service>,
    pub ingresses: Packed<Ingress>,
    /// Empty where the Gateway API is not installed.
    pub http_routes: Packed<HttpRoute>,
    pub network_policies: Packed<NetworkPolicy>,
    pub revisions: Packed<ControllerRevision, Owners>,
    /// Digest of the contents.
    pub config_maps: Shelf<String>,
    /// Digest of the contents.
    pub secrets: Shelf<String>,
    pub claims: Packed<PersistentVolumeClaim>,
    pub budgets: Packed<PodDisruptionBudget>,
    pub classes: Shelf<IngressClass>,
    /// The gate's policies and bindings, as JSON.
    pub policies: Shelf<serde_json::Value>,
    pub policy_bindings: Shelf<serde_json::Value>,
    pub sayings: Shelf<serde_json::Value>,
    pub saying_bindings: Shelf<serde_json::Value>,
    /// The gate's webhook configuration, as JSON.
    pub webhooks: Shelf<serde_json::Value>,
    /// How the watches stand.
    sight: watch::Sender<Sight>,
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

    /// Why a namespace that is watched by itself cannot be seen whole: what is on the shelves may be old.
    pub fn unseen(&self, namespace: &str) -> Option<String> {
        self.sight.borrow().unseen(namespace)
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
    /// Something that each Rollout of a namespace may look at.
    Around {
        /// The namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// The Rollout that owns it.
        rollout: Option<String>,
    },
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

impl Feed {
    /// Each Rollout is to be looked at. Nobody looks when the receiver is gone, and then this ends too.
    fn everything(&self) {
        let _ = self.touched.send(Touched::Everything);
    }
}

/// What of the gate is watched.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Policies and bindings.
    pub policies: bool,
    /// The webhook configuration of this name.
    pub webhook: Option<String>,
}

/// What it means that a kind is refused, or not served by the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    /// No pass is made. An empty shelf would be taken for a fact: that nothing serves, that nothing was kept.
    Nothing,
    /// The same; and in a namespace that is watched by itself they come when all else of it is in sight.
    Rollouts,
    /// None is made where it is refused: a route that is in force would be taken for one that is gone. A
    /// cluster that does not have the kind has no such route.
    Routes,
    /// Passes are made as if there were none: something is not told or not warned of.
    Less,
}

/// Starts all watches in `tasks`; the receiver tells how they stand.
pub fn start(
    client: &Client,
    namespaces: &[String],
    admission: &Admission,
    stop: &CancellationToken,
    tasks: &mut tokio::task::JoinSet<()>,
) -> (
    Arc<Cache>,
    mpsc::UnboundedReceiver<Touched>,
    watch::Receiver<Sight>,
) {
    let cache = Arc::new(Cache::default());
    let (touched, receiver) = mpsc::unbounded_channel();
    let sight = cache.sight.subscribe();
    let mut starter = Starter {
        feed: Feed {
            client: client.clone(),
            namespaces: namespaces.to_vec(),
            touched,
            stop: stop.clone(),
        },
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
    starter.rollouts(&cache);
    (cache, receiver, sight)
}

struct Starter<'a> {
    feed: Feed,
    tasks: &'a mut tokio::task::JoinSet<()>,
}

impl Starter<'_> {
    fn workloads(&mut self, cache: &Arc<Cache>) {
        self.namespaced(
            cache,
            |c| &c.deployments,
            deployment,
            |object: &Deployment| Touched::Workload(key(object.meta())),
            Without::Nothing,
        );
        self.namespaced(
            cache,
            |c| &c.stateful_sets,
            stateful_set,
            |object: &StatefulSet| Touched::Workload(key(object.meta())),
            Without::Nothing,
        );
        self.namespaced(
            cache,
            |c| &c.daemon_sets,
            daemon_set,
            |object: &DaemonSet| Touched::Workload(key(object.meta())),
            Without::Nothing,
        );
        self.namespaced(
            cache,
            |c| &c.replica_sets,
            replica_set,
            |object: &ReplicaSet| Touched::Workload(owner(object.meta())),
            Without::Nothing,
        );
        let pod_touches = |object: &Pod| Touched::Workload(workload_of(object));
        self.taken(cache, pods, pod_touches, Without::Nothing);
        self.namespaced(
            cache,
            |c| c.revisions.texts(),
            kept,
            revision_touches,
            Without::Nothing,
        );
    }

    /// After all others: in a namespace that is watched by itself they wait for these.
    fn rollouts(&mut self, cache: &Arc<Cache>) {
        let rollouts = |scope: Option<&str>| onto(|c: &Cache| c.rollouts.texts(), rollout, scope);
        let touches = |rollout: &Rollout| Touched::Rollout(key(rollout.meta()));
        self.taken(cache, rollouts, touches, Without::Rollouts);
    }

    fn surroundings(&mut self, cache: &Arc<Cache>) {
        fn around<K: Resource>(object: &K) -> Touched {
            let (namespace, name) = key(object.meta());
            Touched::Around {
                namespace,
                name,
                rollout: rollout_of(object.meta()),
            }
        }
        self.namespaced(
            cache,
            |c| c.services.texts(),
            text::<Service>,
            around,
            Without::Nothing,
        );
        self.namespaced(
            cache,
            |c| c.ingresses.texts(),
            text::<Ingress>,
            around,
            Without::Nothing,
        );
        let routes =
            |scope: Option<&str>| onto(|c: &Cache| c.http_routes.texts(), text::<HttpRoute>, scope);
        self.taken(cache, routes, around, Without::Routes);
        self.namespaced(
            cache,
            |c| c.network_policies.texts(),
            text::<NetworkPolicy>,
            around,
            Without::Nothing,
        );
        self.namespaced(
            cache,
            |c| &c.config_maps,
            |map: ConfigMap| Some(template::config_map_digest(&map)),
            around,
            Without::Less,
        );
        self.namespaced(
            cache,
            |c| &c.secrets,
            |secret: Secret| Some(template::secret_digest(&secret)),
            around,
            Without::Less,
        );
        self.namespaced(
            cache,
            |c| c.claims.texts(),
            text::<PersistentVolumeClaim>,
            around,
            Without::Less,
        );
        self.namespaced(
            cache,
            |c| c.budgets.texts(),
            text::<PodDisruptionBudget>,
            around,
            Without::Less,
        );
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
        let take = onto(|c| &c.webhooks, value::<MutatingWebhookConfiguration>, None);
        let touches = |_: &MutatingWebhookConfiguration| Touched::Everything;
        self.follow(cache, (api, only, None), (take, touches), Without::Less);
    }

    fn namespaced<K, V>(
        &mut self,
        cache: &Arc<Cache>,
        shelf: fn(&Cache) -> &Shelf<V>,
        entry: fn(K) -> Option<V>,
        touches: fn(&K) -> Touched,
        without: Without,
    ) where
        K: Watched<Scope = k8s_openapi::NamespaceResourceScope>,
        V: Send + Sync + 'static,
    {
        let take = |scope: Option<&str>| onto(shelf, entry, scope);
        self.taken(cache, take, touches, without);
    }

    fn taken<K>(
        &mut self,
        cache: &Arc<Cache>,
        take: impl Fn(Option<&str>) -> Take<K>,
        touches: fn(&K) -> Touched,
        without: Without,
    ) where
        K: Watched<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let client = &self.feed.client;
        let scopes: Vec<(Api<K>, Option<String>)> = if self.feed.namespaces.is_empty() {
            vec![(Api::all(client.clone()), None)]
        } else {
            let each = self.feed.namespaces.iter();
            let scoped = |namespace: &String| {
                let api = Api::namespaced(client.clone(), namespace);
                (api, Some(namespace.clone()))
            };
            each.map(scoped).collect()
        };
        for (api, scope) in scopes {
            let take = take(scope.as_deref());
            let which = (api, watcher::Config::default(), scope);
            self.follow(cache, which, (take, touches), without);
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
        let which = watcher::Config::default();
        let touches = |_: &K| Touched::Everything;
        let takes: Takes<K> = (onto(shelf, entry, None), touches);
        self.follow(cache, (api, which, None), takes, Without::Less);
    }

    fn follow<K: Watched>(
        &mut self,
        cache: &Arc<Cache>,
        (api, which, scope): (Api<K>, watcher::Config, Option<String>),
        takes: Takes<K>,
        without: Without,
    ) {
        let progress = Progress {
            what: format!("{} ({})", K::kind(&()), api.resource_url()),
            scope,
            cache: cache.clone(),
            without,
            first: true,
            refused: false,
        };
        progress.begins();
        let feed = self.feed.clone();
        let stop = self.feed.stop.clone();
        self.tasks.spawn(async move {
            let work = fill(feed, (api, which), takes, progress);
            stop.run_until_cancelled(work).await;
        });
    }
}

/// Puts the events of one watch on their shelves; the keys that were touched.
type Take<K> = Box<dyn FnMut(&Cache, watcher::Event<K>) -> Vec<Key> + Send>;

/// How events are taken, and what an object concerns.
type Takes<K> = (Take<K>, fn(&K) -> Touched);

/// Onto one shelf.
fn onto<K, V>(
    shelf: fn(&Cache) -> &Shelf<V>,
    entry: fn(K) -> Option<V>,
    scope: Option<&str>,
) -> Take<K>
where
    K: Watched,
    V: Send + Sync + 'static,
{
    let mut filler = Filler::new(scope);
    Box::new(move |cache, event| filler.take(shelf(cache), event, entry))
}

/// The pods that are judged, and a line of each other one.
fn pods(scope: Option<&str>) -> Take<Pod> {
    let (mut judged, mut told) = (Filler::new(scope), Filler::new(scope));
    Box::new(move |cache, event| {
        told.take(&cache.rows, event.clone(), |pod| PodRow::of(&pod));
        judged.take(&cache.pods, event, pod)
    })
}

/// The Rollout that owns the object.
fn rollout_of(meta: &ObjectMeta) -> Option<String> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.kind == "Rollout");
    owner.map(|owner| owner.name.clone())
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
    (api, which): (Api<K>, watcher::Config),
    (mut take, touches): Takes<K>,
    mut progress: Progress,
) {
    progress.turn().await;
    let config = which.timeout(290).page_size(PAGE);
    let mut events = listed(&api, &config);
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                if progress.is_shut_out(&error) {
                    progress.log(&error);
                    allowed(&api, &feed, &progress).await;
                    events = listed(&api, &config);
                } else if progress.failed(&error) {
                    feed.everything();
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
        let gone = take(&progress.cache, event);
        let again = done && progress.came();
        let news = again || (done && !gone.is_empty());
        let touched = touched.or_else(|| news.then_some(Touched::Everything));
        if let Some(touched) = touched
            && feed.touched.send(touched).is_err()
        {
            break;
        }
    }
}

/// Lists and watches, for ever.
fn listed<K: Watched>(
    api: &Api<K>,
    config: &watcher::Config,
) -> BoxStream<'static, Result<watcher::Event<K>, watcher::Error>> {
    let waits = backoff::backoff(&K::kind(&()));
    watcher(api.clone(), config.clone()).backoff(waits).boxed()
}

/// Waits until a watch is let begin: the watcher itself would go on without a word as soon as it is. It is lost
/// when it is refused again; an API server that has just begun may do so once.
async fn allowed<K: Watched>(api: &Api<K>, feed: &Feed, progress: &Progress) {
    for wait in backoff::backoff(&K::kind(&())) {
        tokio::time::sleep(wait).await;
        let shortest = WatchParams::default().timeout(1);
        match api.watch(&shortest, "0").await.map(drop) {
            Ok(()) => return,
            Err(error) => {
                let told = causes::told(&error);
                let what = &progress.what;
                tracing::debug!(what, error = told, "still not watched; trying again");
                if let kube::Error::Api(status) = error
                    && status.code == 403
                    && progress.lost(status.message)
                {
                    feed.everything();
                }
            }
        }
    }
}

/// How one watch comes to its lists.
struct Progress {
    what: String,
    /// The namespace, where each is watched by itself.
    scope: Option<String>,
    cache: Arc<Cache>,
    without: Without,
    /// The first list has not come.
    first: bool,
    /// It was refused, and that was told.
    refused: bool,
}

impl Progress {
    fn begins(&self) {
        let scope = self.scope.as_deref();
        let sight = &self.cache.sight;
        sight.send_modify(|sight| sight.begins(scope, &self.what));
    }

    /// Waits until it may begin: Rollouts of a namespace are not seen before what they are about.
    async fn turn(&self) {
        if self.without != Without::Rollouts || self.scope.is_none() {
            return;
        }
        let mut sight = self.cache.sight.subscribe();
        let scope = self.scope.as_deref();
        let rest = sight.wait_for(|sight| sight.lacks_only(scope, &self.what));
        // The sender is the cache's own.
        let _ = rest.await;
    }

    /// A list came. Whether it did so after it had been lost.
    fn came(&mut self) -> bool {
        let first = std::mem::take(&mut self.first);
        self.refused = false;
        let (scope, what) = (self.scope.as_deref(), &self.what);
        let sight = &self.cache.sight;
        sight.send_if_modified(|sight| sight.came(scope, what)) && !first
    }

    /// It is refused. Whether it had been in sight.
    fn lost(&self, why: String) -> bool {
        let (scope, what) = (self.scope.as_deref(), &self.what);
        let sight = &self.cache.sight;
        sight.send_if_modified(|sight| sight.refused(scope, what, why)) && !self.first
    }

    /// Whether something that was in sight is lost by that.
    fn failed(&mut self, error: &watcher::Error) -> bool {
        let again = self.log(error);
        if broken(error) {
            let sight = &self.cache.sight;
            sight.send_modify(|sight| sight.broken += 1);
        }
        let refused = forbidden(error) || unserved(error);
        // Of all namespaces the shelves stay as they were; an API server that has just begun may refuse once.
        if !refused || !(self.first || (again && self.scope.is_some())) {
            return false;
        }
        match self.without {
            Without::Less => self.came(),
            Without::Routes if unserved(error) => self.came(),
            Without::Rollouts | Without::Routes | Without::Nothing => {
                self.lost(said(error).unwrap_or_else(|| causes::told(error)))
            }
        }
    }

    /// Whether the watch was refused that followed a list, in a namespace that is watched by itself.
    fn is_shut_out(&self, error: &watcher::Error) -> bool {
        let listed = matches!(error, watcher::Error::WatchStartFailed(_));
        listed && forbidden(error) && self.scope.is_some() && self.without != Without::Less
    }

    /// Whether it was refused the time before, too.
    fn log(&mut self, error: &watcher::Error) -> bool {
        let (what, why) = (&self.what, causes::told(error));
        let known = std::mem::replace(&mut self.refused, forbidden(error));
        if unserved(error) && matches!(self.without, Without::Routes | Without::Less) {
            tracing::debug!(what, "not served by this cluster");
        } else if broken(error) {
            tracing::debug!(what, error = why, "watch broke; trying again");
        } else if expired(error) {
            tracing::debug!(what, error = why, "watch lists anew");
        } else if known && self.refused {
            tracing::debug!(what, error = why, "watch is still refused; trying again");
        } else {
            tracing::warn!(what, error = why, "watch failed; trying again");
        }
        known
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

/// The API server's own words, where it answered.
fn said(error: &watcher::Error) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.message.clone())
        }
        _ => None,
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::task::JoinSet;

    use super::*;

    /// An API server that answers everything like this.
    fn answering(status: u16) -> Client {
        let answer = move |request: hyper::Request<kube::client::Body>| async move {
            let path = request.uri().path().to_owned();
            let text = serde_json::json!({
                "kind": "Status", "status": "Failure", "code": status, "message": format!("{path}: no"),
            });
            let answer = hyper::Response::builder().status(status);
            let body = Full::new(bytes::Bytes::from(text.to_string()));
            Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn what_passes_are_made_of_is_waited_for_when_it_is_refused_and_the_rest_is_not() {
        for status in [403, 404] {
            let admission = Admission {
                policies: true,
                webhook: Some("sluice".to_owned()),
            };
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let (_cache, _touched, mut filled) =
                start(&answering(status), &[], &admission, &stop, &mut tasks);
            let settled = |now: &Sight| now.words().matches("; ").count() + now.done() == now.all;
            let now = filled.wait_for(settled).await.unwrap().clone();
            let words = now.words();
            let kinds = words.split("; ").skip(1);
            let kinds = kinds.map(|refused| refused.split(' ').next().unwrap());
            let wanted = [
                "ControllerRevision",
                "DaemonSet",
                "Deployment",
                "HTTPRoute",
                "Ingress",
                "NetworkPolicy",
                "Pod",
                "ReplicaSet",
                "Rollout",
                "Service",
                "StatefulSet",
            ];
            // A cluster without the Gateway API has no routes of it.
            let optional = |kind: &&&str| status == 403 || **kind != "HTTPRoute";
            let wanted: Vec<&str> = wanted.iter().filter(optional).copied().collect();
            assert_eq!(kinds.collect::<Vec<_>>(), wanted, "{status}");
            let done = 21 - wanted.len();
            assert_eq!((now.done(), now.all), (done, 21), "{status}");
            assert!(!now.suffices(), "{status}");
            assert!(
                words.starts_with(&format!("{done} of 21 watches are filled; ")),
                "{words}"
            );
            assert!(words.contains("/api/v1/pods: no"), "{words}");
        }
    }

    type Answer =
        http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>;

    /// An API server without objects, that refuses this namespace as long as it is said to; what was asked of it is
    /// noted. Its watches go on until that changes.
    fn guarding(
        refused: &watch::Receiver<Option<&'static str>>,
        asked: &Arc<std::sync::Mutex<Vec<String>>>,
    ) -> Client {
        let (refused, asked) = (refused.clone(), Arc::clone(asked));
        let answer = move |request: hyper::Request<kube::client::Body>| {
            let mut refused = refused.clone();
            let uri = request.uri().clone();
            asked.lock().unwrap().push(uri.path().to_owned());
            async move {
                let within = format!(
                    "/namespaces/{}/",
                    refused.borrow_and_update().unwrap_or("nobody")
                );
                let no = uri.path().contains(&within);
                let watches = uri.query().unwrap_or_default().contains("watch=true");
                let body: Answer = if watches && !no {
                    let ends = async move {
                        let _ = refused.changed().await;
                        Ok(hyper::body::Frame::data(bytes::Bytes::new()))
                    };
                    let ends = futures::stream::once(ends);
                    http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(
                        Box::pin(ends),
                    ))
                } else {
                    let text = serde_json::json!({
                        "kind": if no { "Status" } else { "List" }, "apiVersion": "v1",
                        "metadata": {"resourceVersion": "1"}, "items": [],
                        "status": "Failure", "code": 403, "message": "no",
                    });
                    let body = Full::new(bytes::Bytes::from(text.to_string()));
                    http_body_util::BodyExt::boxed_unsync(body)
                };
                let status = if no { 403 } else { 200 };
                let answer = hyper::Response::builder().status(status).body(body);
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_refused_is_lost_and_found_and_the_others_are_not() {
        let (refuse, refused) = watch::channel(Some("b"));
        let asked = Arc::default();
        let client = guarding(&refused, &asked);
        let namespaces = ["a".to_owned(), "b".to_owned()];
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let admission = Admission::default();
        let (cache, mut touched, mut sight) =
            start(&client, &namespaces, &admission, &stop, &mut tasks);
        let count = |kind: &str| {
            let asked = asked.lock().unwrap();
            asked.iter().filter(|path| path.ends_with(kind)).count()
        };
        sight.wait_for(Sight::suffices).await.unwrap();
        assert_eq!(cache.unseen("a"), None);
        assert!(cache.unseen("b").is_some_and(|why| why.ends_with(" more)")));
        assert_eq!(count("/b/rollouts"), 0, "they come last");

        let mut taken_up = false;
        for wanted in [None, Some("a"), None] {
            refuse.send_replace(wanted);
            let as_wanted = |sight: &Sight| {
                let all = wanted.is_some() || sight.done() == sight.all;
                all && sight.unseen("a").is_some() == (wanted == Some("a"))
            };
            sight.wait_for(as_wanted).await.unwrap();
            assert_eq!(cache.unseen("b"), None);
            assert!(count("/b/rollouts") > 0);
            let looked_at = touched.try_recv();
            let news = looked_at.is_ok_and(|touched| touched == Touched::Everything);
            assert_eq!(news, wanted.is_some() || taken_up, "{wanted:?}");
            while touched.try_recv().is_ok() {}
            taken_up = true;
        }
    }
}
