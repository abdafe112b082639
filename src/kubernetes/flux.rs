//! Flux's objects, as far as the way from a Deployment back to its commit needs them: the
//! Kustomization that applies it and the `GitRepository` that this reads.
//!
//! They are read when they are needed, not watched: between remedies nothing is asked. Only the
//! fields used are parsed, so that every version of Flux's API that has them will do.
//!
//! Not here: Git itself (`crate::git`), and when anything is asked (`daemon::remedy`).

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::crd::MANAGER;
use crate::rollout::smoke::{Synced, SyncedKind};

mod automation;
mod policy;
mod provider;
pub mod range;

pub use automation::{Reach, SUSPENDED_FOR};
pub use provider::{EXCLUDED_BEFORE, EXCLUDED_FOR};

/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);
/// By which Flux is asked to look at once.
const REQUESTED: &str = "reconcile.fluxcd.io/requestedAt";

/// Why the way to the commit is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not give it.
    #[error("reading {what}")]
    Read {
        /// Kind, namespace and name.
        what: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The API server is silent.
    #[error("reading {what}: no answer within 5 s")]
    Silent {
        /// Kind, namespace and name.
        what: String,
    },
    /// It is there, but does not lead to a commit.
    #[error("{what}: {why}")]
    NoCommit {
        /// Kind, namespace and name.
        what: String,
        /// What was found and what would be right.
        why: String,
    },
    /// It is there, but what it applies is not what it was asked for.
    #[error("{what} does not apply {of} ({by} does not list it): name what does")]
    Foreign {
        /// Kind, namespace and name.
        what: String,
        /// The same of the workload.
        of: String,
        /// The field that would list it.
        by: &'static str,
    },
}

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What a Kustomization applies, and from which commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kustomization {
    /// The folder in the repository, from its root.
    pub path: String,
    /// The commit that it applied last and that is healthy.
    pub applied: Option<String>,
    /// The commit that it tried to apply last.
    pub attempted: Option<String>,
    /// Where the commits come from.
    pub repository: Named,
    /// The namespace that it puts everything in, whatever the manifests say.
    pub target_namespace: Option<String>,
    /// What it has applied: `namespace_name_group_kind` each.
    inventory: Vec<String>,
}

impl Kustomization {
    /// Whether its inventory has an object.
    pub fn applies(&self, (group, kind): (&str, &str), at: &Named) -> bool {
        let id = format!("{}_{}_{group}_{kind}", at.namespace, at.name);
        self.inventory.contains(&id)
    }
}

/// What an object of Flux has applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The revision, as Flux says it.
    pub revision: String,
    /// The object, for Events.
    pub object: ObjectReference,
}

/// Where commits come from.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its URL.
    pub url: String,
    /// The branch that is followed.
    pub branch: String,
    /// What its Secret holds; empty for a public repository.
    pub secret: BTreeMap<String, Vec<u8>>,
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Reads Flux's objects.
#[derive(Clone)]
pub struct Flux {
    reads: Client,
    writes: Client,
}

impl Flux {
    /// By these clients.
    pub fn new(reads: Client, writes: Client) -> Self {
        Self { reads, writes }
    }

    /// The revision that an object has applied, once it is ready with it.
    pub async fn applied(&self, synced: &Synced) -> Result<Option<Applied>, Error> {
        let kind = match synced.kind {
            SyncedKind::Kustomization => KUSTOMIZATION,
            SyncedKind::HelmRelease => HELM_RELEASE,
        };
        let at = Named {
            namespace: synced.namespace.clone(),
            name: synced.name.clone(),
        };
        let what = told(kind.2, &at);
        let found = within(&what, api(&self.reads, kind, &at).get(&at.name)).await?;
        let generation = found.metadata.generation.unwrap_or_default();
        let revision = applied(&found.data["status"], generation);
        Ok(revision.map(|revision| Applied {
            revision,
            object: ObjectReference {
                api_version: Some(format!("{}/{}", kind.0, kind.1)),
                kind: Some(kind.2.to_owned()),
                namespace: Some(at.namespace),
                name: Some(at.name),
                uid: found.metadata.uid,
                ..ObjectReference::default()
            },
        }))
    }

    /// A Kustomization.
    pub async fn kustomization(&self, at: &Named) -> Result<Kustomization, Error> {
        let what = told("Kustomization", at);
        let found = within(&what, api(&self.reads, KUSTOMIZATION, at).get(&at.name)).await?;
        kustomization(&found.data, at).map_err(|why| Error::NoCommit { what, why })
    }

    /// The namespace that a `HelmRelease` installs into.
    pub async fn installs_into(&self, release: &Named) -> Result<String, Error> {
        let what = told(HELM_RELEASE.2, release);
        let found = within(
            &what,
            api(&self.reads, HELM_RELEASE, release).get(&release.name),
        )
        .await?;
        let target = found.data["spec"]["targetNamespace"].as_str();
        Ok(target.unwrap_or(&release.namespace).to_owned())
    }

    /// A `GitRepository` with its Secret.
    pub async fn repository(&self, at: &Named) -> Result<Repository, Error> {
        let what = told("GitRepository", at);
        let found = within(&what, api(&self.reads, REPOSITORY, at).get(&at.name)).await?;
        let spec = &found.data["spec"];
        let url = spec["url"].as_str().unwrap_or_default().to_owned();
        let branch = branch(spec).map_err(|why| Error::NoCommit { what, why })?;
        let secret = match spec["secretRef"]["name"].as_str() {
            Some(name) => self.secret(&at.namespace, name).await?,
            None => BTreeMap::new(),
        };
        Ok(Repository {
            url,
            branch,
            secret,
        })
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let what = format!("Secret {namespace}/{name}");
        let secrets: Api<Secret> = Api::namespaced(self.reads.clone(), namespace);
        let secret = within(&what, secrets.get(name)).await?;
        let data = secret.data.unwrap_or_default();
        Ok(data
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect())
    }

    /// Asks Flux to fetch and to apply at once.
    pub async fn reconcile_now(
        &self,
        kustomization: &Named,
        repository: &Named,
        now: Timestamp,
    ) -> Result<(), Error> {
        let asked = json!({"metadata": {"annotations": {REQUESTED: now.to_string()}}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        for (kind, at) in [(REPOSITORY, repository), (KUSTOMIZATION, kustomization)] {
            let api = api(&self.writes, kind, at);
            let patch = Patch::Merge(&asked);
            within(&told(kind.2, at), api.patch(&at.name, &params, &patch)).await?;
        }
        Ok(())
    }
}

/// Group, version, kind, plural.
pub(super) type Kind = (&'static str, &'static str, &'static str, &'static str);
const KUSTOMIZATION: Kind = (
    "kustomize.toolkit.fluxcd.io",
    "v1",
    "Kustomization",
    "kustomizations",
);
const REPOSITORY: Kind = (
    "source.toolkit.fluxcd.io",
    "v1",
    "GitRepository",
    "gitrepositories",
);

const HELM_RELEASE: Kind = (
    "helm.toolkit.fluxcd.io",
    "v2",
    "HelmRelease",
    "helmreleases",
);

/// What is applied, of an object that is ready and has looked at its newest spec: a Kustomization's
/// revision, or a release's version and digest.
fn applied(status: &Value, generation: i64) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let ready = conditions
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True");
    if !ready || status["observedGeneration"].as_i64() != Some(generation) {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    text(&status["lastAppliedRevision"]).or_else(|| {
        let newest = status["history"].as_array()?.first()?;
        let chart = text(&newest["chartVersion"])?;
        let version = newest["version"].as_i64()?;
        Some(format!("{chart} (release {version})"))
    })
}

pub(super) fn api(
    client: &Client,
    (group, version, kind, plural): Kind,
    at: &Named,
) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(client.clone(), &at.namespace, &resource)
}

pub(super) fn told(kind: &str, at: &Named) -> String {
    format!("{kind} {}/{}", at.namespace, at.name)
}

pub(super) async fn within<T>(
    what: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    let what = what.to_owned();
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map_err(|source| Error::Read { what, source }),
        Err(_) => Err(Error::Silent { what }),
    }
}

fn kustomization(object: &Value, at: &Named) -> Result<Kustomization, String> {
    let source = &object["spec"]["sourceRef"];
    let kind = source["kind"].as_str().unwrap_or_default();
    if kind != "GitRepository" {
        return Err(format!(
            "its source is a {kind}, which has no commit to revert: publish the last good artifact again"
        ));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = object["status"]["inventory"]["entries"].as_array();
    let entries = entries.into_iter().flatten();
    Ok(Kustomization {
        target_namespace: text(&object["spec"]["targetNamespace"]),
        inventory: entries.filter_map(|entry| text(&entry["id"])).collect(),
        path: text(&object["spec"]["path"]).unwrap_or_default(),
        applied: object["status"]["lastAppliedRevision"]
            .as_str()
            .and_then(commit),
        attempted: object["status"]["lastAttemptedRevision"]
            .as_str()
            .and_then(commit),
        repository: Named {
            namespace: text(&source["namespace"]).unwrap_or_else(|| at.namespace.clone()),
            name: text(&source["name"]).unwrap_or_default(),
        },
    })
}

/// The branch that is followed; a tag or a fixed commit cannot be added to.
fn branch(spec: &Value) -> Result<String, String> {
    let reference = &spec["ref"];
    if let Some(name) = reference["name"].as_str() {
        let branch = name.strip_prefix("refs/heads/");
        let refused = || format!("it follows {name}, want a branch");
        return branch.map(str::to_owned).ok_or_else(refused);
    }
    for fixed in ["commit", "semver", "tag"] {
        if let Some(value) = reference[fixed].as_str() {
            return Err(format!("it follows the {fixed} {value}, want a branch"));
        }
    }
    Ok(reference["branch"].as_str().unwrap_or("master").to_owned())
}

/// The commit of a revision such as `main@sha1:0123...`, or of the older `main/0123...`.
pub(super) fn commit(revision: &str) -> Option<String> {
    let digest = revision.rsplit(['@', '/', ':']).next()?;
    let whole = digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn here() -> Named {
        Named {
            namespace: "flux-system".to_owned(),
            name: "apps".to_owned(),
        }
    }

    #[test]
    fn a_revision_counts_once_flux_is_ready_with_the_newest_spec() {
        let status = |ready: &str, observed: i64| {
            json!({
                "conditions": [{"type": "Ready", "status": ready}],
                "observedGeneration": observed, "lastAppliedRevision": "main@sha1:01",
            })
        };
        assert_eq!(
            applied(&status("True", 2), 2).as_deref(),
            Some("main@sha1:01")
        );
        assert_eq!(applied(&status("Unknown", 2), 2), None);
        assert_eq!(applied(&status("True", 1), 2), None);
        assert_eq!(applied(&json!({}), 1), None);
        let mut release = status("True", 1);
        release["lastAppliedRevision"] = json!(null);
        release["history"] = json!([{"chartVersion": "1.2.3", "version": 7}, {"version": 6}]);
        assert_eq!(applied(&release, 1).as_deref(), Some("1.2.3 (release 7)"));
    }

    #[test]
    fn a_kustomization_leads_to_its_repository_and_commits() {
        let object = json!({
            "spec": {"path": "./apps/production", "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
            "status": {"lastAppliedRevision": format!("main@sha1:{COMMIT}"), "lastAttemptedRevision": "main@sha1:12",
                       "inventory": {"entries": [{"id": "shop_backend_apps_Deployment", "v": "v1"}]}},
        });
        let wanted = Kustomization {
            path: "./apps/production".to_owned(),
            applied: Some(COMMIT.to_owned()),
            attempted: None,
            repository: Named {
                name: "fleet".to_owned(),
                ..here()
            },
            target_namespace: None,
            inventory: vec!["shop_backend_apps_Deployment".to_owned()],
        };
        let backend = |namespace: &str| Named {
            namespace: namespace.to_owned(),
            name: "backend".to_owned(),
        };
        assert!(wanted.applies(("apps", "Deployment"), &backend("shop")));
        assert!(!wanted.applies(("apps", "Deployment"), &backend("shop-dev")));
        assert!(!wanted.applies(("apps", "StatefulSet"), &backend("shop")));
        assert_eq!(kustomization(&object, &here()), Ok(wanted));
    }

    #[test]
    fn a_source_without_commits_and_a_fixed_reference_are_refused_by_name() {
        for kind in ["OCIRepository", "Bucket"] {
            let object = json!({"spec": {"sourceRef": {"kind": kind, "name": "a"}}});
            let said = kustomization(&object, &here()).unwrap_err();
            assert!(
                said.contains(kind) && said.contains("no commit to revert"),
                "{said}"
            );
        }
        for (reference, wanted) in [
            (json!({}), Ok("master")),
            (json!({"branch": "main"}), Ok("main")),
            (json!({"name": "refs/heads/a/b"}), Ok("a/b")),
            (
                json!({"name": "refs/tags/v1"}),
                Err("it follows refs/tags/v1, want a branch"),
            ),
            (
                json!({"branch": "main", "semver": ">=1.0"}),
                Err("it follows the semver >=1.0, want a branch"),
            ),
        ] {
            let found = branch(&json!({"ref": reference}));
            assert_eq!(found.as_deref().map_err(String::as_str), wanted);
        }
    }

    #[test]
    fn both_forms_of_a_revision_name_their_commit() {
        assert_eq!(
            commit(&format!("main@sha1:{COMMIT}")).as_deref(),
            Some(COMMIT)
        );
        assert_eq!(commit(&format!("main/{COMMIT}")).as_deref(), Some(COMMIT));
        assert_eq!(commit("main@sha256:12"), None);
    }
}
