//! What a `StatefulSet` needs done now: pure, after kube-controller-manager, with `OrderedReady` pods.
//!
//! One pod at a time: each must be ready before the next is made, taken away or replaced. So a pod
//! that never becomes ready stops everything, a way back too (kubernetes/kubernetes#67250). Pods
//! below the partition are of the current revision, whatever the template.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Seen, Step, Workload, count, is_leaving, is_ready, label, pod};

/// What one kind of step comes to.
enum Turn {
    /// Nothing of it is left: the next kind's turn.
    Over,
    /// For a pod, before anything else.
    Waits,
    Does(Step),
}

impl Workload for StatefulSet {
    const KIND: &'static str = "StatefulSet";

    fn template(&self) -> &PodTemplateSpec {
        &self.spec.template
    }

    fn steps(&self, seen: &Seen<'_>) -> Vec<Step> {
        let replicas = replicas(self);
        for turn in [ordered, surplus, replaced] {
            match turn(self, seen, replicas) {
                Turn::Over => {}
                Turn::Waits => return Vec::new(),
                Turn::Does(step) => return vec![step],
            }
        }
        Vec::new()
    }

    fn status(&self, seen: &Seen<'_>) -> Value {
        let newest = seen.newest.name_any();
        let current = current(self, seen).name_any();
        let all = count(seen.pods.iter());
        let ready = count(seen.pods.iter().filter(|pod| is_ready(pod)));
        let stays = |revision: &str| {
            let of = seen.pods.iter().filter(|pod| label(pod) == revision);
            count(of.filter(|pod| !is_leaving(pod)))
        };
        let (updated, kept) = (stays(&newest), stays(&current));
        let wanted = self.spec.replicas.unwrap_or(1);
        let complete =
            strategy(self) != Some("OnDelete") && (all, ready, updated) == (wanted, wanted, wanted);
        let (current, kept) = if complete {
            (newest.clone(), updated)
        } else {
            (current, kept)
        };
        json!({
            "observedGeneration": self.metadata.generation, "replicas": all,
            "readyReplicas": some(ready), "availableReplicas": ready,
            "currentReplicas": some(kept), "updatedReplicas": some(updated),
            "currentRevision": current, "updateRevision": newest, "collisionCount": 0,
        })
    }
}

/// Counts that are zero are left out.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn replicas(set: &StatefulSet) -> usize {
    usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

fn strategy(set: &StatefulSet) -> Option<&str> {
    set.spec.update_strategy.as_ref()?.type_.as_deref()
}

fn partition(set: &StatefulSet) -> usize {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    usize::try_from(partition).unwrap_or(0)
}

/// The revision that serves until a roll is complete.
fn current<'a>(set: &StatefulSet, seen: &Seen<'a>) -> &'a ControllerRevision {
    let name = set
        .status
        .as_ref()
        .and_then(|s| s.current_revision.as_ref());
    let known = seen.revisions.iter();
    known
        .map(|revision| &**revision)
        .find(|revision| Some(&revision.name_any()) == name)
        .unwrap_or(seen.newest)
}

fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<usize> {
    let name = pod.name_any();
    let number = name.strip_prefix(&set.name_any())?.strip_prefix('-')?;
    number.parse().ok()
}

fn member<'a>(set: &StatefulSet, seen: &Seen<'a>, at: usize) -> Option<&'a Arc<Pod>> {
    let mut pods = seen.pods.iter();
    pods.find(|pod| ordinal(set, pod) == Some(at))
}

/// The first pod that is missing is made; one that is not ready is waited for.
fn ordered(set: &StatefulSet, seen: &Seen<'_>, replicas: usize) -> Turn {
    for at in 0..replicas {
        match member(set, seen, at) {
            None => return Turn::Does(Step::Create(Box::new(made(set, seen, at)))),
            Some(pod) if is_leaving(pod) || !is_ready(pod) => return Turn::Waits,
            Some(_) => {}
        }
    }
    Turn::Over
}

fn made(set: &StatefulSet, seen: &Seen<'_>, at: usize) -> Pod {
    let keeps = strategy(set) != Some("OnDelete") && at < partition(set);
    let revision = if keeps {
        current(set, seen)
    } else {
        seen.newest
    };
    let mut made = pod(set, revision, &revision.name_any());
    made.metadata.name = Some(format!("{}-{at}", set.name_any()));
    made
}

/// Those beyond the size, the last first.
fn surplus(set: &StatefulSet, seen: &Seen<'_>, replicas: usize) -> Turn {
    let beyond = seen.pods.iter();
    let last = beyond
        .filter(|pod| ordinal(set, pod).is_some_and(|at| at >= replicas))
        .max_by_key(|pod| ordinal(set, pod));
    match last {
        None => Turn::Over,
        Some(last) if is_leaving(last) => Turn::Waits,
        Some(last) => Turn::Does(Step::Delete(last.clone())),
    }
}

/// Those of another revision, the last first, down to the partition.
fn replaced(set: &StatefulSet, seen: &Seen<'_>, replicas: usize) -> Turn {
    if strategy(set) == Some("OnDelete") {
        return Turn::Over;
    }
    let newest = seen.newest.name_any();
    let below = partition(set).min(replicas);
    let mut old = (below..replicas)
        .rev()
        .filter_map(|at| member(set, seen, at))
        .filter(|pod| label(pod) != newest);
    old.next()
        .map_or(Turn::Over, |pod| Turn::Does(Step::Delete(pod.clone())))
}

#[cfg(test)]
mod tests {
    use super::super::HASH;
    use super::*;

    fn set(replicas: i32, partition: i32) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "u"},
            "spec": {
                "replicas": replicas, "selector": {}, "template": {},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
            },
            "status": {"replicas": 0, "currentRevision": "db-a"},
        }))
        .unwrap()
    }

    fn revision(name: &str, number: i64) -> Arc<ControllerRevision> {
        let data =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}});
        let object = json!({"metadata": {"name": name}, "revision": number, "data": data});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn member(at: usize, revision: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": format!("db-{at}"), "labels": {HASH: revision}},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// What is done, in words.
    fn done(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
        let revisions = [revision("db-a", 1), revision("db-b", 2)];
        let seen = Seen {
            newest: &revisions[1],
            revisions: &revisions,
            pods,
            nodes: &[],
        };
        let steps = set.steps(&seen).into_iter();
        steps
            .map(|step| match step {
                Step::Create(pod) => format!("+{} {}", pod.name_any(), label(&pod)),
                Step::Delete(pod) => format!("-{}", pod.name_any()),
            })
            .collect()
    }

    type Row = (i32, i32, Vec<Arc<Pod>>, &'static [&'static str]);

    #[test]
    fn one_pod_at_a_time_in_order_and_below_the_partition_of_the_current_revision() {
        let (old, new) = ("db-a", "db-b");
        let table: [Row; 9] = [
            (2, 0, vec![], &["+db-0 db-b"]),
            (2, 9, vec![], &["+db-0 db-a"]),
            (2, 0, vec![member(0, new, false)], &[]),
            (2, 1, vec![member(0, old, true)], &["+db-1 db-b"]),
            (2, 9, vec![member(0, old, true), member(1, old, true)], &[]),
            (
                2,
                0,
                vec![member(0, old, true), member(1, old, true)],
                &["-db-1"],
            ),
            (
                2,
                0,
                vec![member(0, old, true), member(1, new, true)],
                &["-db-0"],
            ),
            // A broken pod stops the way back too.
            (2, 0, vec![member(0, new, true), member(1, old, false)], &[]),
            (
                1,
                0,
                vec![member(0, new, true), member(1, old, true)],
                &["-db-1"],
            ),
        ];
        for (row, (replicas, partition, pods, expected)) in table.into_iter().enumerate() {
            assert_eq!(
                done(&set(replicas, partition), &pods),
                expected,
                "row {row}"
            );
        }
    }

    #[test]
    fn the_current_revision_changes_when_the_roll_is_complete() {
        let revisions = [revision("db-a", 1), revision("db-b", 2)];
        let status = |pods: &[Arc<Pod>]| {
            set(2, 0).status(&Seen {
                newest: &revisions[1],
                revisions: &revisions,
                pods,
                nodes: &[],
            })
        };
        let half = status(&[member(0, "db-a", true), member(1, "db-b", true)]);
        assert_eq!(half["currentRevision"], "db-a");
        assert_eq!(
            (&half["currentReplicas"], &half["updatedReplicas"]),
            (&json!(1), &json!(1))
        );
        let all = status(&[member(0, "db-b", true), member(1, "db-b", true)]);
        assert_eq!(all["currentRevision"], "db-b");
    }
}
