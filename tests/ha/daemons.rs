//! Daemons on a [`World`], each with a line of its own to the API server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluice::daemon::rules::Rules;
use sluice::daemon::settings::Settings;
use sluice::daemon::{self, Clients, Front, Parts};
use sluice::kubernetes::crd::ACCOUNT;
use sluice::prometheus::{Scrape, Targets};
use sluice::smoke::Asker;
use sluice::telemetry::Metrics;
use sluice::web::Board;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::world::World;

/// A daemon. Dropping it ends it at whatever it waits for, as a kill does.
pub struct Daemon {
    pub line: Line,
    pub metrics: Metrics,
    pub board: Board,
    stop: CancellationToken,
    task: JoinSet<Result<(), daemon::Error>>,
}

impl Daemon {
    /// One that stands for election under this name.
    pub fn candidate(world: &World, name: &str) -> Self {
        let election = json!({"enabled": true, "identity": name});
        Self::start(world, &json!({"leaderElection": election}))
    }

    /// One with these settings.
    pub fn start(world: &World, settings: &Value) -> Self {
        let mut all = json!({
            "gate": "policy",
            "account": ACCOUNT,
            "evidence": {"every": "1s", "scrape": {"targets": ["http://127.0.0.1:1/metrics"]}},
        });
        for (key, value) in settings.as_object().unwrap() {
            all[key] = value.clone();
        }
        let settings = Settings::parse(&all.to_string(), Path::new("test"), &[]).unwrap();
        let line = Line::new(world.clock);
        let client = || line.client(world.cluster.client(ACCOUNT));
        let routers = world.cluster.world.routers.clone();
        let texts = move || {
            let texts = routers
                .iter()
                .filter_map(sluice::sandbox::router::Router::metrics_text);
            texts.map(|text| ("router".to_owned(), text)).collect()
        };
        let (metrics, board) = (Metrics::new(), Board::default());
        let parts = Parts {
            rules: Rules::load(settings.rules.clone()).unwrap(),
            settings,
            clients: Clients {
                watches: client(),
                writes: client(),
                lease: client(),
            },
            clock: world.clock,
            source: Scrape::new(Targets::Texts(Arc::new(texts)), Duration::from_secs(5))
                .unwrap()
                .into(),
            front: Front::None,
            board: board.clone(),
            metrics: metrics.clone(),
            asker: Asker::network(world.clock),
            within: None,
        };
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(daemon::serve(parts, stop.clone()));
        Self {
            line,
            metrics,
            board,
            stop,
            task,
        }
    }

    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        let text = self.metrics.text().unwrap();
        text.lines().any(|line| line == "sluice_leader 1")
    }

    /// A sample of its metrics; 0 if it is not there.
    pub fn sample(&self, name: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}
