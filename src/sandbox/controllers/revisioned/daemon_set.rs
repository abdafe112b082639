//! What a `DaemonSet` needs done now: pure, after kube-controller-manager.
//!
//! A pod for each node; with `RollingUpdate` those of an older revision are replaced, within
//! `maxUnavailable`, or, with `maxSurge`, once the new one beside them is ready. With `OnDelete`
//! they stay; what is made anew is of the newest revision all the same.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::history::hash_of;
use super::{Seen, Step, Workload, count, is_leaving, is_ready, label, pod};

impl Workload for DaemonSet {
    const KIND: &'static str = "DaemonSet";

    fn template(&self) -> &PodTemplateSpec {
        &self.spec.template
    }

    fn steps(&self, seen: &Seen<'_>) -> Vec<Step> {
        let hash = hash_of(seen.newest);
        let nodes: Vec<Place<'_>> = places(seen, &hash);
        let missing = nodes.iter().filter(|place| place.is_empty());
        let missing: Vec<Step> = missing.map(|place| made(self, seen, place.node)).collect();
        let strategy = self.spec.update_strategy.as_ref();
        if !missing.is_empty() || strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
            return missing;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let (surge, unavailable) = bounds(rolling, nodes.len());
        if surge > 0 {
            surging(self, seen, &nodes, surge)
        } else {
            replacing(&nodes, unavailable)
        }
    }

    fn status(&self, seen: &Seen<'_>) -> Value {
        let hash = hash_of(seen.newest);
        let nodes = places(seen, &hash);
        // A node counts by its oldest pod, as long as that one stays.
        let counted = || nodes.iter().filter_map(|place| place.old.or(place.new));
        let ready = count(counted().filter(|pod| is_ready(pod)));
        let updated = count(counted().filter(|pod| label(pod) == hash));
        let wanted = i32::try_from(nodes.len()).unwrap_or(i32::MAX);
        let some = |count: i32| (count != 0).then_some(count);
        json!({
            "observedGeneration": self.metadata.generation, "desiredNumberScheduled": wanted,
            "currentNumberScheduled": count(counted()), "numberMisscheduled": 0,
            "numberReady": ready, "numberAvailable": some(ready),
            "numberUnavailable": some(wanted - ready), "updatedNumberScheduled": some(updated),
        })
    }
}

/// A node and its pods.
struct Place<'a> {
    node: &'a str,
    old: Option<&'a Arc<Pod>>,
    new: Option<&'a Arc<Pod>>,
    leaving: bool,
}

impl Place<'_> {
    fn is_empty(&self) -> bool {
        self.old.is_none() && self.new.is_none() && !self.leaving
    }

    fn serves(&self) -> bool {
        let mut pods = self.old.iter().chain(&self.new);
        pods.any(|pod| is_ready(pod))
    }
}

fn places<'a>(seen: &Seen<'a>, hash: &str) -> Vec<Place<'a>> {
    let places = seen.nodes.iter().map(|node| {
        let here = || seen.pods.iter().filter(|pod| node_of(pod) == Some(node));
        let stays = |new: bool| {
            let of = here().filter(move |pod| !is_leaving(pod) && (label(pod) == hash) == new);
            of.min_by_key(|pod| pod.creation_timestamp())
        };
        Place {
            node,
            old: stays(false),
            new: stays(true),
            leaving: here().any(|pod| is_leaving(pod)),
        }
    });
    places.collect()
}

/// The node that a pod is on, or is made for.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = &spec.node_name {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .first()?
        .match_fields
        .as_ref()?;
    fields.first()?.values.as_ref()?.first().map(String::as_str)
}

fn made(set: &DaemonSet, seen: &Seen<'_>, node: &str) -> Step {
    let mut made = pod(set, seen.newest, &hash_of(seen.newest));
    made.metadata.generate_name = Some(format!("{}-", set.name_any()));
    let only = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
    ]}}});
    if let Some(spec) = &mut made.spec {
        spec.affinity = serde_json::from_value(only).ok();
    }
    Step::Create(Box::new(made))
}

/// How many nodes may have a second pod, and how many none.
fn bounds(rolling: Option<&RollingUpdateDaemonSet>, nodes: usize) -> (usize, usize) {
    let of = |bound: Option<&IntOrString>| match bound {
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let share: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (nodes * share).div_ceil(100)
        }
        None => 0,
    };
    let surge = of(rolling.and_then(|rolling| rolling.max_surge.as_ref()));
    let unavailable = of(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
    (surge, unavailable.max(usize::from(surge == 0)))
}

fn replacing(nodes: &[Place<'_>], unavailable: usize) -> Vec<Step> {
    let out = nodes.iter().filter(|place| !place.serves()).count();
    let old = || nodes.iter().filter_map(|place| place.old);
    let broken = old().filter(|pod| !is_ready(pod));
    let serving = old().filter(|pod| is_ready(pod));
    let serving = serving.take(unavailable.saturating_sub(out));
    let gone = broken.chain(serving);
    gone.map(|pod| Step::Delete(pod.clone())).collect()
}

fn surging(set: &DaemonSet, seen: &Seen<'_>, nodes: &[Place<'_>], surge: usize) -> Vec<Step> {
    let replaced = nodes.iter().filter_map(|place| {
        let gone = place.new.is_some_and(|new| is_ready(new))
            || !place.old.is_some_and(|old| is_ready(old));
        place.old.filter(|_| gone)
    });
    let mut steps: Vec<Step> = replaced.map(|pod| Step::Delete(pod.clone())).collect();
    let doubled = nodes
        .iter()
        .filter(|place| place.old.is_some() && place.new.is_some());
    let room = surge.saturating_sub(doubled.count());
    let alone = nodes
        .iter()
        .filter(|place| place.new.is_none() && place.old.is_some_and(|old| is_ready(old)));
    steps.extend(alone.take(room).map(|place| made(set, seen, place.node)));
    steps
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ControllerRevision;

    use super::super::HASH;
    use super::*;

    fn set(strategy: &Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "agent", "uid": "u"},
            "spec": {"selector": {}, "template": {}, "updateStrategy": strategy},
        }))
        .unwrap()
    }

    fn member(node: &str, hash: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"name": format!("{node}-{hash}"), "labels": {HASH: hash}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn done(strategy: &Value, pods: &[Arc<Pod>]) -> Vec<String> {
        let newest: ControllerRevision = serde_json::from_value(json!({
            "metadata": {"name": "agent-b", "labels": {HASH: "b"}}, "revision": 2,
            "data": {"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}},
        }))
        .unwrap();
        let seen = Seen {
            newest: &newest,
            revisions: &[],
            pods,
            nodes: &["n1".to_owned(), "n2".to_owned()],
        };
        let steps = set(strategy).steps(&seen).into_iter();
        steps
            .map(|step| match step {
                Step::Create(pod) => format!("+{}", node_of(&pod).unwrap_or_default()),
                Step::Delete(pod) => format!("-{}", pod.name_any()),
            })
            .collect()
    }

    type Row<'a> = (&'a Value, &'a [Arc<Pod>], &'a [&'a str]);

    #[test]
    fn pods_are_replaced_within_what_may_be_missing_or_beside_the_old_ones() {
        let one = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
        let surge = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%"}});
        let on_delete = json!({"type": "OnDelete"});
        let old = [member("n1", "a", true), member("n2", "a", true)];
        let broken = [member("n1", "b", false), member("n2", "a", true)];
        let beside = [old[0].clone(), old[1].clone(), member("n1", "b", true)];
        let table: [Row<'_>; 7] = [
            (&one, &[], &["+n1", "+n2"]),
            (&one, &old, &["-n1-a"]),
            (&one, &broken, &[]),
            (&surge, &old, &["+n1"]),
            (&surge, &beside, &["-n1-a"]),
            (&on_delete, &old, &[]),
            (&on_delete, &old[1..], &["+n1"]),
        ];
        for (row, (strategy, pods, expected)) in table.into_iter().enumerate() {
            assert_eq!(done(strategy, pods), expected, "row {row}");
        }
    }
}
