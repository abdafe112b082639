//! Two processes of the real binary that share a lease: one leads, is asked to end, the other leads.
//!
//! Under the account of `clusters/base`, with the Role that it has for that and nothing else. Not
//! here: leaders that freeze, die or are cut off (`tests/ha`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use sluice::kubernetes::crd::ACCOUNT;

use crate::control_plane::ControlPlane;
use crate::process::{Process, Start};

/// How long each part may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Hands the lead over once.
pub async fn from_one_daemon_to_another(plane: &ControlPlane) {
    let kubeconfig = plane.kubeconfig(ACCOUNT);
    let start = |name: &str| {
        Process::start(Start {
            name,
            kubeconfig: &kubeconfig,
            // Nothing that they guard is released, so nobody asks.
            metrics: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            namespaces: &["probe"],
            settings: "leaderElection: {enabled: true, namespace: sluice-system}",
        })
    };
    let first = start("first");
    until("the first leads", &first, || first.leads()).await;
    let second = start("second");
    until("the second follows", &second, || second.follows()).await;
    let asked = Instant::now();
    first.signal("TERM");
    until("the second leads", &second, || second.leads()).await;
    println!("the second daemon led {:?} after", asked.elapsed());
}

async fn until<F: Future<Output = bool>>(what: &str, process: &Process, holds: impl Fn() -> F) {
    let began = Instant::now();
    while !holds().await {
        let late = began.elapsed() > PATIENCE;
        assert!(!late, "not in time: {what}\n{}", process.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
