//! The daemon's process is killed again and again, at random moments of many releases.
//!
//! None may be lost, none may get more traffic than its status says, and bad ones never more than the
//! first step's. `SLUICE_KILLS` says how many kills; each is printed with its seed's moment. The
//! daemon is the real binary; the cluster is whoever's test this is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apps::Apps;
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);
/// Applications that are released at one time.
const APPS: usize = 4;
/// Requests a second to each.
const RPS: u32 = 200;
/// Every release has ended by then once nothing is killed any more: far beyond the `within` of its
/// Rollout, since evidence takes as long as chance lets it.
const PATIENCE: Duration = Duration::from_secs(600);

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
#[allow(clippy::disallowed_methods)] // said in the environment only
fn told<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let Ok(number) = text.parse() else {
        panic!("{variable}={text} is no number");
    };
    Some(number)
}

/// Where the daemon is killed.
pub struct Ground<'a> {
    pub apps: &'a Apps,
    /// Starts the daemon.
    pub daemon: &'a (dyn Fn() -> Process + Sync),
    /// How many writes the daemon's account has sent so far.
    pub writes: &'a (dyn Fn() -> u64 + Sync),
}

struct Ordeal<'a> {
    ground: Ground<'a>,
    random: Random,
    released: Released,
    kills: u32,
    releases: u32,
    recovered: Vec<Duration>,
}

/// Kills it `SLUICE_KILLS` times, or so often; prints how soon it wrote again.
pub async fn survive(ground: Ground<'_>, kills: u32) {
    let most = told("SLUICE_KILLS").unwrap_or(kills);
    let seed = told("SLUICE_SEED").unwrap_or(7);
    println!("SLUICE_SEED={seed} SLUICE_KILLS={most}");
    let mut ordeal = Ordeal {
        ground,
        random: Random(seed),
        released: Released::new(),
        kills: 0,
        releases: 0,
        recovered: Vec::new(),
    };
    ordeal.prepare().await;
    while ordeal.kills < most {
        ordeal.release().await;
        ordeal.round(most).await;
    }
    ordeal.report();
}

impl Ordeal<'_> {
    /// All applications, guarded.
    async fn prepare(&self) {
        let apps = self.ground.apps;
        let names: Vec<String> = (0..APPS).map(|index| format!("app-{index}")).collect();
        for name in &names {
            apps.app(name, RPS, "2s").await;
        }
        let _daemon = (self.ground.daemon)();
        for name in &names {
            let guarded = || apps.guarded(name);
            apps.until("it is guarded", SECOND * 60, guarded).await;
        }
    }

    /// Releases the next version of everything.
    async fn release(&mut self) {
        for index in 0..APPS {
            let name = format!("app-{index}");
            let version = self.released.get(&name).map_or(1, |(version, _)| *version) + 1;
            let bad = self.random.below(2) == 0;
            let errors = if bad { "0.5" } else { "0" };
            let text = version.to_string();
            self.ground.apps.release(&name, &text, errors).await;
            self.released.insert(name, (version, bad));
            self.releases += 1;
        }
    }

    /// Looks for a time whether any canary gets more than it may.
    async fn look_for(&self, time: Duration) {
        let clock = self.ground.apps.clock;
        let end = clock.ticks() + time;
        while clock.ticks() < end {
            for (name, (_, bad)) in &self.released {
                self.look(name, *bad).await;
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look(&self, name: &str, bad: bool) {
        let weight = self.ground.apps.weight(name).await;
        if weight <= 5 {
            return;
        }
        assert!(!bad, "{name} is bad and gets {weight} %");
        let status = self.ground.apps.rollout(name).await.status;
        let run = status.unwrap_or_default().run;
        let saved = run.map_or(100, |run| run.weight.unsigned_abs());
        // A lower weight is sent before it is saved: it may have been lowered between two looks.
        if saved < weight {
            let now = self.ground.apps.weight(name).await;
            assert!(
                now < weight,
                "{name} gets {now} %, its status says {saved} %"
            );
        }
    }

    /// How many releases of this round have ended as they should.
    async fn ended(&self) -> usize {
        let mut ended = 0;
        for (name, (version, bad)) in &self.released {
            let status = self.ground.apps.rollout(name).await.status;
            let Some(last) = status.and_then(|status| status.last_run) else {
                continue;
            };
            if last.revision.images == [format!("{name}:{version}")] {
                let wanted = if *bad { "RolledBack" } else { "Promoted" };
                let outcome = format!("{:?}", last.outcome);
                assert_eq!(outcome.trim_matches('"'), wanted, "{name}");
                ended += usize::from(self.ground.apps.phase(name).await == "Idle");
            }
        }
        ended
    }

    /// Kills and starts until all of this round have ended or no kill is left.
    async fn round(&mut self, most: u32) {
        loop {
            let daemon = self.live().await;
            if self.ended().await == APPS {
                return;
            }
            if self.kills < most {
                daemon.signal("KILL");
                self.kills += 1;
                continue;
            }
            return self.finish(&daemon).await;
        }
    }

    /// A daemon that has lived a while. Sometimes it gets nowhere, mostly it does.
    async fn live(&mut self) -> Process {
        let clock = self.ground.apps.clock;
        let before = (self.ground.writes)();
        let began = clock.ticks();
        let daemon = (self.ground.daemon)();
        let life = Duration::from_millis(100 + self.random.below(2900));
        println!("life {} of {life:?}", self.kills);
        let mut first = None;
        while clock.ticks() < began + life {
            self.look_for(Duration::from_millis(20)).await;
            if first.is_none() && (self.ground.writes)() > before {
                first = Some(self.ground.apps.since(began));
            }
        }
        self.recovered.extend(first);
        daemon
    }

    /// The rest goes undisturbed.
    async fn finish(&self, daemon: &Process) {
        let clock = self.ground.apps.clock;
        let end = clock.ticks() + PATIENCE;
        while self.ended().await < APPS {
            if clock.ticks() > end {
                let story = self.ground.apps.story().await;
                panic!("not all {APPS} ended:\n{story}\n{}", daemon.told());
            }
            self.look_for(SECOND / 2).await;
        }
    }

    fn report(mut self) {
        self.recovered.sort();
        let all = self.recovered.len();
        let quantile = |q: usize| {
            self.recovered
                .get((all * q / 100).min(all.saturating_sub(1)))
        };
        println!(
            "{} kills, {} releases, none lost; from start to the first write: p50 {:?}, p99 {:?} of {all}",
            self.kills,
            self.releases,
            quantile(50),
            quantile(99),
        );
    }
}
