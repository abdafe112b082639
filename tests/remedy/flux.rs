//! A stand-in for Flux: a `GitRepository` and a Kustomization whose branch is looked at every few
//! seconds, or at once when asked, and applied as kustomize-controller does it.
//!
//! Its image automation writes the tag that its policy says into `apps/shop` whenever the branch has
//! another one, unless it is suspended.
//!
//! As with `wait: true`, a revision counts as applied once the Deployment is healthy.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kustomize::{Files, build};
use sluice::sandbox::scenario::flux::kind;
use sluice::sandbox::scenario::manifests;
use tokio::task::JoinSet;

use crate::kustomization;
use crate::repository::{Team, git};
use crate::world::World;

const INTERVAL: Duration = Duration::from_secs(10);

pub struct Flux {
    client: Client,
    asked: Arc<AtomicBool>,
    tag: Arc<Mutex<Option<String>>>,
    _task: JoinSet<()>,
}

impl Flux {
    /// Somebody else's task in its place.
    pub fn instead(client: Client, task: JoinSet<()>) -> Self {
        Self {
            client,
            asked: Arc::default(),
            tag: Arc::default(),
            _task: task,
        }
    }

    /// Reconciles `apps/shop` of the team's repository for ever.
    pub async fn start(world: &World, team: &Team, url: &str, token: &str) -> Self {
        let kinds = [
            "Kustomization",
            "GitRepository",
            "ImageUpdateAutomation",
            "ImagePolicy",
            "ImageRepository",
        ];
        for name in kinds {
            world.apply(kind(name).unwrap()).await;
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
        world.apply(json!({
            "apiVersion": "image.toolkit.fluxcd.io/v1", "kind": "ImageUpdateAutomation", "metadata": meta("all"),
            "spec": {"interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "fleet"},
                     "update": {"path": "./apps", "strategy": "Setters"},
                     "git": {"checkout": {"ref": {"branch": "main"}}, "commit": {"author": {"email": "flux@shop.example"}}}},
        })).await;
        let client = world
            .cluster
            .client("system:serviceaccount:flux-system:kustomize-controller");
        let asked = Arc::new(AtomicBool::new(false));
        let tag = Arc::<Mutex<Option<String>>>::default();
        let controller = Controller {
            client: client.clone(),
            bare: team.bare(),
            clock: world.clock,
            asked: asked.clone(),
            tag: tag.clone(),
            clone: team.clone(),
            seen: None,
        };
        let mut task = JoinSet::new();
        let flux = Self {
            client,
            asked,
            tag,
            _task: JoinSet::new(),
        };
        flux.token(token).await;
        task.spawn(controller.reconcile());
        Self {
            _task: task,
            ..flux
        }
    }

    /// With tags that are published here.
    pub fn publishing(self, tag: Arc<Mutex<Option<String>>>) -> Self {
        Self { tag, ..self }
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

    /// The newest tag that image automation knows of.
    pub fn newest(&self, tag: &str) {
        *self.tag.lock().unwrap() = Some(tag.to_owned());
    }

    /// Its object.
    pub async fn automation(&self) -> DynamicObject {
        automations(&self.client).get("all").await.unwrap()
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
    tag: Arc<Mutex<Option<String>>>,
    clone: PathBuf,
    seen: Option<String>,
}

impl Controller {
    async fn reconcile(mut self) {
        loop {
            self.automate().await;
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

    /// Writes the newest tag, if it is not suspended.
    async fn automate(&self) {
        let Some(newest) = self.tag.lock().unwrap().clone() else {
            return;
        };
        let tag = self.chosen(newest).await;
        let automation = automations(&self.client).get("all").await.unwrap();
        let file = "apps/shop/kustomization.yaml";
        let now = git(&self.bare, &["show", &format!("main:{file}")]);
        let wanted = format!("newTag: '{tag}'");
        if automation.data["spec"]["suspend"] == true || now.contains(&wanted) {
            return;
        }
        git(&self.clone, &["pull", "-q", "--ff-only", "origin", "main"]);
        let text = kustomization(&tag);
        std::fs::write(self.clone.join(file), text).unwrap();
        git(
            &self.clone,
            &["commit", "-q", "-am", &format!("Automation {tag}")],
        );
        git(&self.clone, &["push", "-q", "origin", "main"]);
    }

    /// The newest tag that the policy lets in, if there is a policy; its status says it.
    async fn chosen(&self, newest: String) -> String {
        let policies = flux_api(
            &self.client,
            "image.toolkit.fluxcd.io",
            "ImagePolicy",
            "imagepolicies",
        );
        let Some(policy) = policies.get_opt("shop").await.unwrap() else {
            return newest;
        };
        let range = policy.data["spec"]["policy"]["semver"]["range"]
            .as_str()
            .unwrap();
        let lets = |tag: &u32| !range.contains(&format!("!={tag}.0.0"));
        let tag = (1..=newest.parse().unwrap())
            .rev()
            .find(lets)
            .unwrap()
            .to_string();
        let status = json!({"status": {"latestRef": {"name": "shop", "tag": tag}}});
        let patch = Patch::Merge(status);
        policies
            .patch_status("shop", &PatchParams::default(), &patch)
            .await
            .unwrap();
        tag
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
        let bare = Bare {
            bare: self.bare.clone(),
            head: head.to_owned(),
        };
        let policies = bare.text("policies/shop.yaml").unwrap();
        for object in policies.iter().flat_map(|text| manifests(text).unwrap()) {
            let (kind, name) = (
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap(),
            );
            let plural = format!("{}s", kind.to_lowercase()).replace("ys", "ies");
            let api = flux_api(&self.client, "image.toolkit.fluxcd.io", kind, &plural);
            let params = PatchParams::apply("kustomize-controller").force();
            api.patch(name, &params, &Patch::Apply(&object))
                .await
                .unwrap();
        }
        let objects = built(&self.bare, head);
        self.status(json!({"inventory": inventory(&objects)})).await;
        for object in objects {
            let object = if object["kind"] == "HelmRelease" {
                rendered(&object)
            } else {
                object
            };
            let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "default");
            let params = PatchParams::apply("kustomize-controller").force();
            let name = object["metadata"]["name"].as_str().unwrap();
            deployments
                .patch(name, &params, &Patch::Apply(&object))
                .await
                .unwrap();
        }
    }

    async fn healthy(&self) -> bool {
        healthy(&self.client).await
    }

    async fn status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.kustomizations()
            .patch_status("shop", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    fn kustomizations(&self) -> Api<DynamicObject> {
        let group = "kustomize.toolkit.fluxcd.io";
        flux_api(&self.client, group, "Kustomization", "kustomizations")
    }
}

/// What a Kustomization's status lists of what it applies.
pub fn inventory(objects: &[Value]) -> Value {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |object: &Value| {
        let meta = &object["metadata"];
        let (namespace, name) = (word(&meta["namespace"]), word(&meta["name"]));
        let version = word(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let id = format!("{namespace}_{name}_{group}_{}", word(&object["kind"]));
        json!({"id": id, "v": version})
    };
    json!({"entries": objects.iter().map(entry).collect::<Vec<_>>()})
}

/// What helm-controller makes of a release of the shop's chart.
fn rendered(release: &Value) -> Value {
    let (meta, values) = (&release["metadata"], &release["spec"]["values"]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "default", "labels": {
            "helm.toolkit.fluxcd.io/name": meta["name"],
            "helm.toolkit.fluxcd.io/namespace": meta["namespace"],
        }},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}, "annotations": {
                    "sandbox.sluice.dev/start-after": "100ms",
                    "sandbox.sluice.dev/latency": "5ms 0.3",
                    "sandbox.sluice.dev/errors": values["errors"],
                }},
                "spec": {"containers": [{
                    "name": "app", "ports": [{"containerPort": 8080}],
                    "image": format!("shop:{}", values["image"]["tag"].as_str().unwrap()),
                }]},
            },
        },
    })
}

fn automations(client: &Client) -> Api<DynamicObject> {
    let kind = "ImageUpdateAutomation";
    flux_api(
        client,
        "image.toolkit.fluxcd.io",
        kind,
        "imageupdateautomations",
    )
}

fn flux_api(client: &Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, "v1", kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), "flux-system", &resource)
}

/// What a commit has in `apps/shop`.
pub fn built(bare: &std::path::Path, head: &str) -> Vec<Value> {
    let files = Bare {
        bare: bare.to_owned(),
        head: head.to_owned(),
    };
    build(&files, "apps/shop").unwrap()
}

/// As kstatus has it.
pub async fn healthy(client: &Client) -> bool {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let shop = deployments.get("shop").await.unwrap();
    let paused = shop.spec.paused.unwrap_or_default();
    let status = shop.status.unwrap_or_default();
    !paused
        && status.observed_generation == shop.metadata.generation
        && status.updated_replicas == status.replicas
        && status.available_replicas == status.replicas
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
        // Of no effect, and read by kustomize.
        let text = text.replace("replacements: []\n", "");
        Ok((found.status.success() && !text.starts_with("tree ")).then_some(text))
    }

    fn list(&self, _path: &str) -> Result<Option<Vec<String>>, String> {
        Ok(None)
    }
}
