//! The embedded cluster with the daemon in it: what `sluice sandbox` runs and tests play on.
//!
//! The one place that knows both sides: it applies the CRD and the gate, makes the daemon of
//! the same parts as `sluice run`, and is a stage for scenarios (`stage`). The daemon is a user of
//! the cluster like any other; its metrics come from the routers, or from a Prometheus that
//! scrapes them.
//!
//! Not here: anything about rollouts, and what is printed.

mod stage;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::CustomResourceExt;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::applications;
use super::keeper::{self, Keeper, With};
use crate::clock::Clock;
use crate::daemon::settings::{self, Settings};
use crate::daemon::{Clients, Within};
use crate::kubernetes::crd::{ACCOUNT, Rollout};
use crate::kubernetes::gate;
use crate::kubernetes::webhook::Reached;
use crate::kubernetes::webhook::manifests::{self, Wanted};
use crate::prometheus::Targets;
use crate::sandbox::api::Api;
use crate::sandbox::cluster::{self, Cluster, Options};
use crate::sandbox::scenario::{self, Scenario, Way};
use crate::sandbox::world::World;

/// Where the cluster listens; nowhere, for tests in virtual time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// The API server.
    pub api: Option<SocketAddr>,
    /// The router.
    pub router: Option<SocketAddr>,
    /// The router's metrics.
    pub metrics: Option<SocketAddr>,
    /// The daemon's page.
    pub page: Option<SocketAddr>,
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the cluster.
    #[error("starting the cluster: {0}")]
    Cluster(#[from] cluster::Error),
    /// The CRD or the gate.
    #[error("applying {what}: {source}")]
    Apply {
        /// Which object.
        what: String,
        /// Why.
        source: kube::Error,
    },
    /// The daemon's settings, with the scenario's overrides.
    #[error("reading the daemon's settings: {0}")]
    Settings(#[from] settings::Error),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] keeper::Error),
}

/// A running cluster, with or without the daemon.
pub struct Embedded {
    /// Where everything listens.
    pub at: Addresses,
    clock: Clock,
    api: Api,
    world: World,
    metrics: Vec<SocketAddr>,
    keeper: Keeper,
    cluster: Mutex<Option<Cluster>>,
}

impl Embedded {
    /// Starts the cluster of this scenario, applies CRD and gate, and starts the daemon if the
    /// scenario has one.
    pub async fn start(scenario: &Scenario, clock: Clock, at: Addresses) -> Result<Self, Error> {
        let cluster = Cluster::start(Options {
            clock,
            seed: scenario.seed,
            reload: scenario.cluster.reload,
            routers: scenario.cluster.routers,
            gateway: scenario.cluster.gateway_api,
            api: at.api,
            users: at.router,
            metrics: at.metrics,
        })
        .await?;
        let within = Within::default();
        apply(&cluster.api, scenario, &within).await?;
        let mut embedded = Self {
            at: Addresses {
                api: cluster.api_address,
                router: cluster.users.first().copied(),
                metrics: cluster.metrics.first().copied(),
                page: at.page.filter(|_| scenario.with_daemon),
            },
            clock,
            api: cluster.api.clone(),
            world: cluster.world.clone(),
            metrics: cluster.metrics.clone(),
            keeper: Keeper::new(daemon(scenario, &cluster, (at.page, within))?),
            cluster: Mutex::new(Some(cluster)),
        };
        if scenario.with_daemon {
            embedded.at.page = embedded.keeper.start().await?;
        }
        Ok(embedded)
    }

    /// Where the routers' metrics are, if they listen: one address a router pod.
    pub fn metrics(&self) -> &[SocketAddr] {
        &self.metrics
    }

    /// The kubeconfig for kubectl, if the API server listens.
    pub fn kubeconfig(&self) -> Option<String> {
        self.at.api.map(|address| self.api.kubeconfig(address))
    }

    /// Waits until a part of the cluster, or the daemon, ends by itself; says which.
    pub async fn ended(&self) -> String {
        let cluster = async {
            match self.cluster.lock().await.as_mut() {
                Some(cluster) => cluster.ended().await.err().map(|error| error.to_string()),
                None => std::future::pending().await,
            }
        };
        let ended =
            tokio::select! { ended = cluster => ended, ended = self.keeper.ended() => ended };
        ended.unwrap_or_else(|| "a part of the sandbox ended early".to_owned())
    }

    /// Stops the daemon, then the cluster.
    pub async fn stop(&self) {
        self.keeper.stop().await;
        let cluster = self.cluster.lock().await.take();
        if let Some(cluster) = cluster
            && let Err(error) = cluster.stop().await
        {
            tracing::warn!(%error, "a part of the cluster failed");
        }
    }
}

/// What the scenario's daemon is started with.
fn daemon(
    scenario: &Scenario,
    cluster: &Cluster,
    (page, within): (Option<SocketAddr>, Within),
) -> Result<With, settings::Error> {
    let settings = keeper::settings(&scenario.daemon, &cluster.metrics)?;
    Ok(With {
        clients: Clients {
            watches: cluster.client(ACCOUNT),
            writes: cluster.client(ACCOUNT),
            lease: cluster.client(ACCOUNT),
        },
        clock: cluster.clock,
        targets: targets(&settings, cluster),
        page,
        settings,
        within: Some(within),
        asker: applications::asker(
            cluster.client("system:sandbox:prober"),
            cluster.world.apps.clone(),
            cluster.clock,
        ),
    })
}

/// Over the network where the routers listen, as in a real cluster; else by their texts.
fn targets(settings: &Settings, cluster: &Cluster) -> Targets {
    if let settings::Source::Scrape(settings::Scrape::Targets(urls)) = &settings.evidence.source
        && !cluster.metrics.is_empty()
    {
        return Targets::Urls(urls.clone());
    }
    let world = cluster.world.clone();
    Targets::Texts(Arc::new(move || world.metrics_texts()))
}

/// Applies the CRD and, if wanted, the gate. The webhook is answered `within` the process.
async fn apply(api: &Api, scenario: &Scenario, within: &Within) -> Result<(), Error> {
    let mut objects = vec![serde_json::to_value(Rollout::crd()).unwrap_or_default()];
    if scenario.cluster.webhook {
        let answers = within.clone();
        api.webhooks()
            .answered_by(Arc::new(move |review: &Value| answers.answer(review)));
        objects.extend(manifests::manifests(&webhook()));
    } else if scenario.cluster.gate {
        objects.extend(gate::manifests(ACCOUNT));
    }
    for object in objects {
        scenario::apply(api.client("kubernetes-admin"), Way::ServerSide, &object)
            .await
            .map_err(|source| Error::Apply {
                what: format!("{} {}", object["kind"], object["metadata"]["name"]),
                source,
            })?;
    }
    Ok(())
}

/// The webhook's configuration, as the sandbox's daemon wants it.
fn webhook() -> Wanted {
    let namespace = "sluice-system".to_owned();
    Wanted::usual(ACCOUNT, Reached::Service { namespace })
}

/// Lets the scenario's daemon read a Prometheus, of it only the series that match all of
/// `label=value`. It must scrape what [`Embedded::metrics`] says.
pub fn read_from(scenario: &mut Scenario, url: &str, matching: &[String]) {
    let mut overrides = json!({"evidence": {}});
    if scenario.daemon.is_object() {
        json_patch::merge(&mut overrides, &scenario.daemon);
    }
    if let Some(evidence) = overrides["evidence"].as_object_mut() {
        // As null it takes the place of the sandbox's own.
        evidence.insert("scrape".to_owned(), Value::Null);
        let prometheus = json!({"url": url, "match": matching});
        evidence.insert("prometheus".to_owned(), prometheus);
    }
    if scenario.with_daemon {
        scenario.daemon = overrides;
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
