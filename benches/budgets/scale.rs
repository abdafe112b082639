//! What one daemon costs with 5,000 Rollouts at rest and 500 in a run.
//!
//! The daemon is a process of its own, so that its memory and its time on the processor are its own; it
//! scrapes the router's page, on which the runs' series are, every 2 s as by default. The runs stand at
//! their first step, healthy, under a little load.
//!
//! Not here: several environments (`several`), how many queries a Prometheus is asked (`queries`).

use std::time::Duration;

use super::Error;
use super::daemon::{Daemon, Environment};
use super::fleet::{Fleet, Load};
use super::idle;
use super::pages::Pages;
use super::process::Process;
use super::reaction;
use super::stopwatch::{self, quantile};
use super::table::Row;

/// Rollouts at rest.
pub const IDLE: usize = 5_000;
/// Rollouts in a run.
pub const ACTIVE: usize = 500;
const NAMESPACES: usize = 110;
/// Requests a second of each that is in a run.
const RPS: u32 = 2;
/// Time between two looks, as by default.
pub const EVERY: Duration = Duration::from_secs(2);
/// Time to settle before anything is measured.
pub const SETTLE: Duration = Duration::from_secs(10);
/// Time over which is measured.
const MEASURED: Duration = Duration::from_secs(60);
/// Bad releases whose reaction is timed among all these.
const TRIALS: usize = 20;
const MOST_MEMORY: f64 = 150.0;
const MOST_PROCESSOR: f64 = 50.0;

/// Measures an idle daemon, and one with everything.
pub async fn measure(idle: usize, active: usize) -> Result<Vec<Row>, Error> {
    let mut fleet = Fleet::start(NAMESPACES).await?;
    let pages = Pages::start(fleet.router()).await?;
    let places = |fleet: &Fleet| Environment::of("bench", fleet, &pages, EVERY);
    let (empty, mut rows) = idle::started(&[places(&fleet)?], SETTLE).await?;
    drop(empty);
    let daemon = Daemon::start(&[places(&fleet)?])?;
    daemon.ready().await?;
    let began = stopwatch::now();
    fleet.grow(idle + active).await?;
    rows.push(Row::known(
        format!("all {} Rollouts applied and adopted", idle + active),
        format!("{:.0} s", began.elapsed().as_secs_f64()),
    ));
    begin_runs(&fleet, active, RPS).await?;
    let all = format!("{idle} idle and {active} active Rollouts");
    tokio::time::sleep(SETTLE).await;
    let fleets = [&fleet];
    rows.extend(cost(&daemon, &fleets, &all, MEASURED).await?);
    rows.extend(delays(&pages, MEASURED, &all));
    drop(daemon);
    let (daemon, took) = Daemon::timed(&[places(&fleet)?]).await?;
    rows.push(Row::known(
        format!("start to ready, {all}"),
        format!("{:.2} s", took.as_secs_f64()),
    ));
    tokio::time::sleep(SETTLE).await;
    let restarted = format!("{all}, after a restart");
    rows.extend(daemon.process().memory(&restarted, MOST_MEMORY)?);
    let trials = (active, TRIALS.min(idle));
    rows.extend(reaction::measure(&mut fleet, &pages, &daemon, trials).await?);
    drop(daemon);
    fleet.stop().await?;
    Ok(rows)
}

/// Brings the first so many applications to their first step.
pub async fn begin_runs(fleet: &Fleet, active: usize, rps: u32) -> Result<(), Error> {
    let load = Load {
        rps,
        errors: "0.001",
    };
    fleet.release_many(active, load, "24h").await?;
    let stands = |status: &serde_json::Value| status["run"]["weight"] == 5;
    fleet.until(active, "at their first step", stands).await
}

/// Processor, memory and requests while nothing changes but the evidence.
pub async fn cost(
    daemon: &Daemon,
    fleets: &[&Fleet],
    all: &str,
    measured: Duration,
) -> Result<Vec<Row>, Error> {
    let asked = || fleets.iter().map(|fleet| fleet.requests()).sum::<u64>();
    let wrote = || fleets.iter().map(|fleet| fleet.writes()).sum::<u64>();
    let (requests, writes, processor) = (asked(), wrote(), daemon.processor()?);
    let cluster = Process::own().processor()?;
    tokio::time::sleep(measured).await;
    let seconds = measured.as_secs_f64();
    let share = |used: Duration| used.as_secs_f64() / seconds * 100.0;
    let cluster = share(Process::own().processor()?.saturating_sub(cluster));
    let share = share(daemon.processor()?.saturating_sub(processor));
    let rate = |count: u64| format!("{:.2}", count as f64 / seconds);
    let mut rows = vec![
        Row::held(
            format!("share of one core, {all}"),
            format!("{share:.1}%"),
            format!("< {MOST_PROCESSOR:.0}%"),
            share < MOST_PROCESSOR,
        ),
        Row::known(
            format!("the same of the embedded cluster beside it, {all}"),
            format!("{cluster:.1}%"),
        ),
        Row::known(
            format!("API requests a second apart from watches, {all}"),
            rate(asked() - requests),
        ),
        Row::known(format!("of those writes, {all}"), rate(wrote() - writes)),
    ];
    rows.extend(daemon.process().memory(all, MOST_MEMORY)?);
    Ok(rows)
}

/// How much later than wanted a look comes after the one before, over the last while.
fn delays(pages: &Pages, last: Duration, all: &str) -> Vec<Row> {
    let times = pages.since(last);
    let pairs = times.iter().zip(times.iter().skip(1));
    let mut late: Vec<Duration> = pairs
        .map(|(one, next)| next.duration_since(*one).saturating_sub(EVERY))
        .collect();
    late.sort();
    let row = |share: f64, name: &str| {
        let delay = quantile(&late, share).as_secs_f64() * 1e3;
        Row::known(
            format!(
                "delay of a look at the metrics, {all}, {name} of {}",
                late.len()
            ),
            format!("{delay:.0} ms"),
        )
    };
    vec![row(0.5, "p50"), row(0.99, "p99")]
}
