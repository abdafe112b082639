//! The embedded cluster whose metrics come through a server that can be broken.
//!
//! Everything is the cluster's own, but where it has a server of its own, `break: {metrics: down}`
//! kills that server and `hangs` lets it stand still.

use futures::future::BoxFuture;
use serde_json::Value;
use sluice::cli::sandbox::embedded::Embedded;
use sluice::clock::Clock;
use sluice::sandbox::scenario::{Break, MetricsFault, Stage};
use sluice::sandbox::world::World;
use tokio::sync::Mutex;

use crate::server::Server;

/// A cluster, and the server if nobody else uses it.
pub struct Through<'a> {
    pub cluster: &'a Embedded,
    pub server: Option<&'a Mutex<Server>>,
}

impl Stage for Through<'_> {
    fn clock(&self) -> Clock {
        Stage::clock(self.cluster)
    }

    fn client(&self, user: &str) -> kube::Client {
        Stage::client(self.cluster, user)
    }

    fn world(&self) -> &World {
        self.cluster.world()
    }

    fn broken<'a>(&'a self, what: &'a Break) -> BoxFuture<'a, Result<(), String>> {
        let (Some(server), Break::Metrics(fault)) = (self.server, what) else {
            return self.cluster.broken(what);
        };
        Box::pin(async move {
            let mut server = server.lock().await;
            match fault {
                MetricsFault::Down => server.kill(),
                MetricsFault::Hangs => server.pause(),
                MetricsFault::Fine => server.mend().await,
                other => return Err(format!("this server cannot be broken so: {other:?}")),
            }
            Ok(())
        })
    }

    fn live(&self, namespace: &str, rollout: &str) -> Option<Value> {
        self.cluster.live(namespace, rollout)
    }
}
