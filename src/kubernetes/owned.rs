//! What the cache has of one workload's own: its `ReplicaSets`, pods and kept templates.
//!
//! Not here: what these say (`observe`), and objects that it names (`named`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::cache::Cache;
use super::entries::{Owners, Seen as SeenPod, Set, Templated};
use super::members::{self, Known, Member};
use crate::rollout::plan::{Plan, WorkloadKind};

/// The pods of a workload without `ReplicaSets`, and the revisions that they can be of.
pub fn counted(
    cache: &Cache,
    plan: &Plan,
    target: Option<&Arc<Templated<Deployment>>>,
) -> (Vec<Member>, Vec<Known>) {
    let (WorkloadKind::StatefulSet | WorkloadKind::DaemonSet, Some(_)) = (plan.kind, target) else {
        return (Vec::new(), Vec::new());
    };
    let uid = uid(target);
    let pods = cache.pods.within(&plan.namespace);
    let members = pods.iter().filter_map(|pod| match &**pod {
        SeenPod::Member(member) if member.is_of(&uid) => Some(member.clone()),
        SeenPod::Member(_) | SeenPod::Canary(_) => None,
    });
    let revisions = kept(cache, &plan.namespace, &uid);
    (members.collect(), members::known(&revisions))
}

/// The uid of a workload, empty where it is not there.
pub fn uid(target: Option<&Arc<Templated<Deployment>>>) -> String {
    let uid = target.and_then(|target| target.object.uid());
    uid.unwrap_or_default()
}

/// The `ReplicaSets` that a Deployment owns, by uid.
pub fn sets(sets: &[Arc<Set>], owner: Option<&Arc<Templated<Deployment>>>) -> Vec<Arc<Set>> {
    let uid = uid(owner);
    let own = |set: &&Arc<Set>| set.is_owned(&uid);
    sets.iter().filter(own).cloned().collect()
}

/// The canary pods that `ReplicaSets` own.
pub fn pods(cache: &Cache, namespace: &str, sets: &[Arc<Set>]) -> Vec<Arc<Pod>> {
    if sets.is_empty() {
        return Vec::new();
    }
    let owned = |owners: &Owners| sets.iter().any(|set| owners.has(&set.uid));
    let pods = cache.pods.within(namespace);
    let canaries = pods.iter().filter_map(|pod| match &**pod {
        SeenPod::Canary(pod) if owned(&pod.head) => pod.read(),
        SeenPod::Canary(_) | SeenPod::Member(_) => None,
    });
    canaries.collect()
}

/// The templates that are kept for an owner.
pub fn kept(cache: &Cache, namespace: &str, uid: &str) -> Vec<Arc<ControllerRevision>> {
    let owned = |owners: &Owners| owners.has(uid);
    cache.revisions.within_where(namespace, owned)
}
