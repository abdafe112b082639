//! The two servers that are compared, and how one request is sent to either.
//!
//! Both have our CRD and the gate's policies. The real one is shared by all conversations; the
//! sandbox is made anew for each, with its controllers and without its node.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::CustomResourceExt;
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::gate;
use sluice::sandbox::api::Api;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::control_plane::ControlPlane;
use super::player::PATIENCE;

/// Who asks, unless a step says otherwise; both servers let it do everything.
pub const USER: &str = "admin";
const CONTROLLERS: &str = "system:kube-controller-manager";

/// The real control plane.
pub struct Real {
    plane: ControlPlane,
    clients: Mutex<HashMap<String, Client>>,
}

/// A sandbox with its controllers; they end with it.
pub struct Sandbox {
    api: Api,
    _controllers: JoinSet<()>,
}

/// One of the two.
#[derive(Clone, Copy)]
pub enum Server<'a> {
    Real(&'a Real),
    Sandbox(&'a Sandbox),
}

/// An answer before it is normalised.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub media: String,
    pub warnings: Vec<String>,
    pub body: Value,
}

impl Answer {
    /// No answer at all.
    pub fn empty() -> Self {
        Self {
            status: 200,
            media: String::new(),
            warnings: Vec::new(),
            body: Value::Null,
        }
    }
}

impl Server<'_> {
    /// Forgets old versions; the real server does not know those from before its start.
    pub fn compact(self) {
        if let Self::Sandbox(sandbox) = self {
            sandbox.api.compact();
        }
    }

    /// A client of this server.
    pub async fn client(self, user: &str) -> Client {
        match self {
            Self::Real(real) => real.client(user).await,
            Self::Sandbox(sandbox) => sandbox.api.client(user),
        }
    }
}

impl Real {
    /// Applies what Sluice needs and waits until it is in force.
    pub async fn prepare(plane: ControlPlane) -> Self {
        let real = Self {
            plane,
            clients: Mutex::default(),
        };
        let client = real.client(USER).await;
        install(&client).await;
        let started = std::time::Instant::now();
        while !in_force(&client).await {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "no gate, no CRD"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        real
    }

    /// One client for each user.
    async fn client(&self, user: &str) -> Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(user) {
            return client.clone();
        }
        let client = self.plane.client(user).await;
        clients.insert(user.to_owned(), client.clone());
        client
    }
}

impl Sandbox {
    pub async fn start() -> Self {
        let clock = Clock::machine();
        let api = Api::new(clock);
        let mut tasks = JoinSet::new();
        let run = sluice::sandbox::controllers::run(
            api.client(CONTROLLERS),
            clock,
            CancellationToken::new(),
        );
        tasks.spawn(async move { run.await.expect("controllers that run") });
        install(&api.client(USER)).await;
        Self {
            api,
            _controllers: tasks,
        }
    }
}

/// The CRD, and the policies as `sluice gate` prints them.
async fn install(client: &Client) {
    let crd = serde_json::to_value(sluice::kubernetes::crd::Rollout::crd()).expect("the CRD");
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    put(client, crds, &crd).await;
    // Pods are put on it; the EndpointSlice controller looks for it.
    let node = json!({"metadata": {"name": "node"}});
    put(client, "/api/v1/nodes", &node).await;
    for policy in gate::manifests(ACCOUNT) {
        let kind = policy["kind"].as_str().unwrap_or_default().to_lowercase();
        let plural = kind
            .strip_suffix('y')
            .map_or(format!("{kind}s"), |stem| format!("{stem}ies"));
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        put(client, &path, &policy).await;
    }
}

async fn put(client: &Client, path: &str, object: &Value) {
    let answer = send(client, Method::POST, path, &[], object.to_string()).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
}

/// Whether the policies hold a change of a template, and Rollouts are served.
async fn in_force(client: &Client) -> bool {
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"app": "probe"});
    let probe = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe", "labels": {"sluice.dev/guarded": "true"}},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    send(
        client,
        Method::POST,
        deployments,
        &[],
        probe("a").to_string(),
    )
    .await;
    let path = format!("{deployments}/probe?dryRun=All");
    let held = send(client, Method::PUT, &path, &[], probe("b").to_string()).await;
    let rollouts = send(
        client,
        Method::GET,
        "/apis/sluice.dev/v1alpha1/rollouts",
        &[],
        String::new(),
    );
    let path = format!("{deployments}/probe");
    let seen = send(client, Method::GET, &path, &[], String::new());
    held.body["spec"]["paused"] == true
        && !held.warnings.is_empty()
        && rollouts.await.status == 200
        && seen.await.body["status"]["observedGeneration"] == 1
}

/// Sends one request and reads the whole answer.
pub async fn send(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let response = open(client, method, path, headers, body).await;
    let (parts, body) = response.into_parts();
    let Ok(bytes) = tokio::time::timeout(PATIENCE, body.collect()).await else {
        return Answer {
            status: 0,
            body: "no end".into(),
            ..Answer::empty()
        };
    };
    let bytes = bytes.expect("a whole answer").to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let named = |name: &str| {
        let values = parts.headers.get_all(name).into_iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Answer {
        status: parts.status.as_u16(),
        media: named("content-type").next().unwrap_or_default(),
        warnings: named("warning").collect(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// Sends one request; the answer's body may go on.
pub async fn open(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> http::Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("user-agent", "differential/1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Body::from(body.into_bytes()))
        .expect("a request");
    let sending = tokio::time::timeout(PATIENCE, client.send(request));
    sending
        .await
        .unwrap_or_else(|_| panic!("no answer to {path}"))
        .unwrap_or_else(|error| panic!("no answer to {path}: {error}"))
}
