//! The smallest list of events that still breaks the same invariant (delta debugging: Zeller and
//! Hildebrandt 2002), and the report of a failure.
//!
//! Not here: playing a schedule (`world`).

use crate::schedule::{Event, Schedule};
use crate::world::{Outcome, play};

/// Plays at most so many schedules to make one smaller.
const PLAYS: usize = 60;

/// A smaller schedule that breaks the same invariant, and how it ends.
pub fn shrink(schedule: &Schedule, broken: &str, play: impl Fn(&Schedule) -> Outcome) -> Schedule {
    let fails = |events: &[Event]| {
        let outcome = play(&schedule.with(events.to_vec()));
        outcome
            .violations
            .iter()
            .any(|violation| violation.invariant == broken)
    };
    schedule.with(smallest(schedule.events.clone(), fails))
}

/// The smallest part of `all` for which `fails` holds.
pub fn smallest<T: Clone>(all: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let (mut kept, mut parts, mut plays) = (all, 2, 0);
    while kept.len() > 1 && plays < PLAYS {
        let size = kept.len().div_ceil(parts);
        let mut found = None;
        for start in (0..kept.len()).step_by(size) {
            let mut rest = kept.clone();
            rest.drain(start..(start + size).min(kept.len()));
            plays += 1;
            if fails(&rest) {
                found = Some(rest);
                break;
            }
        }
        match found {
            Some(rest) => {
                kept = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    kept
}

/// What to print of a schedule that failed.
pub fn report(schedule: &Schedule, outcome: &Outcome) -> String {
    let Some(first) = outcome.violations.first() else {
        return String::new();
    };
    let small = shrink(schedule, first.invariant, play);
    let again = play(&small);
    let broken: Vec<String> = outcome
        .violations
        .iter()
        .map(|violation| format!("  {violation:?}"))
        .collect();
    format!(
        "seed {} breaks:\n{}\nits smallest schedule that breaks {:?}:\n{small}its story:\n{}\nagain: make soak SEED={}\n",
        schedule.seed,
        broken.join("\n"),
        first.invariant,
        again.story.join("\n"),
        schedule.seed,
    )
}
