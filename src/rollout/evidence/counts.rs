//! A rule's kind with its numbers: which samples it takes, and what each brings.
//!
//! Not here: when a sample counts and when a block ends (`rule`), and the kinds themselves (`errors`, `times`,
//! `events`, `numbers`).

use serde::{Deserialize, Serialize};

use crate::stats::Arm;

use super::errors::Errors;
use super::events::Events;
use super::numbers::{Bounded, Compared};
use super::sample::{ArmCounts, Kind, Question, Sample};
use super::times::{Terms, Times};

/// The rule's kind with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Counts {
    Errors(Errors),
    Times(Times),
    Events(Events),
    Compared(Compared),
    Bounded(Bounded),
}

impl Counts {
    pub(super) fn begin(question: &Question) -> Self {
        match question.kind {
            Kind::Proportion | Kind::Load { .. } => Self::Errors(Errors::begin()),
            Kind::Latency { .. } => Self::Times(Times::begin()),
            Kind::Events => Self::Events(Events::begin()),
            Kind::Compare { higher, .. } => Self::Compared(Compared::begin(higher)),
            Kind::Value { bounds, .. } => Self::Bounded(Bounded::begin(bounds)),
        }
    }

    /// Whether it answers questions of this kind; `load`: its requests are synthetic.
    pub(super) fn answers(&self, kind: &Kind, load: bool) -> bool {
        match (self, kind) {
            (Self::Errors(_), Kind::Proportion) => !load,
            (Self::Errors(_), Kind::Load { .. }) => load,
            (Self::Times(_), Kind::Latency { .. }) | (Self::Events(_), Kind::Events) => true,
            (Self::Compared(compared), Kind::Compare { higher, .. }) => compared.is_of(*higher),
            (Self::Bounded(bounded), Kind::Value { bounds, .. }) => bounded.is_of(bounds),
            _ => false,
        }
    }

    /// Whether the sample is of this kind.
    pub(super) fn takes(&self, sample: &Sample) -> bool {
        match (self, &sample.canary, &sample.stable) {
            (Self::Errors(_), ArmCounts::Proportion { .. }, ArmCounts::Proportion { .. })
            | (Self::Events(_), ArmCounts::Events { .. }, ArmCounts::Events { .. })
            | (
                Self::Compared(_) | Self::Bounded(_),
                ArmCounts::Numbers(_),
                ArmCounts::Numbers(_),
            ) => true,
            (
                Self::Times(times),
                ArmCounts::Buckets { boundaries: a, .. },
                ArmCounts::Buckets { boundaries: b, .. },
            ) => a == b && times.meets(a),
            _ => false,
        }
    }

    /// What stable is like, by a sample that may not be tested.
    pub(super) fn learn(&mut self, stable: &ArmCounts) {
        match (self, stable) {
            (Self::Errors(errors), ArmCounts::Proportion { total, bad }) => {
                errors.known += Arm::new(*total, *bad);
            }
            (Self::Times(times), ArmCounts::Buckets { boundaries, counts }) => {
                times.adopt(boundaries);
                times.learn(counts);
            }
            _ => {}
        }
    }

    /// Counts a sample that it takes; another one leaves it as it is.
    pub(super) fn observe(&mut self, sample: &Sample, terms: &Terms) {
        match self {
            Self::Errors(errors) => {
                if let Some(arms) = sample.arms(None) {
                    errors.pool(&arms, &terms.worse, &terms.not_worse);
                }
            }
            Self::Times(times) => {
                if let Some((canary, stable)) = sample.buckets() {
                    times.pool(canary, stable, terms);
                }
            }
            Self::Events(events) => {
                if let Some(arms) = sample.events() {
                    events.observe(&arms, &terms.worse);
                }
            }
            Self::Compared(compared) => {
                if let (Some(canary), Some(stable)) =
                    (sample.canary.numbers(), sample.stable.numbers())
                {
                    compared.observe(canary, stable, terms.worse.ratio);
                }
            }
            Self::Bounded(bounded) => {
                if let Some(canary) = sample.canary.numbers() {
                    bounded.observe(canary);
                }
            }
        }
    }

    /// The open block votes.
    pub(super) fn close_block(&mut self, w: f64, ratio: f64) {
        match self {
            Self::Errors(errors) => errors.tail.close_block(w, ratio),
            Self::Times(times) => times.close_block(w, ratio),
            Self::Events(events) => events.close_block(ratio),
            Self::Compared(_) | Self::Bounded(_) => {}
        }
    }

    /// The open block is not compared.
    pub(super) fn drop_block(&mut self) {
        match self {
            Self::Errors(errors) => errors.tail.drop_block(),
            Self::Times(times) => times.drop_block(),
            // Pods' time is no share of the requests.
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => {}
        }
    }

    pub(super) fn weight_changed(&mut self) {
        match self {
            Self::Errors(errors) => errors.weight_changed(),
            Self::Times(times) => times.weight_changed(),
            Self::Events(events) => events.weight_changed(),
            Self::Compared(compared) => compared.weight_changed(),
            Self::Bounded(bounded) => bounded.weight_changed(),
        }
    }

    /// The promotion test begins anew, for another margin.
    pub(super) fn restart_promotion(&mut self) {
        match self {
            Self::Errors(errors) => errors.tail.restart_promotion(),
            Self::Times(times) => times.restart_promotion(),
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => {}
        }
    }

    pub(super) fn forgive(&mut self) {
        match self {
            Self::Errors(errors) => errors.forgive(),
            Self::Times(times) => times.forgive(),
            Self::Events(events) => events.forgive(),
            // They have one witness, so they are never merely suspect.
            Self::Compared(_) | Self::Bounded(_) => {}
        }
    }

    pub(super) fn log_exact(&self) -> f64 {
        match self {
            Self::Errors(errors) => errors.log_exact(),
            Self::Times(times) => times.log_exact(),
            Self::Events(events) => events.log_exact(),
            Self::Compared(_) | Self::Bounded(_) => 0.0,
        }
    }

    pub(super) fn log_block(&self) -> f64 {
        match self {
            Self::Errors(errors) => errors.tail.log_block(),
            Self::Times(times) => times.log_block(),
            Self::Events(events) => events.log_block(),
            Self::Compared(_) | Self::Bounded(_) => 0.0,
        }
    }

    pub(super) fn log_not_worse(&self) -> f64 {
        match self {
            Self::Errors(errors) => errors.tail.log_not_worse(),
            Self::Times(times) => times.log_not_worse(),
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => 0.0,
        }
    }

    /// Whether the exact witness reaches this bound; `None` where it says too little by itself.
    pub(super) fn exact_reaches(&self, bound: f64) -> Option<bool> {
        match self {
            Self::Errors(errors) => Some(errors.exact_reaches(bound)),
            Self::Times(times) => Some(times.exact_reaches(bound)),
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => None,
        }
    }

    /// Whether a request of stable was ever seen: without one there is nothing to compare with.
    pub(super) fn has_baseline(&self) -> bool {
        match self {
            Self::Errors(errors) => errors.known.total > 0.0,
            Self::Times(times) => times.has_stable(),
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => true,
        }
    }

    /// Bad shares of stable, one per test that a step must pass.
    pub(super) fn rates(&self) -> Vec<f64> {
        match self {
            Self::Errors(errors) => vec![errors.rate()],
            Self::Times(times) => times.tail_rates(),
            Self::Events(_) | Self::Compared(_) | Self::Bounded(_) => Vec::new(),
        }
    }
}
