//! A real `HorizontalPodAutoscaler` changes the size of the Deployment in mid-run.
//!
//! There are no metrics to scale by here, but its controller keeps the size within the object's
//! bounds, and writes it through the scale subresource as it always does. KEDA makes such an object
//! too. Not here: what an autoscaler sees of stable's load (`docs/concepts/traffic.md`).

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::stand::{Stand, until};

const SECOND: Duration = Duration::from_secs(1);

async fn deployment(stand: &Stand, name: &str) -> Option<Deployment> {
    let api: Api<Deployment> = Api::namespaced(stand.apps.admin.clone(), "default");
    api.get_opt(name).await.unwrap()
}

/// Wanted and ready pods.
async fn size(stand: &Stand, name: &str) -> (i32, i32) {
    let Some(found) = deployment(stand, name).await else {
        return (0, 0);
    };
    let ready = found.status.and_then(|status| status.ready_replicas);
    (found.spec.replicas.unwrap_or(1), ready.unwrap_or(0))
}

fn autoscaler(least: i32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "default", "name": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "minReplicas": least, "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        },
    })
}

/// A release as one is made beside an autoscaler: it does not say how many.
async fn release(stand: &Stand, image: &str) {
    let api: Api<Deployment> = Api::namespaced(stand.apps.admin.clone(), "default");
    let containers = json!([{"name": "app", "image": image}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    api.patch("shop", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_canary_follows_an_autoscaler_and_stable_never_sinks() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let daemon = stand.daemon("autoscaler", "");
    let told = || daemon.told();
    stand.apps.app("shop", 500, "10s").await;
    stand.apps.apply(autoscaler(4)).await;
    let is = |wanted: i32| {
        let stand = &stand;
        async move { size(stand, "shop").await == (wanted, wanted) }
    };
    until("the autoscaler scales", SECOND * 60, || is(4), told).await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, told).await;

    release(&stand, "shop:2").await;
    let begun = || async {
        assert!(size(&stand, "shop").await.1 >= 4, "stable sinks");
        stand.apps.weight("shop").await == 5
    };
    until("the canary gets traffic", SECOND * 60, begun, told).await;
    stand.apps.apply(autoscaler(10)).await;
    until("stable follows while held", SECOND * 60, || is(10), told).await;
    let held = deployment(&stand, "shop").await.unwrap().spec.paused;
    assert_eq!(held, Some(true), "nothing is let through by that");
    let half = || async {
        assert!(size(&stand, "shop").await.1 >= 10, "stable sinks");
        stand.apps.weight("shop").await == 50 && size(&stand, "shop-canary").await == (5, 5)
    };
    until("the canary has half of ten", SECOND * 120, half, told).await;
    let promoted = || async {
        assert!(size(&stand, "shop").await.1 >= 7, "it rolls by a quarter");
        stand.apps.outcome("shop").await.as_deref() == Some("Promoted")
    };
    until("it is promoted", SECOND * 240, promoted, told).await;
    until("it keeps its size", SECOND * 60, || is(10), told).await;
    owns_no_size(&deployment(&stand, "shop").await.unwrap());
}

/// Nothing of Sluice's own takes the size for its own: the autoscaler has nobody to fight with.
fn owns_no_size(deployment: &Deployment) {
    let managers = deployment.metadata.managed_fields.iter().flatten();
    for manager in managers {
        let name = manager.manager.clone().unwrap_or_default();
        let fields = manager
            .fields_v1
            .as_ref()
            .map(|fields| fields.0.to_string());
        let sizes = fields.is_some_and(|fields| fields.contains("f:replicas"));
        let status = manager.subresource.as_deref() == Some("status");
        assert!(
            !(name.starts_with("sluice") && sizes && !status),
            "{name} owns the size"
        );
    }
}
