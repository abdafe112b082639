//! The embedded cluster as a whole, in virtual time: releases roll, canaries get their share,
//! pods crash and wait, and no request is lost on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::sandbox::cluster::{Cluster, Options};
use sluice::sandbox::router::{Request, Tally};

struct World(Cluster);

impl World {
    async fn new() -> Self {
        let clock = Clock::scaled(Timestamp::from_second(1_800_000_000).unwrap(), 1.0);
        let cluster = Cluster::start(Options::in_process(clock, 7)).await.unwrap();
        let world = Self(cluster);
        world
            .create::<Namespace>(json!({"metadata": {"name": "shop"}}))
            .await;
        world
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.0.client("kubernetes-admin"), "shop")
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let url = K::url_path(&(), Some("shop").filter(|_| K::kind(&()) != "Namespace"));
        let body = {
            let mut object = object;
            object["kind"] = json!(K::kind(&()));
            object["apiVersion"] = json!(K::api_version(&()));
            serde_json::to_vec(&object).unwrap()
        };
        let request = kube::core::Request::new(url)
            .create(&PostParams::default(), body)
            .unwrap();
        self.0
            .client("kubernetes-admin")
            .request::<Value>(request)
            .await
            .unwrap();
    }

    /// Deployment and Service of that name, with pods of image `image` and these annotations.
    async fn app(&self, name: &str, replicas: i32, image: &str, annotations: &[(&str, &str)]) {
        self.create::<Deployment>(deployment(name, replicas, image, annotations))
            .await;
        let ports = json!([{"port": 80, "targetPort": 8080}]);
        self.create::<Service>(json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": ports}})).await;
    }

    async fn ingress(&self, name: &str, service: &str, annotations: Value) {
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        self.create::<Ingress>(json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.test", "http": {"paths": paths}}]}
        }))
        .await;
    }

    async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn wait(&self, seconds: f64) {
        self.0.clock.sleep(Duration::from_secs_f64(seconds)).await;
    }

    async fn status(&self, name: &str) -> k8s_openapi::api::apps::v1::DeploymentStatus {
        self.api::<Deployment>()
            .get(name)
            .await
            .unwrap()
            .status
            .unwrap_or_default()
    }

    async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    /// Answers by image since the last time.
    fn answers(&self) -> BTreeMap<String, Tally> {
        let router = &self.0.world.routers[0];
        let tallies = router
            .tallies()
            .into_iter()
            .map(|(arm, tally)| (arm.image, tally))
            .collect();
        router.mark();
        tallies
    }
}

fn deployment(name: &str, replicas: i32, image: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .map(|(key, value)| (format!("sandbox.sluice.dev/{key}"), *value))
        .collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 8080}]}]}
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_deployment_gets_ready_and_answers_its_load() {
    let world = World::new().await;
    world.app("shop", 3, "shop:1", &[("errors", "0.1")]).await;
    world
        .ingress("shop", "shop", json!({"sandbox.sluice.dev/rps": "100"}))
        .await;
    world.wait(3.0).await;
    let status = world.status("shop").await;
    assert_eq!(
        (
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
        (Some(3), Some(3), None)
    );
    world.answers();
    world.wait(20.0).await;
    let tally = world.answers()["shop:1"];
    assert!((1_850..2_150).contains(&tally.total), "{tally:?}");
    assert!((140..260).contains(&tally.bad), "{tally:?}");
    let text = world.0.world.routers[0].metrics_text().unwrap();
    assert!(
        text.contains("canary=\"\",") && text.contains("host=\"shop.test\",ingress=\"shop\""),
        "{text}"
    );
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_canary_gets_its_weight_until_it_is_deleted() {
    let world = World::new().await;
    world.app("shop", 2, "shop:1", &[]).await;
    world
        .ingress("shop", "shop", json!({"sandbox.sluice.dev/rps": "200"}))
        .await;
    world
        .app("shop-canary", 1, "shop:2", &[("errors", "0, 1 above 40%")])
        .await;
    let prefix = "nginx.ingress.kubernetes.io";
    let canary =
        json!({format!("{prefix}/canary"): "true", format!("{prefix}/canary-weight"): "20"});
    world.ingress("shop-canary", "shop-canary", canary).await;
    world.wait(4.0).await;
    world.answers();
    world.wait(30.0).await;
    let answers = world.answers();
    let (stable, canary) = (answers["shop:1"], answers["shop:2"]);
    let share = canary.total as f64 / (stable.total + canary.total) as f64;
    assert!((0.18..0.22).contains(&share), "{share}");
    assert_eq!((stable.bad, canary.bad), (0, 0));
    let text = world.0.world.routers[0].metrics_text().unwrap();
    assert!(text.contains("canary=\"shop-shop-canary-80\""), "{text}");

    // At half of the traffic it turns bad.
    world
        .patch::<Ingress>(
            "shop-canary",
            json!({"metadata": {"annotations": {format!("{prefix}/canary-weight"): "50"}}}),
        )
        .await;
    world.wait(1.0).await;
    world.answers();
    world.wait(5.0).await;
    let canary = world.answers()["shop:2"];
    assert_eq!(canary.bad, canary.total);

    world
        .api::<Ingress>()
        .delete("shop-canary", &DeleteParams::default())
        .await
        .unwrap();
    world.wait(1.0).await;
    world.answers();
    world.wait(5.0).await;
    assert_eq!(world.answers().keys().collect::<Vec<_>>(), ["shop:1"]);
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_without_unavailability_loses_no_request() {
    let world = World::new().await;
    world.app("shop", 4, "shop:1", &[]).await;
    world
        .ingress("shop", "shop", json!({"sandbox.sluice.dev/rps": "300"}))
        .await;
    world.wait(3.0).await;
    world.answers();
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "shop:2"}]}}}});
    world.patch::<Deployment>("shop", image).await;
    let mut least = 4;
    for _ in 0..300 {
        world.wait(0.1).await;
        least = least.min(world.status("shop").await.available_replicas.unwrap_or(0));
    }
    assert_eq!(least, 4);
    let answers = world.answers();
    assert_eq!(
        answers.values().map(|tally| tally.bad).sum::<u64>(),
        0,
        "{answers:?}"
    );
    assert!(answers["shop:2"].total > 1_000);
    let status = world.status("shop").await;
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.available_replicas
        ),
        (Some(4), Some(4), Some(4))
    );
    let sets = world
        .api::<ReplicaSet>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(sets.len(), 2);
    assert_eq!(world.pods().await.len(), 4);
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_holds_its_old_pods_and_scales_them() {
    let world = World::new().await;
    world.app("shop", 2, "shop:1", &[]).await;
    world.wait(3.0).await;
    let held = json!({"spec": {"paused": true, "replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "shop:2"}]}}}});
    world.patch::<Deployment>("shop", held).await;
    world.wait(5.0).await;
    let images: Vec<_> = world
        .pods()
        .await
        .into_iter()
        .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["shop:1"; 3]);
    world
        .patch::<Deployment>("shop", json!({"spec": {"paused": null}}))
        .await;
    world.wait(20.0).await;
    assert_eq!(world.status("shop").await.updated_replicas, Some(3));
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_fail_as_they_are_told() {
    let world = World::new().await;
    for (name, annotation) in [
        ("crash", ("fate", "crash")),
        ("pull", ("fate", "pull")),
        ("hang", ("fate", "hang")),
        ("wrong", ("errors", "lots")),
    ] {
        world
            .create::<Deployment>(deployment(name, 1, "shop:1", &[annotation]))
            .await;
    }
    world.wait(4.0).await;
    let mut seen = BTreeMap::new();
    for pod in world.pods().await {
        let container = pod
            .status
            .clone()
            .unwrap()
            .container_statuses
            .unwrap()
            .remove(0);
        assert!(!container.ready);
        let waiting = container
            .state
            .unwrap()
            .waiting
            .and_then(|waiting| waiting.reason)
            .unwrap_or_default();
        seen.insert(
            pod.labels()["app"].clone(),
            (waiting, container.restart_count),
        );
    }
    let expected = [
        ("crash", "CrashLoopBackOff", 1),
        ("hang", "", 0),
        ("pull", "ImagePullBackOff", 0),
        ("wrong", "InvalidBehaviour", 0),
    ];
    let expected =
        expected.map(|(name, reason, restarts)| (name.to_owned(), (reason.to_owned(), restarts)));
    assert_eq!(seen, expected.into());
    let events = world
        .api::<Event>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert!(events.iter().any(|event| {
        event
            .message
            .as_deref()
            .is_some_and(|message| message.contains("\"lots\""))
    }));
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_config_map_and_goes_with_its_deployment() {
    let world = World::new().await;
    let mut manifest = deployment("shop", 1, "shop:1", &[]);
    manifest["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{"configMapRef": {"name": "settings"}}]);
    world.create::<Deployment>(manifest).await;
    world.wait(5.0).await;
    let pod = world.pods().await.remove(0);
    let state = pod
        .status
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap();
    assert_eq!(
        state.waiting.unwrap().reason.unwrap(),
        "CreateContainerConfigError"
    );
    world
        .create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "b"}}))
        .await;
    world.wait(2.0).await;
    assert_eq!(world.status("shop").await.ready_replicas, Some(1));
    world
        .api::<Deployment>()
        .delete("shop", &DeleteParams::background())
        .await
        .unwrap();
    world.wait(3.0).await;
    assert_eq!(world.pods().await.len(), 0);
    world.0.stop().await.unwrap();
}

/// One GET over a socket: the whole answer as text.
async fn fetch(address: std::net::SocketAddr, host: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn users_load_and_scrapes_come_over_http_too() {
    let free = Some("127.0.0.1:0".parse().unwrap());
    let clock = Clock::at_speed(1.0);
    let options = Options {
        users: free,
        metrics: free,
        reload: Duration::from_millis(20),
        routers: 2,
        ..Options::in_process(clock, 7)
    };
    let world = World(Cluster::start(options).await.unwrap());
    world
        .create::<Namespace>(json!({"metadata": {"name": "shop"}}))
        .await;
    world
        .app(
            "shop",
            2,
            "shop:1",
            &[("start-after", "10ms"), ("latency", "2ms")],
        )
        .await;
    world
        .ingress("shop", "shop", json!({"sandbox.sluice.dev/rps": "1000"}))
        .await;
    world.wait(0.5).await;
    let before = world
        .0
        .world
        .load
        .sent
        .load(std::sync::atomic::Ordering::Relaxed);
    world.wait(1.0).await;
    let sent = world
        .0
        .world
        .load
        .sent
        .load(std::sync::atomic::Ordering::Relaxed)
        - before;
    assert!((800..1_200).contains(&sent), "{sent}");
    assert_eq!(
        world
            .0
            .world
            .load
            .dropped
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    let answer = fetch(world.0.users[0], "shop.test", "/cart?item=1").await;
    for part in [
        "200 OK",
        "x-sandbox-service: shop",
        "x-sandbox-pod: shop-",
        "x-sandbox-image: shop:1",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    assert!(
        fetch(world.0.users[1], "else.test", "/")
            .await
            .contains("404")
    );
    for (index, address) in world.0.metrics.iter().enumerate() {
        let text = fetch(*address, "metrics", "/metrics").await;
        assert!(
            text.contains(&format!(
                "controller_pod=\"ingress-nginx-controller-{index}\""
            )),
            "{text}"
        );
    }
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_host_gets_404_and_an_empty_service_503() {
    let world = World::new().await;
    world.app("shop", 0, "shop:1", &[]).await;
    world.ingress("shop", "shop", json!({})).await;
    world.wait(1.0).await;
    let router = &world.0.world.routers[0];
    assert_eq!(
        router.handle(&Request::get("other.test", "/")).await.status,
        404
    );
    assert_eq!(
        router
            .handle(&Request::get("shop.test:80", "/"))
            .await
            .status,
        503
    );
    world.0.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_hundred_deployments_get_ready_and_then_nothing_is_written() {
    let world = World::new().await;
    for index in 0..200 {
        world.app(&format!("app-{index}"), 1, "app:1", &[]).await;
    }
    world.wait(5.0).await;
    let ready = world
        .pods()
        .await
        .iter()
        .filter(|pod| {
            let containers = pod
                .status
                .iter()
                .flat_map(|status| status.container_statuses.iter().flatten());
            containers.map(|container| container.ready).eq([true])
        })
        .count();
    assert_eq!(ready, 200);
    let before = world.0.api.requests().total(|_| true);
    world.wait(60.0).await;
    assert_eq!(world.0.api.requests().total(|_| true), before);
    assert!(before < 200 * 20, "{before} requests");
    world.0.stop().await.unwrap();
}
