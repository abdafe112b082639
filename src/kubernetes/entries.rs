//! What is kept of an object that is watched: only what is looked at later.
//!
//! A thousand idle Rollouts live in memory for months; managed fields, pods that nobody judges
//! (but a line of each, `pods`) and `ReplicaSets` without pods do not. Contents of `ConfigMaps` and Secrets are kept as digests
//! only (`template`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::labels::SUFFIX;
use super::members::Member;
use super::shelf::Key;
use super::template;
use super::workload;
use crate::rollout::revision::Revision;

/// An object with what its template comes to.
#[derive(Debug)]
pub struct Templated<K> {
    /// The object, without its managed fields.
    pub object: K,
    /// Its template's revision.
    pub revision: Revision,
    /// Why it cannot be guarded as it is.
    pub odd: Option<String>,
}

/// A `ReplicaSet` that has or wants pods.
#[derive(Debug)]
pub struct Set {
    /// Its uid.
    pub uid: String,
    /// What owns it, by uid.
    owners: Vec<String>,
    /// Its template's revision.
    pub revision: Revision,
    /// Replicas that it wants.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Seldom read, and much smaller as text.
    template: Box<str>,
}

impl Set {
    /// The pods of one revision of a workload that has no `ReplicaSets`: how many, and how many are
    /// ready. `template` is JSON.
    pub fn counted(
        owner: &str,
        revision: Revision,
        (replicas, ready): (i32, i32),
        template: String,
    ) -> Self {
        Self {
            uid: String::new(),
            owners: vec![owner.to_owned()],
            revision,
            replicas,
            ready,
            template: template.into_boxed_str(),
        }
    }

    /// Whether the object with this uid owns it.
    pub fn is_owned(&self, uid: &str) -> bool {
        self.owners.iter().any(|owner| owner == uid)
    }

    /// Its template, as the Deployment had it.
    pub fn template(&self) -> Option<PodTemplateSpec> {
        let template = serde_json::from_str(&self.template).ok()?;
        Some(template::without_hash(&template))
    }
}

/// The whole object, without what only other tools read.
pub fn whole<K: Resource>(object: K) -> Option<K> {
    Some(bare(object))
}

fn bare<K: Resource>(mut object: K) -> K {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    object
}

/// A kept template is seldom read and much smaller as text.
pub fn kept(object: ControllerRevision) -> Option<ControllerRevision> {
    let mut object = bare(object);
    let text = object.data.0.to_string();
    object.data.0 = serde_json::Value::String(text);
    Some(object)
}

/// The object as JSON.
pub fn value<K: Resource + serde::Serialize>(object: K) -> Option<serde_json::Value> {
    serde_json::to_value(bare(object)).ok()
}

/// The Deployment with its revision.
pub fn deployment(object: Deployment) -> Option<Templated<Deployment>> {
    let object = bare(object);
    Some(Templated {
        revision: identity(&object.spec.template),
        object,
        odd: None,
    })
}

/// The `StatefulSet` as a Deployment, with its revision.
pub fn stateful_set(object: StatefulSet) -> Option<Templated<Deployment>> {
    let odd = workload::odd_stateful_set(&object);
    let seen = deployment(workload::of_stateful_set(object))?;
    Some(Templated { odd, ..seen })
}

/// The `DaemonSet` as a Deployment, with its revision.
pub fn daemon_set(object: DaemonSet) -> Option<Templated<Deployment>> {
    let odd = workload::odd_daemon_set(&object);
    let seen = deployment(workload::of_daemon_set(object))?;
    Some(Templated { odd, ..seen })
}

/// The `ReplicaSet`, if it has or wants pods.
pub fn replica_set(object: ReplicaSet) -> Option<Set> {
    let status = object.status.clone().unwrap_or_default();
    let replicas = object.spec.replicas.unwrap_or(0);
    if replicas == 0 && status.replicas == 0 {
        return None;
    }
    let template = object.spec.template.clone().unwrap_or_default();
    let owners = object.owner_references().iter();
    Some(Set {
        uid: object.uid().unwrap_or_default(),
        owners: owners.map(|owner| owner.uid.clone()).collect(),
        revision: identity(&template),
        replicas,
        ready: status.ready_replicas.unwrap_or(0),
        template: serde_json::to_string(&template).ok()?.into_boxed_str(),
    })
}

/// What a template comes to.
pub(super) fn identity(template: &PodTemplateSpec) -> Revision {
    Revision {
        hash: template::revision(template).into(),
        images: template::images(template),
    }
}

/// A pod that somebody asks for.
#[derive(Debug)]
pub enum Seen {
    /// A canary's: judged by its status.
    Canary(Arc<Pod>),
    /// One of a `StatefulSet` or `DaemonSet`: counted.
    Member(Member),
}

/// Pods are judged by their status only, and only those of a canary; of those that no `ReplicaSet`
/// counts it is kept what they count as.
pub fn pod(object: Pod) -> Option<Seen> {
    if let Some(member) = Member::of(&object) {
        return Some(Seen::Member(member));
    }
    canary_pod(object).map(|pod| Seen::Canary(Arc::new(pod)))
}

fn canary_pod(object: Pod) -> Option<Pod> {
    let (_, set) = owner(&object.metadata);
    let (deployment, _) = set.rsplit_once('-')?;
    if !deployment.ends_with(SUFFIX) {
        return None;
    }
    let mut object = bare(object);
    object.spec = None;
    Some(object)
}

/// Namespace and name of the workload that a pod is of.
pub fn workload_of(pod: &Pod) -> Key {
    let (namespace, owner) = owner(&pod.metadata);
    if Member::of(pod).is_some() {
        return (namespace, owner);
    }
    let workload = owner.rsplit_once('-').map_or("", |(workload, _)| workload);
    (namespace, workload.to_owned())
}

/// Namespace and name of what controls the object.
pub fn owner(meta: &ObjectMeta) -> Key {
    let owners = meta.owner_references.iter().flatten();
    let controller = owners
        .filter(|owner| owner.controller == Some(true))
        .map(|owner| owner.name.clone());
    (
        meta.namespace.clone().unwrap_or_default(),
        controller.into_iter().next().unwrap_or_default(),
    )
}
