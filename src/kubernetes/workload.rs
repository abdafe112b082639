//! The guarded workload, whatever its kind: how it is seen, held and let go.
//!
//! Everything above the wire speaks of a Deployment: a template, wanted and ready pods, and
//! whether it is paused. So a `StatefulSet` or `DaemonSet` is seen as the Deployment that says the
//! same. Each kind is held by a field of its own: a Deployment by `paused`; a `StatefulSet` by a
//! partition above all its pods (what is made anew meanwhile is of the old revision); a `DaemonSet`
//! by the strategy `OnDelete` (what is made anew meanwhile is of the new one).
//!
//! Not here: the gate that holds them in the API server (`gate`), and which pods are of which
//! revision (`members`).

use k8s_openapi::api::apps::v1::{
    DaemonSet, Deployment, DeploymentSpec, DeploymentStatus, StatefulSet,
};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::crd::GUARDED;
use crate::rollout::plan::WorkloadKind;

/// The partition that holds: no `StatefulSet` has so many pods, however it is scaled meanwhile.
pub const PARTITION: i32 = i32::MAX;
/// The update strategy that holds a `DaemonSet`.
pub const ON_DELETE: &str = "OnDelete";

/// Where objects of this kind are.
pub fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

/// Objects of this kind in a namespace.
pub fn api(client: &Client, kind: WorkloadKind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// One workload as a Deployment; `None` where there is none.
///
/// # Errors
///
/// The API server did not answer, or with no such object.
pub async fn get(
    client: &Client,
    kind: WorkloadKind,
    (namespace, name): (&str, &str),
) -> kube::Result<Option<Deployment>> {
    match kind {
        WorkloadKind::Deployment => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await
        }
        WorkloadKind::StatefulSet => {
            let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
            Ok(api.get_opt(name).await?.map(of_stateful_set))
        }
        WorkloadKind::DaemonSet => {
            let api: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
            Ok(api.get_opt(name).await?.map(of_daemon_set))
        }
    }
}

/// The operations of a JSON patch that hold the workload, or let it go; `spec` is its present one.
pub fn hold(kind: WorkloadKind, spec: &Value, held: bool) -> Vec<Value> {
    let mut strategy = match &spec["updateStrategy"] {
        Value::Object(_) => spec["updateStrategy"].clone(),
        _ => json!({}),
    };
    match kind {
        WorkloadKind::Deployment => {
            return vec![json!({"op": "add", "path": "/spec/paused", "value": held})];
        }
        WorkloadKind::StatefulSet => {
            if !strategy["rollingUpdate"].is_object() {
                strategy["rollingUpdate"] = json!({});
            }
            let partition = if held { PARTITION } else { 0 };
            strategy["rollingUpdate"]["partition"] = json!(partition);
        }
        WorkloadKind::DaemonSet => {
            let way = if held { ON_DELETE } else { "RollingUpdate" };
            strategy["type"] = json!(way);
        }
    }
    vec![json!({"op": "add", "path": "/spec/updateStrategy", "value": strategy})]
}

/// Whether a workload of this spec is held.
pub fn is_held(kind: WorkloadKind, spec: &Value) -> bool {
    let strategy = &spec["updateStrategy"];
    match kind {
        WorkloadKind::Deployment => spec["paused"] == json!(true),
        WorkloadKind::StatefulSet => strategy["rollingUpdate"]["partition"] == json!(PARTITION),
        WorkloadKind::DaemonSet => strategy["type"] == json!(ON_DELETE),
    }
}

/// A `StatefulSet` as the Deployment that says the same.
pub fn of_stateful_set(set: StatefulSet) -> Deployment {
    let partition = partition(&set);
    let spec = set.spec;
    let status = set.status.map(|status| DeploymentStatus {
        observed_generation: status.observed_generation,
        replicas: Some(status.replicas),
        updated_replicas: status.updated_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        ..DeploymentStatus::default()
    });
    Deployment {
        metadata: set.metadata,
        spec: DeploymentSpec {
            paused: Some(partition == PARTITION),
            replicas: spec.replicas,
            selector: spec.selector,
            template: spec.template,
            ..DeploymentSpec::default()
        },
        status,
    }
}

/// A `DaemonSet` as the Deployment that says the same: it wants a pod for each of its nodes.
pub fn of_daemon_set(set: DaemonSet) -> Deployment {
    let held = strategy_of(&set) == Some(ON_DELETE);
    let wanted = set.status.as_ref().map(|s| s.desired_number_scheduled);
    let status = set.status.map(|status| DeploymentStatus {
        observed_generation: status.observed_generation,
        replicas: Some(status.current_number_scheduled),
        updated_replicas: status.updated_number_scheduled,
        ready_replicas: Some(status.number_ready),
        available_replicas: status.number_available,
        ..DeploymentStatus::default()
    });
    Deployment {
        metadata: set.metadata,
        spec: DeploymentSpec {
            paused: Some(held),
            replicas: Some(wanted.unwrap_or(0)),
            selector: set.spec.selector,
            template: set.spec.template,
            ..DeploymentSpec::default()
        },
        status,
    }
}

/// Why a `StatefulSet` cannot be guarded as it rolls now.
pub fn odd_stateful_set(set: &StatefulSet) -> Option<String> {
    let name = set.name_any();
    let strategy = set.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some(ON_DELETE) {
        return Some(format!(
            "StatefulSet {name} has updateStrategy OnDelete: it never rolls by itself; use RollingUpdate"
        ));
    }
    let partition = partition(set);
    (partition != 0 && partition != PARTITION).then(|| {
        format!(
            "StatefulSet {name} has partition {partition}: the pods below it would stay as they are; take it out, the gate sets its own"
        )
    })
}

/// Why a `DaemonSet` cannot be guarded as it rolls now: one that nobody guards yet is not held by us.
pub fn odd_daemon_set(set: &DaemonSet) -> Option<String> {
    let guarded = set.labels().contains_key(GUARDED);
    (!guarded && strategy_of(set) == Some(ON_DELETE)).then(|| {
        format!(
            "DaemonSet {} has updateStrategy OnDelete: it never rolls by itself; use RollingUpdate",
            set.name_any()
        )
    })
}

fn partition(set: &StatefulSet) -> i32 {
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
}

fn strategy_of(set: &DaemonSet) -> Option<&str> {
    set.spec.update_strategy.as_ref()?.type_.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stateful(strategy: &Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "generation": 3},
            "spec": {"replicas": 3, "selector": {}, "template": {}, "updateStrategy": strategy},
            "status": {"observedGeneration": 3, "replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
        }))
        .unwrap()
    }

    fn daemon(labels: &Value, strategy: &str) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "agent", "labels": labels},
            "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}},
            "status": {
                "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
                "numberMisscheduled": 0, "updatedNumberScheduled": 2, "numberAvailable": 1,
            },
        }))
        .unwrap()
    }

    /// What holds a workload is seen as held, and what lets it go as open.
    #[test]
    fn each_kind_is_held_by_a_field_of_its_own_and_keeps_the_others() {
        let patched = |kind, mut object: Value, held: bool| {
            let patch: Value = hold(kind, &object["spec"], held).into();
            let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            object
        };
        for held in [true, false] {
            let before = stateful(
                &json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "partition": 7}}),
            );
            let before = serde_json::to_value(before).unwrap();
            let after = patched(WorkloadKind::StatefulSet, before, held);
            assert_eq!(is_held(WorkloadKind::StatefulSet, &after["spec"]), held);
            let strategy = after["spec"]["updateStrategy"].clone();
            assert_eq!(strategy["rollingUpdate"]["maxUnavailable"], 2);
            let seen = of_stateful_set(serde_json::from_value(after).unwrap());
            assert_eq!(seen.spec.paused, Some(held));

            let before = json!({"spec": {"selector": {}, "template": {},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
            let after = patched(WorkloadKind::DaemonSet, before, held);
            assert_eq!(is_held(WorkloadKind::DaemonSet, &after["spec"]), held);
            let kept = &after["spec"]["updateStrategy"]["rollingUpdate"];
            assert_eq!(*kept, json!({"maxSurge": 1}));
            let seen = of_daemon_set(serde_json::from_value(after).unwrap());
            assert_eq!(seen.spec.paused, Some(held));

            let bare = patched(WorkloadKind::Deployment, json!({"spec": {}}), held);
            assert_eq!(bare, json!({"spec": {"paused": held}}));
            assert_eq!(is_held(WorkloadKind::Deployment, &bare["spec"]), held);
        }
    }

    #[test]
    fn what_rolls_otherwise_than_the_gate_can_hold_is_not_guarded() {
        let table = [
            (json!({"type": "RollingUpdate"}), None),
            (json!({"rollingUpdate": {"partition": PARTITION}}), None),
            (
                json!({"rollingUpdate": {"partition": 2}}),
                Some("partition 2"),
            ),
            (json!({"type": "OnDelete"}), Some("updateStrategy OnDelete")),
        ];
        for (strategy, why) in table {
            let odd = odd_stateful_set(&stateful(&strategy));
            assert_eq!(odd.is_some(), why.is_some(), "{strategy}");
            assert!(odd.unwrap_or_default().contains(why.unwrap_or_default()));
        }
        assert!(odd_daemon_set(&daemon(&json!({}), "OnDelete")).is_some());
        assert_eq!(odd_daemon_set(&daemon(&json!({}), "RollingUpdate")), None);
        let held = daemon(&json!({GUARDED: "true"}), "OnDelete");
        assert_eq!(odd_daemon_set(&held), None, "held by the gate itself");
    }

    #[test]
    fn a_daemon_set_wants_a_pod_for_each_of_its_nodes() {
        let seen = of_daemon_set(daemon(&json!({}), "RollingUpdate"));
        let status = seen.status.unwrap();
        assert_eq!(seen.spec.replicas, Some(5));
        assert_eq!(status.replicas, Some(4));
        assert_eq!(status.updated_replicas, Some(2));
        assert_eq!(status.available_replicas, Some(1));
    }
}
