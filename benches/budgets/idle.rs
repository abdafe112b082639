//! What a daemon costs that has nothing to do, and what a run costs while it stands at a step.
//!
//! Requests are counted by the API server, for the daemon's account, apart from watches. Memory
//! is the resident set of the daemon's process some seconds after the last change.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Error;
use super::daemon::{Daemon, Environment};
use super::fleet::Fleet;
use super::stopwatch;
use super::table::Row;

/// Time to settle before memory is read and requests are counted.
pub const SETTLE: Duration = Duration::from_secs(5);
/// Time over which requests are counted.
const COUNTED: Duration = Duration::from_secs(20);
/// Rollouts in a run.
const ACTIVE: usize = 10;

/// Starts a daemon with nothing to do: its time to ready, and its memory once it has settled.
pub async fn started(
    environments: &[Environment],
    settle: Duration,
) -> Result<(Daemon, Vec<Row>), Error> {
    let (daemon, took) = Daemon::timed(environments).await?;
    tokio::time::sleep(settle).await;
    let mut rows = vec![Row::held(
        "start to ready, no Rollout",
        format!("{:.2} s", took.as_secs_f64()),
        "< 1 s",
        took < Duration::from_secs(1),
    )];
    rows.extend(daemon.process().memory("no Rollout", 20.0)?);
    Ok((daemon, rows))
}

/// Memory and requests with 100 and 1,000 idle Rollouts; the cluster has 1,000 afterwards.
pub async fn measure(fleet: &mut Fleet, daemon: &Daemon) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for size in [100, 1_000] {
        let began = stopwatch::now();
        fleet.grow(size).await?;
        rows.push(Row::known(
            format!("cluster grown to {size} Rollouts and all adopted"),
            format!("{:.1} s", began.elapsed().as_secs_f64()),
        ));
        tokio::time::sleep(SETTLE).await;
        rows.extend(quiet(fleet, daemon, size).await?);
    }
    let adopted = "1,000 idle Rollouts that it has adopted";
    rows.extend(daemon.process().memory(adopted, 60.0)?);
    Ok(rows)
}

/// Memory of a daemon that has just been started, with the 1,000 Rollouts already adopted.
pub async fn restarted(daemon: &Daemon) -> Result<Vec<Row>, Error> {
    daemon.ready().await?;
    tokio::time::sleep(SETTLE).await;
    let restarted = "1,000 idle Rollouts, after a restart";
    daemon.process().memory(restarted, 60.0)
}

/// Requests and time on the processor with so many idle Rollouts.
async fn quiet(fleet: &Fleet, daemon: &Daemon, size: usize) -> Result<Vec<Row>, Error> {
    let (before, writes, processor) = (fleet.asked(), fleet.writes(), daemon.processor()?);
    tokio::time::sleep(COUNTED).await;
    let writes = fleet.writes() - writes;
    let processor = daemon.processor()?.saturating_sub(processor);
    let share = processor.as_secs_f64() / COUNTED.as_secs_f64() * 100.0;
    Ok(vec![
        Row::held(
            format!("API writes, {size} idle Rollouts, {} s", COUNTED.as_secs()),
            writes.to_string(),
            "0",
            writes == 0,
        ),
        Row::known(
            format!("API requests of any other sort, apart from watches, {size} idle Rollouts"),
            since(&before, &fleet.asked()),
        ),
        Row::known(
            format!("share of one core, {size} idle Rollouts"),
            format!("{share:.2}%"),
        ),
    ])
}

/// What was asked since then, and how often.
fn since(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> String {
    let new = now.iter().filter_map(|(what, count)| {
        let more = count - before.get(what).copied().unwrap_or(0);
        (more > 0).then(|| format!("{what}: {more}"))
    });
    let new: Vec<String> = new.collect();
    if new.is_empty() {
        return "none".to_owned();
    }
    new.join(", ")
}

/// Requests of Rollouts that stand at a step, healthy, under load.
pub async fn active(fleet: &mut Fleet) -> Result<Vec<Row>, Error> {
    let apps: Vec<_> = (0..ACTIVE).map(|index| fleet.app(index)).collect();
    for app in &apps {
        fleet.release(app, "0.001", "1h").await?;
    }
    let stands = |status: &serde_json::Value| status["run"]["weight"] == 5;
    fleet.until(ACTIVE, "at their first step", stands).await?;
    tokio::time::sleep(SETTLE).await;
    let before = fleet.requests();
    let counted = COUNTED * 3;
    tokio::time::sleep(counted).await;
    let rate = (fleet.requests() - before) as f64 / counted.as_secs_f64() / ACTIVE as f64;
    Ok(vec![Row::known(
        "API requests a second, per Rollout that stands at a step",
        format!("{rate:.3}"),
    )])
}
