//! From the verdict to the pushed commit and to Flux's having applied it: 50 failed releases.
//! Measured, not judged: `make bench-git`.
//!
//! Once in virtual time, in which work on the repository takes no time: what is measured are the waits,
//! of the daemon and of Flux. Once by the wall clock, with the work: a daemon, a Git server and the
//! stand-in for Flux in one process, on as many threads as there are cores. What the work alone takes in a
//! large repository is measured in tests/git.

use std::time::Duration;

use super::world::virtually;
use super::{MINUTE, Shop};

const RELEASES: usize = 50;

#[test]
#[ignore = "measures; make bench-git"]
fn from_verdict_to_applied() {
    virtually(measure("virtual time"));
}

#[test]
#[ignore = "measures; make bench-git"]
fn from_verdict_to_applied_by_the_wall_clock() {
    // Fails only when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(measure("wall clock"));
}

async fn measure(clock: &str) {
    let shop = Shop::open().await;
    let _daemon = shop.daemon();
    let good = shop.released("2", "0", "Promoted").await;
    shop.good_is(good).await;
    let (mut pushed, mut applied) = (Vec::new(), Vec::new());
    for version in 3..3 + RELEASES {
        shop.commit(&version.to_string(), "0.3");
        let back = || async { shop.world.phase("shop").await.starts_with("Roll") };
        shop.world.until("it rolls back", MINUTE * 5, back).await;
        let verdict = shop.world.clock.ticks();
        let head = shop.team.says(&["rev-parse", "main"]);
        let moved = || async { shop.team.says(&["rev-parse", "main"]) != head };
        shop.world.until("it is pushed", MINUTE * 5, moved).await;
        pushed.push(shop.world.since(verdict));
        let commit = shop.team.says(&["rev-parse", "main"]);
        let done = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| {
                remedy.commit.as_ref() == Some(&commit) && remedy.applied.is_some()
            })
        };
        shop.world.until("it is applied", MINUTE * 5, done).await;
        applied.push(shop.world.since(verdict));
        println!(
            "{clock}, release {version}: {:.1?}, {:.1?}",
            pushed[version - 3],
            applied[version - 3]
        );
        let idle = || async { shop.world.phase("shop").await == "Idle" };
        shop.world.until("it rests", MINUTE * 5, idle).await;
    }
    println!("{clock}, verdict to pushed: {}", told(pushed));
    println!("{clock}, verdict to applied: {}", told(applied));
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    format!("p50 {:.1?}, p99 {:.1?}", quantile(0.5), quantile(0.99))
}
