//! A real control plane with Sluice installed and the sandbox's node, router and load in it.
//!
//! The daemon is a process of its own under the account of `clusters/base`; tests start it. Its
//! namespace is `default`. One stand at a time: control planes beside each other are slow, and what
//! is measured would be that. Not here: what is released (`apps`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use sluice::clock::Clock;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::load::Transport;
use sluice::sandbox::node;
use sluice::sandbox::world::{self, World};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apps::Apps;
use crate::control_plane::ControlPlane;
use crate::installed::{self, Accounts};
use crate::process::{Process, Start};

static ONE: Mutex<()> = Mutex::const_new(());

pub struct Stand {
    pub plane: ControlPlane,
    pub apps: Apps,
    metrics: SocketAddr,
    /// Cancelled by its drop.
    _stop: tokio_util::sync::DropGuard,
    _parts: JoinSet<Result<(), node::Error>>,
    _pages: JoinSet<()>,
    _alone: MutexGuard<'static, ()>,
}

impl Stand {
    /// One with the CRD, the accounts and the gate; `None` where there is no control plane.
    pub async fn with_sluice() -> Option<Self> {
        let stand = Self::start(|plane, accounts| {
            Box::pin(async move {
                installed::install(accounts).await;
                plane.start_controllers();
                installed::gate(accounts, true).await;
            })
        });
        stand.await
    }

    /// One with the CRD and the accounts, and nothing that holds; `None` where there is no control plane.
    pub async fn with_accounts() -> Option<Self> {
        let stand = Self::start(|plane, accounts| {
            Box::pin(async move {
                installed::install(accounts).await;
                plane.start_controllers();
            })
        });
        stand.await
    }

    /// One without anything; `None` where there is no control plane.
    pub async fn bare() -> Option<Self> {
        let stand = Self::start(|plane, accounts| {
            Box::pin(async move {
                plane.start_controllers();
                installed::class(accounts).await;
            })
        });
        stand.await
    }

    async fn start(
        prepare: impl for<'a> FnOnce(
            &'a mut ControlPlane,
            &'a Accounts,
        ) -> futures::future::BoxFuture<'a, ()>,
    ) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let alone = ONE.lock().await;
        let mut plane = ControlPlane::start_without_controllers().await?;
        let accounts = Accounts::of(&plane).await;
        prepare(&mut plane, &accounts).await;
        let clock = Clock::at_speed(1.0);
        let world = World::new(world::Options {
            clock,
            seed: 7,
            reload: Duration::from_millis(20),
            routers: 1,
            namespace: Some("default".to_owned()),
            gateway: false,
        });
        let (stop, mut parts) = (CancellationToken::new(), JoinSet::new());
        let transport = Transport::direct(world.routers.clone());
        world.spawn(&|user| accounts.client(user), transport, &stop, &mut parts);
        let mut pages = JoinSet::new();
        let metrics = serve_metrics(&world, &stop, &mut pages).await;
        let admin = accounts.client("admin");
        Some(Self {
            plane,
            apps: Apps { clock, admin },
            metrics,
            _stop: stop.drop_guard(),
            _parts: parts,
            _pages: pages,
            _alone: alone,
        })
    }

    /// What the router counts.
    pub async fn router_metrics(&self) -> String {
        let client = sluice::prometheus::http_client(Duration::from_secs(5)).expect("a client");
        let asked = client.get(format!("http://{}/metrics", self.metrics));
        let answer = asked.send().await.expect("the router's answer");
        answer.text().await.expect("its text")
    }

    /// A daemon of this name.
    pub fn daemon(&self, name: &str, settings: &str) -> Process {
        self.start_daemon(name, &[], settings)
    }

    /// One that serves these namespaces only.
    pub fn daemon_of(&self, name: &str, namespaces: &[&str]) -> Process {
        self.start_daemon(name, namespaces, "")
    }

    fn start_daemon(&self, name: &str, namespaces: &[&str], settings: &str) -> Process {
        Process::start(Start {
            name,
            kubeconfig: &self.plane.kubeconfig(ACCOUNT),
            metrics: self.metrics,
            namespaces,
            settings,
        })
    }
}

async fn serve_metrics(
    world: &World,
    stop: &CancellationToken,
    pages: &mut JoinSet<()>,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (router, ends) = (world.routers[0].clone(), stop.clone());
    pages.spawn(async move {
        router.serve_metrics(listener, ends).await.ok();
    });
    address
}

/// Waits until it holds; fails with what `told` says.
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    patience: Duration,
    holds: impl Fn() -> F,
    told: impl Fn() -> String,
) {
    let began = Instant::now();
    while !holds().await {
        let late = began.elapsed() > patience;
        assert!(!late, "not within {patience:?}: {what}\n{}", told());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
