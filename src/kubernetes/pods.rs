//! A pod as a line for people: whether it is ready, how often it was restarted, why it is not up.
//!
//! Kept of every pod of a workload, so that the page shows both arms without asking the API
//! server. Some hundred bytes each. Not here: what is judged; that is the pod itself (`entries::pod`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

const REPLICA_SET: &str = "ReplicaSet";
const KINDS: [&str; 3] = [REPLICA_SET, "StatefulSet", "DaemonSet"];

/// A pod of a Deployment, a `StatefulSet` or a `DaemonSet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRow {
    /// Its name.
    pub name: String,
    /// The kind of what controls it: a `ReplicaSet`, `StatefulSet` or `DaemonSet`.
    pub kind: &'static str,
    /// The name of that.
    pub set: String,
    /// Whether it gets requests.
    pub ready: bool,
    /// Restarts of all its containers.
    pub restarts: i32,
    /// Images of its containers.
    pub images: Vec<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Why it is not up, e.g. `CrashLoopBackOff`, or that it is going.
    pub why: Option<String>,
}

impl PodRow {
    /// The line of a pod that one of these controls; none for others.
    pub fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.metadata.owner_references.iter().flatten();
        let mut sets = owners.filter(|owner| owner.controller == Some(true));
        let set = sets.next()?;
        let kind = KINDS.into_iter().find(|kind| *kind == set.kind)?;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let created = pod.metadata.creation_timestamp.as_ref();
        Some(Self {
            name: pod.metadata.name.clone()?,
            kind,
            set: set.name.clone(),
            ready: is_ready(pod),
            restarts: statuses(pod).map(|status| status.restart_count).sum(),
            images: containers
                .filter_map(|container| container.image.clone())
                .collect(),
            created: created.map(|created| created.0),
            why: why(pod),
        })
    }

    /// The workload's kind and name; a Deployment's as its controller names `ReplicaSets`.
    pub fn workload(&self) -> (&str, &str) {
        match (self.kind, self.set.rsplit_once('-')) {
            (REPLICA_SET, Some((name, _))) => ("Deployment", name),
            (kind, _) => (kind, &self.set),
        }
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

/// That it goes, what a container waits for or ended with, or the pod's own reason.
fn why(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("Terminating".to_owned());
    }
    let mut states = statuses(pod).filter_map(|status| status.state.as_ref());
    let container = states.find_map(stopped);
    let phase =
        |phase: &String| (phase != "Running" && phase != "Succeeded").then(|| phase.clone());
    container.or_else(|| {
        let status = pod.status.as_ref()?;
        status
            .reason
            .clone()
            .or_else(|| phase(status.phase.as_ref()?))
    })
}

fn stopped(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref().map(|waiting| waiting.reason.clone());
    let ended = state.terminated.as_ref().map(|ended| ended.reason.clone());
    waiting.or(ended)?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(status: serde_json::Value, going: bool) -> PodRow {
        let pod = json!({
            "metadata": {
                "name": "shop-6d4-x2v", "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": going.then_some("2026-01-01T00:01:00Z"),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-6d4", "uid": "u", "controller": true}],
            },
            "spec": {"containers": [{"name": "a", "image": "shop:2"}, {"name": "b", "image": "proxy:1"}]},
            "status": status,
        });
        PodRow::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_is_a_line() {
        let container = |restarts| json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": restarts});
        let up = json!({
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container(2), container(1)],
        });
        let row = row(up, false);
        assert_eq!(
            (row.name.as_str(), row.workload()),
            ("shop-6d4-x2v", ("Deployment", "shop"))
        );
        assert_eq!((row.ready, row.restarts, row.why), (true, 3, None));
        assert_eq!(row.images, ["shop:2", "proxy:1"]);
    }

    #[test]
    fn why_it_is_not_up_is_said() {
        let state = |state| json!({"phase": "Running", "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        let cases = [
            (json!({"phase": "Pending"}), false, Some("Pending")),
            (
                state(json!({"waiting": {"reason": "CrashLoopBackOff"}})),
                false,
                Some("CrashLoopBackOff"),
            ),
            (
                state(json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}})),
                false,
                Some("OOMKilled"),
            ),
            (state(json!({"running": {}})), false, None),
            (state(json!({"running": {}})), true, Some("Terminating")),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                false,
                Some("Evicted"),
            ),
        ];
        for (status, going, wanted) in cases {
            assert_eq!(
                row(status.clone(), going).why.as_deref(),
                wanted,
                "{status}"
            );
        }
    }

    #[test]
    fn pods_of_nobody_are_no_line_and_others_name_their_workload() {
        assert_eq!(PodRow::of(&Pod::default()), None);
        let of = |kind: &str| {
            let owner = json!({"apiVersion": "v1", "kind": kind, "name": "db", "uid": "u", "controller": true});
            let pod = json!({"metadata": {"name": "db-0", "ownerReferences": [owner]}});
            let row = PodRow::of(&serde_json::from_value(pod).unwrap());
            row.map(|row| format!("{:?}", row.workload()))
        };
        assert_eq!(of("Job"), None);
        assert_eq!(of("StatefulSet").unwrap(), r#"("StatefulSet", "db")"#);
        assert_eq!(of("DaemonSet").unwrap(), r#"("DaemonSet", "db")"#);
    }
}
