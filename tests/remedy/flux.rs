//! A stand-in for Flux: a `GitRepository` and a Kustomization whose branch is looked at every few
//! seconds, or at once when asked, and applied as kustomize-controller does it.
//!
//! As with `wait: true`, a revision counts as applied once the Deployment is healthy.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kustomize::{Files, build};
use tokio::task::JoinSet;

use crate::repository::{Team, git};
use crate::world::World;

const INTERVAL: Duration = Duration::from_secs(10);

pub struct Flux {
    client: Client,
    asked: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Flux {
    /// Reconciles `apps/shop` of the team's repository for ever.
    pub async fn start(world: &World, team: &Team, url: &str, token: &str) -> Self {
        for crd in crds() {
            world.apply(crd).await;
        }
        let meta = |name: &str| json!({"namespace": "flux-system", "name": name});
        world.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}})).await;
        world.apply(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta("fleet"),
            "spec": {"url": url, "interval": "1m", "ref": {"branch": "main"}, "secretRef": {"name": "fleet"}},
        })).await;
        world.apply(json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": meta("shop"),
            "spec": {"path": "./apps/shop", "interval": "1m", "prune": true, "wait": true,
                     "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
        })).await;
        let client = world
            .cluster
            .client("system:serviceaccount:flux-system:kustomize-controller");
        let asked = Arc::new(AtomicBool::new(false));
        let controller = Controller {
            client: client.clone(),
            bare: team.bare(),
            clock: world.clock,
            asked: asked.clone(),
            seen: None,
        };
        let mut task = JoinSet::new();
        let flux = Self {
            client,
            asked,
            _task: JoinSet::new(),
        };
        flux.token(token).await;
        task.spawn(controller.reconcile());
        Self {
            _task: task,
            ..flux
        }
    }

    /// The password by which the repository is reached.
    pub async fn token(&self, token: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "flux-system");
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let mut secret = Secret::default();
        secret.metadata.name = Some("fleet".to_owned());
        secret.data = Some(
            [("username", "bot"), ("password", token)]
                .map(|(key, value)| (key.to_owned(), text(value)))
                .into(),
        );
        let params = PatchParams::apply("test").force();
        secrets
            .patch("fleet", &params, &Patch::Apply(&secret))
            .await
            .unwrap();
    }

    /// Whether somebody asked for a look at once.
    pub fn asked_at_once(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

struct Controller {
    client: Client,
    bare: PathBuf,
    clock: Clock,
    asked: Arc<AtomicBool>,
    seen: Option<String>,
}

impl Controller {
    async fn reconcile(mut self) {
        loop {
            let head = git(&self.bare, &["rev-parse", "main"]);
            self.status(json!({"lastAttemptedRevision": format!("main@sha1:{head}")}))
                .await;
            self.apply(&head).await;
            if self.healthy().await {
                self.status(json!({"lastAppliedRevision": format!("main@sha1:{head}")}))
                    .await;
            }
            self.wait().await;
        }
    }

    /// Until the interval is over, or somebody asks.
    async fn wait(&mut self) {
        for _ in 0..INTERVAL.as_secs() {
            self.clock.sleep(Duration::from_secs(1)).await;
            let kustomization = self.kustomizations().get("shop").await.unwrap();
            let asked = kustomization.metadata.annotations.unwrap_or_default();
            let asked = asked.get("reconcile.fluxcd.io/requestedAt").cloned();
            if asked != self.seen {
                self.asked.store(true, Ordering::Relaxed);
                self.seen = asked;
                return;
            }
        }
    }

    async fn apply(&self, head: &str) {
        let files = Bare {
            bare: self.bare.clone(),
            head: head.to_owned(),
        };
        for object in build(&files, "apps/shop").unwrap() {
            let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "default");
            let params = PatchParams::apply("kustomize-controller").force();
            deployments
                .patch("shop", &params, &Patch::Apply(&object))
                .await
                .unwrap();
        }
    }

    /// As kstatus has it.
    async fn healthy(&self) -> bool {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "default");
        let shop = deployments.get("shop").await.unwrap();
        let paused = shop.spec.paused.unwrap_or_default();
        let status = shop.status.unwrap_or_default();
        !paused
            && status.observed_generation == shop.metadata.generation
            && status.updated_replicas == status.replicas
            && status.available_replicas == status.replicas
    }

    async fn status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.kustomizations()
            .patch_status("shop", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    fn kustomizations(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
        let resource = ApiResource::from_gvk_with_plural(&kind, "kustomizations");
        Api::namespaced_with(self.client.clone(), "flux-system", &resource)
    }
}

/// The files of a commit.
struct Bare {
    bare: PathBuf,
    head: String,
}

impl Files for Bare {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        let found = std::process::Command::new("git")
            .args(["show", &format!("{}:{path}", self.head)])
            .current_dir(&self.bare)
            .output()
            .unwrap();
        let text = String::from_utf8(found.stdout).unwrap();
        Ok((found.status.success() && !text.starts_with("tree ")).then_some(text))
    }

    fn list(&self, _path: &str) -> Result<Option<Vec<String>>, String> {
        Ok(None)
    }
}

fn crds() -> [Value; 2] {
    [
        ("kustomize.toolkit.fluxcd.io", "Kustomization", "kustomizations"),
        ("source.toolkit.fluxcd.io", "GitRepository", "gitrepositories"),
    ]
    .map(|(group, kind, plural)| {
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"type": "object", "properties": {"spec": open, "status": open}});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true,
                              "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}],
            },
        })
    })
}
