//! The daemon's process is killed again and again (`ordeal`), on the sandbox's API server.

use sluice::kubernetes::crd::ACCOUNT;

use crate::ordeal::{Ground, survive};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_survive_a_daemon_that_is_killed_again_and_again() {
    let world = World::listening().await;
    let api = world.cluster.api_address.unwrap();
    let ground = Ground {
        apps: &world,
        daemon: &|| world.process("kills", api, ""),
        writes: &|| world.cluster.api.requests().writes(ACCOUNT),
    };
    survive(ground, 8).await;
}
