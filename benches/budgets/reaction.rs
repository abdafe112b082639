//! How long a bad release keeps its traffic once its evidence is there, among 1,000 Rollouts.
//!
//! Each trial releases a version that answers only errors. Its reaction runs from the moment at
//! which the daemon was handed the metrics page that convinced it (the last one before the
//! effect) to the arrival, in a watch of another client, of the canary Ingress with weight 0. So
//! it holds parsing, evidence, decision, the write, the API's work and the watch. The trials go
//! one after the other; the one before still drains and restores while the next one begins.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::daemon::Daemon;
use super::fleet::{App, Fleet};
use super::pages::Pages;
use super::stopwatch::{self, Instant, quantile};
use super::table::Row;

const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const TARGET: Duration = Duration::from_millis(250);
/// A trial that takes longer has failed.
const TRIAL: Duration = Duration::from_secs(60);
/// Applications before this have load of their own.
pub const FIRST: usize = 100;

/// A canary Ingress was seen with this weight.
#[derive(Debug)]
struct Seen {
    namespace: String,
    name: String,
    weight: String,
    at: Instant,
}

/// Measures reactions.
pub async fn measure(
    fleet: &mut Fleet,
    pages: &Pages,
    daemon: &Daemon,
    (first, trials): (usize, usize),
) -> Result<Vec<Row>, Error> {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(watch(fleet.admin.clone(), sender));
    let mut reactions = Vec::new();
    for index in first..first + trials {
        let app = fleet.app(index);
        let trial = trial(fleet, pages, &app, &mut seen);
        let reaction = tokio::time::timeout(TRIAL, trial).await;
        reactions.push(reaction.map_err(|_| format!("{app:?} was not rolled back in time"))??);
        fleet.relax(&app).await?;
    }
    let worse = |status: &serde_json::Value| status["lastRun"]["reason"] == "Worse";
    fleet
        .until(trials, "rolled back for being worse", worse)
        .await?;
    reactions.sort();
    rows(daemon, fleet.size(), &reactions).await
}

async fn rows(daemon: &Daemon, size: usize, reactions: &[Duration]) -> Result<Vec<Row>, Error> {
    let milliseconds = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1e3);
    let (half, most) = (quantile(reactions, 0.5), quantile(reactions, 0.99));
    let name = format!(
        "page read to weight 0 seen, {size} Rollouts, {} trials",
        reactions.len()
    );
    let sum = daemon.counter("sluice_reaction_seconds_sum").await?;
    let count = daemon.counter("sluice_reaction_seconds_count").await?;
    Ok(vec![
        Row::known(format!("{name}, p50"), milliseconds(half)),
        Row::held(
            format!("{name}, p99"),
            milliseconds(most),
            "< 250 ms",
            most < TARGET,
        ),
        Row::known(
            format!(
                "the daemon's own count of it, mean of {count:.0} (pass begun to weight 0 answered)"
            ),
            format!("{:.1} ms", sum / count.max(1.0) * 1e3),
        ),
    ])
}

/// One bad release; returns its reaction.
async fn trial(
    fleet: &Fleet,
    pages: &Pages,
    app: &App,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> Result<Duration, Error> {
    fleet.release(app, "1", "0s").await?;
    let canary = format!("{}-canary", app.name);
    let mut routed = false;
    while let Some(event) = seen.recv().await {
        if event.namespace != app.namespace || event.name != canary {
            continue;
        }
        if event.weight != "0" {
            routed = true;
        } else if routed {
            let read = pages.last_before(event.at).ok_or("no page was read")?;
            return Ok(event.at.duration_since(read));
        }
    }
    Err("the watch ended".into())
}

/// Tells every Ingress with a canary weight, as a client of the API sees it.
async fn watch(client: kube::Client, seen: mpsc::UnboundedSender<Seen>) {
    let ingresses: Api<Ingress> = Api::all(client);
    let mut events = watcher(ingresses, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    while let Ok(Some(ingress)) = events.try_next().await {
        let at = stopwatch::now();
        let Some(weight) = ingress.annotations().get(WEIGHT).cloned() else {
            continue;
        };
        let event = Seen {
            namespace: ingress.namespace().unwrap_or_default(),
            name: ingress.name_any(),
            weight,
            at,
        };
        if seen.send(event).is_err() {
            return;
        }
    }
}
