//! kubectl against the sandbox's API server, as a person uses it.
//!
//! Needs `kubectl` on the PATH; without it it is left out (`needs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "servers/kubectl.rs"]
mod kubectl;
#[path = "servers/needs.rs"]
mod needs;

use sluice::clock::Clock;
use sluice::sandbox::api::Api;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_as_a_person_expects() {
    let api = Api::new(Clock::machine());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = std::env::temp_dir().join(format!("sluice-kubectl-{}.yaml", address.port()));
    std::fs::write(&config, api.kubeconfig(address)).unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(api.serve(listener, shutdown.clone()));
    let path = config.clone();
    let steps = tokio::task::spawn_blocking(move || kubectl::works(&path));
    steps.await.unwrap();
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    std::fs::remove_file(config).unwrap();
}
