//! The fault simulation: the real daemon on the sandbox, in virtual time, under seeded schedules
//! of everything that goes wrong, with the invariants of docs/design.md checked at each change.
//!
//! `cargo test --test faults` plays the first 500 seeds; `make soak SEEDS=10000 FROM=0` more of
//! them; `make soak SEED=123` one, with its whole story. See docs/simulation.md.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
#![allow(clippy::cast_possible_wrap)] // counts are small

mod cluster;
mod ending;
mod invariants;
mod journal;
mod manifests;
mod metrics;
mod net;
mod schedule;
mod shrink;
mod users;
mod watchdog;
mod world;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use schedule::{Act, Class, Event, Hurt, Kind, Schedule, Settings, What, is_gateway};
use world::{Outcome, lock, play};

/// As in the daemon itself; the simulation spends much of its time on small objects.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that `cargo test` plays.
const SEEDS: usize = 500;
/// Schedules between two lines on how far it has come.
const TELL_EVERY: usize = 200;
/// Failures that are told in full.
const TOLD: usize = 1;

/// Plays seeds on all cores, none any more after `most` failures; these in the order of their seeds.
fn play_all(seeds: &[u64], most: usize) -> Vec<(Schedule, Outcome)> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let played = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(played) else {
                        return;
                    };
                    if lock(&failures).len() >= most {
                        return;
                    }
                    let schedule = Schedule::of(seed);
                    let outcome = play(&schedule);
                    let failed = !outcome.violations.is_empty();
                    if failed {
                        println!("seed {seed} failed");
                        lock(&failures).push((schedule, outcome));
                    }
                    let played = played + 1;
                    if played.is_multiple_of(TELL_EVERY) {
                        println!(
                            "{played} of {} begun, {} failed",
                            seeds.len(),
                            lock(&failures).len()
                        );
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|(schedule, _)| schedule.seed);
    failures
}

/// Tells failures: all seeds, and the first few in full.
fn told(failures: &[(Schedule, Outcome)], full: usize) -> String {
    let lines = failures.iter().map(|(schedule, outcome)| {
        let first = &outcome.violations[0];
        format!(
            "seed {}: {} at {} ms: {}",
            schedule.seed, first.invariant, first.at, first.what
        )
    });
    let full = failures
        .iter()
        .take(full)
        .map(|(schedule, outcome)| shrink::report(schedule, outcome));
    lines.chain(full).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_invariants_hold_under_seeded_schedules() {
    let seeds: Vec<u64> = (0..).take(SEEDS).collect();
    let failures = play_all(&seeds, usize::MAX);
    assert!(
        failures.is_empty(),
        "{} of {SEEDS} schedules failed\n{}",
        failures.len(),
        told(&failures, TOLD)
    );
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in [1, 2, 3, 4, 5, 6, 7, 8] {
        let schedule = Schedule::of(seed);
        let (one, two) = (play(&schedule), play(&schedule));
        let differs = one
            .story
            .iter()
            .zip(&two.story)
            .position(|(one, two)| one != two);
        if let Some(at) = differs {
            panic!(
                "seed {seed}, line {at}:\n{}\n{}",
                one.story[at], two.story[at]
            );
        }
        assert_eq!(one.story.len(), two.story.len(), "seed {seed}");
    }
}

/// Chance seldom finds this moment: the daemon sees the new template only after it opened the gate.
#[test]
fn a_template_that_changes_as_the_gate_opens_is_not_let_through() {
    let event = |at, what| Event { at, what };
    for at in (18_000..26_000).step_by(1_000) {
        let schedule = Schedule {
            seed: 0,
            settings: Settings {
                replicas: 2,
                routers: 1,
                daemons: 1,
                lease: false,
                hold: 0,
                approval: false,
                no_data_rolls_back: false,
                restore_template: true,
                bake: false,
                blue_green: false,
                rolling: false,
                gateway: false,
            },
            events: vec![
                event(300, What::User(Act::Release(Kind::Good))),
                event(
                    16_000,
                    What::Lag {
                        daemon: 0,
                        by: 6_000,
                        lasts: 20_000,
                    },
                ),
                event(at, What::User(Act::Release(Kind::Bad))),
            ],
        };
        let outcome = play(&schedule);
        assert_eq!(outcome.violations, [], "at {at} ms");
    }
}

/// Nor this one: stable is scaled to nothing and up again while nobody watches the run.
#[test]
fn what_users_got_while_nobody_watched_is_not_what_stable_is_like() {
    let event = |at, what| Event { at, what };
    let refused = |code, times| What::Requests {
        daemon: 0,
        class: Class::List,
        hurt: Hurt::Refused(code),
        times,
    };
    let killed = What::Kill {
        daemon: 0,
        back: 8_033,
    };
    let schedule = Schedule {
        seed: 7952,
        settings: Settings {
            replicas: 3,
            routers: 1,
            daemons: 1,
            lease: true,
            hold: 15,
            approval: false,
            no_data_rolls_back: true,
            restore_template: true,
            bake: false,
            blue_green: true,
            rolling: false,
            gateway: false,
        },
        events: vec![
            event(3_373, What::User(Act::Release(Kind::LateBad))),
            event(24_908, refused(409, 5)),
            event(30_692, refused(429, 6)),
            event(35_917, killed),
            event(52_539, What::User(Act::Scale(0))),
        ],
    };
    assert_eq!(play(&schedule).violations, []);
}

#[test]
fn a_failing_list_is_made_as_small_as_it_can_be() {
    let all: Vec<u32> = (0..40).collect();
    let fails = |some: &[u32]| some.contains(&7) && some.contains(&31);
    assert_eq!(shrink::smallest(all, fails), [7, 31]);
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// `make soak`: `SEEDS` schedules from `FROM`, until `MOST` have failed, or the one of `SEED` with
/// its story. `ROUTE=gateway` plays those with an `HTTPRoute` only.
#[test]
#[ignore = "takes as long as it is told to: make soak"]
fn soak() {
    if let Some(seed) = number("SEED") {
        let schedule = Schedule::of(seed);
        println!("{schedule}");
        let outcome = play(&schedule);
        println!("{}", outcome.story.join("\n"));
        assert!(
            outcome.violations.is_empty(),
            "{}",
            told(&[(schedule, outcome)], TOLD)
        );
        return;
    }
    let (from, seeds) = (
        number("FROM").unwrap_or(0),
        number("SEEDS").unwrap_or(10_000),
    );
    let began = tokio::time::Instant::now();
    let most = number("MOST").map_or(usize::MAX, |most| most as usize);
    let gateways = std::env::var_os("ROUTE").is_some_and(|route| route == "gateway");
    let wanted = (from..).filter(|seed| !gateways || is_gateway(*seed));
    let seeds: Vec<u64> = wanted.take(seeds as usize).collect();
    let failures = play_all(&seeds, most);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} schedules from {from} in {took:.0} s: {:.1} a second; {} failed",
        seeds.len(),
        seeds.len() as f64 / took,
        failures.len()
    );
    assert!(failures.is_empty(), "{}", told(&failures, 0));
}
