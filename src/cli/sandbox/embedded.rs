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
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use kube::CustomResourceExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::daemon::rules::Rules;
use crate::daemon::settings::{self, Settings};
use crate::daemon::{self, Clients, Parts};
use crate::kubernetes::crd::{ACCOUNT, Rollout};
use crate::kubernetes::gate;
use crate::prometheus::{Scrape, Source, Targets};
use crate::sandbox::api::Api;
use crate::sandbox::cluster::{self, Cluster, Options};
use crate::sandbox::router::Router;
use crate::sandbox::scenario::{self, Scenario, Way};
use crate::telemetry::Metrics;
use crate::web::Board;

/// Time of one look at the metrics.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a stopped daemon has to finish.
const DRAIN: Duration = Duration::from_secs(10);

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
    #[error("starting the daemon: {0}")]
    Daemon(#[from] daemon::Error),
    /// The daemon's page.
    #[error("listening on {address} for the page: {source}")]
    Page {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// A running cluster, with or without the daemon.
pub struct Embedded {
    /// Where everything listens.
    pub at: Addresses,
    clock: Clock,
    api: Api,
    routers: Vec<Router>,
    metrics: Vec<SocketAddr>,
    settings: Settings,
    board: Arc<StdMutex<Board>>,
    daemon: Mutex<Option<Daemon>>,
    cluster: Mutex<Option<Cluster>>,
}

/// A daemon that runs.
struct Daemon {
    task: JoinSet<Result<(), daemon::Error>>,
    stop: CancellationToken,
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
            api: at.api,
            users: at.router,
            metrics: at.metrics,
        })
        .await?;
        apply(&cluster.api, scenario.cluster.gate).await?;
        let mut embedded = Self {
            at: Addresses {
                api: cluster.api_address,
                router: cluster.users.first().copied(),
                metrics: cluster.metrics.first().copied(),
                page: at.page.filter(|_| scenario.with_daemon),
            },
            clock,
            api: cluster.api.clone(),
            routers: cluster.routers.clone(),
            metrics: cluster.metrics.clone(),
            settings: daemon_settings(&scenario.daemon, &cluster.metrics)?,
            board: Arc::default(),
            daemon: Mutex::new(None),
            cluster: Mutex::new(Some(cluster)),
        };
        if scenario.with_daemon {
            embedded.at.page = embedded.start_daemon().await?;
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
        let daemon = async {
            match self.daemon.lock().await.as_mut() {
                Some(daemon) => joined(daemon.task.join_next().await),
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! { ended = cluster => ended, ended = daemon => ended };
        ended.unwrap_or_else(|| "a part of the sandbox ended early".to_owned())
    }

    /// Stops the daemon, then the cluster.
    pub async fn stop(&self) {
        self.stop_daemon().await;
        let cluster = self.cluster.lock().await.take();
        if let Some(cluster) = cluster
            && let Err(error) = cluster.stop().await
        {
            tracing::warn!(%error, "a part of the cluster failed");
        }
    }

    /// Starts the daemon; returns where its page is.
    async fn start_daemon(&self) -> Result<Option<SocketAddr>, Error> {
        let mut running = self.daemon.lock().await;
        if running.is_some() {
            return Ok(None);
        }
        let (listener, page) = self.page().await?;
        let board = Board::default();
        let parts = Parts {
            settings: self.settings.clone(),
            clients: Clients {
                watches: self.api.client(ACCOUNT),
                writes: self.api.client(ACCOUNT),
                lease: self.api.client(ACCOUNT),
            },
            clock: self.clock,
            source: self.source()?,
            rules: Rules::load(self.settings.rules.clone()).map_err(daemon::Error::Rules)?,
            listener,
            board: board.clone(),
            metrics: Metrics::new(),
        };
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = board;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(daemon::serve(parts, stop.clone()));
        *running = Some(Daemon { task, stop });
        Ok(page)
    }

    async fn page(&self) -> Result<(Option<TcpListener>, Option<SocketAddr>), Error> {
        let Some(address) = self.at.page else {
            return Ok((None, None));
        };
        let failed = |source| Error::Page { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((Some(listener), Some(address)))
    }

    /// The Prometheus of the settings, if they name one; else the routers.
    fn source(&self) -> Result<Source, daemon::Error> {
        match &self.settings.evidence.source {
            settings::Source::Prometheus {
                url,
                token_file,
                matching,
            } => daemon::prometheus(url, token_file.clone(), matching, self.clock),
            settings::Source::Scrape(_) => Ok(Scrape::new(self.targets(), SCRAPE_TIMEOUT)?.into()),
        }
    }

    /// Over the network where the routers listen, as in a real cluster; else by their texts.
    fn targets(&self) -> Targets {
        if let settings::Source::Scrape(settings::Scrape::Targets(urls)) =
            &self.settings.evidence.source
            && self.at.metrics.is_some()
        {
            return Targets::Urls(urls.clone());
        }
        let routers = self.routers.clone();
        Targets::Texts(Arc::new(move || {
            let text = |(n, router): (usize, &Router)| {
                Some((format!("router-{n}"), router.metrics_text()?))
            };
            routers.iter().enumerate().filter_map(text).collect()
        }))
    }

    /// Lets the daemon finish.
    async fn stop_daemon(&self) {
        let daemon = self.daemon.lock().await.take();
        if let Some(mut daemon) = daemon {
            daemon.stop.cancel();
            let ended = self.clock.timeout(DRAIN, daemon.task.join_next()).await;
            if let Some(error) = ended.ok().and_then(joined) {
                tracing::warn!(error, "the daemon failed");
            }
        }
    }
}

/// How a task of the daemon ended, if it failed.
fn joined(
    ended: Option<Result<Result<(), daemon::Error>, tokio::task::JoinError>>,
) -> Option<String> {
    match ended? {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("the daemon: {error}")),
        Err(error) => Some(format!("the daemon: {error}")),
    }
}

/// Applies the CRD and, if wanted, the gate.
async fn apply(api: &Api, with_gate: bool) -> Result<(), Error> {
    let mut objects = vec![serde_json::to_value(Rollout::crd()).unwrap_or_default()];
    if with_gate {
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

/// The daemon's settings: the sandbox's own, with the scenario's overrides, read as a file is.
fn daemon_settings(overrides: &Value, metrics: &[SocketAddr]) -> Result<Settings, Error> {
    let mut targets: Vec<String> = metrics
        .iter()
        .map(|address| format!("http://{address}/metrics"))
        .collect();
    if targets.is_empty() {
        targets.push("http://127.0.0.1:10254/metrics".to_owned());
    }
    let mut all = json!({
        "environment": "sandbox",
        "gate": "policy",
        "account": ACCOUNT,
        "evidence": {"every": "1s", "scrape": {"targets": targets}},
    });
    if overrides.is_object() {
        json_patch::merge(&mut all, overrides);
    }
    Ok(Settings::parse(
        &all.to_string(),
        Path::new("scenario"),
        &[],
    )?)
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
