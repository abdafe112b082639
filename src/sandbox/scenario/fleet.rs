//! The Git repository of a scenario (`git: true`), and the part of Flux that matters to it: what is
//! applied by Flux is committed first, and what somebody else pushes is applied.
//!
//! The repository is a real one, bare, in a folder for temporary files that goes with the scenario.
//! A `GitRepository` and a Kustomization say of it what Flux's would say, so that the daemon finds
//! the way from a Deployment to its commit as on any cluster.
//!
//! Not here: libgit2's part (`repository`), and what the daemon does with a repository.

use std::path::Path;

use git2::Oid;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::flux;
use super::format::Way;
use super::kinds::{self, text};
use super::look;
use super::manifests::{self, Git};
use super::repository::Repository;
use super::stage::Stage;
use super::verbs::told;

/// The name of Flux's objects here.
const NAME: &str = "shop";
const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/v1";
const SOURCE: &str = "source.toolkit.fluxcd.io/v1";
const ADMIN: &str = "kubernetes-admin";
/// How often Flux's objects are sent while their kinds are not served yet.
const TRIES: u32 = 50;

/// A repository whose branch is on the cluster.
#[derive(Debug)]
pub struct Fleet {
    repository: Repository,
    namespace: String,
    /// The commit that was applied last.
    attempted: Option<Oid>,
    /// The one that is healthy.
    applied: Option<Oid>,
}

impl Fleet {
    /// An empty repository in `folder`, and Flux's objects in `namespace`.
    pub async fn begin(stage: &dyn Stage, folder: &Path, namespace: &str) -> Result<Self, String> {
        let repository = Repository::new(folder)?;
        let fleet = Self {
            namespace: if namespace.is_empty() {
                "default".to_owned()
            } else {
                namespace.to_owned()
            },
            repository,
            attempted: None,
            applied: None,
        };
        for object in fleet.objects()? {
            fleet.send(stage, &object).await?;
        }
        Ok(fleet)
    }

    async fn send(&self, stage: &dyn Stage, object: &Value) -> Result<(), String> {
        let mut left = TRIES;
        loop {
            left -= 1;
            match manifests::send(stage.client(ADMIN), Way::ServerSide, object).await {
                // Its kind is not served yet.
                Err(kube::Error::Api(status)) if status.code == 404 && left > 0 => {
                    stage.clock().sleep(stage.look_every()).await;
                }
                done => return done.map_err(|error| told(&error)),
            }
        }
    }

    /// Flux's kinds, the repository as a source, and what applies it.
    fn objects(&self) -> Result<[Value; 4], String> {
        let meta = json!({"name": NAME, "namespace": self.namespace});
        Ok([
            flux::kind("Kustomization")?,
            repositories()?,
            json!({
                "apiVersion": SOURCE, "kind": "GitRepository", "metadata": meta,
                "spec": {"url": self.repository.url(), "interval": "1m", "ref": {"branch": "main"}},
            }),
            json!({
                "apiVersion": KUSTOMIZE, "kind": "Kustomization", "metadata": meta,
                "spec": {"path": "./apps", "interval": "1m", "prune": true, "wait": true,
                         "sourceRef": {"kind": "GitRepository", "name": NAME}},
            }),
        ])
    }

    /// Commits manifests that Flux is about to apply; what happened, in a line.
    pub async fn commit(
        &mut self,
        stage: &dyn Stage,
        objects: &[Value],
        summary: &str,
    ) -> Result<String, String> {
        let now = stage.clock().now().as_second();
        let commit = self.repository.commit(objects, summary, now)?;
        self.attempt(stage, commit).await?;
        self.repository.told(commit)
    }

    /// Applies what somebody else pushed meanwhile, as Flux does; what happened, in a line.
    pub async fn follow(
        &mut self,
        stage: &dyn Stage,
        git: &mut Git,
    ) -> Result<Option<String>, String> {
        let head = self.repository.head()?;
        if head == self.attempted {
            self.note_health(stage, git).await?;
            return Ok(None);
        }
        let Some(head) = head else {
            return Ok(None);
        };
        self.attempt(stage, head).await?;
        for object in self.repository.objects(head)? {
            git.keep(Way::Flux, &object);
            let client = stage.client(Way::Flux.account());
            let sent = manifests::send(client, Way::Flux, &object).await;
            sent.map_err(|error| told(&error))?;
        }
        self.repository.told(head).map(Some)
    }

    async fn attempt(&mut self, stage: &dyn Stage, commit: Oid) -> Result<(), String> {
        let objects = self.repository.objects(commit)?;
        let entries: Vec<Value> = objects.iter().map(entry).collect();
        let status = json!({
            "lastAttemptedRevision": revision(commit),
            "inventory": {"entries": entries},
        });
        self.say(stage, &status).await?;
        self.attempted = Some(commit);
        Ok(())
    }

    /// With `wait: true` a commit counts as applied once its Deployments are healthy.
    async fn note_health(&mut self, stage: &dyn Stage, git: &Git) -> Result<(), String> {
        let Some(commit) = self.attempted.filter(|_| self.applied != self.attempted) else {
            return Ok(());
        };
        for (namespace, name) in git.deployments() {
            let found = look::one(stage, "Deployment", &namespace, &name).await?;
            if !found.is_some_and(|deployment| healthy(&deployment)) {
                return Ok(());
            }
        }
        let status = json!({"lastAppliedRevision": revision(commit)});
        self.say(stage, &status).await?;
        self.applied = Some(commit);
        Ok(())
    }

    async fn say(&self, stage: &dyn Stage, status: &Value) -> Result<(), String> {
        let api: kube::Api<DynamicObject> = kinds::api(
            stage.client(ADMIN),
            "Kustomization",
            Some(KUSTOMIZE),
            &self.namespace,
        );
        let patch = Patch::Merge(json!({"status": status}));
        let said = api
            .patch_status(NAME, &PatchParams::default(), &patch)
            .await;
        said.map(drop).map_err(|error| told(&error))
    }

    /// What is on the branch, newest first, as `git log --oneline` has it.
    pub fn log(&self) -> Result<Vec<String>, String> {
        self.repository.log()
    }
}

fn revision(commit: Oid) -> String {
    format!("main@sha1:{commit}")
}

/// An object as an inventory lists it.
fn entry(object: &Value) -> Value {
    let word = |pointer: &str| kinds::text(object, pointer).unwrap_or_default().to_owned();
    let version = word("/apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let (namespace, name) = (manifests::namespace(object), word("/metadata/name"));
    let kind = word("/kind");
    json!({"id": format!("{namespace}_{name}_{group}_{kind}"), "v": version})
}

/// As kstatus has it, roughly.
fn healthy(deployment: &Value) -> bool {
    let number = |pointer: &str| kinds::number(deployment, pointer);
    deployment.pointer("/spec/paused") != Some(&Value::Bool(true))
        && number("/status/observedGeneration") >= number("/metadata/generation")
        && number("/status/updatedReplicas") >= number("/spec/replicas")
        && number("/status/availableReplicas") >= number("/spec/replicas")
}

/// Flux's `GitRepository`, which here may be in our own file system: no server is started.
fn repositories() -> Result<Value, String> {
    let mut kind = flux::kind("GitRepository")?;
    let url = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/url/pattern";
    if let Some(pattern) = kind.pointer_mut(url) {
        *pattern = json!("^(http|https|ssh|file)://.*$");
    }
    Ok(kind)
}

/// The line of a commit's message for a release.
pub fn summary(manifest: &Value) -> String {
    let image = text(manifest, "/spec/template/spec/containers/0/image");
    let name = text(manifest, "/metadata/name").unwrap_or_default();
    format!("Release {}", image.unwrap_or(name))
}
