//! The embedded cluster as a stage: what a scenario may look at and break.
//!
//! Not here: starting and stopping (`embedded`), and what a scenario means.

use futures::future::BoxFuture;
use serde_json::Value;

use super::Embedded;
use crate::clock::Clock;
use crate::kubernetes::crd::ACCOUNT;
use crate::sandbox::scenario::{Break, Fault, RouterFault, Stage, WatchFault};
use crate::sandbox::world::World;

impl Embedded {
    fn api_fault(&self, fault: &Fault) -> Result<(), String> {
        let (matching, what) = fault.armed(ACCOUNT)?;
        self.api
            .faults()
            .next(u64::from(fault.times), matching, what);
        Ok(())
    }
}

impl Stage for Embedded {
    fn clock(&self) -> Clock {
        self.clock
    }

    fn client(&self, user: &str) -> kube::Client {
        self.api.client(user)
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn broken<'a>(&'a self, what: &'a Break) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match what {
                Break::Daemon(fault) => self.keeper.fault(*fault).await,
                Break::Metrics(fault) => {
                    self.world.expose(*fault);
                    Ok(())
                }
                Break::Router(RouterFault::Restart) => {
                    self.world.restart_router();
                    Ok(())
                }
                Break::Api(fault) => self.api_fault(fault),
                Break::Watches(WatchFault::Close) => {
                    self.api.faults().close_watches();
                    Ok(())
                }
                Break::Watches(WatchFault::Expire) => {
                    self.api.compact();
                    self.api.faults().expire_watches();
                    Ok(())
                }
            }
        })
    }

    fn live(&self, namespace: &str, rollout: &str) -> Option<Value> {
        self.keeper.live(namespace, rollout)
    }
}
