//! What an object of a built-in kind has before anybody sets anything.
//!
//! In Go a part that is no pointer is always there, and is written even when empty: `spec`,
//! `spec.template.metadata`, the counts of a status. So nobody owns these parts when a client
//! makes an object, and a status is never absent. Custom resources have nothing of the kind.

use serde_json::{Value, json};

use super::kinds::Kind;

/// The parts that are always there.
pub fn object(kind: &Kind) -> Value {
    if kind.custom.is_some() {
        return json!({});
    }
    let template = json!({"metadata": {}, "spec": {"containers": null}});
    let spec = match kind.kind.as_str() {
        "Deployment" => json!({"strategy": {}, "template": template}),
        "StatefulSet" | "DaemonSet" => json!({"updateStrategy": {}, "template": template}),
        "ReplicaSet" | "Job" => json!({"template": template}),
        "CronJob" => {
            json!({"jobTemplate": {"metadata": {}, "spec": {"template": template}}})
        }
        "Pod" => json!({"containers": null}),
        "HorizontalPodAutoscaler" => json!({"scaleTargetRef": {}}),
        "NetworkPolicy" => json!({"podSelector": {}}),
        _ => json!({}),
    };
    json!({"metadata": {}, "spec": spec, "status": {}})
}

/// The status of a new object; `None` where the kind has none.
pub fn status(kind: &Kind) -> Option<Value> {
    if kind.custom.is_some() {
        return None;
    }
    let status = match kind.kind.as_str() {
        "Deployment" | "CronJob" | "Job" | "CustomResourceDefinition" | "ResourceQuota" => {
            json!({})
        }
        "ReplicaSet" | "ReplicationController" => json!({"replicas": 0}),
        "StatefulSet" => json!({"availableReplicas": 0, "replicas": 0}),
        "DaemonSet" => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0,
            "numberMisscheduled": 0, "numberReady": 0,
        }),
        "HorizontalPodAutoscaler" => json!({"currentMetrics": null, "desiredReplicas": 0}),
        "PodDisruptionBudget" => json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        }),
        _ => return None,
    };
    Some(status)
}
