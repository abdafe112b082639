//! What a stream is judged by: bounds, margins, blocks; and which kinds of count a run has.
//!
//! A kind alone has the whole alpha. Of several, the errors have one half and the others share
//! the other; without errors they share the whole.

use crate::stats::Margin;

use super::super::sample::{Kind, Question};
use super::tick::{Fault, Tick};

/// How streams are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Probability that a run whose canary is within the margin is ever called worse.
    pub alpha: f64,
    /// Probability, per step, that a canary at its margin is called not worse.
    pub beta: f64,
    /// Margin of the promotion test in every step: blast radius over the next step's share.
    pub margin: f64,
    /// Length of a block in seconds.
    pub block: f64,
    /// Seconds after a change of weight that are not counted.
    pub settle: f64,
    /// What is asked of `bad`.
    pub errors: Question,
    /// What is asked of `buckets`.
    pub times: Question,
    /// What is asked of `events`.
    pub events: Question,
    /// Whether sampled numbers are worse when higher; else when lower.
    pub higher_is_worse: bool,
    /// The kinds that every run has; otherwise those of its first tick.
    pub kinds: Option<Kinds>,
}

impl Default for Terms {
    /// The daemon's defaults; no settling time, and the step is the last one.
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            margin: 0.002,
            block: 2.0,
            settle: 0.0,
            errors: Question::new("errors", Kind::Proportion),
            times: Question::new("latency", Kind::Latency { quantile: 0.99 }),
            events: Question {
                absolute: 0.0,
                ..Question::new("events", Kind::Events)
            },
            higher_is_worse: true,
            kinds: None,
        }
    }
}

impl Terms {
    /// `ln(1/(alpha*omega))` for a kind that has the part `omega` of alpha.
    pub(super) fn bound(&self, omega: f64) -> f64 {
        -(self.alpha * omega).ln()
    }

    pub(super) fn bound_not_worse(&self) -> f64 {
        -self.beta.ln()
    }

    /// What `question` is asked by the promotion test.
    pub(super) fn not_worse(&self, question: &Question) -> Margin {
        Margin {
            ratio: question.ratio,
            absolute: self.margin * question.leniency(),
        }
    }
}

/// Which kinds of count are judged.
#[allow(clippy::struct_excessive_bools)] // a set
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// `bad`.
    pub errors: bool,
    /// `buckets`.
    pub times: bool,
    /// `samples`.
    pub samples: bool,
    /// `events`.
    pub events: bool,
}

impl Kinds {
    /// The kinds that a tick has.
    pub fn of(tick: &Tick<'_>) -> Self {
        Self {
            errors: tick.canary.bad.is_some(),
            times: tick.canary.buckets.is_some(),
            samples: tick.samples.is_some(),
            events: tick.events.is_some(),
        }
    }

    /// Whether a tick with the kinds `other` belongs to a run with these.
    pub(super) fn admit(self, other: Self) -> Result<(), Fault> {
        let more = [
            (other.errors && !self.errors, "bad"),
            (other.times && !self.times, "buckets"),
            (other.samples && !self.samples, "samples"),
            (other.events && !self.events, "events"),
        ];
        match more.into_iter().find(|(more, _)| *more) {
            None => Ok(()),
            Some((_, field)) => {
                let wanted = "only what the run's first tick had, or the rules given";
                Err(Fault::new(field, "counts of another kind", wanted))
            }
        }
    }

    /// The part of alpha that errors have.
    pub(super) fn errors_part(self) -> f64 {
        let alone = !(self.times || self.samples || self.events);
        if alone { 1.0 } else { 0.5 }
    }

    /// The part of alpha that each other kind has.
    pub(super) fn other_part(self) -> f64 {
        let all = if self.errors { 0.5 } else { 1.0 };
        let others = [self.times, self.samples, self.events].map(u8::from);
        let others: u8 = others.iter().sum();
        all / f64::from(others.max(1))
    }
}
