//! Two daemons, one of which leads: killed, cut off, stopped, with its lease deleted or refused.
//!
//! In all of it never both say that they lead, and none writes while it does not.

use std::time::Duration;

use kube::api::DeleteParams;
use sluice::sandbox::api::{Fault, Matching};

use super::daemons::Daemon;
use super::world::{World, virtually};

const SECOND: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
const LEASE: &str = "/apis/coordination.k8s.io/";

/// Waits until it holds, looking at both daemons all the time.
async fn until(
    world: &World,
    what: &str,
    daemons: &[&Daemon],
    holds: impl Fn() -> bool,
) -> Duration {
    world
        .until(what, SECOND * 60, || {
            never_both(daemons);
            std::future::ready(holds())
        })
        .await
}

/// Lets time pass, looking at both daemons all the time.
async fn pass(world: &World, time: Duration, daemons: &[&Daemon]) {
    let end = world.clock.ticks() + time;
    while world.clock.ticks() < end {
        never_both(daemons);
        world.clock.sleep(LOOK).await;
    }
}

fn never_both(daemons: &[&Daemon]) {
    let leaders = daemons.iter().filter(|daemon| daemon.leads()).count();
    assert!(leaders <= 1, "{leaders} lead");
}

/// The moments of writes other than the lease's.
fn writes(daemon: &Daemon) -> Vec<Duration> {
    let sent = daemon.line.sent();
    let writes = sent
        .iter()
        .filter(|sent| sent.is_write() && !sent.path.starts_with(LEASE));
    writes.map(|sent| sent.at).collect()
}

/// Two daemons of which `a` leads, and an application that is guarded.
async fn two(world: &World) -> (Daemon, Daemon) {
    world.app("shop", 50, "20s").await;
    let a = Daemon::candidate(world, "a");
    until(world, "a leads", &[&a], || a.leads()).await;
    let b = Daemon::candidate(world, "b");
    world
        .until("shop is guarded", SECOND * 60, || world.guarded("shop"))
        .await;
    assert!(!b.leads());
    (a, b)
}

/// A release is under way, at the first step.
async fn stepping(world: &World, errors: &str) {
    world.release("shop", "2", errors).await;
    world
        .until("the canary gets traffic", SECOND * 60, || async {
            world.weight("shop").await == 5
        })
        .await;
}

async fn ends(world: &World, outcome: &str) {
    world
        .until(outcome, SECOND * 300, || async {
            world.outcome("shop").await.as_deref() == Some(outcome)
        })
        .await;
}

#[test]
fn another_leads_within_15_s_when_the_leader_is_killed_and_the_run_goes_on() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        stepping(&world, "0").await;
        assert!(writes(&b).is_empty(), "{:?}", writes(&b));
        drop(a);
        let took = until(&world, "b leads", &[&b], || b.leads()).await;
        println!("failover after a kill: {took:?}");
        assert!(took < SECOND * 15, "{took:?}");
        ends(&world, "Promoted").await;
    });
}

#[test]
fn a_standby_shows_what_the_leader_writes() {
    virtually(async {
        let world = World::new().await;
        let (_a, b) = two(&world).await;
        stepping(&world, "0").await;
        let shown = || {
            b.board
                .get("default", "shop")
                .map(|entry| entry.phase.clone())
        };
        until(&world, "b shows the run", &[&b], || {
            shown().as_deref() == Some("Stepping")
        })
        .await;
        assert!(!b.metrics.text().unwrap().contains("sluice_phase{"));
    });
}

#[test]
fn a_release_that_turns_bad_under_no_leader_is_taken_back_by_the_next() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        stepping(&world, "0.5").await;
        drop(a);
        until(&world, "b leads", &[&b], || b.leads()).await;
        let took = world
            .until("weight 0", SECOND * 30, || async {
                world.weight("shop").await == 0
            })
            .await;
        assert!(took < SECOND * 10, "{took:?}");
        ends(&world, "RolledBack").await;
    });
}

#[test]
fn another_leads_within_a_second_when_the_leader_stops_in_order() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        stepping(&world, "0").await;
        let began = world.clock.ticks();
        a.stop().await;
        let stopped = world.since(began);
        assert!(stopped < SECOND * 2, "{stopped:?}");
        let took = until(&world, "b leads", &[&b], || b.leads()).await;
        println!("failover after a release: {took:?}");
        assert!(took < SECOND, "{took:?}");
        ends(&world, "Promoted").await;
    });
}

#[test]
fn a_leader_that_is_cut_off_stops_before_another_starts_and_follows_when_it_is_back() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        stepping(&world, "0").await;
        let cut = world.clock.ticks();
        a.line.cut();
        until(&world, "a stops", &[&a, &b], || !a.leads()).await;
        let stopped = world.clock.ticks();
        let took = stopped.saturating_sub(cut);
        assert!(took <= SECOND * 10 + LOOK, "{took:?}");
        until(&world, "b leads", &[&a, &b], || b.leads()).await;
        let started = world.clock.ticks();
        let gap = started.saturating_sub(stopped);
        assert!(gap > SECOND * 2, "{gap:?}");
        pass(&world, SECOND * 5, &[&a, &b]).await;
        a.line.mend();
        pass(&world, SECOND * 20, &[&a, &b]).await;
        assert!(b.leads());
        let late: Vec<_> = writes(&a).into_iter().filter(|at| *at > stopped).collect();
        assert!(late.is_empty(), "{late:?}");
        ends(&world, "Promoted").await;
    });
}

#[test]
fn a_lease_that_a_person_deletes_changes_no_hands() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        for _ in 0..5 {
            let deleted = world
                .leases()
                .delete("sluice", &DeleteParams::default())
                .await;
            deleted.unwrap();
            pass(&world, Duration::from_millis(3700), &[&a, &b]).await;
            assert!(a.leads());
        }
        stepping(&world, "0").await;
        ends(&world, "Promoted").await;
        assert!(writes(&b).is_empty());
    });
}

#[test]
fn while_the_lease_is_refused_to_all_nobody_acts_and_afterwards_one_does() {
    virtually(async {
        let world = World::new().await;
        let (a, b) = two(&world).await;
        stepping(&world, "0").await;
        let leases = Matching::any().resource("leases");
        world
            .cluster
            .api
            .faults()
            .next(u64::MAX, leases, Fault::Status(500));
        until(&world, "a stops", &[&a, &b], || !a.leads()).await;
        let stopped = world.clock.ticks();
        pass(&world, SECOND * 60, &[&a, &b]).await;
        assert!(!a.leads() && !b.leads());
        let late = writes(&a)
            .into_iter()
            .chain(writes(&b))
            .filter(|at| *at > stopped);
        assert_eq!(late.count(), 0);
        world.cluster.api.faults().clear();
        until(&world, "one leads", &[&a, &b], || a.leads() || b.leads()).await;
        ends(&world, "Promoted").await;
    });
}

#[test]
fn a_daemon_without_an_election_asks_for_no_lease() {
    virtually(async {
        let world = World::new().await;
        world.app("shop", 50, "5s").await;
        let alone = Daemon::start(&world, &serde_json::json!({}));
        let guarded = || world.guarded("shop");
        world.until("shop is guarded", SECOND * 60, guarded).await;
        assert!(alone.leads());
        stepping(&world, "0").await;
        ends(&world, "Promoted").await;
        let sent = alone.line.sent();
        assert!(sent.iter().all(|sent| !sent.path.starts_with(LEASE)));
    });
}

#[test]
fn two_daemons_without_a_lease_do_not_write_over_each_other_all_the_time() {
    virtually(async {
        let world = World::new().await;
        world.app("shop", 50, "3600s").await;
        let settings = serde_json::json!({});
        let both = [
            Daemon::start(&world, &settings),
            Daemon::start(&world, &settings),
        ];
        let guarded = || world.guarded("shop");
        world.until("it is guarded", SECOND * 60, guarded).await;
        world.release("shop", "2", "0").await;
        let steps = || async { world.weight("shop").await == 5 };
        world.until("traffic", SECOND * 60, steps).await;
        world.clock.sleep(SECOND * 60).await;
        let before: Vec<usize> = both.iter().map(|daemon| writes(daemon).len()).collect();
        world.clock.sleep(SECOND * 300).await;
        for (daemon, before) in both.iter().zip(before) {
            let written = writes(daemon).len() - before;
            // A checkpoint each 30 s, and one that comes too late.
            assert!(written <= 22, "{written} writes in 300 s");
        }
    });
}
