//! Every shipped scenario on a real control plane: kube-apiserver, its controllers and etcd.
//!
//! One control plane is shared: each scenario has a namespace of its own with its own node,
//! routers, load and daemon, several at a time; those that touch what all share come last, one
//! by one. The daemons act as the service account of `clusters/base`, and in the end the audit log
//! says whether its RBAC is what they need, no less and no more. Two processes of the real binary
//! share a lease for that, too (`handover`).
//!
//! `cargo test` plays [`CORE`]; `make test-real` plays all, and compares rights. `SCENARIOS=gate/12,demo`
//! plays some only; `SPEED` and `AT_ONCE` change the pace; `GATE=webhook` or `paused` is another mode of the gate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking
#![allow(clippy::disallowed_methods)] // servers live in real time

#[path = "../servers/child.rs"]
#[allow(dead_code)] // other tests use more of it
mod child;
#[path = "../servers/control_plane.rs"]
#[allow(dead_code)] // other tests use more of it
mod control_plane;
mod faults;
mod handover;
#[path = "../servers/installed.rs"]
mod installed;
#[path = "../servers/needs.rs"]
mod needs;
#[path = "../servers/process.rs"]
#[allow(dead_code)] // other tests use more of it
mod process;
mod rights;
mod stage;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::scenario::{self, Collected, Mode, Scenario};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use control_plane::ControlPlane;
use installed::Accounts;
use stage::Real;

/// How many times faster than the control plane the stages live.
const SPEED: f64 = 2.0;
/// The same of others: where there is much to wait for and little load meanwhile, or nothing beside.
const QUICKER: &[(&str, f64)] = &[("gate/22-sluice-is-down.yaml", 6.0), (MEASURED, 3.0)];
/// Played alone, since it judges latencies, which are the machine's as well.
const MEASURED: &str = "demo.yaml";
/// How many scenarios are played at a time: they mostly wait.
const AT_ONCE: usize = 12;
/// A scenario begins when the API server answers this quickly, or after this long: what is slow
/// because too much runs at once is no finding.
const CALM: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// How one scenario went.
struct Played {
    file: String,
    took: Duration,
    failures: usize,
    story: String,
}

/// What `cargo test` plays: the gate, a promotion, a rollback, a failed start, an end of guarding.
const CORE: &[&str] = &[
    "gate/01",
    "gate/03",
    "gate/04",
    "gate/08",
    "gate/14-the-canary-crashes",
    "gate/18-the-rollout-is-deleted",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_gate_and_a_run_go_as_their_scenarios_say() {
    played_on_a_real_control_plane(CORE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "some six minutes: `make test-real`"]
async fn every_scenario_goes_as_it_says() {
    let wanted = std::env::var("SCENARIOS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|word| !word.is_empty()).collect();
    let Some(plane) = played_on_a_real_control_plane(&wanted).await else {
        return;
    };
    if wanted.is_empty() {
        handover::from_one_daemon_to_another(&plane).await;
        let problems = rights::problems(&plane);
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}

/// Plays the scenarios whose names begin so, or all; none where there is no control plane.
async fn played_on_a_real_control_plane(wanted: &[&str]) -> Option<ControlPlane> {
    let mut plane = ControlPlane::start_without_controllers().await?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let accounts = Arc::new(Accounts::of(&plane).await);
    installed::install(&accounts).await;
    plane.start_controllers();
    installed::gate(&accounts, webhook::mode() == Mode::Policy).await;
    let daemon = plane.config(ACCOUNT).await;
    let chosen = chosen(wanted);
    let scenarios: Vec<&Scenario> = chosen.iter().map(|chosen| &chosen.scenario).collect();
    webhook::rights(&accounts, &scenarios).await;
    let (alone, together): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|chosen| chosen.alone);
    let mut played = side_by_side(together, &accounts, &daemon).await;
    let mut damaged = true;
    for chosen in alone {
        let cluster = &chosen.scenario.cluster;
        if cluster.webhook {
            webhook::trouble(&accounts, damaged).await;
            damaged = !damaged;
        }
        installed::gate(&accounts, cluster.gate && !cluster.webhook).await;
        played.push(play(chosen, accounts.clone(), daemon.clone()).await);
        installed::no_webhook(&accounts).await;
    }
    judge(&plane, &played);
    Some(plane)
}

/// A scenario that is to be played.
struct Chosen {
    file: String,
    scenario: Scenario,
    /// Nothing else is played meanwhile.
    alone: bool,
}

/// The scenarios that are to be played, each in a namespace of its own.
fn chosen(wanted: &[&str]) -> Vec<Chosen> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = scenario::files(&folder).unwrap();
    files
        .into_iter()
        .map(|path| {
            let short = path.strip_prefix(&folder).unwrap();
            (short.display().to_string(), path)
        })
        .filter(|(file, _)| wanted.is_empty() || wanted.iter().any(|word| file.starts_with(word)))
        .filter_map(|(file, path)| {
            let scenario = scenario::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
            let namespace = file.replace(".yaml", "").replace('/', "-");
            let alone = file == MEASURED || scenario.is_cluster_wide();
            match scenario.in_namespace(&namespace).in_mode(webhook::mode()) {
                Ok(scenario) => Some(Chosen {
                    file,
                    scenario,
                    alone,
                }),
                Err(why) => {
                    println!("NOT PLAYED in mode {}: {file}: {why}", webhook::mode());
                    None
                }
            }
        })
        .collect()
}

async fn side_by_side(
    scenarios: Vec<Chosen>,
    accounts: &Arc<Accounts>,
    daemon: &kube::Config,
) -> Vec<Played> {
    let room = Arc::new(Semaphore::new(
        number("AT_ONCE").map_or(AT_ONCE, |n| n as usize),
    ));
    let mut plays = JoinSet::new();
    let turn = Arc::new(Mutex::new(()));
    for chosen in scenarios {
        let turn = turn.clone();
        let (room, accounts, daemon) = (room.clone(), accounts.clone(), daemon.clone());
        plays.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let turn = turn.lock().await;
            calm(&accounts).await;
            drop(turn);
            play(chosen, accounts, daemon).await
        });
    }
    plays.join_all().await
}

/// Waits until the machine has room for one more scenario.
async fn calm(accounts: &Accounts) {
    let began = Instant::now();
    let mut quick = 0;
    while quick < 10 && began.elapsed() < PATIENCE {
        tokio::time::sleep(CALM).await;
        let asked = Instant::now();
        accounts.ask().await;
        quick = if asked.elapsed() < CALM { quick + 1 } else { 0 };
    }
}

/// Slow enough for what the machine has to do meanwhile not to be seen in the latencies.
fn speed(file: &str) -> f64 {
    let speed = number("SPEED").unwrap_or(SPEED);
    let quicker = QUICKER.iter().find(|(name, _)| *name == file);
    quicker.map_or(speed, |(_, quicker)| quicker.max(speed))
}

fn number(variable: &str) -> Option<f64> {
    std::env::var(variable).ok()?.parse().ok()
}

async fn play(
    Chosen {
        file,
        mut scenario,
        alone,
    }: Chosen,
    accounts: Arc<Accounts>,
    daemon: kube::Config,
) -> Played {
    let began = Instant::now();
    accounts.create_namespace(&scenario.namespace).await;
    if scenario.git.is_some() {
        installed::git_revert(&accounts, &scenario.namespace).await;
    }
    webhook::install(&mut scenario, alone, &accounts).await;
    let speed = speed(&file);
    let stage = Real::start(&scenario, speed, accounts, daemon).await;
    let mut sink = Collected::default();
    let stop = CancellationToken::new();
    let ended = scenario::play(&scenario, &stage, &mut sink, &stop).await;
    stage.stop().await;
    let played = Played {
        file,
        took: began.elapsed(),
        failures: ended.failures,
        story: sink.story(),
    };
    let word = if played.failures == 0 { "ok" } else { "FAILED" };
    println!(
        "{word:6} {:6.1}s {}",
        played.took.as_secs_f64(),
        played.file
    );
    if played.failures > 0 {
        println!("{}", played.story);
    }
    played
}

/// Fails if anything went otherwise than it should; its story is told already.
fn judge(plane: &ControlPlane, played: &[Played]) {
    let failed: Vec<&Played> = played.iter().filter(|played| played.failures > 0).collect();
    if failed.is_empty() {
        return;
    }
    let files: Vec<&str> = failed.iter().map(|played| played.file.as_str()).collect();
    panic!(
        "\n{}\n{} of {} scenarios failed, as told above; the control plane's logs are in {}",
        files.join("\n"),
        failed.len(),
        played.len(),
        plane.kept_logs().display()
    );
}
