//! A smoke test that is a Job, on a real control plane: its controller says how the Job ends, and the
//! rights are those of `clusters/components/smoke-jobs`.
//!
//! There is no kubelet: how the pod ends is written here, and its log cannot be read.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sluice::sandbox::scenario::{self, Way};

use super::stand::{Stand, until};
use crate::process;

const SECOND: Duration = Duration::from_secs(1);

async fn apply(stand: &Stand, object: &Value) {
    scenario::apply(stand.apps.admin.clone(), Way::ServerSide, object)
        .await
        .unwrap();
}

/// The rights, and a template.
async fn prepare(stand: &Stand) {
    let rights = include_str!("../../clusters/components/smoke-jobs/rbac.yaml");
    for part in rights.split("\n---\n") {
        apply(stand, &serde_saphyr::from_str(part).unwrap()).await;
    }
    let pod =
        json!({"restartPolicy": "Never", "containers": [{"name": "probe", "image": "probe:1"}]});
    apply(
        stand,
        &json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"namespace": "default", "name": "probe-orders"},
            "spec": {
                "schedule": "0 0 1 1 *", "suspend": true,
                "jobTemplate": {"spec": {"template": {"spec": pod}}},
            },
        }),
    )
    .await;
}

/// The newest Job's pod ends so, once it runs.
async fn ends(stand: &Stand, seen: usize, phase: &str, told: impl Fn() -> String) {
    let jobs: Api<Job> = Api::namespaced(stand.apps.admin.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(stand.apps.admin.clone(), "default");
    let running = || async {
        let all = jobs.list(&ListParams::default()).await.unwrap();
        all.items.len() == seen && all.items.iter().any(has_ready_pod)
    };
    until("the Job's pod runs", SECOND * 60, running, told).await;
    let all = jobs.list(&ListParams::default()).await.unwrap();
    let job = all.items.iter().find(|job| has_ready_pod(job)).unwrap();
    let of_it = format!("batch.kubernetes.io/job-name={}", job.name_any());
    let pod = pods
        .list(&ListParams::default().labels(&of_it))
        .await
        .unwrap();
    let name = pod.items.first().unwrap().name_any();
    let status = json!({"status": {"phase": phase}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(status));
    pods.patch_status(&name, &params, &patch).await.unwrap();
}

fn has_ready_pod(job: &Job) -> bool {
    let status = job.status.as_ref();
    status.is_some_and(|status| status.active == Some(1) && status.ready == Some(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_canary_gets_traffic_when_its_job_ends_well() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    prepare(&stand).await;
    let folder = process::file("jobs", "smoke");
    std::fs::create_dir_all(&folder).unwrap();
    let test = "- {name: orders, job: {cronJob: probe-orders}, attempts: 1, timeout: 2m}\n";
    std::fs::write(folder.join("tests.yaml"), test).unwrap();
    let daemon = stand.daemon("jobs", &format!("smoke: [\"{}\"]", folder.display()));
    let told = || daemon.told();
    stand.apps.app("shop", 50, "3600s").await;
    let rollouts: Api<sluice::kubernetes::crd::Rollout> =
        Api::namespaced(stand.apps.admin.clone(), "default");
    let patch = Patch::Merge(json!({"spec": {"smoke": {"beforeTraffic": ["orders"]}}}));
    let params = PatchParams::default();
    rollouts.patch("shop", &params, &patch).await.unwrap();
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, told).await;

    stand.apps.release("shop", "2", "0").await;
    ends(&stand, 1, "Failed", told).await;
    let ended = || async { stand.apps.outcome("shop").await.as_deref() == Some("RolledBack") };
    until("it is put back", SECOND * 60, ended, told).await;
    let last = stand.apps.rollout("shop").await.status.unwrap().last_run;
    let message = last.unwrap().message;
    let job = "orders (Job of CronJob default/probe-orders): 0 of 1 good; Job probe-orders-sluice-";
    assert!(
        message.contains(job) && message.contains("BackoffLimitExceeded"),
        "{message}"
    );
    assert!(
        message.contains("(no log: "),
        "there is no kubelet: {message}"
    );

    stand.apps.release("shop", "3", "0").await;
    ends(&stand, 2, "Succeeded", told).await;
    let weight = || async { stand.apps.weight("shop").await == 5 };
    until("the canary gets traffic", SECOND * 60, weight, told).await;
    let service = variables(&stand).await;
    assert!(service.contains(&("SLUICE_SERVICE".to_owned(), "shop-canary".to_owned())));
}

/// What the newest Job's container was told.
async fn variables(stand: &Stand) -> Vec<(String, String)> {
    let jobs: Api<Job> = Api::namespaced(stand.apps.admin.clone(), "default");
    let all = jobs.list(&ListParams::default()).await.unwrap().items;
    let containers = all.into_iter().filter_map(|job| job.spec?.template.spec);
    let env = containers.flat_map(|pod| pod.containers.into_iter().filter_map(|it| it.env));
    env.flatten()
        .map(|one| (one.name, one.value.unwrap_or_default()))
        .collect()
}
