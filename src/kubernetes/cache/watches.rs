//! Which kinds are watched, on which shelf each object comes, and what it concerns.
//!
//! The tables here are the daemon's rights to list and watch (`rbac.yaml`). Not here: how a watch is followed
//! (`follow`), and what becomes of an object on a shelf (`entries`).

use std::sync::Arc;

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
use kube::runtime::watcher;
use kube::{Api, Resource};
use tokio::task::JoinSet;

use super::follow::{Feed, Progress, Watched, Without, fill};
use super::{Cache, Touched};
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::digested::Digested;
use crate::kubernetes::entries::{
    daemon_set, deployment, kept, owner, pod, replica_set, rollout, stateful_set, text, value,
    whole, workload_of,
};
use crate::kubernetes::http_route::HttpRoute;
use crate::kubernetes::pods::PodRow;
use crate::kubernetes::shelf::{Filler, Key, Shelf};

/// Kinds that lie in namespaces, a line each: the shelf, what becomes of an object on it, and what one concerns.
macro_rules! namespaced {
    ($starter:ident, $cache:ident, $without:expr; $($shelf:expr, $entry:expr, $touches:expr;)*) => {
        $($starter.namespaced($cache, $shelf, $entry, $touches, $without);)*
    };
}

/// Starts watches.
pub(super) struct Starter<'a> {
    pub(super) feed: Feed,
    pub(super) tasks: &'a mut JoinSet<()>,
}

impl Starter<'_> {
    pub(super) fn workloads(&mut self, cache: &Arc<Cache>) {
        namespaced!(self, cache, Without::Nothing;
            |c| &c.deployments, deployment, workload::<Deployment>;
            |c| &c.stateful_sets, stateful_set, workload::<StatefulSet>;
            |c| &c.daemon_sets, daemon_set, workload::<DaemonSet>;
            |c| &c.replica_sets, replica_set, owned::<ReplicaSet>;
            |c| c.revisions.texts(), kept, revision_touches;
        );
        let pod_touches = |object: &Pod| Touched::Workload(workload_of(object));
        self.taken(cache, pods, pod_touches, Without::Nothing);
    }

    /// After all others: in a namespace that is watched by itself they wait for these.
    pub(super) fn rollouts(&mut self, cache: &Arc<Cache>) {
        let rollouts = |scope: Option<&str>| onto(|c: &Cache| c.rollouts.texts(), rollout, scope);
        let touches = |rollout: &Rollout| Touched::Rollout(key(rollout.meta()));
        self.taken(cache, rollouts, touches, Without::Rollouts);
    }

    pub(super) fn surroundings(&mut self, cache: &Arc<Cache>) {
        namespaced!(self, cache, Without::Nothing;
            |c| c.services.texts(), text::<Service>, around;
            |c| c.ingresses.texts(), text::<Ingress>, around;
            |c| c.network_policies.texts(), text::<NetworkPolicy>, around;
        );
        let routes =
            |scope: Option<&str>| onto(|c: &Cache| c.http_routes.texts(), text::<HttpRoute>, scope);
        self.taken(cache, routes, around, Without::Routes);
        namespaced!(self, cache, Without::Less;
            |c| &c.config_maps, |map: Digested<ConfigMap>| Some(map.digest), around;
            |c| &c.secrets, |secret: Digested<Secret>| Some(secret.digest), around;
            |c| c.claims.texts(), text::<PersistentVolumeClaim>, around;
            |c| c.budgets.texts(), text::<PodDisruptionBudget>, around;
        );
        self.everywhere(cache, |c| &c.classes, whole::<IngressClass>);
    }

    pub(super) fn admission(&mut self, cache: &Arc<Cache>) {
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

    pub(super) fn webhook(&mut self, cache: &Arc<Cache>, name: &str) {
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
        let what = format!("{} ({})", K::kind(&()), api.resource_url());
        let progress = Progress::new(what, scope, cache, without);
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
pub(super) type Take<K> = Box<dyn FnMut(&Cache, watcher::Event<K>) -> Vec<Key> + Send>;

/// How events are taken, and what an object concerns.
pub(super) type Takes<K> = (Take<K>, fn(&K) -> Touched);

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

fn workload<K: Resource>(object: &K) -> Touched {
    Touched::Workload(key(object.meta()))
}

fn owned<K: Resource>(object: &K) -> Touched {
    Touched::Workload(owner(object.meta()))
}

/// Each Rollout of the namespace may look at it.
fn around<K: Resource>(object: &K) -> Touched {
    let (namespace, name) = key(object.meta());
    Touched::Around {
        namespace,
        name,
        rollout: rollout_of(object.meta()),
    }
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

fn key(meta: &ObjectMeta) -> Key {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
