//! The daemon of a scenario: started, stopped and killed as the scenario says.
//!
//! It is made of the same parts as `sluice run`, on whatever cluster the clients speak to, with
//! metrics from wherever the targets are. Not here: the cluster, and what a scenario means.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::daemon::rules::Rules;
use crate::daemon::settings::{self, Settings};
use crate::daemon::{self, Clients, Front, Parts, Within};
use crate::kubernetes::crd::ACCOUNT;
use crate::prometheus::{Scrape, Source, Targets};
use crate::sandbox::scenario::DaemonFault;
use crate::smoke::Asker;
use crate::telemetry::Metrics;
use crate::web::Board;

/// Time of one look at the metrics.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a stopped daemon has to finish.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the daemon was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon itself.
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

/// What the daemon is started with, each time anew.
#[allow(missing_debug_implementations)] // kube's Client has none
pub struct With {
    /// Its settings.
    pub settings: Settings,
    /// Its clients.
    pub clients: Clients,
    /// The time that it lives in.
    pub clock: Clock,
    /// Where its metrics come from.
    pub targets: Targets,
    /// Where its page listens, if it has one.
    pub page: Option<SocketAddr>,
    /// Who makes its smoke tests.
    pub asker: Asker,
    /// Where its webhook answers, in place of a listener.
    pub within: Option<Within>,
}

impl With {
    /// The Prometheus of the settings, if they name one; else the targets.
    fn source(&self) -> Result<Source, daemon::Error> {
        match &self.settings.evidence.source {
            settings::Source::Prometheus {
                url,
                token_file,
                matching,
            } => daemon::prometheus(url, token_file.clone(), matching, self.clock),
            settings::Source::Scrape(_) => {
                Ok(Scrape::new(self.targets.clone(), SCRAPE_TIMEOUT)?.into())
            }
        }
    }
}

/// Keeps one daemon, or none.
#[allow(missing_debug_implementations)] // kube's Client has none
pub struct Keeper {
    with: With,
    board: StdMutex<Board>,
    running: Mutex<Option<Running>>,
}

struct Running {
    task: JoinSet<Result<(), daemon::Error>>,
    stop: CancellationToken,
}

impl Keeper {
    /// A keeper whose daemon does not run yet.
    pub fn new(with: With) -> Self {
        Self {
            with,
            board: StdMutex::default(),
            running: Mutex::default(),
        }
    }

    /// Starts the daemon, unless it runs; returns where its page is.
    ///
    /// # Errors
    /// If its parts cannot be made.
    pub async fn start(&self) -> Result<Option<SocketAddr>, Error> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(None);
        }
        let (listener, page) = self.page().await?;
        let (board, with) = (Board::default(), &self.with);
        let parts = Parts {
            settings: with.settings.clone(),
            clients: with.clients.clone(),
            clock: with.clock,
            source: with.source()?,
            rules: Rules::load(with.settings.rules.clone()).map_err(daemon::Error::Rules)?,
            front: listener.map_or(Front::None, Front::Listener),
            board: board.clone(),
            metrics: Metrics::new(),
            asker: with.asker.clone(),
            within: with.within.clone(),
        };
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = board;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(daemon::serve(parts, stop.clone()));
        *running = Some(Running { task, stop });
        Ok(page)
    }

    /// Lets the daemon finish.
    pub async fn stop(&self) {
        let running = self.running.lock().await.take();
        if let Some(mut running) = running {
            running.stop.cancel();
            let ended = self.with.clock.timeout(DRAIN, running.task.join_next());
            if let Some(error) = ended.await.ok().and_then(joined) {
                tracing::warn!(error, "the daemon failed");
            }
        }
    }

    /// Starts, stops or kills the daemon.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn fault(&self, fault: DaemonFault) -> Result<(), String> {
        match fault {
            DaemonFault::Start => {
                let started = self.start().await;
                return started.map(drop).map_err(|error| error.to_string());
            }
            DaemonFault::Stop => self.stop().await,
            // Dropping the task ends it at whatever it waits for.
            DaemonFault::Kill => drop(self.running.lock().await.take()),
        }
        Ok(())
    }

    /// Waits until the daemon ends by itself; says how, if it failed.
    pub async fn ended(&self) -> Option<String> {
        match self.running.lock().await.as_mut() {
            Some(running) => joined(running.task.join_next().await),
            None => std::future::pending().await,
        }
    }

    /// The run of a Rollout as the daemon sees it this moment.
    pub fn live(&self, namespace: &str, rollout: &str) -> Option<Value> {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_value(&*board.get(namespace, rollout)?).ok()
    }

    async fn page(&self) -> Result<(Option<TcpListener>, Option<SocketAddr>), Error> {
        let Some(address) = self.with.page else {
            return Ok((None, None));
        };
        let failed = |source| Error::Page { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((Some(listener), Some(address)))
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

/// The daemon's settings for a scenario: the sandbox's own, with the scenario's overrides, read
/// as a file is. Without targets the metrics are read where the sandbox's are by default.
///
/// # Errors
/// If an override is not understood.
pub fn settings(overrides: &Value, metrics: &[SocketAddr]) -> Result<Settings, settings::Error> {
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
    Settings::parse(&all.to_string(), Path::new("scenario"), &[])
}
