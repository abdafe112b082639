//! Evidence of a proportion rule: errors among requests.
//!
//! Counts for people (whole run, this step), the stable's known rate for planning, the exact
//! witness, and one tail for the block witness and the promotion test.

use serde::{Deserialize, Serialize};

use crate::stats::worse::Exact;
use crate::stats::{Arm, Arms, Margin};

use super::tail::Tail;

/// State of a proportion rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Errors {
    /// All that is known of stable, from before the run too.
    pub(super) known: Arm,
    pub(super) run: Arms,
    pub(super) step: Arms,
    exact: Exact,
    pub(super) tail: Tail,
    /// Intervals in which an arm had no request, until both have; empty in older checkpoints.
    #[serde(default)]
    pending: Arms,
}

impl Errors {
    pub(super) fn begin() -> Self {
        Self {
            known: Arm::default(),
            run: Arms::default(),
            step: Arms::default(),
            exact: Exact::begin(),
            tail: Tail::begin(),
            pending: Arms::default(),
        }
    }

    /// Tests an interval as it is: one with an empty arm brings nothing.
    pub(super) fn observe(&mut self, arms: &Arms, worse: &Margin, not_worse: &Margin) {
        self.count(arms);
        self.test(arms, worse, not_worse);
    }

    /// Tests intervals of one weight together until both arms have requests: with little traffic, or
    /// arms that are read at different moments, most intervals have an empty arm.
    pub(super) fn pool(&mut self, arms: &Arms, worse: &Margin, not_worse: &Margin) {
        self.count(arms);
        self.pending += *arms;
        if self.pending.share().is_some() {
            let pooled = std::mem::take(&mut self.pending);
            self.test(&pooled, worse, not_worse);
        }
    }

    fn count(&mut self, arms: &Arms) {
        self.run += *arms;
        self.step += *arms;
        self.tail.count(arms);
    }

    fn test(&mut self, arms: &Arms, worse: &Margin, not_worse: &Margin) {
        self.exact.observe(arms, worse);
        self.tail.test(arms, not_worse);
    }

    pub(super) fn weight_changed(&mut self) {
        self.step = Arms::default();
        self.pending = Arms::default();
        self.exact.share_changed();
        self.tail.weight_changed();
    }

    pub(super) fn forgive(&mut self) {
        if self.exact.log() > 0.0 {
            self.exact = Exact::begin();
        }
    }

    /// Whether both witnesses are at `bound`.
    pub(super) fn is_worse(&self, bound: f64) -> bool {
        self.tail.block_reaches(bound) && self.exact.reaches(bound)
    }

    /// Whether the exact witness is at `bound`.
    pub(super) fn exact_reaches(&self, bound: f64) -> bool {
        self.exact.reaches(bound)
    }

    pub(super) fn log_exact(&self) -> f64 {
        self.exact.log()
    }

    /// The stable's rate, drawn a little towards one half: planning with few counts is prudent.
    pub(super) fn rate(&self) -> f64 {
        (self.known.bad + 0.5) / (self.known.total + 1.0)
    }
}
