//! The team's repository, the server, the pipeline, and a cluster that says what a Rollout says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::CustomResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sluice::clock::Clock;
use sluice::kubernetes::crd::Rollout;
use sluice::sandbox::api;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::binary::Ended;
use super::repository::Team;
use super::server::Http;

const APPLICATIONS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend}
spec: {template: {spec: {containers: [{name: app, image: shop/backend}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend}
spec: {template: {spec: {containers: [{name: app, image: shop/frontend}]}}}
";

/// An environment's kustomization, with comments and quotes as people leave them.
pub fn kustomization(backend: &str, frontend: &str) -> String {
    format!(
        "resources:\n- ../base  # both\nimages:\n- name: shop/frontend\n  newTag: \"{frontend}\"\n\
         - name: shop/backend\n  newTag: {backend} # the shop's heart\n"
    )
}

/// All of it; goes with what it is in.
pub struct Stand {
    pub team: Team,
    pipeline: PathBuf,
    kubeconfig: PathBuf,
    server: Http,
}

impl Stand {
    /// Staging has v1.3.0, production v1.2.0 after v1.1.0.
    pub async fn new(deliver: &str, gates: &str) -> Self {
        let team = Team::new();
        let server = Http::serve(&team.served()).await;
        let environment = |name| format!("clusters/{name}/kustomization.yaml");
        let base = "resources: [all.yaml]\n".to_owned();
        team.commit(
            "Begin",
            &[
                ("clusters/base/kustomization.yaml", &base),
                ("clusters/base/all.yaml", APPLICATIONS),
                (&environment("local"), &kustomization("v1.3.0", "v3")),
                (&environment("staging"), &kustomization("v1.2.0", "v3")),
                (&environment("production"), &kustomization("v1.1.0", "v2")),
            ],
        );
        let production = kustomization("v1.2.0", "v2");
        team.commit("Release", &[(&environment("production"), &production)]);
        let staging = kustomization("v1.3.0", "v3");
        team.commit("Try", &[(&environment("staging"), &staging)]);
        let folder = team.folder.path().to_owned();
        std::fs::write(folder.join("token"), "token\n").unwrap();
        let kubeconfig = folder.join("kubeconfig");
        let url = format!("{}/shop.git", server.url);
        let (pipeline, config) = (folder.join("environments.yaml"), kubeconfig.display());
        let text = format!(
            "repository: {{url: '{url}', username: bot, tokenFile: token}}
git: {{name: Robot, email: robot@shop.example}}
services: [{{name: backend}}, {{name: frontend}}]
environments:
- {{name: local, path: clusters/local, deliver: push}}
- {{name: staging, path: clusters/staging, deliver: push, cluster: {{kubeconfig: '{config}', namespace: shop}}}}
- name: production
  path: clusters/production
  {deliver}
  {gates}
"
        );
        std::fs::write(&pipeline, text).unwrap();
        Self {
            team,
            pipeline,
            kubeconfig,
            server,
        }
    }

    /// The Git server's address.
    pub fn server(&self) -> &str {
        &self.server.url
    }

    /// Runs the binary; words are separated by spaces.
    pub async fn sluice(&self, arguments: &str) -> Ended {
        self.sluice_in(arguments, &[]).await
    }

    /// The same with variables of the environment.
    pub async fn sluice_in(&self, arguments: &str, variables: &[(&str, &str)]) -> Ended {
        // A command that hangs fails its test, and the others go on.
        let mut command = Command::new("timeout");
        command
            .args(["60", env!("CARGO_BIN_EXE_sluice")])
            .envs(variables.iter().copied())
            .args(
                arguments
                    .split(' ')
                    .map(|word| word.replace("Ada<", "Ada <")),
            )
            .arg("--pipeline")
            .arg(&self.pipeline)
            .arg("--copies")
            .arg(self.team.folder.path().join("copies"));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        Ended::of(output)
    }

    /// Changes the text of the pipeline.
    pub fn rewrite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.pipeline).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        std::fs::write(&self.pipeline, text.replace(from, to)).unwrap();
    }

    /// Gives the backend in local and staging another image.
    pub fn use_image(&self, image: &str) {
        let text = kustomization("v1.3.0", "v3").replace("shop/backend", image);
        let files = ["local", "staging"].map(|name| format!("clusters/{name}/kustomization.yaml"));
        let files = files.each_ref().map(|file| (file.as_str(), text.as_str()));
        self.team.commit("Rename", &files);
    }

    /// Staging's cluster is at an address where nobody speaks its language.
    pub fn cluster_at(&self, address: std::net::SocketAddr) {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "users": [{"name": "a", "user": {}}]});
        std::fs::write(&self.kubeconfig, config.to_string()).unwrap();
    }

    /// Staging's cluster.
    pub async fn cluster(&self) -> Cluster {
        let server = api::Api::new(Clock::machine());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        std::fs::write(
            &self.kubeconfig,
            server.kubeconfig(listener.local_addr().unwrap()),
        )
        .unwrap();
        let client = server.client("daemon");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = server.serve(listener, CancellationToken::new()).await;
        });
        let crds: Api<Definition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &Rollout::crd())
            .await
            .unwrap();
        let cluster = Cluster {
            rollouts: Api::namespaced(client.clone(), "shop"),
            client,
            _tasks: tasks,
        };
        cluster.namespace("shop").await;
        cluster
    }

    /// Where the pipeline's file is.
    pub fn pipeline(&self) -> &Path {
        &self.pipeline
    }

    /// Where the file is that says how to reach staging's cluster.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.display().to_string()
    }
}

type Definition =
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

pub struct Cluster {
    client: kube::Client,
    rollouts: Api<Rollout>,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// What the Rollout says: its phase, how its last run ended, and of which tag; or there is none.
    pub async fn says(&self, says: Option<(&str, &str, &str)>) {
        said(&self.rollouts, says).await;
    }

    /// What the Rollout of another namespace says.
    pub async fn says_in(&self, namespace: &str, says: Option<(&str, &str, &str)>) {
        self.namespace(namespace).await;
        let rollouts = Api::namespaced(self.client.clone(), namespace);
        said(&rollouts, says).await;
    }

    /// The image that the Rollout says it serves.
    pub async fn serves(&self, image: &str) {
        let stable = json!({"hash": "bbbbbbbbbb", "images": [image]});
        let status = Patch::Merge(json!({"status": {"stable": stable}}));
        let parameters = PatchParams::default();
        let patched = self.rollouts.patch_status("backend", &parameters, &status);
        patched.await.unwrap();
    }

    async fn namespace(&self, name: &str) {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        // It may be there.
        let _ = namespaces.create(&PostParams::default(), &namespace).await;
    }

    /// Writes annotations on the Rollout by hand.
    pub async fn annotate(&self, annotations: &BTreeMap<&str, &str>) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let parameters = PatchParams::default();
        self.rollouts
            .patch_metadata("backend", &parameters, &patch)
            .await
            .unwrap();
    }

    /// The Rollout's annotations.
    pub async fn annotations(&self) -> BTreeMap<String, String> {
        let rollout = self.rollouts.get("backend").await.unwrap();
        rollout.metadata.annotations.unwrap_or_default()
    }
}

async fn said(rollouts: &Api<Rollout>, says: Option<(&str, &str, &str)>) {
    let Some((phase, outcome, tag)) = says else {
        let _ = rollouts.delete("backend", &DeleteParams::default()).await;
        return;
    };
    let rollout = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "backend"},
        "spec": {"target": {"kind": "Deployment", "name": "backend"},
            "route": {"ingressNginx": {"ingress": "backend"}}},
    });
    let rollout = serde_json::from_value(rollout).unwrap();
    let _ = rollouts.create(&PostParams::default(), &rollout).await;
    let status = json!({"status": {"phase": phase, "lastRun": {
        "id": "backend-1", "revision": {"hash": "aaaaaaaaaa", "images": [format!("shop/backend:{tag}")]},
        "outcome": outcome, "reason": "Worse", "message": "it is worse",
        "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
    }}});
    let parameters = PatchParams::default();
    let status = Patch::Merge(status);
    rollouts
        .patch_status("backend", &parameters, &status)
        .await
        .unwrap();
}
