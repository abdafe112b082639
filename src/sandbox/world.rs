//! What lives on a cluster: the node with its applications, the routers, the load.
//!
//! All are ordinary API clients, so they live on the embedded cluster and on a real control
//! plane alike. With a namespace they see nothing else, so that several worlds share a cluster.
//! What scenarios look at and break of it is here too. Not here: API server and controllers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load::{self, Counts, Transport};
use super::node::{self, Apps};
use super::router::{self, Exposed, Request, Router};
use super::scenario::{Answer, MetricsFault, Tally};
use crate::clock::Clock;

/// How a world is set up.
#[derive(Debug, Clone)]
pub struct Options {
    pub clock: Clock,
    /// The same seed gives the same errors, latencies, arrivals and choices.
    pub seed: u64,
    /// How long a change takes to come into effect at a router, give or take half of it.
    pub reload: Duration,
    /// How many router pods, each with its own counters.
    pub routers: usize,
    /// The namespace that it is confined to; none: all.
    pub namespace: Option<String>,
    /// Whether the routers serve `HTTPRoutes`, too; their kind must be defined then.
    pub gateway: bool,
}

/// Node, routers and load of one cluster, or of one namespace of it. Clones share it.
#[derive(Debug, Clone)]
pub struct World {
    pub apps: Apps,
    pub routers: Vec<Router>,
    pub load: Arc<Counts>,
    options: Options,
}

impl World {
    /// A world in which nothing happens yet (see [`World::spawn`]).
    pub fn new(options: Options) -> Self {
        let apps = Apps::new(options.clock, options.seed);
        let routers = (0..options.routers.max(1))
            .map(|index| new_router(&options, &apps, index))
            .collect();
        Self {
            apps,
            routers,
            load: Arc::default(),
            options,
        }
    }

    /// Starts its parts, each with a client of its own account.
    pub fn spawn(
        &self,
        client: &dyn Fn(&str) -> Client,
        transport: Transport,
        stop: &CancellationToken,
        tasks: &mut JoinSet<Result<(), node::Error>>,
    ) {
        let clock = self.options.clock;
        let (apps, namespace) = (self.apps.clone(), self.options.namespace.clone());
        let (node, ends) = (client("system:node:sandbox"), stop.clone());
        tasks.spawn(async move { node::run(node, namespace.as_deref(), clock, apps, ends).await });
        for router in &self.routers {
            let (router, ends) = (router.clone(), stop.clone());
            let client = client("system:sandbox:router");
            tasks.spawn(async move {
                router.run(client, ends).await;
                Ok(())
            });
        }
        let settings = load::Options {
            seed: self.options.seed ^ 0x10ad,
            gateway: self.options.gateway,
            ..load::Options::default()
        };
        let (counts, namespace) = (self.load.clone(), self.options.namespace.clone());
        let (users, ends) = (client("system:sandbox:load"), stop.clone());
        tasks.spawn(async move {
            let namespace = namespace.as_deref();
            load::run(users, namespace, clock, transport, settings, counts, ends).await;
            Ok(())
        });
    }

    /// All answers so far, of all routers.
    pub fn tallies(&self) -> Vec<Tally> {
        let mut all: BTreeMap<(String, String), Tally> = BTreeMap::new();
        for (arm, seen) in self.routers.iter().flat_map(Router::tallies) {
            let key = (arm.ingress.clone(), arm.image.clone());
            let tally = all.entry(key).or_insert_with(|| Tally {
                ingress: arm.ingress,
                image: arm.image,
                ..Tally::default()
            });
            tally.total += seen.total;
            tally.bad += seen.bad;
            tally.first_bad = tally.first_bad.into_iter().chain(seen.first_bad).min();
        }
        all.into_values().collect()
    }

    /// Sends one request through the first router.
    ///
    /// # Errors
    /// If a header cannot be sent.
    pub async fn request(
        &self,
        host: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
    ) -> Result<Answer, String> {
        let mut request = Request::get(host, path);
        for (name, value) in headers {
            let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header"))?;
            let value = value
                .parse()
                .map_err(|_| format!("{value:?} is no header's value"))?;
            request.headers.insert(name, value);
        }
        let router = self.routers.first().ok_or("there is no router")?;
        let got = router.handle(&request).await;
        let image = (!got.image.is_empty()).then_some(got.image);
        Ok(Answer {
            status: got.status,
            image,
        })
    }

    /// The routers' metrics by process name, of those that answer.
    pub fn metrics_texts(&self) -> Vec<(String, String)> {
        let text =
            |(n, router): (usize, &Router)| Some((format!("router-{n}"), router.metrics_text()?));
        self.routers.iter().enumerate().filter_map(text).collect()
    }

    /// What the routers' metrics endpoints answer from now on.
    pub fn expose(&self, fault: MetricsFault) {
        self.routers
            .iter()
            .for_each(|router| router.expose(exposed(fault)));
    }

    /// The first router pod restarts: its counters begin at zero.
    pub fn restart_router(&self) {
        self.routers.iter().take(1).for_each(Router::restart);
    }
}

fn new_router(options: &Options, apps: &Apps, index: usize) -> Router {
    let settings = router::Options {
        reload: options.reload,
        seed: options.seed.wrapping_add(index as u64 + 1),
        pod: format!("ingress-nginx-controller-{index}"),
        namespace: options.namespace.clone(),
        gateway: options.gateway,
        ..router::Options::default()
    };
    Router::new(options.clock, apps.clone(), settings)
}

fn exposed(fault: MetricsFault) -> Exposed {
    match fault {
        MetricsFault::Down => Exposed::Down,
        MetricsFault::Fails => Exposed::Fails,
        MetricsFault::Html => Exposed::Html,
        MetricsFault::Hangs => Exposed::Hangs,
        MetricsFault::Partial => Exposed::Partial,
        MetricsFault::Nan => Exposed::Nan,
        MetricsFault::Fine => Exposed::Fine,
    }
}
