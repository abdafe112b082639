//! A real control plane: kube-apiserver, kube-controller-manager and etcd as processes.
//!
//! Each starts in some two seconds on free ports of 127.0.0.1, with RBAC, an audit log and
//! nothing in it. The binaries are those of `KUBEBUILDER_ASSETS` or of `make controlplane`.
//!
//! Not here: nodes and routers (they are the sandbox's, as clients), and Sluice itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use sluice::kubernetes::crd::ACCOUNT;

use super::child::{Server, free_ports};
use super::needs;

/// The controllers that workloads, their traffic and their removal need.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
     endpointslice-controller,\
     garbage-collector-controller,namespace-controller,job-controller,\
     horizontal-pod-autoscaler-controller";

/// User name, token (the same) and group of everyone who has a token of their own.
const USERS: &[(&str, &str)] = &[
    ("admin", "system:masters"),
    // Its controllers share its account here, and their roles are bound to accounts of their own.
    ("system:kube-controller-manager", "system:masters"),
    (ACCOUNT, "system:serviceaccounts"),
];

/// Who does what, in full, for RBAC's tests; reads of the control plane itself are left out.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver", "system:kube-controller-manager"]},
              {"level": "Metadata"}]}"#;

/// How long a part may take until it answers.
const START: Duration = Duration::from_secs(60);

/// A running control plane; dropping it ends it, in this order, and removes its files.
pub struct ControlPlane {
    controllers: Option<Server>,
    api: Option<Server>,
    _etcd: Server,
    assets: PathBuf,
    ports: Ports,
    dir: tempfile::TempDir,
}

/// Where etcd and the API server listen, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    api: u16,
}

/// Where the binaries are; `None`, said aloud, where there are none and that is allowed.
pub fn assets() -> Option<PathBuf> {
    let dir = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/controlplane"),
    };
    let wanted = ["etcd", "kube-apiserver", "kube-controller-manager"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !dir.join(name).exists())
        .collect();
    if missing.is_empty() {
        return Some(dir);
    }
    let text = format!("{} lacks {}", dir.display(), missing.join(", "));
    needs::left_out(
        "a test on a real control plane",
        &format!("{text}: make controlplane"),
    );
    None
}

impl ControlPlane {
    /// Starts one, unless its binaries are missing (see [`assets`]).
    pub async fn start() -> Option<Self> {
        let mut plane = Self::start_without_controllers().await?;
        plane.start_controllers();
        Some(plane)
    }

    /// The same without its controllers: what is defined before they start they know at once;
    /// a kind that is defined later, the garbage collector finds within half a minute.
    pub async fn start_without_controllers() -> Option<Self> {
        let assets = assets()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [etcd, peer, api] = free_ports();
        write_files(dir.path());
        let flags = etcd_flags(dir.path(), etcd, peer);
        let mut plane = Self {
            controllers: None,
            api: None,
            _etcd: Server::start(assets.join("etcd"), &flags, &dir.path().join("etcd.log")),
            assets,
            ports: Ports { etcd, api },
            dir,
        };
        plane.start_api_server().await;
        Some(plane)
    }

    /// Starts the controllers.
    pub fn start_controllers(&mut self) {
        let [port] = free_ports();
        let flags = self.controller_flags(port);
        self.controllers = Some(self.run("kube-controller-manager", &flags));
    }

    /// Ends the API server without a word. Its address stays its own.
    pub fn kill_api_server(&mut self) {
        self.api = None;
    }

    /// Starts the API server, where it was before, and waits until it is ready.
    pub async fn start_api_server(&mut self) {
        self.api = Some(self.run("kube-apiserver", &self.api_flags()));
        self.wait_until_ready().await;
    }

    /// Lets etcd forget every version but the newest, as the API server does from time to time.
    pub async fn compact(&self) {
        // Any key's answer tells the newest version.
        let answer = self.etcd("range", json!({"key": "AA=="})).await;
        let newest = &answer["header"]["revision"];
        let compacted = json!({"revision": newest, "physical": true});
        self.etcd("compaction", compacted).await;
    }

    async fn etcd(&self, what: &str, body: Value) -> Value {
        let client = sluice::prometheus::http_client(Duration::from_secs(10)).expect("a client");
        let url = format!("http://127.0.0.1:{}/v3/kv/{what}", self.ports.etcd);
        let asked = client.post(url).body(body.to_string()).send().await;
        let answer = asked.expect("an answer of etcd");
        assert!(answer.status().is_success(), "{what}: {answer:?}");
        let text = answer.text().await.expect("etcd's answer");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Copies what the servers logged to where it outlives them, and says where.
    pub fn kept_logs(&self) -> PathBuf {
        let name = format!("control-plane-{}", std::process::id());
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&kept).expect("a folder for logs");
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "audit"] {
            let log = format!("{name}.log");
            std::fs::copy(self.dir.path().join(&log), kept.join(log)).ok();
        }
        kept
    }

    /// A client with all rights that acts as this user; as the daemon's account, only with its rights.
    pub async fn client(&self, user: &str) -> Client {
        Client::try_from(self.config(user).await).expect("a client")
    }

    /// The same as a configuration, to make clients with deadlines of their own.
    pub async fn config(&self, user: &str) -> Config {
        let read = Kubeconfig::read_from(self.kubeconfig(user)).expect("the kubeconfig");
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(read, &options)
            .await
            .expect("the kubeconfig's content")
    }

    /// A kubeconfig file of this user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        let known = USERS.iter().any(|(name, _)| *name == user);
        let auth = if known {
            json!({"token": user})
        } else {
            json!({"token": "admin", "as": user, "as-groups": ["system:masters"]})
        };
        let path = self
            .dir
            .path()
            .join(format!("{}.kubeconfig", user.replace(':', "_")));
        let text = kubeconfig(
            &format!("https://127.0.0.1:{}", self.ports.api),
            &self.dir.path().join("certs/apiserver.crt"),
            auth,
        );
        std::fs::write(&path, text.to_string()).expect("a kubeconfig");
        path
    }

    /// The requests so far, as `audit.k8s.io/v1` Events.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_log()).expect("the audit log");
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Where the requests are written to, a line each.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn run(&self, name: &str, flags: &[String]) -> Server {
        let log = self.dir.path().join(format!("{name}.log"));
        Server::start(self.assets.join(name), flags, &log)
    }

    fn api_flags(&self) -> Vec<String> {
        let Ports { etcd, api } = self.ports;
        let dir = self.dir.path().display();
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={api}"),
            format!("--cert-dir={dir}/certs"),
            format!("--token-auth-file={dir}/tokens.csv"),
            "--authorization-mode=RBAC".into(),
            "--disable-admission-plugins=ServiceAccount".into(),
            // As on OpenShift: nobody may set owners without the rights for it.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".into(),
            "--endpoint-reconciler-type=none".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={dir}/certs/apiserver.key"),
            format!("--service-account-signing-key-file={dir}/certs/apiserver.key"),
            format!("--audit-policy-file={dir}/audit.json"),
            format!("--audit-log-path={dir}/audit.log"),
        ]
    }

    fn controller_flags(&self, port: u16) -> Vec<String> {
        let kubeconfig = self.kubeconfig("system:kube-controller-manager");
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={CONTROLLERS}"),
            "--leader-elect=false".into(),
            "--horizontal-pod-autoscaler-sync-period=1s".into(),
            // Many scenarios at once are more than its default of 20 requests a second.
            "--kube-api-qps=1000".into(),
            "--kube-api-burst=1000".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}/controllers", self.dir.path().display()),
        ]
    }

    async fn wait_until_ready(&self) {
        let started = std::time::Instant::now();
        while !self.ready().await {
            assert!(
                started.elapsed() < START,
                "the API server is not ready; its log ends:\n{}",
                self.api.as_ref().map(Server::told).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ready(&self) -> bool {
        // Its certificate is the last thing that it needs to make itself.
        if !self.dir.path().join("certs/apiserver.crt").exists() {
            return false;
        }
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
            return false;
        };
        self.client("admin")
            .await
            .request_text(request)
            .await
            .is_ok()
    }
}

fn write_files(dir: &Path) {
    let mut tokens = String::new();
    for (number, (name, group)) in USERS.iter().enumerate() {
        writeln!(tokens, "{name},{name},{number},\"{group}\"").expect("a line");
    }
    for (name, text) in [("tokens.csv", tokens.as_str()), ("audit.json", AUDIT)] {
        std::fs::write(dir.join(name), text).expect("a file of the control plane");
    }
}

fn etcd_flags(dir: &Path, port: u16, peer: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}/etcd", dir.display()),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ]
}

fn kubeconfig(url: &str, ca: &Path, auth: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "real",
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real"}}],
        "clusters": [{"name": "real", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "real", "user": auth}],
    })
}
