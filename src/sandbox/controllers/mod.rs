//! The controllers of a cluster that Sluice needs: Deployments, `ReplicaSets`, `StatefulSets`,
//! `DaemonSets`, `EndpointSlices`.
//!
//! Each is an ordinary API client in two halves: a pure one (given these objects, what is to be
//! written?) and a thin one that watches and writes. They follow kube-controller-manager;
//! where they differ, they are wrong. Not here: owner garbage collection and the emptying of
//! deleted namespaces (the API server's), Jobs, autoscaling.

mod deployment;
mod endpointslice;
mod replicaset;
mod revisioned;
mod template;

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Why the controllers ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a controller ended early")]
    EndedEarly,
    #[error("a controller broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
}

/// Runs all controllers until `shutdown`.
///
/// `client` needs the rights of kube-controller-manager.
///
/// # Errors
/// If one of them ends before `shutdown`.
pub async fn run(client: Client, clock: Clock, shutdown: CancellationToken) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    tasks.spawn(deployment::run(client.clone(), clock, shutdown.clone()));
    tasks.spawn(replicaset::run(client.clone(), clock, shutdown.clone()));
    tasks.spawn(revisioned::run_stateful_sets(
        client.clone(),
        clock,
        shutdown.clone(),
    ));
    tasks.spawn(revisioned::run_daemon_sets(
        client.clone(),
        clock,
        shutdown.clone(),
    ));
    tasks.spawn(endpointslice::run(client, clock, shutdown.clone()));
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Error::BrokeOff)?;
        if !shutdown.is_cancelled() {
            return Err(Error::EndedEarly);
        }
    }
    Ok(())
}
