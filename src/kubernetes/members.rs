//! Which pods of a `StatefulSet` or `DaemonSet` are of which revision.
//!
//! Between a Deployment and its pods there are `ReplicaSets` that count them, each with its template.
//! Here there are only pods with a label that names a `ControllerRevision`, so they are counted into
//! sets of the same shape. A pod that is leaving counts no more.
//!
//! Not here: what follows from the numbers (`rollout::decide`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use serde_json::Value;

use super::entries::{Set, identity};
use super::template;
use crate::rollout::observation::Past;
use crate::rollout::revision::Revision;

/// The label on a pod that names its revision: by the object's name for a `StatefulSet`, by its hash for
/// a `DaemonSet`, whose `ControllerRevisions` carry it too.
const HASH: &str = "controller-revision-hash";

/// What is looked at of a pod of a `StatefulSet` or `DaemonSet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Uid of what controls it.
    owner: Box<str>,
    /// What its label says of its revision.
    hash: Box<str>,
    /// It takes requests.
    ready: bool,
    /// It is being deleted.
    leaving: bool,
    /// It is a `DaemonSet`'s on a node that does not answer any more.
    lost: bool,
}

impl Member {
    /// The pod, if such a workload controls it.
    pub fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.owner_references().iter();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        let owner = controllers
            .next()
            .filter(|owner| matches!(owner.kind.as_str(), "StatefulSet" | "DaemonSet"))?;
        let ready = says(pod, "Ready");
        let label = pod.labels().get(HASH).map(String::as_str);
        Some(Self {
            name: pod.name_any().into(),
            uid: pod.uid().unwrap_or_default().into(),
            owner: owner.uid.as_str().into(),
            hash: label.unwrap_or_default().into(),
            ready,
            leaving: pod.metadata.deletion_timestamp.is_some(),
            lost: owner.kind == "DaemonSet" && !ready && is_unheard(pod),
        })
    }

    /// Whether its label names this revision.
    pub fn names(&self, known: &Known) -> bool {
        *known.name == *self.hash || known.hash.as_deref() == Some(&*self.hash)
    }

    /// Whether the object with this uid controls it.
    pub fn is_of(&self, uid: &str) -> bool {
        *self.owner == *uid
    }
}

pub(super) fn says(pod: &Pod, condition: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let mut conditions = conditions.flatten();
    conditions.any(|said| said.type_ == condition && said.status == "True")
}

/// Whether its node is not heard of: then the control plane says of the pod that it is not ready, and its
/// containers stay as the node told them last. Where a pod has gates of readiness that may be theirs.
fn is_unheard(pod: &Pod) -> bool {
    let gates = pod.spec.iter().flat_map(|spec| &spec.readiness_gates);
    says(pod, "ContainersReady") && gates.flatten().next().is_none()
}

/// Names of the pods whose nodes do not answer: nothing starts or ends there.
pub fn lost(members: &[Member]) -> Vec<&str> {
    let lost = members.iter().filter(|member| member.lost);
    lost.map(|member| &*member.name).collect()
}

/// A revision that a workload's controller keeps.
#[derive(Debug, Clone)]
pub struct Known {
    name: String,
    hash: Option<String>,
    number: u64,
    /// Its template's revision.
    pub revision: Revision,
    /// Its template.
    pub template: PodTemplateSpec,
}

/// The revisions that an object has, as the cache keeps them.
pub fn known(own: &[Arc<ControllerRevision>]) -> Vec<Known> {
    own.iter().filter_map(|kept| read(kept)).collect()
}

fn read(kept: &ControllerRevision) -> Option<Known> {
    // The cache keeps the data as text.
    let mut data: Value = serde_json::from_str(kept.data.0.as_str()?).ok()?;
    let mut template = data.pointer_mut("/spec/template")?.take();
    template.as_object_mut()?.remove("$patch");
    let template: PodTemplateSpec = serde_json::from_value(template).ok()?;
    Some(Known {
        name: kept.name_any(),
        hash: kept.labels().get(HASH).cloned(),
        number: kept
            .revision
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0),
        revision: identity(&template),
        template,
    })
}

/// The newest of those with this template.
pub fn newest<'a>(known: &'a [Known], revision: &Revision) -> Option<&'a Known> {
    let of_template = known.iter().filter(|known| known.revision.same(revision));
    of_template.max_by_key(|known| known.number)
}

/// What a person can go back to.
pub fn past(known: &[Known]) -> Vec<Past> {
    let past = known.iter().map(|known| Past {
        revision: known.revision.clone(),
        number: known.number,
    });
    past.collect()
}

/// The pods of the object with this uid, counted by the revision of their template. A pod whose
/// revision is not known is left out.
pub fn sets(uid: &str, members: &[Member], known: &[Known]) -> Vec<Arc<Set>> {
    let mut counted: BTreeMap<&str, (&Known, i32, i32)> = BTreeMap::new();
    for member in members.iter().filter(|member| !member.leaving) {
        if let Some(known) = of(member, known) {
            let count = counted.entry(&known.revision.hash).or_insert((known, 0, 0));
            count.1 += 1;
            count.2 += i32::from(member.ready);
        }
    }
    let sets = counted
        .into_values()
        .filter_map(|(known, replicas, ready)| {
            let template = serde_json::to_string(&known.template).ok()?;
            let set = Set::counted(uid, known.revision.clone(), (replicas, ready), template);
            Some(Arc::new(set))
        });
    sets.collect()
}

/// Pods of another revision than the template's that are not ready: an ordered `StatefulSet` waits for
/// them before it does anything, and they never become ready (kubernetes/kubernetes#67250).
pub fn stuck<'a>(members: &'a [Member], known: &[Known], wanted: &Revision) -> Vec<&'a Member> {
    let waiting = members
        .iter()
        .filter(|member| !member.ready && !member.leaving);
    let old = |member: &&Member| of(member, known).is_some_and(|is| !is.revision.same(wanted));
    waiting.filter(old).collect()
}

fn of<'a>(member: &Member, known: &'a [Known]) -> Option<&'a Known> {
    known.iter().find(|known| member.names(known))
}

/// The template of a revision.
pub fn template(known: &[Known], hash: &str) -> Option<PodTemplateSpec> {
    let found = known.iter().find(|known| known.revision.hash == hash)?;
    Some(template::without_hash(&found.template))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::entries;

    fn revision(name: &str, image: &str, number: i64) -> Arc<ControllerRevision> {
        let template = json!({
            "$patch": "replace", "metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "db", "image": image}]},
        });
        let object = serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": {HASH: name.trim_start_matches("db-")},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u"}],
            },
            "revision": number, "data": {"spec": {"template": template}},
        }));
        entries::kept(object.unwrap()).unwrap().read().unwrap()
    }

    fn member(name: &str, label: &str, ready: bool, leaving: bool) -> Member {
        let mut pod = json!({
            "metadata": {
                "name": name, "uid": name, "labels": {HASH: label},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}],
            },
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        if leaving {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Member::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn on_a_node(kind: &str, ready: [&str; 2], gates: &serde_json::Value) -> Member {
        let conditions = ["Ready", "ContainersReady"].into_iter().zip(ready);
        let conditions: Vec<_> = conditions
            .map(|(kind, status)| json!({"type": kind, "status": status}))
            .collect();
        let pod = json!({
            "metadata": {
                "name": "agent-x",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "agent", "uid": "u", "controller": true}],
            },
            "spec": {"containers": [], "readinessGates": gates},
            "status": {"conditions": conditions},
        });
        Member::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn a_node_that_is_not_heard_of_is_told_from_a_pod_that_is_not_ready() {
        let gate = json!([{"conditionType": "example.org/load-balancer"}]);
        for (kind, ready, gates, expected) in [
            ("DaemonSet", ["False", "True"], json!([]), 1),
            ("DaemonSet", ["False", "False"], json!([]), 0),
            ("DaemonSet", ["True", "True"], json!([]), 0),
            ("DaemonSet", ["False", "True"], gate, 0),
            ("StatefulSet", ["False", "True"], json!([]), 0),
        ] {
            let member = on_a_node(kind, ready, &gates);
            assert_eq!(lost(&[member]).len(), expected, "{kind} {ready:?} {gates}");
        }
    }

    fn seen(sets: &[Arc<Set>]) -> Vec<(Vec<String>, i32, i32)> {
        let each = sets.iter();
        let mut seen: Vec<_> = each
            .map(|set| (set.revision.images.clone(), set.replicas, set.ready))
            .collect();
        seen.sort();
        seen
    }

    #[test]
    fn pods_are_counted_by_the_revision_that_their_label_names() {
        let all = [revision("db-aa", "db:1", 1), revision("db-bb", "db:2", 2)];
        let known = known(&all);
        let members = [
            member("db-0", "db-aa", true, false),
            member("db-1", "db-aa", true, false),
            // A DaemonSet's pods name the hash alone.
            member("db-2", "bb", false, false),
            member("db-3", "db-bb", true, true),
            member("db-4", "db-cc", true, false),
        ];
        let sets = sets("u", &members, &known);
        let expected = [
            (vec!["db:1".to_owned()], 2, 2),
            (vec!["db:2".to_owned()], 1, 0),
        ];
        assert_eq!(seen(&sets), expected);
        assert!(sets.iter().all(|set| set.is_owned("u")));
        let hash = &known[0].revision.hash;
        assert_eq!(
            sets.iter()
                .find(|set| set.revision.hash == *hash)
                .and_then(|set| set.template()),
            template(&known, hash)
        );
    }

    #[test]
    fn only_a_pod_of_another_revision_that_is_not_ready_is_stuck() {
        let all = [revision("db-aa", "db:1", 1), revision("db-bb", "db:2", 2)];
        let known = known(&all);
        let members = [
            member("starting", "db-aa", false, false),
            member("stuck", "db-bb", false, false),
            member("leaving", "db-bb", false, true),
            member("serving", "db-bb", true, false),
            member("unknown", "db-cc", false, false),
        ];
        let found = stuck(&members, &known, &known[0].revision);
        let names: Vec<&str> = found.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["stuck"]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let mut empty = (*revision("db-bb", "db:2", 2)).clone();
        empty.data.0 = json!("{}");
        assert!(known(&[Arc::new(empty)]).is_empty());
    }

    #[test]
    fn pods_of_a_replica_set_are_nobody_s_members() {
        let pod = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-1", "uid": "u", "controller": true}]}});
        assert_eq!(Member::of(&serde_json::from_value(pod).unwrap()), None);
    }
}
