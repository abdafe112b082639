//! A namespace of a real control plane as a stage: the sandbox's node, applications, routers and
//! load live in it as API clients, and a daemon guards it under its own account.
//!
//! Time runs faster than the control plane's own: everything that waits for controllers waits in
//! real time, all else (starts, answers, holds, evidence) in the stage's.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use kube::client::ClientBuilder;
use serde_json::{Value, json};
use sluice::cli::sandbox::applications;
use sluice::cli::sandbox::keeper::{self, Keeper, With};
use sluice::clock::Clock;
use sluice::daemon::Clients;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::prometheus::Targets;
use sluice::sandbox::load::Transport;
use sluice::sandbox::node;
use sluice::sandbox::scenario::{Break, RouterFault, Scenario, Stage, WatchFault};
use sluice::sandbox::world::{self, World};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::faults::BadDays;
use crate::installed::Accounts;

/// Real time between two looks of the player: each is a handful of requests.
const LOOK: Duration = Duration::from_millis(200);

pub struct Real {
    clock: Clock,
    look: Duration,
    accounts: Arc<Accounts>,
    days: BadDays,
    world: World,
    keeper: Keeper,
    stop: CancellationToken,
    parts: JoinSet<Result<(), node::Error>>,
}

impl Real {
    /// Starts the world of a scenario in its namespace, and its daemon; `daemon` is how that
    /// connects.
    pub async fn start(
        scenario: &Scenario,
        speed: f64,
        accounts: Arc<Accounts>,
        daemon: kube::Config,
    ) -> Self {
        let clock = Clock::at_speed(speed);
        let world = World::new(world::Options {
            clock,
            seed: scenario.seed,
            reload: scenario.cluster.reload,
            routers: scenario.cluster.routers,
            namespace: Some(scenario.namespace.clone()),
            gateway: scenario.cluster.gateway_api,
        });
        let (stop, mut parts) = (CancellationToken::new(), JoinSet::new());
        let transport = Transport::direct(world.routers.clone());
        world.spawn(&|user| accounts.client(user), transport, &stop, &mut parts);
        let days = BadDays::new(ACCOUNT);
        let keeper = Keeper::new(with(
            scenario,
            clock,
            &world,
            &days,
            (daemon, accounts.client("system:sandbox:router")),
        ));
        if scenario.with_daemon {
            keeper.start().await.expect("the daemon");
        }
        Self {
            clock,
            look: LOOK.mul_f64(speed),
            accounts,
            days,
            world,
            keeper,
            stop,
            parts,
        }
    }

    /// Ends the daemon and the world; their objects stay.
    pub async fn stop(mut self) {
        self.keeper.stop().await;
        self.stop.cancel();
        while self.parts.join_next().await.is_some() {}
    }
}

fn with(
    scenario: &Scenario,
    clock: Clock,
    world: &World,
    days: &BadDays,
    (daemon, prober): (kube::Config, Client),
) -> With {
    let mut overrides = json!({"cluster": {"namespaces": [scenario.namespace]}});
    if scenario.daemon.is_object() {
        json_patch::merge(&mut overrides, &scenario.daemon);
    }
    let world = world.clone();
    With {
        settings: keeper::settings(&overrides, &[]).expect("the daemon's settings"),
        clients: clients(daemon, days),
        clock,
        targets: {
            let world = world.clone();
            Targets::Texts(Arc::new(move || world.metrics_texts()))
        },
        page: None,
        asker: applications::asker(prober, world.apps.clone(), clock),
        within: None,
    }
}

/// Two clients, as the daemon makes them of its settings.
fn clients(mut config: kube::Config, days: &BadDays) -> Clients {
    config.connect_timeout = Some(Duration::from_secs(5));
    let mut writes = config.clone();
    config.read_timeout = Some(Duration::from_secs(300));
    writes.read_timeout = Some(Duration::from_secs(7));
    writes.default_retry = false;
    Clients {
        watches: troubled(config, days),
        lease: troubled(writes.clone(), days),
        writes: troubled(writes, days),
    }
}

fn troubled(config: kube::Config, days: &BadDays) -> Client {
    ClientBuilder::try_from(config)
        .expect("a client")
        .with_layer(days)
        .build()
}

impl Stage for Real {
    fn clock(&self) -> Clock {
        self.clock
    }

    fn look_every(&self) -> Duration {
        self.look
    }

    fn client(&self, user: &str) -> Client {
        self.accounts.client(user)
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn broken<'a>(&'a self, what: &'a Break) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match what {
                Break::Daemon(fault) => return self.keeper.fault(*fault).await,
                Break::Metrics(fault) => self.world.expose(*fault),
                Break::Router(RouterFault::Restart) => self.world.restart_router(),
                Break::Api(fault) => {
                    let (matching, what) = fault.armed(ACCOUNT)?;
                    self.days
                        .faults
                        .next(u64::from(fault.times), matching, what);
                }
                Break::Watches(WatchFault::Close) => self.days.end_watches(false),
                Break::Watches(WatchFault::Expire) => self.days.end_watches(true),
            }
            Ok(())
        })
    }

    fn live(&self, namespace: &str, rollout: &str) -> Option<Value> {
        self.keeper.live(namespace, rollout)
    }
}
