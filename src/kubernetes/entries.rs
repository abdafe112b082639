//! What is kept of an object that is watched: only what is looked at later.
//!
//! A thousand idle Rollouts live in memory for months; managed fields, pods that nobody judges
//! (but a line of each, `pods`) and `ReplicaSets` without pods do not. Contents of `ConfigMaps` and Secrets are kept as digests
//! only (`template`).

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::crd::{GUARDED, Rollout};
use super::labels::SUFFIX;
use super::members::Member;
use super::packed::{Text, fitted};
use super::shelf::Key;
use super::template;
use super::workload;
use crate::rollout::plan::WorkloadKind;
use crate::rollout::revision::Revision;

/// Where a `ReplicaSet` has its number.
const NUMBER: &str = "deployment.kubernetes.io/revision";

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

/// A workload as it is kept: as text, since its parts take five times as much, and thousands are at rest.
#[derive(Debug)]
pub struct Shelved {
    /// What others of its namespace ask of it.
    pub beside: Beside,
    revision: Revision,
    odd: Option<String>,
    text: Box<str>,
}

/// What owns an object, by uid.
#[derive(Debug)]
pub struct Owners(Box<[Box<str>]>);

impl Owners {
    fn of(meta: &ObjectMeta) -> Self {
        let owners = meta.owner_references.iter().flatten();
        Self(owners.map(|owner| owner.uid.as_str().into()).collect())
    }

    /// Whether the object with this uid is among them.
    pub fn has(&self, uid: &str) -> bool {
        self.0.iter().any(|owner| **owner == *uid)
    }
}

/// What the others of its namespace ask of a Deployment.
#[derive(Debug)]
pub struct Beside {
    /// Its name.
    pub name: Box<str>,
    owners: Owners,
    /// Its selector.
    pub selector: LabelSelector,
    /// It is behind the gate, by its label.
    pub guarded: bool,
}

impl Beside {
    /// What is asked of this one.
    pub fn of(object: &Deployment) -> Self {
        Self {
            name: object.name_any().into_boxed_str(),
            owners: Owners::of(&object.metadata),
            selector: object.spec.selector.clone(),
            guarded: object
                .labels()
                .get(GUARDED)
                .is_some_and(|value| value == "true"),
        }
    }

    /// Whether the object with this uid owns it.
    pub fn is_owned(&self, uid: &str) -> bool {
        self.owners.has(uid)
    }
}

impl Shelved {
    fn of(object: Deployment, odd: Option<String>) -> Option<Self> {
        let object = bare(object);
        Some(Self {
            beside: Beside::of(&object),
            revision: identity(&object.spec.template),
            odd,
            text: fitted(&lost(serde_json::to_string(&object))?),
        })
    }

    /// The whole workload.
    pub fn whole(&self) -> Option<Templated<Deployment>> {
        Some(Templated {
            object: lost(serde_json::from_str(&self.text))?,
            revision: self.revision.clone(),
            odd: self.odd.clone(),
        })
    }
}

/// A `ReplicaSet` that has or wants pods.
#[derive(Debug)]
pub struct Set {
    /// Its uid.
    pub uid: String,
    owners: Owners,
    /// Its template's revision.
    pub revision: Revision,
    /// Replicas that it wants.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Its number, as `kubectl rollout history` shows it.
    pub number: u64,
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
            owners: Owners([owner.into()].into()),
            revision,
            replicas,
            ready,
            number: 0,
            template: fitted(&template),
        }
    }

    /// Whether the object with this uid owns it.
    pub fn is_owned(&self, uid: &str) -> bool {
        self.owners.has(uid)
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

/// The object as text.
pub fn text<K: Resource + Serialize + DeserializeOwned>(object: K) -> Option<Text<K>> {
    Text::of(&bare(object), ())
}

/// What is asked of all Rollouts.
#[derive(Debug)]
pub struct Head {
    /// It is in a run.
    pub running: bool,
    /// Something may be to do for it in Git.
    pub git: bool,
    /// The kind and name of what it guards.
    pub target: (Option<WorkloadKind>, Box<str>),
    /// The Ingress or `HTTPRoute` that it names.
    pub route: Option<Box<str>>,
}

impl Head {
    fn of(rollout: &Rollout) -> Self {
        let (spec, status) = (&rollout.spec, rollout.status.as_ref());
        let remedy = spec.on_failure.as_ref();
        let route = spec.route.as_ref();
        let ingress = route.and_then(|route| route.ingress_nginx.as_ref());
        let http_route = route.and_then(|route| route.gateway_api.as_ref());
        let route = ingress.map(|way| way.ingress.as_str());
        let route = route.or_else(|| http_route.map(|way| way.http_route.as_str()));
        Self {
            running: status.is_some_and(|status| status.run.is_some()),
            git: status.is_some_and(|status| status.git.is_some())
                || remedy.is_some_and(|remedy| remedy.git.is_some()),
            target: (
                WorkloadKind::named(&spec.target.kind),
                spec.target.name.as_str().into(),
            ),
            route: route.map(Into::into),
        }
    }

    /// Whether the Rollout names an object of this name.
    pub fn names(&self, object: &str) -> bool {
        *self.target.1 == *object || self.route.as_deref() == Some(object)
    }
}

/// The Rollout as text.
pub fn rollout(object: Rollout) -> Option<Text<Rollout, Head>> {
    let head = Head::of(&object);
    Text::of(&bare(object), head)
}

/// A kept template is seldom read, and apart from its object.
pub fn kept(object: ControllerRevision) -> Option<Text<ControllerRevision, Owners>> {
    let mut object = bare(object);
    let owners = Owners::of(&object.metadata);
    let template = object.data.0.to_string();
    object.data.0 = serde_json::Value::String(template);
    Text::of(&object, owners)
}

/// What of an object could be written or read. Nothing else is expected; if it happens, the object looks gone.
fn lost<T>(done: serde_json::Result<T>) -> Option<T> {
    done.inspect_err(|error| tracing::error!(%error, "an object is not kept"))
        .ok()
}

/// The object as JSON.
pub fn value<K: Resource + serde::Serialize>(object: K) -> Option<serde_json::Value> {
    lost(serde_json::to_value(bare(object)))
}

/// The Deployment with its revision.
pub fn deployment(object: Deployment) -> Option<Shelved> {
    Shelved::of(object, None)
}

/// The `StatefulSet` as a Deployment, with its revision.
pub fn stateful_set(object: StatefulSet) -> Option<Shelved> {
    let odd = workload::odd_stateful_set(&object);
    Shelved::of(workload::of_stateful_set(object), odd)
}

/// The `DaemonSet` as a Deployment, with its revision.
pub fn daemon_set(object: DaemonSet) -> Option<Shelved> {
    let odd = workload::odd_daemon_set(&object);
    Shelved::of(workload::of_daemon_set(object), odd)
}

/// The `ReplicaSet`, if it has or wants pods.
pub fn replica_set(object: ReplicaSet) -> Option<Set> {
    let status = object.status.clone().unwrap_or_default();
    let replicas = object.spec.replicas.unwrap_or(0);
    if replicas == 0 && status.replicas == 0 {
        return None;
    }
    let template = object.spec.template.clone().unwrap_or_default();
    Some(Set {
        uid: object.uid().unwrap_or_default(),
        number: number(&object),
        owners: Owners::of(&object.metadata),
        revision: identity(&template),
        replicas,
        ready: status.ready_replicas.unwrap_or(0),
        template: fitted(&lost(serde_json::to_string(&template))?),
    })
}

/// The number that `kubectl rollout history` shows of a `ReplicaSet`.
pub(super) fn number(set: &ReplicaSet) -> u64 {
    let number = set.annotations().get(NUMBER);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
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
    Canary(Text<Pod, Owners>),
    /// One of a `StatefulSet` or `DaemonSet`: counted.
    Member(Member),
}

/// Pods are judged by their status only, and only those of a canary; of those that no `ReplicaSet`
/// counts it is kept what they count as.
pub fn pod(object: Pod) -> Option<Seen> {
    if let Some(member) = Member::of(&object) {
        return Some(Seen::Member(member));
    }
    let pod = canary_pod(object)?;
    let owners = Owners::of(&pod.metadata);
    Text::of(&pod, owners).map(Seen::Canary)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_comes_from_its_shelf_as_it_was_seen() {
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {
                "name": "shop", "namespace": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "shop"}, "annotations": {"a": "\"b\""},
                "ownerReferences": [{"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "r"}],
            },
            "spec": {
                "replicas": 3, "paused": true, "selector": {"matchLabels": {"app": "shop"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{
                    "name": "main", "image": "shop:1", "env": [], "args": ["--a", "b"],
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                }]}},
            },
            "status": {"replicas": 3, "readyReplicas": 2, "observedGeneration": 7},
        }))
        .unwrap();
        let shelved = deployment(object.clone()).unwrap();
        let whole = shelved.whole().unwrap();
        assert_eq!(whole.object, object);
        assert_eq!(whole.revision, identity(&object.spec.template));
        assert!(shelved.beside.is_owned("r") && !shelved.beside.is_owned("u"));
        assert_eq!(&*shelved.beside.name, "shop");
    }

    #[test]
    fn owners_are_told_without_reading_the_object() {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u"});
        let object = json!({
            "metadata": {"name": "db-1", "ownerReferences": [owner]}, "revision": 1, "data": {},
        });
        let kept = kept(serde_json::from_value(object).unwrap()).unwrap();
        assert!(kept.head.has("u") && !kept.head.has("db"));
    }
}
