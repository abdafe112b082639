//! The whole embedded cluster behind one handle: API server, controllers, node, routers, load.
//!
//! Starts everything as one tree of tasks and stops it as one. The parts meet through the API
//! only; with several routers the load takes them in turn, as a load balancer would.
//! Not here: the daemon, and what is applied to the cluster.

use std::net::SocketAddr;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::controllers;
use super::load::Transport;
use super::node;
use super::router;
use super::world::{self, World};
use crate::clock::Clock;

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct Options {
    pub clock: Clock,
    /// The same seed gives the same errors, latencies, arrivals and choices.
    pub seed: u64,
    /// How long a change takes to come into effect at a router, give or take half of it.
    pub reload: Duration,
    /// How many router pods, each with its own counters.
    pub routers: usize,
    /// Whether the routers serve `HTTPRoutes`, too.
    pub gateway: bool,
    /// Where the API server listens; within the process only, if none.
    pub api: Option<SocketAddr>,
    /// Where the first router listens for users. If set, the load comes over real HTTP to all
    /// routers (the others listen on free ports of the same address).
    pub users: Option<SocketAddr>,
    /// Where the first router's metrics are; the others' on free ports of the same address.
    pub metrics: Option<SocketAddr>,
}

impl Options {
    /// One router, no sockets: for tests in virtual time.
    pub fn in_process(clock: Clock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            reload: Duration::from_millis(300),
            routers: 1,
            gateway: false,
            api: None,
            users: None,
            metrics: None,
        }
    }
}

/// Why a cluster did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {address} for {what}: {source}")]
    Listen {
        what: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("creating the ingress class")]
    CreateClass(#[source] kube::Error),
    #[error("running the controllers")]
    Controllers(#[source] controllers::Error),
    #[error("running the node")]
    Node(#[source] node::Error),
    #[error("serving a router")]
    Router(#[source] router::ServeError),
    #[error("serving the API: {0}")]
    Api(String),
    #[error("a part of the cluster broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
    #[error("a part of the cluster ended early")]
    EndedEarly,
}

/// A running cluster. Dropping it ends its tasks at once.
#[derive(Debug)]
pub struct Cluster {
    pub api: Api,
    pub world: World,
    pub clock: Clock,
    /// Where the API server listens, if it does.
    pub api_address: Option<SocketAddr>,
    /// Where the routers listen for users.
    pub users: Vec<SocketAddr>,
    /// Where the routers' metrics are.
    pub metrics: Vec<SocketAddr>,
    tasks: JoinSet<Result<(), Error>>,
    shutdown: CancellationToken,
}

impl Cluster {
    /// Starts all parts. They are at work when this returns, not yet settled.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let clock = options.clock;
        let world = World::new(world::Options {
            clock,
            seed: options.seed,
            reload: options.reload,
            routers: options.routers,
            namespace: None,
            gateway: options.gateway,
        });
        let mut cluster = Self {
            api: Api::new(clock),
            world,
            clock,
            api_address: None,
            users: Vec::new(),
            metrics: Vec::new(),
            tasks: JoinSet::new(),
            shutdown: CancellationToken::new(),
        };
        cluster.listen(&options).await?;
        create_class(cluster.api.client("system:masters"))
            .await
            .map_err(Error::CreateClass)?;
        cluster.start_parts();
        Ok(cluster)
    }

    /// A client that acts as `user`.
    pub fn client(&self, user: &str) -> Client {
        self.api.client(user)
    }

    /// Waits until a part ends before its time.
    ///
    /// # Errors
    /// Always: why it ended.
    pub async fn ended(&mut self) -> Result<(), Error> {
        match self.tasks.join_next().await {
            Some(ended) => ended.map_err(Error::BrokeOff)?.and(Err(Error::EndedEarly)),
            None => Err(Error::EndedEarly),
        }
    }

    /// Stops all parts and waits for them.
    ///
    /// # Errors
    /// The first that a part ended with.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.shutdown.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(Error::BrokeOff).and_then(|ended| ended);
            outcome = outcome.and(ended);
        }
        outcome
    }

    async fn listen(&mut self, options: &Options) -> Result<(), Error> {
        if let Some(address) = options.api {
            let (listener, address) = bind("the API", address).await?;
            let (api, shutdown) = (self.api.clone(), self.shutdown.clone());
            self.api_address = Some(address);
            self.tasks.spawn(async move {
                api.serve(listener, shutdown)
                    .await
                    .map_err(|error| Error::Api(error.to_string()))
            });
        }
        for (index, router) in self.world.routers.iter().cloned().enumerate() {
            if let Some(address) = options.users.map(|address| nth(address, index)) {
                let (listener, address) = bind("users", address).await?;
                let (router, shutdown) = (router.clone(), self.shutdown.clone());
                self.users.push(address);
                self.tasks.spawn(async move {
                    router
                        .serve(listener, shutdown)
                        .await
                        .map_err(Error::Router)
                });
            }
            if let Some(address) = options.metrics.map(|address| nth(address, index)) {
                let (listener, address) = bind("metrics", address).await?;
                let shutdown = self.shutdown.clone();
                self.metrics.push(address);
                self.tasks.spawn(async move {
                    router
                        .serve_metrics(listener, shutdown)
                        .await
                        .map_err(Error::Router)
                });
            }
        }
        Ok(())
    }

    fn start_parts(&mut self) {
        let clock = self.clock;
        let stop = || self.shutdown.clone();
        let client = self.api.client("system:kube-controller-manager");
        let controllers = controllers::run(client, clock, stop());
        let transport = match self.users.as_slice() {
            [] => Transport::direct(self.world.routers.clone()),
            addresses => Transport::http(addresses.to_vec()),
        };
        let api = self.api.clone();
        let mut parts = JoinSet::new();
        self.world
            .spawn(&|user| api.client(user), transport, &stop(), &mut parts);
        self.tasks
            .spawn(async move { controllers.await.map_err(Error::Controllers) });
        self.tasks.spawn(async move { all(parts).await });
    }
}

/// Ends with the first part that fails, or with the last one.
async fn all(mut parts: JoinSet<Result<(), node::Error>>) -> Result<(), Error> {
    while let Some(ended) = parts.join_next().await {
        ended.map_err(Error::BrokeOff)?.map_err(Error::Node)?;
    }
    Ok(())
}

/// The first router has the given port, the others free ones.
fn nth(address: SocketAddr, index: usize) -> SocketAddr {
    SocketAddr::new(address.ip(), if index == 0 { address.port() } else { 0 })
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = |source| Error::Listen {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok((listener, address))
}

/// The ingress class `nginx`, as the controller's own manifests create it.
async fn create_class(client: Client) -> kube::Result<()> {
    let class = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"}
    });
    let class: k8s_openapi::api::networking::v1::IngressClass =
        serde_json::from_value(class).map_err(kube::Error::SerdeError)?;
    kube::Api::all(client)
        .create(&kube::api::PostParams::default(), &class)
        .await
        .map(drop)
}
