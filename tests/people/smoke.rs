//! Smoke tests of a real daemon against a real server: before traffic, after a promotion, and after a
//! sync of Flux.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tokio::task::JoinSet;

use crate::process;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// What a smoke test asks: answers a status, counts.
#[derive(Clone)]
struct Shop {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU32>,
    address: SocketAddr,
}

impl Shop {
    async fn open(tasks: &mut JoinSet<()>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = Self {
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let answering = shop.clone();
        let answer = move |Path(service): Path<String>| async move {
            answering.asked.fetch_add(1, Ordering::SeqCst);
            let status = answering.status.load(Ordering::SeqCst);
            (
                StatusCode::from_u16(status).unwrap(),
                format!("this is {service}"),
            )
        };
        let routes = Router::new().route("/{service}", get(answer));
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        shop
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A folder with these tests.
fn folder(name: &str, tests: &str) -> PathBuf {
    let folder = process::file(name, "smoke");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tests.yaml"), tests).unwrap();
    folder
}

/// Another version of `shop`, whose smoke tests are these.
async fn guarded(world: &World, smoke: &[&str]) {
    world.app("shop", 50, "3600s").await;
    let patch = json!({"spec": {"smoke": {"beforeTraffic": smoke}}});
    let api: Api<sluice::kubernetes::crd::Rollout> =
        Api::namespaced(world.admin.clone(), "default");
    let params = PatchParams::default();
    api.patch("shop", &params, &Patch::Merge(&patch))
        .await
        .unwrap();
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
}

async fn reason(world: &World) -> (String, String) {
    let back = || async { world.outcome("shop").await.is_some() };
    world.until("the run ends", SECOND * 60, back).await;
    let last = world
        .rollout("shop")
        .await
        .status
        .unwrap()
        .last_run
        .unwrap();
    (last.reason, last.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_traffic_only_after_its_smoke_tests() {
    let mut tasks = JoinSet::new();
    let shop = Shop::open(&mut tasks).await;
    let world = World::listening().await;
    let test = |name: &str| {
        format!(
            "- name: {name}\n  http: {{url: 'http://{}/{{{{service}}}}', matches: this is shop-canary}}\n  backoff: 100ms\n",
            shop.address
        )
    };
    let folder = folder("smoke-before", &test("other"));
    let settings = format!("smoke: [\"{}\"]", folder.display());
    let daemon = world.process(
        "smoke-before",
        world.cluster.api_address.unwrap(),
        &settings,
    );
    guarded(&world, &["health"]).await;

    world.release("shop", "2", "0").await;
    let told = || async {
        daemon
            .told()
            .contains("there is no smoke test \"health\"; known: other")
    };
    world
        .until("the missing test is told", SECOND * 60, told)
        .await;
    assert_eq!(world.weight("shop").await, 0);
    std::fs::write(folder.join("tests.yaml"), test("health")).unwrap();
    let steps = || async { world.weight("shop").await == 5 };
    world
        .until("the canary gets traffic", SECOND * 60, steps)
        .await;
    assert_eq!(shop.asked(), 1);

    shop.answers(503);
    world.release("shop", "3", "0").await;
    let last = || async {
        let status = world.rollout("shop").await.status.unwrap();
        status.last_run.is_some_and(|last| last.reason == "Smoke")
    };
    world.until("the next is put back", SECOND * 60, last).await;
    let (_, message) = reason(&world).await;
    assert!(
        message.contains("0 of 3 good; answered 503, wanted 200: this is shop-canary"),
        "{message}"
    );
    assert_eq!(shop.asked(), 4);
}

/// The image of the template, the newest run's reason, and the phase.
async fn stands(world: &World) -> (String, String, String) {
    let deployment = world.deployment("shop").await;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let status = world.rollout("shop").await.status.unwrap_or_default();
    let last = status.last_run.map(|last| last.reason);
    let phase = status.phase.unwrap_or_default();
    (
        image.as_str().unwrap_or_default().to_owned(),
        last.unwrap_or_default(),
        phase,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_revision_that_fails_its_smoke_test_gives_way_to_what_served_before() {
    let mut tasks = JoinSet::new();
    let shop = Shop::open(&mut tasks).await;
    let world = World::listening().await;
    let tests = format!(
        "- name: served\n  http: {{url: 'http://{}/{{{{service}}}}', matches: 'this is shop$'}}\n  backoff: 100ms\n",
        shop.address
    );
    let folder = folder("smoke-promoted", &tests);
    let settings = format!("smoke: [\"{}\"]", folder.display());
    let api = world.cluster.api_address.unwrap();
    let daemon = world.process("smoke-promoted", api, &settings);
    world.app("shop", 300, "0s").await;
    let patch = json!({"spec": {
        "strategy": {"canary": {"steps": [{"weight": 50}]}},
        "analysis": {"within": "10s", "blast": "20%", "blastMax": "25%"},
        "smoke": {"afterPromotion": ["served"]},
    }});
    let rollouts: Api<sluice::kubernetes::crd::Rollout> =
        Api::namespaced(world.admin.clone(), "default");
    let params = PatchParams::default();
    let patched = rollouts.patch("shop", &params, &Patch::Merge(&patch)).await;
    patched.unwrap();
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;

    shop.answers(503);
    world.release("shop", "2", "0").await;
    let back = || async {
        let (image, reason, phase) = stands(&world).await;
        image == "shop:1" && reason == "Smoke" && phase == "Idle"
    };
    world.until("it is put back", SECOND * 180, back).await;
    let (_, message) = reason(&world).await;
    assert!(
        message.contains("served (GET") && message.contains("0 of 3 good; answered 503"),
        "{message}: {}",
        daemon.told()
    );
    assert_eq!(shop.asked(), 3, "made once, with its tries");

    shop.answers(200);
    world.release("shop", "3", "0").await;
    let through = || async {
        let (image, reason, phase) = stands(&world).await;
        image == "shop:3" && reason == "Promoted" && phase == "Idle"
    };
    world.until("the next passes", SECOND * 180, through).await;
    assert_eq!(shop.asked(), 4);
}

fn kustomization(world: &World) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
    Api::namespaced_with(
        world.admin.clone(),
        "default",
        &ApiResource::from_gvk(&kind),
    )
}

/// Flux has applied a revision and is ready.
async fn synced(world: &World, revision: &str) {
    let api = kustomization(world);
    let generation = api.get("apps").await.unwrap().metadata.generation;
    let status = json!({"status": {
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "ReconciliationSucceeded",
            "message": "Applied revision", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "observedGeneration": generation, "lastAppliedRevision": revision,
    }});
    let params = PatchParams::default();
    let patched = api
        .patch_status("apps", &params, &Patch::Merge(&status))
        .await;
    patched.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smoke_test_that_fails_after_a_sync_ends_the_run_that_the_sync_began() {
    let mut tasks = JoinSet::new();
    let shop = Shop::open(&mut tasks).await;
    let world = World::listening().await;
    world
        .apply(sluice::sandbox::scenario::flux::kind("Kustomization").unwrap())
        .await;
    world
        .apply(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"namespace": "default", "name": "apps"}, "spec": {
                "path": "./", "interval": "1m", "prune": true,
                "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            },
        }))
        .await;
    let tests = format!(
        "- name: front\n  http: {{url: 'http://{}/front'}}\n  backoff: 50ms\n  \
         after: {{kind: Kustomization, namespace: default, name: apps}}\n",
        shop.address
    );
    let folder = folder("smoke-after", &tests);
    let settings = format!("smoke: [\"{}\"]", folder.display());
    let daemon = world.process("smoke-after", world.cluster.api_address.unwrap(), &settings);
    guarded(&world, &[]).await;
    let labels = json!({
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": "default",
    });
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.admin.clone(), "default");
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let params = PatchParams::default();
    deployments.patch("shop", &params, &patch).await.unwrap();

    synced(&world, "main@sha1:01").await;
    let asked = || async { shop.asked() == 1 };
    world
        .until("the first sync is tested", SECOND * 60, asked)
        .await;

    world.release("shop", "2", "0").await;
    let steps = || async { world.weight("shop").await == 5 };
    world
        .until("the canary gets traffic", SECOND * 60, steps)
        .await;
    shop.answers(500);
    synced(&world, "main@sha1:02").await;
    let (reason, message) = reason(&world).await;
    assert_eq!(reason, "Smoke", "{}", daemon.told());
    assert!(
        message.contains("after Kustomization default/apps applied main@sha1:02: smoke test front"),
        "{message}"
    );
    let page = daemon.page("metrics").await.unwrap();
    for line in [
        "sluice_sync_smoke_tests_total{outcome=\"passed\"} 1",
        "sluice_sync_smoke_tests_total{outcome=\"failed\"} 1",
    ] {
        assert!(page.contains(line), "{line}");
    }
}
