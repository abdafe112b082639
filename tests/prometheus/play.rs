//! Plays scenarios side by side, each on a cluster of its own, all metrics through one server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice::cli::sandbox::embedded::{Addresses, Embedded, read_from};
use sluice::clock::Clock;
use sluice::sandbox::scenario::{self, Collected, Scenario};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{Job, Kind, Server};
use crate::stage::Through;

/// A scenario and how its cluster is scraped.
pub struct Part {
    /// What it is called; the value of `cluster`, too.
    pub name: String,
    pub scenario: Scenario,
    /// Time between scrapes, in seconds.
    pub every: u64,
    /// The values of `prometheus_replica`, one for each scrape of every target; none: one scrape
    /// and no such label.
    pub replicas: &'static [&'static str],
    /// More of `evidence.prometheus.match`.
    pub matching: &'static [&'static str],
}

/// How a part ended.
pub struct Played {
    pub name: String,
    pub failures: usize,
    /// The named runs: name, outcome, seconds from the change until then, seconds from the first
    /// bad answer until weight 0.
    pub runs: Vec<(String, String, Option<f64>, Option<f64>)>,
    pub story: String,
}

/// A runtime that is shared by all parts of a test.
pub fn runtime() -> tokio::runtime::Runtime {
    // Fails only when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Plays all parts on one server, so many at once. If there is a single part, it may break the
/// server. Clusters that wait for their turn are idle.
pub async fn play(kind: Kind, parts: Vec<Part>, at_once: usize) -> Vec<Played> {
    let mut server = Server::new(kind);
    let alone = parts.len() == 1;
    let mut clusters = Vec::new();
    let mut jobs = Vec::new();
    for mut part in parts {
        let mut matching = vec![format!("cluster={}", part.name)];
        matching.extend(part.matching.iter().map(|label| (*label).to_owned()));
        read_from(&mut part.scenario, &server.url(), &matching);
        let cluster = start(&part.scenario).await;
        jobs.extend(self::jobs(&part, cluster.metrics()));
        clusters.push((part, cluster));
    }
    server.begin(&jobs).await;
    if jobs.iter().all(|job| job.every == 1) {
        server
            .wait_for_targets(jobs.iter().map(|job| job.targets.len()).sum())
            .await;
    }
    let server = Arc::new(Mutex::new(server));
    let turns = Arc::new(Semaphore::new(at_once));
    let mut playing = JoinSet::new();
    for (part, cluster) in clusters {
        let (server, turns) = (server.clone(), turns.clone());
        playing.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let own = alone.then_some(&*server);
            play_one(part, &cluster, own).await
        });
    }
    playing.join_all().await
}

async fn start(scenario: &Scenario) -> Embedded {
    let at = Addresses {
        metrics: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        ..Addresses::default()
    };
    Embedded::start(scenario, Clock::at_speed(1.0), at)
        .await
        .unwrap()
}

fn jobs(part: &Part, targets: &[SocketAddr]) -> Vec<Job> {
    let job = |replica: Option<&&str>| {
        let cluster = ("cluster", part.name.clone());
        let replica = replica.map(|name| ("prometheus_replica", (*name).to_owned()));
        Job {
            name: replica.as_ref().map_or_else(
                || part.name.clone(),
                |(_, replica)| format!("{}-{replica}", part.name),
            ),
            every: part.every,
            targets: targets.to_vec(),
            labels: std::iter::once(cluster).chain(replica).collect(),
        }
    };
    if part.replicas.is_empty() {
        return vec![job(None)];
    }
    part.replicas
        .iter()
        .map(|replica| job(Some(replica)))
        .collect()
}

async fn play_one(part: Part, cluster: &Embedded, server: Option<&Mutex<Server>>) -> Played {
    let mut sink = Collected::default();
    let stage = Through { cluster, server };
    let stop = CancellationToken::new();
    let ended = scenario::play(&part.scenario, &stage, &mut sink, &stop).await;
    cluster.stop().await;
    let row = |row: &scenario::Row| {
        (
            row.run.clone(),
            row.outcome.clone(),
            row.outcome_after,
            row.zero_after,
        )
    };
    Played {
        name: part.name,
        failures: ended.failures,
        runs: ended.rows.iter().map(row).collect(),
        story: sink.story(),
    }
}

/// Prints how long things took, and fails with the stories of all that went otherwise.
pub fn judge(all: &[Played]) {
    let mut stories = String::new();
    let mut failed = Vec::new();
    for played in all {
        for (run, outcome, after, zero) in &played.runs {
            let seconds = |time: &Option<f64>| time.map_or("-".to_owned(), |s| format!("{s:.0} s"));
            let (after, zero) = (seconds(after), seconds(zero));
            println!(
                "{}: {run} {outcome} after {after}, bad answers until weight 0: {zero}",
                played.name
            );
        }
        if played.failures > 0 {
            failed.push(played.name.as_str());
            stories.extend(["\n== ", &played.name, "\n", &played.story]);
        }
    }
    let count = all.len();
    assert!(
        failed.is_empty(),
        "{} of {count} not as expected: {failed:?}\n{stories}",
        failed.len()
    );
}
