//! Namespaces that the daemon is named and may not see, as a real API server refuses them: one is left out and taken
//! up, and a run holds in one whose pods are out of sight.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::scenario::{self, Way};

use super::stand::{Stand, until};
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);
/// A refused watch is tried again after a minute at most, and the Rollouts' after the others.
const PATIENCE: Duration = Duration::from_secs(180);

async fn apply(stand: &Stand, object: &Value) {
    scenario::apply(stand.apps.admin.clone(), Way::ServerSide, object)
        .await
        .unwrap();
}

/// Lets the daemon do in this namespace what a `ClusterRole` says.
async fn bind(stand: &Stand, namespace: &str, role: &str) {
    let (of, name) = ACCOUNT
        .trim_start_matches("system:serviceaccount:")
        .split_once(':')
        .unwrap();
    apply(
        stand,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"namespace": namespace, "name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": of, "name": name}],
        }),
    )
    .await;
}

async fn unbind(stand: &Stand, namespace: &str, role: &str) {
    let bindings: Api<RoleBinding> = Api::namespaced(stand.apps.admin.clone(), namespace);
    let parameters = DeleteParams::default();
    bindings.delete(role, &parameters).await.unwrap();
}

/// All that the daemon may do but to see pods, as the `ClusterRole` `blind`.
async fn blind(stand: &Stand) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters/base/sluice/rbac.yaml");
    let roles = scenario::manifests(&std::fs::read_to_string(file).unwrap()).unwrap();
    let is_main =
        |role: &Value| role["kind"] == "ClusterRole" && role["metadata"]["name"] == "sluice";
    let mut role = roles.into_iter().find(is_main).unwrap();
    role["metadata"]["name"] = json!("blind");
    let rules = role["rules"].as_array_mut().unwrap();
    let before = rules.len();
    rules.retain(|rule| rule["resources"] != json!(["pods"]));
    assert_eq!(rules.len(), before - 1);
    apply(stand, &role).await;
}

/// The stand's daemon serves `default`, where it may do everything, and `billing`, where it may do nothing.
async fn prepared(stand: &Stand) -> Process {
    let everywhere: Api<ClusterRoleBinding> = Api::all(stand.apps.admin.clone());
    let parameters = DeleteParams::default();
    everywhere.delete("sluice", &parameters).await.unwrap();
    let billing = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "billing"}});
    apply(stand, &billing).await;
    blind(stand).await;
    bind(stand, "default", "sluice").await;
    stand.daemon_of("namespaces", &["default", "billing"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_namespace_that_is_refused_is_left_out_and_a_run_out_of_sight_holds() {
    let Some(mut stand) = Stand::with_sluice().await else {
        return;
    };
    let daemon = prepared(&stand).await;
    let told = || daemon.told();
    let says = async |page: &str, words: &str| {
        let text = daemon.page(page).await.unwrap_or_default();
        text.contains(words)
    };
    let left_out = || says("readyz", "bad  namespaces: billing is refused: ");
    until("it gets ready without billing", SECOND * 60, left_out, told).await;
    assert!(says("metrics", "sluice_namespace_seen{namespace=\"billing\"} 0").await);
    stand.apps.app("shop", 50, "3600s").await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, told).await;
    stand.apps.release("shop", "2", "0").await;
    let begun = || async { stand.apps.weight("shop").await == 5 };
    until("the canary gets traffic", SECOND * 60, begun, told).await;

    bind(&stand, "billing", "sluice").await;
    let all = || says("readyz", "good namespaces: billing, default in sight");
    until("billing is taken up", PATIENCE, all, told).await;

    bind(&stand, "default", "blind").await;
    unbind(&stand, "default", "sluice").await;
    // What is watched already is watched on for minutes.
    stand.plane.kill_api_server();
    stand.plane.start_api_server().await;
    let held = || async { stand.apps.phase("shop").await == "Held" };
    until("the run holds", PATIENCE, held, told).await;
    let status = stand.apps.rollout("shop").await.status.unwrap();
    let why = status.message.unwrap_or_default();
    assert!(why.contains("the namespace cannot be seen: Pod "), "{why}");
    assert_eq!(stand.apps.weight("shop").await, 5);

    bind(&stand, "default", "sluice").await;
    let goes_on = || async { stand.apps.phase("shop").await == "Stepping" };
    until("the run goes on", PATIENCE, goes_on, told).await;
    assert_eq!(stand.apps.weight("shop").await, 5);
    assert!(!daemon.ended(), "{}", daemon.told());
}
