//! Sluice as a person installs it on a real control plane: what the binary prints, the RBAC of
//! `clusters/base`, and the accounts that act.
//!
//! Not here: the daemon (`stage`); no pod runs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::{Value, json};
use sluice::sandbox::scenario::{self, Way};

use crate::control_plane::ControlPlane;

/// How long admission policies may take until they apply.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients by the account that they act as; all may do everything.
pub struct Accounts {
    admin: Config,
    clients: Mutex<BTreeMap<String, Client>>,
}

impl Accounts {
    pub async fn of(plane: &ControlPlane) -> Self {
        Self {
            admin: plane.config("admin").await,
            clients: Mutex::default(),
        }
    }

    pub fn client(&self, user: &str) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.entry(user.to_owned());
        known
            .or_insert_with(|| {
                let mut config = self.admin.clone();
                config.auth_info.impersonate = Some(user.to_owned());
                config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
                Client::try_from(config).expect("a client")
            })
            .clone()
    }

    /// Reads something small.
    pub async fn ask(&self) {
        let read = http::Request::get("/api/v1/namespaces/probe").body(Vec::new());
        let client = self.client("admin");
        client.request_text(read.expect("a request")).await.ok();
    }

    /// Creates a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.apply(&namespace).await;
    }

    /// Applies an object, or panics.
    pub async fn apply(&self, object: &Value) {
        let applied = scenario::apply(self.client("admin"), Way::Flux, object).await;
        if let Err(error) = applied {
            panic!("{} {}: {error}", object["kind"], object["metadata"]["name"]);
        }
    }
}

/// The definitions, the accounts and the class: what a cluster has before Sluice runs.
pub async fn install(accounts: &Accounts) {
    for object in documents(&printed("crd"))
        .into_iter()
        .chain(base("namespace.yaml"))
        .chain(base("rbac.yaml"))
    {
        accounts.apply(&object).await;
    }
    class(accounts).await;
    accounts.create_namespace("probe").await;
    accounts.apply(&probe("probe:v1")).await;
}

/// What the component for remedies in Git grants, for Flux's objects in this namespace.
#[allow(dead_code)] // only scenarios with a repository need it
pub async fn git_revert(accounts: &Accounts, namespace: &str) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters/components/git-revert/rbac.yaml");
    let text = std::fs::read_to_string(file).expect("a manifest");
    for mut object in documents(&text) {
        if object["metadata"]["namespace"].is_string() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        accounts.apply(&object).await;
    }
}

/// The Ingress class that the routers serve.
pub async fn class(accounts: &Accounts) {
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}});
    accounts.apply(&class).await;
}

/// Applies the gate, or removes it with every other admission policy, and waits until that counts.
pub async fn gate(accounts: &Accounts, wanted: bool) {
    let gate = documents(&printed("gate"));
    let ours: Vec<(&Value, &Value)> = gate
        .iter()
        .map(|object| (&object["kind"], &object["metadata"]["name"]))
        .collect();
    for (kind, name) in policies(accounts).await {
        let keep = wanted && ours.contains(&(&json!(kind), &json!(name)));
        if !keep {
            let api = cluster_wide(accounts.client("admin"), &kind);
            api.delete(&name, &kube::api::DeleteParams::default())
                .await
                .expect("a policy less");
        }
    }
    if wanted {
        for object in &gate {
            accounts.apply(object).await;
        }
    }
    wait_until_held(accounts, wanted).await;
}

/// Removes the webhook of the usual name.
#[allow(dead_code)] // only scenarios leave one behind
pub async fn no_webhook(accounts: &Accounts) {
    let api = cluster_wide(accounts.client("admin"), "MutatingWebhookConfiguration");
    let gone = kube::api::DeleteParams::default();
    api.delete("sluice-gate", &gone).await.ok();
}

const POLICIES: [&str; 4] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

async fn policies(accounts: &Accounts) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for kind in POLICIES {
        let api = cluster_wide(accounts.client("admin"), kind);
        let list = api.list(&ListParams::default()).await.expect("policies");
        found.extend(
            list.items
                .into_iter()
                .filter_map(|policy| Some((kind.to_owned(), policy.metadata.name?))),
        );
    }
    found
}

fn cluster_wide(client: Client, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client, &ApiResource::from_gvk(&gvk))
}

/// The API server learns of policies some time after they are stored.
async fn wait_until_held(accounts: &Accounts, wanted: bool) {
    let began = Instant::now();
    while held(accounts).await != wanted {
        assert!(
            began.elapsed() < PATIENCE,
            "the gate does not come to be {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn held(accounts: &Accounts) -> bool {
    let gvk = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let api: Api<DynamicObject> = Api::namespaced_with(
        accounts.client("admin"),
        "probe",
        &ApiResource::from_gvk(&gvk),
    );
    let mut params = PatchParams::apply("probe").force();
    params.dry_run = true;
    let changed = Patch::Apply(probe("probe:v2"));
    let tried = api.patch("probe", &params, &changed).await;
    let tried = tried.expect("a dry run");
    tried.data["spec"]["paused"] == json!(true)
}

fn probe(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "probe", "namespace": "probe", "labels": {"sluice.dev/guarded": "true"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "probe"}}, "template": {
            "metadata": {"labels": {"app": "probe"}},
            "spec": {"containers": [{"name": "probe", "image": image}]}}}})
}

/// What the binary prints for `kubectl apply -f -`.
fn printed(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg(command)
        .output()
        .expect("sluice");
    String::from_utf8(output.stdout).expect("a text")
}

/// The objects of a file of `clusters/base/sluice`.
pub fn base(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters/base/sluice");
    documents(&std::fs::read_to_string(folder.join(file)).expect("a manifest"))
}

fn documents(text: &str) -> Vec<Value> {
    scenario::manifests(text).expect("manifests")
}
