//! Requests that hang, are late or are refused delay nothing else: no rollback, no look at the
//! metrics, no shutdown.

use std::time::Duration;

use serde_json::json;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::api::{Fault, Matching};

use super::daemons::Daemon;
use super::world::{World, virtually};

const SECOND: Duration = Duration::from_secs(1);

/// A daemon with this many applications in a run besides one that is about to begin one.
async fn busy(world: &World, many: usize) -> Daemon {
    let names: Vec<String> = (0..many).map(|index| format!("app-{index}")).collect();
    for name in &names {
        world.app(name, 1, "3600s").await;
    }
    world.app("shop", 100, "3600s").await;
    let daemon = Daemon::start(world, &json!({}));
    for name in names.iter().map(String::as_str).chain(["shop"]) {
        let guarded = || world.guarded(name);
        world.until("all are guarded", SECOND * 120, guarded).await;
    }
    for name in &names {
        world.release(name, "2", "0").await;
    }
    for name in &names {
        let steps = || async { world.weight(name).await == 5 };
        world.until("all step", SECOND * 120, steps).await;
    }
    daemon
}

/// Releases something bad; returns the time from its first traffic to weight 0.
async fn bad_release(world: &World) -> Duration {
    world.release("shop", "2", "0.5").await;
    let weight = |wanted: u32| async move { world.weight("shop").await == wanted };
    world.until("traffic", SECOND * 60, || weight(5)).await;
    world.until("weight 0", SECOND * 60, || weight(0)).await
}

/// The longest reaction was within a quarter of a second.
fn reacted_at_once(daemon: &Daemon) {
    let all = daemon.sample("sluice_reaction_seconds_count");
    let quick = daemon.sample("sluice_reaction_seconds_bucket{le=\"0.256\"}");
    assert!(all >= 1.0 && all <= quick, "{quick} of {all}");
}

#[test]
fn status_writes_of_others_that_hang_delay_no_rollback() {
    virtually(async {
        let world = World::new().await;
        let daemon = busy(&world, 40).await;
        for index in 0..40 {
            let status = Matching::any().resource("rollouts/status");
            let of = status.name(&format!("app-{index}"));
            world.cluster.api.faults().next(u64::MAX, of, Fault::Hang);
        }
        // Every other Rollout writes a checkpoint within this time, and hangs.
        world.clock.sleep(SECOND * 31).await;
        let took = bad_release(&world).await;
        assert!(took < SECOND * 15, "{took:?}");
        reacted_at_once(&daemon);
    });
}

#[test]
fn a_rollback_goes_before_the_writes_of_many_busy_rollouts() {
    virtually(async {
        let world = World::new().await;
        let daemon = busy(&world, 60).await;
        let status = Matching::any().resource("rollouts/status");
        let slow = Fault::Delay(SECOND * 2);
        world.cluster.api.faults().next(u64::MAX, status, slow);
        let took = bad_release(&world).await;
        println!("weight 0 after {took:?} beside 60 busy Rollouts");
        reacted_at_once(&daemon);
        let sent = daemon.line.sent();
        let lowered = |sent: &&super::line::Sent| {
            sent.method == "PATCH" && sent.path.ends_with("/ingresses/shop-canary")
        };
        let at = sent.iter().rfind(lowered).unwrap().at;
        let first = sent.iter().find(|sent| sent.at == at && sent.is_write());
        assert!(first.as_ref().is_some_and(lowered), "{first:?}");
    });
}

#[test]
fn a_daemon_that_may_not_see_what_serves_leaves_a_held_release_held() {
    virtually(async {
        let world = World::new().await;
        drop(busy(&world, 0).await);
        world.release("shop", "2", "0").await;
        for resource in ["replicasets", "controllerrevisions"] {
            let list = Matching::any().verb("list").resource(resource);
            let list = list.user(ACCOUNT);
            world
                .cluster
                .api
                .faults()
                .next(u64::MAX, list, Fault::Status(403));
        }
        let blind = Daemon::start(&world, &json!({}));
        world.clock.sleep(SECOND * 60).await;
        assert!(!blind.leads());
        assert_eq!(world.deployment("shop").await["spec"]["paused"], true);
        world.cluster.api.faults().clear();
        let steps = || async { world.weight("shop").await == 5 };
        world.until("traffic", SECOND * 120, steps).await;
    });
}

#[test]
fn metrics_are_read_on_while_the_api_server_answers_nobody() {
    virtually(async {
        let world = World::new().await;
        let daemon = busy(&world, 1).await;
        let reads =
            || daemon.sample("sluice_source_queries_total{source=\"scrape\",outcome=\"ok\"}");
        daemon.line.cut();
        world.clock.sleep(SECOND * 10).await;
        let before = reads();
        world.clock.sleep(SECOND * 60).await;
        assert!(reads() >= before + 58.0, "{before} to {}", reads());
    });
}

#[test]
fn a_daemon_ends_within_2_s_in_the_middle_of_a_run_with_the_api_server_gone() {
    virtually(async {
        for election in [false, true] {
            let world = World::new().await;
            world.app("shop", 100, "3600s").await;
            let election = json!({"enabled": election});
            let daemon = Daemon::start(&world, &json!({"leaderElection": election}));
            let guarded = || world.guarded("shop");
            world.until("it is guarded", SECOND * 60, guarded).await;
            world.release("shop", "2", "0.5").await;
            let steps = || async { world.weight("shop").await == 5 };
            world.until("traffic", SECOND * 60, steps).await;
            daemon.line.cut();
            // The pass that finds it bad hangs.
            world.clock.sleep(SECOND * 8).await;
            let began = world.clock.ticks();
            daemon.stop().await;
            let took = world.since(began);
            println!("ended after {took:?}");
            assert!(took < SECOND * 2, "{took:?}");
        }
    });
}

#[test]
fn a_status_write_of_its_own_that_hangs_delays_no_rollback() {
    virtually(async {
        let mut took = Vec::new();
        for hangs in [0, 1] {
            let world = World::new().await;
            let _daemon = busy(&world, 0).await;
            world.release("shop", "2", "0.5").await;
            let world = &world;
            let weight = |wanted: u32| async move { world.weight("shop").await == wanted };
            world.until("traffic", SECOND * 60, || weight(5)).await;
            // The next one says that the weight is in force, or is a checkpoint.
            let status = Matching::any().resource("rollouts/status");
            world.cluster.api.faults().next(hangs, status, Fault::Hang);
            took.push(world.until("weight 0", SECOND * 60, || weight(0)).await);
        }
        assert!(took[1] < took[0] + SECOND, "{took:?}");
    });
}
