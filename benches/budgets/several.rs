//! What a hub of ten environments costs: ten clusters in this process, one daemon's process for all.
//!
//! Not here: one environment with many Rollouts (`scale`).

use std::time::Duration;

use super::Error;
use super::daemon::{Daemon, Environment};
use super::fleet::Fleet;
use super::pages::Pages;
use super::scale::{EVERY, SETTLE, begin_runs, cost};
use super::table::Row;

const ENVIRONMENTS: usize = 10;
/// Rollouts of each at rest, and in a run.
const IDLE: usize = 100;
const ACTIVE: usize = 10;
/// Requests a second of each that is in a run.
const RPS: u32 = 2;
const NAMESPACES: usize = 5;
const MEASURED: Duration = Duration::from_secs(30);

/// Measures the hub.
pub async fn measure() -> Result<Vec<Row>, Error> {
    let (mut fleets, mut pages) = (Vec::new(), Vec::new());
    for _ in 0..ENVIRONMENTS {
        let fleet = Fleet::start(NAMESPACES).await?;
        pages.push(Pages::start(fleet.router()).await?);
        fleets.push(fleet);
    }
    let both = fleets.iter().zip(&pages).enumerate();
    let environments: Result<Vec<Environment>, Error> = both
        .map(|(index, (fleet, pages))| {
            Environment::of(&format!("bench-{index}"), fleet, pages, EVERY)
        })
        .collect();
    let (daemon, took) = Daemon::timed(&environments?).await?;
    let mut rows = vec![Row::known(
        format!("start to all ready, a hub of {ENVIRONMENTS} environments, no Rollout"),
        format!("{:.2} s", took.as_secs_f64()),
    )];
    for fleet in &mut fleets {
        fleet.grow(IDLE + ACTIVE).await?;
        begin_runs(fleet, ACTIVE, RPS).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let all = format!(
        "a hub of {ENVIRONMENTS} environments, each {IDLE} idle and {ACTIVE} active Rollouts"
    );
    let clusters: Vec<&Fleet> = fleets.iter().collect();
    rows.extend(cost(&daemon, &clusters, &all, MEASURED).await?);
    drop(daemon);
    for fleet in fleets {
        fleet.stop().await?;
    }
    Ok(rows)
}
