//! The `StatefulSet` and `DaemonSet` controllers: pods straight under their workload, told apart by
//! the revision that their label names.
//!
//! Each kind says purely what is due (`stateful_set`, `daemon_set`); here is what both share:
//! watching, their revisions (`history`), writing. They follow kube-controller-manager. Not here:
//! `minReadySeconds` (ready is available), volume claims, `Parallel` pods, nodes that a `DaemonSet`
//! leaves out, forgotten revisions.

mod daemon_set;
mod history;
mod stateful_set;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::history::{HASH, Source};
use crate::clock::Clock;
use crate::sandbox::cache::{
    Cache, Change, Index, Key, controller_of, controller_uid, key_of, watch,
};
use crate::sandbox::drive::{Agenda, Part, after, drive};

/// What a workload and its surroundings look like.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The present template's revision.
    pub newest: &'a ControllerRevision,
    pub revisions: &'a [Arc<ControllerRevision>],
    /// Its pods that have not ended.
    pub pods: &'a [Arc<Pod>],
    /// Names of all nodes.
    pub nodes: &'a [String],
}

/// One thing to do, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Create(Box<Pod>),
    Delete(Arc<Pod>),
}

/// A workload with pods of its own.
pub trait Workload:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const KIND: &'static str;

    /// Its pods' template.
    fn template(&self) -> &PodTemplateSpec;

    /// What is due.
    fn steps(&self, seen: &Seen<'_>) -> Vec<Step>;

    /// Its status, as a merge patch.
    fn status(&self, seen: &Seen<'_>) -> Value;
}

/// Runs the `StatefulSet` controller until `shutdown`.
pub async fn run_stateful_sets(client: Client, clock: Clock, shutdown: CancellationToken) {
    run::<StatefulSet>(client, clock, shutdown).await;
}

/// Runs the `DaemonSet` controller until `shutdown`.
pub async fn run_daemon_sets(client: Client, clock: Clock, shutdown: CancellationToken) {
    run::<DaemonSet>(client, clock, shutdown).await;
}

async fn run<K: Workload>(client: Client, clock: Clock, shutdown: CancellationToken) {
    let events = select_all([
        watch(&client).map(Told::Workload).boxed(),
        watch(&client).map(Told::Pod).boxed(),
        watch(&client).map(Told::Revision).boxed(),
        watch(&client).map(Told::Node).boxed(),
    ]);
    let controller = Controller::<K>::new(client, clock);
    drive(controller, events, clock, shutdown).await;
}

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Told<K> {
    Workload(Event<K>),
    Pod(Event<Pod>),
    Revision(Event<ControllerRevision>),
    Node(Event<Node>),
}

struct Controller<K> {
    client: Client,
    clock: Clock,
    workloads: Cache<K>,
    pods: Cache<Pod>,
    revisions: Cache<ControllerRevision>,
    nodes: Cache<Node>,
    pods_by_owner: Index,
    agenda: Agenda<Key>,
}

impl<K: Workload> Part for Controller<K> {
    type Seen = Told<K>;

    fn take_in(&mut self, told: Told<K>) {
        match told {
            Told::Workload(event) => {
                for change in self.workloads.seen(event) {
                    let sides = change.sides();
                    sides.for_each(|one| self.agenda.add(key_of(one.as_ref())));
                }
            }
            Told::Pod(event) => {
                for change in self.pods.seen(event) {
                    self.pod_changed(&change);
                }
            }
            Told::Revision(event) => {
                self.revisions.seen(event);
            }
            Told::Node(event) => {
                // A node says often that it is well; only whether it is there matters.
                let changes = self.nodes.seen(event);
                let comes_or_goes = |change: &Change<Node>| change.sides().count() == 1;
                if changes.iter().any(comes_or_goes) {
                    let all: Vec<Key> = self.workloads.iter().map(|(key, _)| key.clone()).collect();
                    for key in all {
                        self.agenda.add(key);
                    }
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
                tracing::debug!(kind = K::KIND, name = %key.1, %error, "reconciling");
                let soon = after(self.clock.now(), Duration::from_millis(200));
                self.agenda.add_at(key, soon);
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.next().filter(|_| self.is_ready())
    }
}

impl<K: Workload> Controller<K> {
    fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            workloads: Cache::default(),
            pods: Cache::default(),
            revisions: Cache::default(),
            nodes: Cache::default(),
            pods_by_owner: Index::default(),
            agenda: Agenda::default(),
        }
    }

    fn is_ready(&self) -> bool {
        self.workloads.is_listed()
            && self.pods.is_listed()
            && self.revisions.is_listed()
            && self.nodes.is_listed()
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        self.pods_by_owner.refile(change, |pod| {
            let uid = controller_uid(pod, K::KIND);
            uid.map(str::to_owned).into_iter().collect()
        });
        for pod in change.sides() {
            let owner = controller_of(pod.as_ref()).filter(|owner| owner.kind == K::KIND);
            if let Some(owner) = owner {
                let namespace = pod.namespace().unwrap_or_default();
                self.agenda.add((namespace, owner.name.clone()));
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> kube::Result<()> {
        let Some(workload) = self.workloads.get(key).cloned() else {
            return Ok(());
        };
        if workload.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        self.settle_history(key, &workload).await?;
        let steps = self.with_seen(&workload, |seen| workload.steps(seen));
        for step in steps.unwrap_or_default() {
            match step {
                Step::Create(pod) => self.create(&key.0, &pod).await?,
                Step::Delete(pod) => self.delete(&key.0, &pod).await?,
            }
        }
        self.write_status(&workload).await
    }

    async fn settle_history(&mut self, key: &Key, workload: &K) -> kube::Result<()> {
        let Some(owner) = workload.controller_owner_ref(&()) else {
            return Ok(());
        };
        let source = Source {
            name: workload.name_any(),
            namespace: workload.namespace(),
            owner,
            template: workload.template(),
        };
        let Some(due) = history::due(&source, &self.revisions_of(workload)) else {
            return Ok(());
        };
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &key.0);
        let written = if due.uid().is_some() {
            let (name, params) = (due.name_any(), PostParams::default());
            api.replace(&name, &params, &due).await?
        } else {
            api.create(&PostParams::default(), &due).await?
        };
        self.revisions.wrote(written);
        Ok(())
    }

    fn revisions_of(&self, workload: &K) -> Vec<Arc<ControllerRevision>> {
        let uid = workload.meta().uid.clone().unwrap_or_default();
        let namespace = workload.namespace().unwrap_or_default();
        let all = self.revisions.within(&namespace);
        all.filter(|kept| controller_uid(&***kept, K::KIND) == Some(&uid))
            .cloned()
            .collect()
    }

    fn with_seen<T>(&self, workload: &K, what: impl FnOnce(&Seen<'_>) -> T) -> Option<T> {
        let uid = workload.meta().uid.clone().unwrap_or_default();
        let revisions = self.revisions_of(workload);
        let pods = self.pods_by_owner.get(&uid);
        let pods: Vec<Arc<Pod>> = pods
            .filter_map(|key| self.pods.get(key))
            .filter(|pod| !has_ended(pod))
            .cloned()
            .collect();
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|((_, name), _)| name.clone())
            .collect();
        Some(what(&Seen {
            newest: history::newest(&revisions)?,
            revisions: &revisions,
            pods: &pods,
            nodes: &nodes,
        }))
    }

    async fn create(&mut self, namespace: &str, pod: &Pod) -> kube::Result<()> {
        let (api, params) = (self.pods_in(namespace), PostParams::default());
        let created = api.create(&params, pod).await?;
        self.took(created);
        Ok(())
    }

    async fn delete(&mut self, namespace: &str, pod: &Pod) -> kube::Result<()> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = pod.name_any();
        match self.pods_in(namespace).delete(&name, &params).await {
            Ok(answer) => {
                if let Some(leaving) = answer
                    .left()
                    .filter(|left| left.metadata.deletion_grace_period_seconds != Some(0))
                {
                    self.took(leaving);
                    return Ok(());
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if let Some(change) = self.pods.erased(pod) {
            self.pod_changed(&change);
        }
        Ok(())
    }

    async fn write_status(&mut self, workload: &K) -> kube::Result<()> {
        let Some(status) = self.with_seen(workload, |seen| workload.status(seen)) else {
            return Ok(());
        };
        let present = serde_json::to_value(workload).unwrap_or_default();
        let mut wanted = present["status"].clone();
        json_patch::merge(&mut wanted, &status);
        if wanted == present["status"] {
            return Ok(());
        }
        let (name, namespace) = (workload.name_any(), workload.namespace());
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace.unwrap_or_default());
        let patch = Patch::Merge(json!({"metadata": {"uid": workload.uid()}, "status": status}));
        let params = PatchParams::default();
        let written = api.patch_status(&name, &params, &patch).await?;
        if let Some(change) = self.workloads.wrote(written) {
            let sides = change.after.iter();
            sides.for_each(|one| self.agenda.add(key_of(one.as_ref())));
        }
        Ok(())
    }

    fn took(&mut self, pod: Pod) {
        if let Some(change) = self.pods.wrote(pod) {
            self.pod_changed(&change);
        }
    }

    fn pods_in(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// A pod of a revision, without a name.
fn pod<K: Workload>(workload: &K, revision: &ControllerRevision, label: &str) -> Pod {
    let template = history::template(revision);
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(HASH.to_owned(), label.to_owned());
    Pod {
        metadata: ObjectMeta {
            namespace: workload.namespace(),
            labels: Some(labels),
            annotations: meta.annotations,
            owner_references: workload.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What its label says of a pod's revision.
fn label(pod: &Pod) -> &str {
    pod.labels().get(HASH).map_or("", String::as_str)
}

/// A number of pods.
fn count<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}
