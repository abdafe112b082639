//! The daemon's process is killed again and again, at random moments of many releases.
//!
//! None may be lost, none may get more traffic than its status says, and bad ones never more than the
//! first step's. `SLUICE_KILLS` says how many kills; each is printed with its seed's moment. The
//! cluster is the sandbox's, in the test's process; the daemon is the real binary.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice::kubernetes::crd::ACCOUNT;

use super::process::Process;
use super::processes::world;
use super::world::World;

const SECOND: Duration = Duration::from_secs(1);
/// Applications that are released at one time.
const APPS: usize = 4;
/// Requests a second to each.
const RPS: u32 = 200;
/// Every release has ended by then once nothing is killed any more.
const PATIENCE: Duration = Duration::from_secs(180);

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What is released where: version and whether it is bad.
type Released = BTreeMap<String, (u32, bool)>;

/// What whoever runs the test says about it.
fn told<T: std::str::FromStr<Err: std::fmt::Debug>>(variable: &str) -> Option<T> {
    let text = std::env::var_os(variable)?;
    Some(text.to_str().unwrap().parse().unwrap())
}

struct Ordeal {
    world: World,
    random: Random,
    released: Released,
    kills: u32,
    releases: u32,
    recovered: Vec<Duration>,
}

impl Ordeal {
    fn daemon(&self) -> Process {
        Process::start(
            &self.world,
            "kills",
            self.world.cluster.api_address.unwrap(),
            "",
        )
    }

    fn writes(&self) -> u64 {
        self.world.cluster.api.requests().writes(ACCOUNT)
    }

    /// Releases the next version of everything.
    async fn release(&mut self) {
        for index in 0..APPS {
            let name = format!("app-{index}");
            let version = self.released.get(&name).map_or(1, |(version, _)| *version) + 1;
            let bad = self.random.below(2) == 0;
            let errors = if bad { "0.5" } else { "0" };
            self.world
                .release(&name, &version.to_string(), errors)
                .await;
            self.released.insert(name, (version, bad));
            self.releases += 1;
        }
    }

    /// Looks until `end` whether any canary gets more than it may.
    async fn look_for(&self, time: Duration) {
        let end = self.world.clock.ticks() + time;
        while self.world.clock.ticks() < end {
            for (name, (_, bad)) in &self.released {
                let weight = self.world.weight(name).await;
                if weight > 5 {
                    assert!(!bad, "{name} is bad and gets {weight} %");
                    let status = self.world.rollout(name).await.status.unwrap_or_default();
                    let saved = status.run.map_or(100, |run| run.weight.unsigned_abs());
                    assert!(
                        saved >= weight,
                        "{name} gets {weight} %, its status says {saved} %"
                    );
                }
            }
            self.world.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many releases of this round have ended as they should.
    async fn ended(&self) -> usize {
        let mut ended = 0;
        for (name, (version, bad)) in &self.released {
            let Some(last) = self
                .world
                .rollout(name)
                .await
                .status
                .and_then(|s| s.last_run)
            else {
                continue;
            };
            if last.revision.images == [format!("{name}:{version}")] {
                let wanted = if *bad { "RolledBack" } else { "Promoted" };
                assert_eq!(
                    format!("{:?}", last.outcome).trim_matches('"'),
                    wanted,
                    "{name}"
                );
                ended += usize::from(self.world.phase(name).await == "Idle");
            }
        }
        ended
    }

    /// Kills and starts until all of this round have ended and no kill is left.
    async fn round(&mut self, most: u32) {
        loop {
            let before = self.writes();
            let began = self.world.clock.ticks();
            let daemon = self.daemon();
            // Sometimes it gets nowhere, mostly it does.
            let life = Duration::from_millis(100 + self.random.below(2900));
            let mut first = None;
            while self.world.clock.ticks() < began + life {
                self.look_for(Duration::from_millis(20)).await;
                if first.is_none() && self.writes() > before {
                    first = Some(self.world.since(began));
                }
            }
            self.recovered.extend(first);
            if self.ended().await == APPS {
                return;
            }
            if self.kills < most {
                println!("kill {} after {life:?}", self.kills);
                daemon.signal("KILL");
                self.kills += 1;
                continue;
            }
            // The rest goes undisturbed.
            let end = self.world.clock.ticks() + PATIENCE;
            while self.ended().await < APPS {
                let late = self.world.clock.ticks() > end;
                assert!(
                    !late,
                    "{} of {APPS} ended\n{}",
                    self.ended().await,
                    daemon.told()
                );
                self.look_for(SECOND / 2).await;
            }
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_survive_a_daemon_that_is_killed_again_and_again() {
    let most = told("SLUICE_KILLS").unwrap_or(8);
    let seed = told("SLUICE_SEED").unwrap_or(7);
    println!("SLUICE_SEED={seed} SLUICE_KILLS={most}");
    let mut ordeal = Ordeal {
        world: world().await,
        random: Random(seed),
        released: Released::new(),
        kills: 0,
        releases: 0,
        recovered: Vec::new(),
    };
    for index in 0..APPS {
        ordeal.world.app(&format!("app-{index}"), RPS, "2s").await;
    }
    let daemon = ordeal.daemon();
    for index in 0..APPS {
        let name = format!("app-{index}");
        let guarded = || ordeal.world.guarded(&name);
        ordeal
            .world
            .until("it is guarded", SECOND * 60, guarded)
            .await;
    }
    drop(daemon);
    while ordeal.kills < most {
        ordeal.release().await;
        ordeal.round(most).await;
    }
    let mut recovered = ordeal.recovered;
    recovered.sort();
    let quantile = |q: usize| recovered.get((recovered.len() * q / 100).min(recovered.len() - 1));
    println!(
        "{} kills, {} releases, none lost; from start to the first write: p50 {:?}, p99 {:?} of {}",
        ordeal.kills,
        ordeal.releases,
        quantile(50),
        quantile(99),
        recovered.len()
    );
}
