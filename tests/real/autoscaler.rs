//! A real `HorizontalPodAutoscaler` changes the size of the Deployment in mid-run.
//!
//! There are no metrics to scale by here, but its controller keeps the size within the object's
//! bounds, and writes it through the scale subresource as it always does. The object is such as KEDA
//! makes, owned by a `ScaledObject`; what its operator does beyond that (scale to nothing and back, and
//! what `autoscaling.keda.sh/paused-replicas` asks for) is done as it does it. Not here: what an autoscaler sees of stable's load (`docs/concepts/traffic.md`).

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
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

/// KEDA's kind, as far as it matters here: its operator is played by the test.
fn definition() -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject", "listKind": "ScaledObjectList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn scaled_objects(stand: &Stand) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(stand.apps.admin.clone(), "default", &resource)
}

/// A `ScaledObject` for the shop; its uid.
async fn scaled_object(stand: &Stand) -> String {
    stand.apps.apply(definition()).await;
    let api = scaled_objects(stand);
    let served = || async { api.list(&kube::api::ListParams::default()).await.is_ok() };
    until("KEDA's kind is served", SECOND * 60, served, String::new).await;
    stand
        .apps
        .apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"namespace": "default", "name": "shop"},
            "spec": {"scaleTargetRef": {"name": "shop"}, "minReplicaCount": 0, "triggers": []},
        }))
        .await;
    api.get("shop").await.unwrap().metadata.uid.unwrap()
}

/// What a person asks of KEDA, and what its operator does upon it: the autoscaler goes, the size is
/// written through the scale subresource.
async fn paused_at(stand: &Stand, replicas: i32) {
    let asked = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": replicas.to_string()}}});
    scaled_objects(stand)
        .patch("shop", &PatchParams::default(), &Patch::Merge(asked))
        .await
        .unwrap();
    let autoscalers: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> =
        Api::namespaced(stand.apps.admin.clone(), "default");
    autoscalers
        .delete("keda-hpa-shop", &DeleteParams::default())
        .await
        .unwrap();
    scale(stand, replicas).await;
}

async fn scale(stand: &Stand, replicas: i32) {
    let api: Api<Deployment> = Api::namespaced(stand.apps.admin.clone(), "default");
    let size = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale("shop", &PatchParams::default(), &size)
        .await
        .unwrap();
}

/// What KEDA makes for a `ScaledObject` with this uid.
fn autoscaler(owner: &str, least: i32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "namespace": "default", "name": "keda-hpa-shop",
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "shop", "uid": owner,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
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

/// The application `shop`, guarded, with four pods by its autoscaler; what owns that.
async fn scaled(stand: &Stand, hold: &str, told: impl Fn() -> String) -> String {
    stand.apps.app("shop", 500, hold).await;
    let owner = scaled_object(stand).await;
    stand.apps.apply(autoscaler(&owner, 4)).await;
    let four = || is_of(stand, 4);
    until("the autoscaler scales", SECOND * 60, four, &told).await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, &told).await;
    owner
}

/// Whether so many are wanted, and as many are ready.
async fn is_of(stand: &Stand, wanted: i32) -> bool {
    size(stand, "shop").await == (wanted, wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_canary_follows_an_autoscaler_and_stable_never_sinks() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let daemon = stand.daemon("autoscaler", "");
    let told = || daemon.told();
    let owner = scaled(&stand, "10s", told).await;
    let is = |wanted| is_of(&stand, wanted);

    release(&stand, "shop:2").await;
    let begun = || async {
        assert!(size(&stand, "shop").await.1 >= 4, "stable sinks");
        stand.apps.weight("shop").await == 5
    };
    until("the canary gets traffic", SECOND * 60, begun, told).await;
    stand.apps.apply(autoscaler(&owner, 10)).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_keda_pauses_or_scales_to_nothing_trips_no_run() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let daemon = stand.daemon("keda", "");
    let told = || daemon.told();
    let owner = scaled(&stand, "5s", told).await;
    let is = |wanted| is_of(&stand, wanted);

    paused_at(&stand, 0).await;
    until("nothing is left", SECOND * 60, || is(0), told).await;
    assert_eq!(stand.apps.phase("shop").await, "Idle", "{}", told());
    release(&stand, "shop:2").await;
    let held = || async { stand.apps.phase("shop").await == "Held" };
    until("what is released meanwhile waits", SECOND * 60, held, told).await;
    assert!(
        deployment(&stand, "shop-canary").await.is_none(),
        "a canary of nothing"
    );

    scale(&stand, 1).await;
    stand.apps.apply(autoscaler(&owner, 4)).await;
    let begun = || async { stand.apps.weight("shop").await == 5 };
    until("it goes on when scaled up", SECOND * 120, begun, told).await;
    paused_at(&stand, 6).await;
    let promoted = || async { stand.apps.outcome("shop").await.as_deref() == Some("Promoted") };
    until("it is promoted", SECOND * 240, promoted, told).await;
    until("it keeps that size", SECOND * 60, || is(6), told).await;
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
