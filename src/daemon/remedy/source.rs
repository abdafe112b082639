//! Where a workload's manifests come from: by a Kustomization of Flux, or by an Application of
//! Argo CD.
//!
//! Guarantees: what a Rollout names counts only where it says itself that it applies the workload. Whoever
//! may write a Rollout in one namespace has thereby no say over what is deployed in another one.
//!
//! Not here: how these are read (`kubernetes::flux`, `kubernetes::argo`), and what is done with what
//! they say.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::clock::elapsed;
use crate::daemon::context::Access;
use crate::kubernetes::argo::{self, Argo};
use crate::kubernetes::cache::Cache;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::flux::{Error, Flux, Kustomization, Named, Repository};

/// A commit that has been on the cluster for so long has been seen by everybody.
const SETTLED: Duration = Duration::from_secs(120);
/// In the place of an Application's name: the one by which Argo CD tracks the Deployment.
const TRACKED: &str = "*";
const HELM_RELEASE: (&str, &str) = ("helm.toolkit.fluxcd.io", "HelmRelease");

/// What applies a Rollout's Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Flux.
    Kustomization(Named),
    /// Argo CD.
    Application(Named),
    /// The Flux Operator's provider of the tag, without any commit.
    InputProvider(Named),
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, Named { namespace, name }) = match self {
            Self::Kustomization(at) => ("Kustomization", at),
            Self::Application(at) => ("Application", at),
            Self::InputProvider(at) => ("ResourceSetInputProvider", at),
        };
        write!(f, "{kind} {namespace}/{name}")
    }
}

/// The commits that it knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commits {
    /// The one that was applied last and is healthy.
    pub applied: Option<String>,
    /// The one that it tried to apply last.
    pub attempted: Option<String>,
}

/// The workload whose manifests are looked for.
#[derive(Debug, Clone)]
pub struct Workload {
    kind: String,
    at: Named,
    /// The `HelmRelease` that deploys it, as its labels say.
    release: Option<Named>,
}

impl Workload {
    /// A Rollout's target.
    pub fn of(cache: &Cache, rollout: &Rollout) -> Self {
        Self {
            kind: rollout.spec.target.kind.clone(),
            at: Named {
                namespace: rollout.namespace().unwrap_or_default(),
                name: rollout.spec.target.name.clone(),
            },
            release: release(cache, rollout),
        }
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Named { namespace, name } = &self.at;
        write!(f, "{} {namespace}/{name}", self.kind)
    }
}

/// What it deploys, and from where.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The folder in the repository, from its root.
    pub path: String,
    /// The workload's namespace, where the manifests decide on it.
    pub namespace: Option<String>,
    /// The repository.
    pub repository: Repository,
    /// Flux's object for that.
    pub object: Option<Named>,
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Reads both.
#[derive(Clone)]
pub struct Sources {
    pub(super) flux: Flux,
    argo: Argo,
}

impl Sources {
    /// By these clients.
    pub fn new(access: &Access) -> Self {
        let Access { reads, writes } = access;
        Self {
            flux: Flux::new(reads.clone(), writes.clone()),
            argo: Argo::new(reads.clone(), writes.clone()),
        }
    }

    /// The commits that it knows of now.
    pub async fn commits(&self, by: &By, of: &Workload, now: Timestamp) -> Result<Commits, Error> {
        let (applied, attempted) = match by {
            By::Kustomization(at) => {
                let found = self.kustomization(at, of).await?;
                (found.applied, found.attempted)
            }
            By::Application(at) => {
                let found = self.argo.application(at, (&of.kind, &of.at)).await?;
                // Its health is that of all that it applies, of which something else may be ill for long.
                let settled = |(_, since): &(String, Timestamp)| elapsed(*since, now) >= SETTLED;
                let settled = found.synced.filter(settled).map(|(commit, _)| commit);
                (found.applied.or(settled), found.attempted)
            }
            By::InputProvider(_) => (None, None),
        };
        Ok(Commits { applied, attempted })
    }

    /// What it deploys, with the credentials for where that is.
    pub async fn deployed(&self, by: &By, of: &Workload) -> Result<Deployed, Error> {
        match by {
            By::Kustomization(at) => {
                let found = self.kustomization(at, of).await?;
                let written = found.target_namespace.is_none();
                Ok(Deployed {
                    path: found.path,
                    namespace: written.then(|| of.at.namespace.clone()),
                    repository: self.flux.repository(&found.repository).await?,
                    object: Some(found.repository),
                })
            }
            By::InputProvider(_) => Err(Error::NoCommit {
                what: by.to_string(),
                why: "it has no commits".to_owned(),
            }),
            By::Application(at) => {
                let found = self.argo.application(at, (&of.kind, &of.at)).await?;
                Ok(Deployed {
                    repository: self.argo.repository(at, &found).await?,
                    path: found.path,
                    namespace: Some(of.at.namespace.clone()),
                    object: None,
                })
            }
        }
    }

    /// A Kustomization that applies the workload, or the release of Helm that installs it.
    async fn kustomization(&self, at: &Named, of: &Workload) -> Result<Kustomization, Error> {
        let found = self.flux.kustomization(at).await?;
        if self.applies(&found, of).await? {
            return Ok(found);
        }
        Err(Error::Foreign {
            what: By::Kustomization(at.clone()).to_string(),
            of: of.to_string(),
            by: "status.inventory",
        })
    }

    async fn applies(&self, found: &Kustomization, of: &Workload) -> Result<bool, Error> {
        if found.applies(("apps", &of.kind), &of.at) {
            return Ok(true);
        }
        let release = of.release.as_ref();
        match release.filter(|release| found.applies(HELM_RELEASE, release)) {
            Some(release) if release.namespace == of.at.namespace => Ok(true),
            // The labels that lead to it are in the hands of whoever may write the workload.
            Some(release) => Ok(self.flux.installs_into(release).await? == of.at.namespace),
            None => Ok(false),
        }
    }

    /// Asks for a look at once.
    pub async fn reconcile_now(
        &self,
        by: &By,
        deployed: &Deployed,
        now: Timestamp,
    ) -> Result<(), Error> {
        match (by, &deployed.object) {
            (By::Kustomization(at), Some(repository)) => {
                self.flux.reconcile_now(at, repository, now).await
            }
            (By::Application(at), _) => self.argo.refresh_now(at).await,
            (By::Kustomization(_), None) | (By::InputProvider(_), _) => Ok(()),
        }
    }
}

impl Sources {
    /// With the Application by which Argo CD tracks the Deployment, where the Rollout names none.
    pub(super) fn tracked(cache: &Cache, rollout: &Rollout, by: &By) -> Result<By, Error> {
        let By::Application(at) = by else {
            return Ok(by.clone());
        };
        if at.name != TRACKED {
            return Ok(by.clone());
        }
        let workload = Workload::of(cache, rollout);
        let untracked = |why: String| Error::NoCommit {
            what: workload.to_string(),
            why,
        };
        let found = cache.guarded(rollout);
        let found = found.ok_or_else(|| untracked("it is not there".to_owned()))?;
        let at = argo::tracked((&workload.kind, &found.object.metadata), &at.namespace);
        Ok(By::Application(at.map_err(untracked)?))
    }
}

/// The `HelmRelease` that deploys the target, as Flux's labels say.
pub(super) fn release(cache: &Cache, rollout: &Rollout) -> Option<Named> {
    let target = cache.guarded(rollout)?;
    let labels = target.object.metadata.labels.as_ref()?;
    let label = |key: &str| {
        labels
            .get(&format!("helm.toolkit.fluxcd.io/{key}"))
            .cloned()
    };
    Some(Named {
        namespace: label("namespace")?,
        name: label("name")?,
    })
}
