//! Two daemons as people run them, in real time: frozen, killed, asked to end, cut off, throttled.

use std::time::Duration;

use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::api::{Fault, Matching};

use super::way::Way;
use super::world::World;
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);

const ELECTION: &str = "leaderElection: {enabled: true}";

async fn until(world: &World, what: &str, process: &Process) -> Duration {
    let leads = || process.leads();
    world.until(what, SECOND * 40, leads).await
}

async fn ended(world: &World, process: &Process) -> Duration {
    let ended = || std::future::ready(process.ended());
    world.until("it has ended", SECOND * 10, ended).await
}

/// An application with this many requests a second whose new version gets its first share.
async fn in_a_run(world: &World, rps: u32) {
    world.app("shop", rps, "3600s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    world.release("shop", "2", "0").await;
    let steps = || async { world.weight("shop").await == 5 };
    let what = "the canary gets traffic";
    world.until(what, SECOND * 60, steps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_hand_over_when_asked_to_end_frozen_and_killed() {
    let world = World::listening().await;
    let api = world.cluster.api_address.unwrap();
    let start = |name: &str| world.process(name, api, ELECTION);
    let mut a = start("a");
    until(&world, "a leads", &a).await;
    let b = start("b");
    in_a_run(&world, 50).await;
    let follows = || b.follows();
    world.until("b is ready", SECOND * 20, follows).await;

    a.signal("TERM");
    let took = ended(&world, &a).await;
    let lead = until(&world, "b leads", &b).await;
    println!("asked to end: ended after {took:?}, the other led {lead:?} later");
    assert!(took < SECOND * 2, "{took:?}\n{}", a.told());
    assert!(lead < SECOND * 2, "{lead:?}\n{}", b.told());
    assert_eq!(a.code(), 0);

    a = start("a2");
    world
        .until("a is ready", SECOND * 20, || async {
            a.page("readyz").await.is_some()
        })
        .await;
    b.signal("STOP");
    let took = until(&world, "a leads", &a).await;
    println!("frozen: the other led after {took:?}");
    assert!(took < SECOND * 15, "{took:?}\n{}", a.told());
    b.signal("CONT");
    let follows = || async { b.page("metrics").await.is_some() && !b.leads().await };
    world.until("b follows", SECOND * 20, follows).await;
    assert!(a.leads().await);

    a.signal("KILL");
    let took = until(&world, "b leads", &b).await;
    println!("killed: the other led after {took:?}");
    assert!(took < SECOND * 15, "{took:?}\n{}", b.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_cut_off_in_a_run_answers_and_ends_within_2_s() {
    let world = World::listening().await;
    let way = Way::to(world.cluster.api_address.unwrap()).await;
    let daemon = world.process("cut", way.address, "");
    in_a_run(&world, 100).await;
    way.cut();
    for _ in 0..12 {
        let page = daemon.page("api/rollouts").await;
        assert!(
            page.is_some_and(|text| text.contains("shop")),
            "{}",
            daemon.told()
        );
        world.clock.sleep(SECOND / 4).await;
    }
    daemon.signal("TERM");
    let took = ended(&world, &daemon).await;
    println!("cut off: ended after {took:?}");
    assert!(took < SECOND * 2, "{took:?}\n{}", daemon.told());
    assert_eq!(daemon.code(), 0);
    way.mend();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_of_an_hour_keeps_nobody_waiting_for_an_hour() {
    let world = World::listening().await;
    let api = world.cluster.api_address.unwrap();
    let throttle = |times| {
        let ours = Matching::any().user(ACCOUNT);
        world
            .cluster
            .api
            .faults()
            .next(times, ours, Fault::TooManyRequests(3600));
    };
    throttle(5);
    let daemon = world.process("throttled", api, "");
    world.app("shop", 100, "3600s").await;
    world
        .until("shop is guarded", SECOND * 60, || world.guarded("shop"))
        .await;
    world.release("shop", "2", "0.5").await;
    let weight = |wanted: u32| {
        let world = &world;
        async move { world.weight("shop").await == wanted }
    };
    world
        .until("the canary gets traffic", SECOND * 60, || weight(5))
        .await;
    throttle(40);
    world.cluster.api.faults().close_watches();
    let took = world.until("weight 0", SECOND * 60, || weight(0)).await;
    println!("throttled: weight 0 after {took:?}");
    assert!(!daemon.ended(), "{}", daemon.told());
}
