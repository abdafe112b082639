//! Steps that would show something: the same shape, with the holds and weights that it takes.
//!
//! A step shows something when, before it is left, it finds with 80% probability a canary that is
//! ten times as bad as usual (and at least 1% bad), or twice as slow where only times are asked.
//! What is proposed keeps within the plan's patience (`within`), each step its even part of it.

use std::time::Duration;

use super::found::Search;
use super::traffic::{Harm, Usual};
use crate::rollout::plan::Step;

/// Weights that are tried where a step's own would take too long.
const WEIGHTS: [u8; 8] = [5, 10, 15, 20, 25, 30, 40, 50];
/// How many times as bad.
const TIMES_WORSE: f64 = 10.0;
/// ... but at least this share.
const LEAST: f64 = 0.01;
/// How many times as slow.
const TIMES_SLOWER: f64 = 2.0;
/// How often an hour each pod is hit.
const AN_HOUR: f64 = 60.0;
const COARSEST: f64 = 0.5;

/// The harm that a step should find.
pub fn reference(usual: &Usual) -> Harm {
    match usual {
        Usual::Errors(rate) => Harm::Rate((rate * TIMES_WORSE).clamp(LEAST, COARSEST)),
        Usual::Times { .. } => Harm::Slower(TIMES_SLOWER),
        Usual::Events { .. } => Harm::Often(AN_HOUR),
    }
}

/// The proposal; `None` if no weight can show anything in its part of the patience. `present` are
/// the steps with the seconds that a healthy release spends there.
pub(super) fn propose(
    present: &[(Step, f64)],
    within: Duration,
    search: impl Fn(u8, bool) -> Option<f64>,
) -> Option<Vec<Step>> {
    let part = within.as_secs_f64() / present.len().max(1) as f64;
    let mut steps: Vec<Step> = Vec::new();
    for (step, spent) in present {
        let last = steps.last().map_or(0, |step| step.weight);
        if step.weight <= last {
            continue;
        }
        let tried = std::iter::once(step.weight).chain(WEIGHTS);
        let fits = |weight: u8| {
            let needed = search(weight, !steps.is_empty())?;
            (needed <= part || needed <= *spent).then_some((weight, needed))
        };
        let (weight, needed) = tried
            .filter(|weight| *weight >= step.weight)
            .find_map(fits)?;
        let held = if needed > *spent || weight != step.weight {
            rounded(needed)
        } else {
            Duration::ZERO
        };
        steps.push(Step {
            weight,
            hold: step.hold.max(held),
            approval: step.approval,
            approvers: step.approvers.clone(),
        });
    }
    Some(steps)
}

/// A time that people would write, not below `seconds`.
fn rounded(seconds: f64) -> Duration {
    let unit = match seconds {
        s if s <= 120.0 => 10.0,
        s if s <= 600.0 => 30.0,
        _ => 60.0,
    };
    Duration::from_secs(((seconds / unit).ceil() * unit) as u64)
}

impl Search<'_> {
    /// Seconds in which the reference harm is found with 80% probability, if before `limit`.
    pub(super) fn seconds_to_show(&self, limit: f64) -> Option<f64> {
        self.seconds(reference(&self.stream.usual), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(weight: u8, hold: u64) -> Step {
        Step {
            weight,
            hold: Duration::from_secs(hold),
            approval: false,
            approvers: None,
        }
    }

    /// As if detection needed so many requests of the canary: 3000 percent seconds.
    fn needed(weight: u8, _: bool) -> Option<f64> {
        (weight > 0).then(|| 3000.0 / f64::from(weight))
    }

    #[test]
    fn a_step_that_shows_something_stays_and_another_is_held_for_longer() {
        let present = [(step(5, 0), 30.0), (step(50, 0), 60.0)];
        let proposed = propose(&present, Duration::from_secs(1200), needed);
        assert_eq!(proposed, Some(vec![step(5, 600), step(50, 0)]));
    }

    #[test]
    fn a_weight_that_would_take_too_long_is_raised() {
        let present = [(step(1, 0), 30.0), (step(5, 0), 60.0), (step(50, 0), 90.0)];
        let proposed = propose(&present, Duration::from_secs(900), needed);
        assert_eq!(proposed, Some(vec![step(10, 300), step(50, 0)]));
    }

    #[test]
    fn where_nothing_can_be_shown_nothing_is_proposed() {
        let present = [(step(5, 0), 30.0)];
        assert_eq!(propose(&present, Duration::from_secs(9), needed), None);
        assert_eq!(propose(&present, Duration::from_secs(9), |_, _| None), None);
    }
}
