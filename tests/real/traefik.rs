//! Sluice behind a real Traefik, which a real Prometheus scrapes: both of its providers.
//!
//! Nobody can reach the addresses of the sandbox's pods. So Traefik is told of a proxy, which
//! hands each request to the application of the pod that it is for. Users ask Traefik. Not part of
//! `make test`, but of `make test-traefik`, which builds it. Not here: what its source says otherwise.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::load::{self, Transport};
use sluice::sandbox::node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apps::Apps;
use crate::child::{Server, free_ports};
use crate::control_plane::ControlPlane;
use crate::installed::{self, Accounts};
use crate::metrics_server::{self, Job, Kind};
use crate::process::{self, Process};

type Reply = Response<Empty<Bytes>>;

const SECOND: Duration = Duration::from_secs(1);

/// A file that `make traefik` makes.
fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/traefik")
        .join(name)
}

/// Traefik before a control plane with Sluice, and who uses it.
struct Edge {
    plane: ControlPlane,
    apps: Apps,
    prometheus: metrics_server::Server,
    traefik: Server,
    web: SocketAddr,
    _tasks: JoinSet<()>,
    _stop: tokio_util::sync::DropGuard,
}

impl Edge {
    /// Needs `make controlplane traefik prometheus`.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plane = ControlPlane::start_without_controllers().await;
        let mut plane = plane.expect("a control plane: make controlplane");
        assert!(Kind::Prometheus.is_here(), "make prometheus");
        let accounts = Arc::new(Accounts::of(&plane).await);
        installed::install(&accounts).await;
        let kinds = std::fs::read_to_string(built("gateway-api.yaml")).expect("make traefik");
        let kinds = sluice::sandbox::scenario::manifests(&kinds).expect("manifests");
        for object in &kinds {
            accounts.apply(object).await;
        }
        for object in &kinds {
            served(&accounts, object).await;
        }
        plane.start_controllers();
        installed::gate(&accounts, true).await;

        let [web, tls, metrics, pods] =
            free_ports().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let clock = Clock::at_speed(1.0);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let running = node::Apps::new(clock, 7);
        let listener = TcpListener::bind(pods).await.expect("a free port");
        tasks.spawn(answer(listener, running.clone()));
        let (client, ends) = (accounts.client("system:node:sandbox"), stop.clone());
        tasks.spawn(async move {
            let space = Some("default");
            node::run(client, space, clock, running, ends).await.ok();
        });
        let (client, ends) = (accounts.client("system:sandbox:load"), stop.clone());
        let options = load::Options {
            gateway: true,
            ..load::Options::default()
        };
        let way = Transport::http(vec![web]);
        tasks.spawn(async move {
            let (space, counts) = (Some("default"), Arc::default());
            load::run(client, space, clock, way, options, counts, ends).await;
        });

        let mut prometheus = metrics_server::Server::new(Kind::Prometheus);
        let job = Job {
            name: "traefik".to_owned(),
            every: 1,
            targets: vec![metrics],
            labels: Vec::new(),
        };
        prometheus.begin(&[job]).await;
        let edge = Self {
            traefik: traefik(&plane, [web, tls, metrics, pods]),
            apps: Apps {
                clock,
                admin: accounts.client("admin"),
            },
            plane,
            prometheus,
            web,
            _tasks: tasks,
            _stop: stop.drop_guard(),
        };
        edge.prometheus.wait_for_targets(1).await;
        edge
    }

    /// A Gateway that Traefik serves.
    async fn gateway(&self) {
        let class = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "traefik"}, "spec": {"controllerName": "traefik.io/gateway-controller"}});
        self.apps.apply(class).await;
        // Its ports are those of Traefik's entry points.
        let listener = json!({"name": "http", "port": self.web.port(), "protocol": "HTTP"});
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "default"},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]}});
        self.apps.apply(gateway).await;
    }

    fn daemon(&self) -> Process {
        let [port] = free_ports();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = format!(
            "cluster: {{kubeconfig: \"{}\"}}\nlisten: {listen}\n\
             evidence: {{every: 500ms, settle: 2s, prometheus: {{url: \"{}\"}}}}\n",
            self.plane.kubeconfig(ACCOUNT).display(),
            self.prometheus.url(),
        );
        Process::configured("traefik", listen, &text)
    }

    /// What a user gets.
    async fn ask(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Asked {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SECOND * 10);
        let request = client.build().expect("a client");
        let mut request = request
            .get(format!("http://{}{path}", self.web))
            .header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer of Traefik");
        let told = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Asked {
            status: answer.status().as_u16(),
            image: told("x-sandbox-image"),
            path: told("x-sandbox-path"),
            location: told("location"),
        }
    }
}

/// An answer, and what the pod says of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    status: u16,
    image: Option<String>,
    /// Where the pod was asked.
    path: Option<String>,
    location: Option<String>,
}

/// Waits until the API server serves the kind that this object defines, if it defines one.
async fn served(accounts: &Accounts, object: &Value) {
    if object["kind"] != "CustomResourceDefinition" {
        return;
    }
    let name = object["metadata"]["name"].as_str().expect("a name");
    let kinds: Api<CustomResourceDefinition> = Api::all(accounts.client("admin"));
    let established = await_condition(kinds, name, conditions::is_crd_established());
    let established = tokio::time::timeout(SECOND * 60, established).await;
    established.expect(name).expect("a watch");
}

fn traefik(plane: &ControlPlane, [web, tls, metrics, pods]: [SocketAddr; 4]) -> Server {
    let program = built("traefik");
    assert!(program.exists(), "{}: make traefik", program.display());
    let arguments = [
        format!("KUBECONFIG={}", plane.kubeconfig("admin").display()),
        format!("HTTP_PROXY=socks5://{pods}"),
        program.display().to_string(),
        format!("--entrypoints.web.address={web}"),
        format!("--entrypoints.websecure.address={tls}"),
        "--entrypoints.websecure.http.tls".to_owned(),
        format!("--entrypoints.metrics.address={metrics}"),
        "--metrics.prometheus.entrypoint=metrics".to_owned(),
        "--providers.kubernetesingressnginx".to_owned(),
        "--providers.kubernetesgateway".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
    ];
    Server::start("env", &arguments, &process::file("traefik-itself", "log"))
}

/// Answers for the pods, as a proxy by SOCKS 5, which alone says the address that is meant.
async fn answer(listener: TcpListener, running: node::Apps) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let running = running.clone();
        tokio::spawn(async move {
            let pod = meant(&mut stream).await?;
            let service = hyper::service::service_fn(move |request| {
                let (running, pod) = (running.clone(), pod.to_string());
                async move { Ok::<_, Infallible>(answered(&running, &pod, &request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let served = connection.serve_connection(TokioIo::new(stream), service);
            served.await.map_err(std::io::Error::other)
        });
    }
}

/// Takes the greeting and the wish to connect; the address that is meant.
async fn meant(stream: &mut TcpStream) -> std::io::Result<Ipv4Addr> {
    let [_, methods] = read(stream).await?;
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    stream.write_all(&[5, 0]).await?;
    let [_, command, _, kind, a, b, c, d, _, _] = read(stream).await?;
    assert_eq!((command, kind), (1, 1), "CONNECT to an address of IPv4");
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(Ipv4Addr::new(a, b, c, d))
}

async fn read<const N: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// What the pod answers, and where it was asked.
async fn answered(running: &node::Apps, pod: &str, request: &Request<Incoming>) -> Reply {
    let mut reply = Response::new(Empty::new());
    let Ok(answer) = running.answer(pod, 1.0).await else {
        *reply.status_mut() = StatusCode::BAD_GATEWAY;
        return reply;
    };
    *reply.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
    for (name, value) in [
        ("x-sandbox-image", answer.image.to_string()),
        ("x-sandbox-path", request.uri().to_string()),
    ] {
        let value = value.parse().expect("a header's value");
        reply.headers_mut().insert(name, value);
    }
    reply
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// An application with its Rollout; not what leads to it.
async fn app(edge: &Edge, name: &str, route: Value, rules: [&str; 2]) {
    let meta = json!({"namespace": "default", "name": name});
    edge.apps.release(name, "1", "0").await;
    edge.apps.apply(service(name)).await;
    let steps = json!([{"weight": 5, "hold": "5s"}, {"weight": 50}]);
    let matching = json!({"header": "X-Canary", "value": "yes"});
    edge.apps
        .apply(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": meta,
            "spec": {
                "target": {"name": name}, "route": route,
                "strategy": {"canary": {"steps": steps, "match": matching}},
                "analysis": {"rules": rules, "within": "1m", "blastMax": "5%"},
            },
        }))
        .await;
}

/// A good release and a bad one; a tester reaches each by a header.
async fn releases(edge: &Edge, name: &str) {
    let guarded = || edge.apps.guarded(name);
    edge.apps.until("it is guarded", SECOND * 60, guarded).await;
    let host = format!("{name}.test");
    for (version, errors, outcome) in [("2", "0", "Promoted"), ("3", "0.2", "RolledBack")] {
        edge.apps.release(name, version, errors).await;
        let image = format!("{name}:{version}");
        let tested = || async {
            let asked = edge.ask(&host, "/", &[("X-Canary", "yes")]).await;
            asked.image.as_ref() == Some(&image)
        };
        let what = format!("a tester reaches {image}");
        edge.apps.until(&what, SECOND * 60, tested).await;
        let ended = || async {
            edge.apps.phase(name).await == "Idle"
                && edge.apps.outcome(name).await.as_deref() == Some(outcome)
        };
        let took = edge
            .apps
            .until(&format!("{image}: {outcome}"), SECOND * 180, ended)
            .await;
        println!("{image}: {outcome} in {took:?}");
    }
    for _ in 0..20 {
        let asked = edge.ask(&host, "/", &[]).await;
        assert_eq!(asked.image, Some(format!("{name}:2")));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Traefik: make test-traefik"]
async fn releases_behind_traefik() {
    let edge = Edge::start().await;
    let daemon = edge.daemon();
    edge.gateway().await;
    let rules = ["traefik-error-rate", "traefik-latency-p99"];
    app(
        &edge,
        "bread",
        json!({"ingressNginx": {"ingress": "bread"}}),
        rules,
    )
    .await;
    // A second Ingress of the same Service, whose requests Traefik splits as well.
    for name in ["bread", "bread-2"] {
        let mut ingress = ingress(
            name,
            &format!("{name}.test"),
            &[],
            json!([leading("/", "Prefix", "bread")]),
        );
        ingress["metadata"]["annotations"] = json!({load::RPS: "60"});
        edge.apps.apply(ingress).await;
    }

    let rules = ["traefik-gateway-error-rate", "traefik-gateway-latency-p99"];
    app(
        &edge,
        "cake",
        json!({"gatewayApi": {"httpRoute": "cake"}}),
        rules,
    )
    .await;
    let rule = json!({"backendRefs": [{"name": "cake", "port": 80}]});
    let meta = json!({"namespace": "default", "name": "cake", "annotations": {load::RPS: "100"}});
    let spec =
        json!({"parentRefs": [{"name": "edge"}], "hostnames": ["cake.test"], "rules": [rule]});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta, "spec": spec});
    edge.apps.apply(route).await;

    tokio::join!(releases(&edge, "bread"), releases(&edge, "cake"));
    assert!(!daemon.ended(), "{}", daemon.told());
    assert!(!edge.traefik.ended(), "{}", edge.traefik.told());
}

fn leading(path: &str, kind: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": kind, "backend": backend})
}

fn ingress(name: &str, host: &str, annotations: &[(&str, &str)], paths: Value) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (format!("{}/{key}", sluice::migrate::PREFIX), json!(value)))
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": "default", "name": name, "annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]},
    })
}

/// The Ingresses that are migrated, each with its canary behind it.
fn ingresses() -> [Vec<Value>; 4] {
    let whole = |service| json!([leading("/", "Prefix", service)]);
    let by = [
        ("canary", "true"),
        ("canary-by-header", "X-Canary"),
        ("canary-by-cookie", "new"),
    ];
    // Of two rules Traefik takes the longer one as it writes them: a short exact path would go to `/`.
    let paths = json!([
        leading("/", "Prefix", "old"),
        leading("/exactly/this", "Exact", "new"),
        leading("/deep", "Prefix", "new"),
    ]);
    let rewrite = [("use-regex", "true"), ("rewrite-target", "/$2")];
    let caught = json!([leading("/app(/|$)(.*)", "ImplementationSpecific", "old")]);
    let away = [("permanent-redirect", "https://elsewhere.example/there")];
    [
        vec![ingress("paths", "*.paths.test", &[], paths)],
        vec![ingress("moved", "moved.test", &rewrite, caught)],
        vec![ingress("away", "away.test", &away, whole("old"))],
        vec![
            ingress("tested", "tested.test", &[], whole("old")),
            ingress("tested-new", "tested.test", &by, whole("new")),
        ],
    ]
}

/// A request; the status, and the image that answers with the path that it sees, or the new location.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    (u16, &'static str, &'static str),
);

const REQUESTS: [Row; 17] = [
    ("a.paths.test", "/", &[], (200, "old:1", "/")),
    (
        "a.paths.test",
        "/exactly/this",
        &[],
        (200, "new:1", "/exactly/this"),
    ),
    (
        "a.paths.test",
        "/exactly/this/x",
        &[],
        (200, "old:1", "/exactly/this/x"),
    ),
    ("a.paths.test", "/deep", &[], (200, "new:1", "/deep")),
    (
        "a.paths.test",
        "/deep/x?y=1",
        &[],
        (200, "new:1", "/deep/x?y=1"),
    ),
    ("a.paths.test", "/deeper", &[], (200, "old:1", "/deeper")),
    ("paths.test", "/", &[], (404, "", "")),
    ("moved.test", "/app", &[], (200, "old:1", "/")),
    (
        "moved.test",
        "/app/x/y?z=1",
        &[],
        (200, "old:1", "/x/y?z=1"),
    ),
    ("moved.test", "/apple", &[], (404, "", "")),
    (
        "away.test",
        "/x",
        &[],
        (301, "", "https://elsewhere.example/there"),
    ),
    ("tested.test", "/", &[], (200, "old:1", "/")),
    (
        "tested.test",
        "/",
        &[("X-Canary", "always")],
        (200, "new:1", "/"),
    ),
    (
        "tested.test",
        "/",
        &[("X-Canary", "other")],
        (200, "old:1", "/"),
    ),
    (
        "tested.test",
        "/",
        &[("Cookie", "a=b; new=always")],
        (200, "new:1", "/"),
    ),
    (
        "tested.test",
        "/",
        &[("Cookie", "renew=always")],
        (200, "old:1", "/"),
    ),
    (
        "tested.test",
        "/",
        &[("X-Canary", "never"), ("Cookie", "new=always")],
        (200, "old:1", "/"),
    ),
];

/// Which requests are not answered as they should be.
async fn otherwise(edge: &Edge) -> Vec<String> {
    let mut all = Vec::new();
    for (host, path, headers, (status, image, place)) in REQUESTS {
        let asked = edge.ask(host, path, headers).await;
        let text = |told: &Option<String>| told.clone().unwrap_or_default();
        let seen = (
            asked.status,
            text(&asked.image),
            text(&asked.path) + &text(&asked.location),
        );
        if seen != (status, image.to_owned(), place.to_owned()) {
            all.push(format!("{host}{path} {headers:?}: {seen:?}"));
        }
    }
    all
}

/// What the command prints for an Ingress.
fn migrated(objects: &[Value]) -> Vec<Value> {
    let name = objects[0]["metadata"]["name"].as_str().expect("a name");
    let file = process::file(name, "json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&file, list.to_string()).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["migrate", "ingress-to-gateway", name])
        .args(["--gateway", "default/edge", "-f"])
        .arg(file)
        .output()
        .expect("sluice");
    let text = String::from_utf8(output.stdout).expect("a text");
    sluice::sandbox::scenario::manifests(&text).expect("manifests")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Traefik: make test-traefik"]
async fn ingresses_and_the_routes_that_come_of_them_are_answered_alike() {
    let edge = Edge::start().await;
    edge.gateway().await;
    for name in ["old", "new"] {
        edge.apps.release(name, "1", "0").await;
        edge.apps.apply(service(name)).await;
    }
    let told = || async { otherwise(&edge).await.join("\n") };
    let alike = async |by: &str| {
        let mut left = told().await;
        for _ in 0..30 {
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(SECOND).await;
            left = told().await;
        }
        panic!("by {by}:\n{left}");
    };
    for object in ingresses().concat() {
        edge.apps.apply(object).await;
    }
    alike("Ingresses").await;
    let api: kube::Api<Ingress> = kube::Api::namespaced(edge.apps.admin.clone(), "default");
    for object in ingresses().concat() {
        let name = object["metadata"]["name"].as_str().expect("a name");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let gone = || async { edge.ask("tested.test", "/", &[]).await.status == 404 };
    edge.apps
        .until("the Ingresses are gone", SECOND * 30, gone)
        .await;
    for object in ingresses().iter().flat_map(|objects| migrated(objects)) {
        edge.apps.apply(object).await;
    }
    alike("HTTPRoutes").await;
}
