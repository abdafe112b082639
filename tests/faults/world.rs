//! The simulated world: cluster, users, routers and one or two daemons, in virtual time.
//!
//! The daemon is the real one (`daemon::serve`), on a connection and a clock of its own. After
//! the last event everything heals, and the world waits for a final state.
//!
//! Not here: what must hold (`invariants`), what a final state is (`ending`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::CustomResourceExt;
use serde_json::{Value, json};
use sluice::clock::{Clock, Jumps};
use sluice::daemon::rules::Rules;
use sluice::daemon::settings::Settings as DaemonSettings;
use sluice::daemon::{self, Clients, Front, Parts};
use sluice::kubernetes::crd::{ACCOUNT, Rollout};
use sluice::kubernetes::gate;
use sluice::prometheus::Scrape;
use sluice::sandbox::cluster::{Cluster, Options};
use sluice::sandbox::gateway;
use sluice::sandbox::router::{Exposed, Router};
use sluice::sandbox::scenario::{self, Way};
use sluice::smoke::Asker;
use sluice::telemetry::Metrics;
use sluice::web::Board;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ending;
use crate::invariants::{Invariants, STABLE, Violation};
use crate::journal::Journal;
use crate::manifests;
use crate::metrics::{DEADLINE, Pages};
use crate::net::Net;
use crate::schedule::{Dark, Event, LENGTH, Schedule, What};
use crate::watchdog::Watchdog;

/// Between two looks of the world.
const LOOK: u64 = 250;
/// A final state must be reached within this time after the last fault.
const PATIENCE: u64 = 300_000;
/// After a kill another leads by then: the lease's duration and a try, with time to look around.
const HANDOVER: u64 = 20_000;
/// No answer comes later than this.
const LATE: u64 = 10_000;
/// Then nothing may be written for this time.
const QUIET: u64 = 8_000;

/// How a simulation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub story: Vec<String>,
}

/// Plays a schedule to its end.
pub fn play(schedule: &Schedule) -> Outcome {
    // Fails only when another simulation of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::start(schedule).await;
        world.live().await;
        world.end().await
    })
}

/// One daemon and what belongs to it.
struct Daemon {
    net: Net,
    clock: Clock,
    jumps: &'static Jumps,
    offset: i64,
    task: JoinSet<Result<(), daemon::Error>>,
    stop: CancellationToken,
    /// When it is started again, if it was killed.
    back: Option<u64>,
    /// How long it stays away once it is killed.
    away: u64,
}

pub struct World {
    pub schedule: Schedule,
    pub journal: Journal,
    pub cluster: Cluster,
    pub invariants: Arc<Mutex<Invariants>>,
    daemons: Vec<Daemon>,
    settings: DaemonSettings,
    pages: Pages,
    watchdog: Watchdog,
    /// What ends by itself: when, and what.
    ends: Vec<(u64, Ends)>,
    /// What the users' manifests say now.
    pub image: String,
    pub replicas: i64,
    pub host: &'static str,
    /// The rules of the `HTTPRoute` as people left them.
    pub rules: Value,
    pub releases: u32,
    pub asked: u32,
    /// Daemons that were started.
    lives: u32,
    /// When a daemon was killed or started last.
    changed: u64,
    pub suspended: bool,
    /// Whether somebody took the gate away, or told it to let all through.
    pub opened: bool,
    /// When the Rollout is made again, if it was deleted.
    pub unguarded: Option<u64>,
    tallies: BTreeMap<String, (u64, u64)>,
    looked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Dark,
    Hidden(usize),
    Hangs(usize),
    Repeats,
}

impl World {
    async fn start(schedule: &Schedule) -> Self {
        let journal = Journal::new();
        let clock = Clock::scaled(Timestamp::from_second(1_700_000_000).unwrap(), 1.0);
        let options = Options {
            routers: schedule.settings.routers,
            gateway: schedule.settings.gateway,
            ..Options::in_process(clock, schedule.seed)
        };
        let cluster = Cluster::start(options).await.unwrap();
        let invariants = Arc::new(Mutex::new(Invariants::new(
            journal.clone(),
            schedule.settings.clone(),
        )));
        let watching = invariants.clone();
        cluster
            .api
            .observe(move |resource, change| lock(&watching).see(resource, change));
        let mut world = Self {
            journal,
            invariants,
            daemons: Vec::new(),
            settings: settings(),
            pages: Pages::new(&cluster.world.routers),
            watchdog: Watchdog::of(schedule.seed),
            ends: Vec::new(),
            image: STABLE.to_owned(),
            replicas: schedule.settings.replicas,
            host: manifests::HOST,
            rules: Value::Null,
            releases: 1,
            asked: 0,
            lives: 0,
            changed: 0,
            suspended: false,
            opened: false,
            unguarded: None,
            tallies: BTreeMap::new(),
            looked: 0,
            schedule: schedule.clone(),
            cluster,
        };
        world.install(clock).await;
        world
    }

    /// CRD, gate and the shop; then the daemons, until the shop is guarded.
    async fn install(&mut self, clock: Clock) {
        self.apply(
            Way::ServerSide,
            &serde_json::to_value(Rollout::crd()).unwrap(),
        )
        .await;
        for object in gate::manifests(ACCOUNT) {
            self.apply(Way::ServerSide, &object).await;
        }
        if self.schedule.settings.gateway {
            self.apply(Way::ServerSide, &gateway::definition()).await;
        }
        for object in manifests::shop(&self.schedule.settings) {
            self.apply(Way::ServerSide, &object).await;
        }
        self.rules = self.live_rules();
        for index in 0..self.schedule.settings.daemons {
            let jumps: &'static Jumps = Box::leak(Box::default());
            self.daemons.push(Daemon {
                net: Net::new(index, self.cluster.api.clone(), self.journal.clone()),
                clock: clock.with_jumps(jumps),
                jumps,
                offset: 0,
                task: JoinSet::new(),
                stop: CancellationToken::new(),
                back: Some(0),
                away: 0,
            });
        }
        for _ in 0..240 {
            self.look().await;
            if self.checker().mirror.guarded() {
                break;
            }
        }
        let now = self.journal.now();
        let mut checker = self.checker();
        checker.opening(false);
        checker.wanted_since = now;
        drop(checker);
        self.journal.say("the schedule begins");
    }

    pub fn checker(&self) -> MutexGuard<'_, Invariants> {
        lock(&self.invariants)
    }

    /// Applies as a person or a tool; a refusal is part of the story.
    pub async fn apply(&self, way: Way, object: &Value) -> bool {
        let client = self.cluster.api.client("kubernetes-admin");
        let done = scenario::apply(client, way, object).await;
        if let Err(error) = &done {
            self.journal
                .say(&format!("applying {} was refused: {error}", object["kind"]));
        }
        done.is_ok()
    }

    /// The schedule's events, each at its time.
    async fn live(&mut self) {
        let start = self.journal.now();
        let events = self.schedule.events.clone();
        for event in &events {
            while self.journal.now() < start + event.at {
                self.until(start + event.at).await;
            }
            self.happens(event).await;
        }
        while self.journal.now() < start + LENGTH {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        self.until(self.journal.now() + LOOK).await;
    }

    /// Lets time pass: until `until`, at most one look. A daemon that is to die does so at once.
    async fn until(&mut self, until: u64) {
        let now = self.journal.now();
        let wait = sleep(Duration::from_millis(
            until.saturating_sub(now).clamp(1, LOOK),
        ));
        tokio::pin!(wait);
        loop {
            let killed = {
                let deaths = self
                    .daemons
                    .iter()
                    .map(|daemon| Box::pin(daemon.net.killed()));
                let any = futures::future::select_all(deaths);
                if self.daemons.is_empty() {
                    wait.as_mut().await;
                    None
                } else {
                    tokio::select! {
                        biased;
                        ((), index, _) = any => Some(index),
                        () = &mut wait => None,
                    }
                }
            };
            match killed {
                Some(index) => {
                    let away = self.daemons[index].away;
                    self.kill(index, away);
                }
                None => break,
            }
        }
        self.tend();
        self.watchdog.looked();
        if self
            .unguarded
            .is_some_and(|back| back <= self.journal.now())
        {
            self.guard_again().await;
        }
    }

    /// What is due: faults that end, daemons that come back, and what users got.
    fn tend(&mut self) {
        let now = self.journal.now();
        let due: Vec<Ends> = self
            .ends
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, what)| *what)
            .collect();
        self.ends.retain(|(at, _)| *at > now);
        for what in due {
            self.is_over(what);
        }
        for index in 0..self.daemons.len() {
            if let Some(busy) = self.daemons[index].net.too_busy() {
                self.checker()
                    .broken("9 the daemon does not turn in circles", busy);
            }
            if let Some(ended) = self.daemons[index].task.try_join_next() {
                self.checker().broken(
                    "9 the daemon lives",
                    format!("daemon {index} ended: {ended:?}"),
                );
                self.daemons[index].back = Some(now + 1_000);
            }
            if self.daemons[index].back.is_some_and(|back| back <= now) {
                self.begin(index);
            }
        }
        if now >= self.looked + 1_000 {
            self.looked = now;
            self.count();
        }
    }

    /// What users got since the last time.
    fn count(&mut self) {
        let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (arm, tally) in self.cluster.world.routers.iter().flat_map(Router::tallies) {
            let sum = all.entry(arm.image).or_default();
            sum.0 += tally.total;
            sum.1 += tally.bad;
        }
        let since = |image: &String, (total, bad): &(u64, u64)| {
            let before = self.tallies.get(image).copied().unwrap_or_default();
            (total - before.0, bad - before.1)
        };
        let got = all
            .iter()
            .map(|(image, now)| (image.clone(), since(image, now)))
            .collect();
        self.checker().users_got(&got);
        self.tallies = all;
    }

    fn begin(&mut self, index: usize) {
        self.journal.say(&format!("daemon {index} starts"));
        let targets = self.pages.targets();
        let mut settings = self.settings.clone();
        settings.election.enabled = self.schedule.settings.lease;
        settings.election.namespace = Some("sluice-system".to_owned());
        self.lives += 1;
        self.changed = self.journal.now();
        settings.election.identity = Some(format!("daemon-{index}-{}", self.lives));
        let daemon = &mut self.daemons[index];
        daemon.back = None;
        daemon.stop = CancellationToken::new();
        let parts = Parts {
            settings,
            clients: Clients {
                watches: daemon.net.client(),
                writes: daemon.net.client(),
                lease: daemon.net.client(),
            },
            clock: daemon.clock,
            source: Scrape::new(targets, DEADLINE).unwrap().into(),
            rules: Rules::load(Vec::new()).unwrap(),
            front: Front::None,
            board: Board::default(),
            metrics: Metrics::new(),
            asker: Asker::network(daemon.clock),
            within: None,
        };
        daemon.task.spawn(daemon::serve(parts, daemon.stop.clone()));
    }

    /// Dropping the task ends it at whatever it waits for.
    fn kill(&mut self, index: usize, away: u64) {
        self.journal.say(&format!("daemon {index} is killed"));
        let back = self.journal.now() + away;
        self.changed = self.journal.now();
        let daemon = &mut self.daemons[index];
        daemon.task = JoinSet::new();
        daemon.net.hang_up();
        daemon.back = Some(back);
    }

    async fn happens(&mut self, event: &Event) {
        self.journal.say(&format!("-- {:?}", event.what));
        let now = self.journal.now();
        match &event.what {
            What::Requests {
                daemon,
                class,
                hurt,
                times,
            } => self.daemons[*daemon].net.arm(*class, *hurt, *times),
            What::Lag { daemon, by, lasts } => {
                let (by, lasts) = (Duration::from_millis(*by), Duration::from_millis(*lasts));
                self.daemons[*daemon].net.lag(by, lasts);
            }
            What::OldLists { daemon, times } => self.daemons[*daemon].net.old_lists(*times),
            What::WatchesEnd { daemon, expired } => self.daemons[*daemon].net.end_watches(*expired),
            What::Kill { daemon, back } => self.kill(*daemon, *back),
            What::KillAtWrite {
                daemon,
                nth,
                done,
                back,
            } => {
                self.daemons[*daemon].away = *back;
                self.daemons[*daemon].net.kill_at(*nth, *done);
            }
            What::Dark { how, lasts } => {
                self.cluster
                    .world
                    .routers
                    .iter()
                    .for_each(|router| router.expose(exposed(*how)));
                for page in &mut *self.pages.all() {
                    page.hangs |= *how == Dark::Hangs;
                }
                self.ends.retain(|(_, what)| *what != Ends::Dark);
                self.ends.push((now + lasts, Ends::Dark));
                let mut checker = self.checker();
                let since = checker.dark_since.unwrap_or(now);
                checker.canary_hidden =
                    *how == Dark::Partial && (checker.canary_hidden || since == now);
                checker.dark_since = Some(since);
            }
            What::Hidden { router, lasts } => {
                self.pages.all()[*router].hidden = true;
                self.ends.push((now + lasts, Ends::Hidden(*router)));
            }
            What::Hangs { router, lasts } => {
                self.pages.all()[*router].hangs = true;
                self.ends.push((now + lasts, Ends::Hangs(*router)));
            }
            What::Repeats { lasts } => {
                self.pages.repeat(true);
                self.ends.push((now + lasts, Ends::Repeats));
            }
            What::RouterRestarts { router } => self.cluster.world.routers[*router].restart(),
            What::Jump { daemon, by } => {
                let jumping = &mut self.daemons[*daemon];
                jumping.offset += by;
                jumping
                    .jumps
                    .set(SignedDuration::from_millis(jumping.offset));
                // To one daemon, the other's later clock is a jump as well.
                if self.daemons.len() > 1 {
                    self.checker().jumped = Some(u64::MAX);
                } else if *by > 0 {
                    self.checker().jumped = Some(now);
                }
            }
            What::User(act) => self.user(act).await,
        }
    }

    fn is_over(&mut self, what: Ends) {
        match what {
            Ends::Dark => {
                self.cluster
                    .world
                    .routers
                    .iter()
                    .for_each(|router| router.expose(Exposed::Fine));
                for page in &mut *self.pages.all() {
                    page.hangs = false;
                }
                let mut checker = self.checker();
                (checker.dark_since, checker.canary_hidden) = (None, false);
            }
            Ends::Hidden(router) => self.pages.all()[router].hidden = false,
            Ends::Hangs(router) => self.pages.all()[router].hangs = false,
            Ends::Repeats => self.pages.repeat(false),
        }
    }

    /// Faults stop; then the final state, and quiet.
    async fn end(mut self) -> Outcome {
        self.journal.say("everything heals");
        for what in std::mem::take(&mut self.ends) {
            self.is_over(what.1);
        }
        let now = self.journal.now();
        for daemon in &mut self.daemons {
            daemon.net.heal();
            daemon.back = daemon.back.map(|back| back.min(now));
        }
        self.unguarded = self.unguarded.map(|back| back.min(now));
        self.mend().await;
        let start = self.journal.now();
        let mut problem = Some(String::new());
        while self.journal.now() < start + PATIENCE && problem.is_some() {
            for _ in 0..4 {
                self.look().await;
            }
            problem = ending::problem(&self);
        }
        match problem {
            Some(problem) => self.checker().broken("9 a final state is reached", problem),
            None => self.quiet().await,
        }
        let violations = self.checker().violations.clone();
        Outcome {
            violations,
            story: self.journal.lines(),
        }
    }

    /// In the final state nothing is written any more, whatever is looked at, and it stays so.
    async fn quiet(&mut self) {
        // What was on its way when the state was reached, answers that come late among it; and a
        // daemon that takes over from a leader that was killed writes what it finds.
        let settled = (self.journal.now() + LATE).max(self.changed + HANDOVER);
        while self.journal.now() < settled {
            self.look().await;
        }
        let asked = |world: &Self| -> u64 { world.daemons.iter().map(|one| one.net.asked()).sum() };
        let phase = |world: &Self| {
            let checker = world.checker();
            let rollout = checker.mirror.rollout();
            rollout.map(|rollout| rollout["status"]["phase"].clone())
        };
        let rests = |phase: &Value| phase == "Idle" || phase == "Failed";
        let mut at_first = phase(self);
        let mut written = 0;
        // A list that came late may have brought news once; what is written again has no cause.
        for _ in 0..2 {
            let before = asked(self);
            at_first = phase(self);
            self.touch().await;
            let start = self.journal.now();
            while self.journal.now() < start + QUIET {
                self.look().await;
            }
            written = asked(self) - before;
            if written == 0 {
                break;
            }
        }
        // A run that is held may be found bad, or good enough, only now.
        let now = phase(self);
        if written > 0 && now == at_first && now.as_ref().is_some_and(rests) {
            self.checker().broken(
                "5 nothing is written when nothing changes",
                format!("{written} writes"),
            );
        }
        if at_first.as_ref().is_some_and(rests)
            && let Some(problem) = ending::problem(self)
        {
            self.checker().broken("9 a final state lasts", problem);
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exposed(how: Dark) -> Exposed {
    match how {
        Dark::Down => Exposed::Down,
        Dark::Html => Exposed::Html,
        Dark::Nan => Exposed::Nan,
        Dark::Partial => Exposed::Partial,
        Dark::Hangs => Exposed::Hangs,
    }
}

fn settings() -> DaemonSettings {
    let text = json!({
        "environment": "simulation",
        "gate": "policy",
        "account": ACCOUNT,
        "evidence": {"every": "1s", "settle": "1s", "scrape": {"targets": ["http://127.0.0.1:10254/metrics"]}},
    });
    DaemonSettings::parse(&text.to_string(), Path::new("simulation"), &[]).unwrap()
}
