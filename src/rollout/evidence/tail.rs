//! One way to be bad, tested with the block witness and the promotion test.
//!
//! The errors of a proportion are one; of a latency rule, being slower than each of three
//! boundaries is one. The open block's sums live here; the rule says when the block ends, so that
//! all of its tails vote on the same block.

use serde::{Deserialize, Serialize};

use crate::stats::block::Block;
use crate::stats::not_worse::NotWorse;
use crate::stats::{Arms, Margin};

/// State of the tests of one way to be bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tail {
    block: Block,
    open: (f64, f64),
    not_worse: NotWorse,
}

impl Tail {
    pub(super) fn begin() -> Self {
        Self {
            block: Block::begin(),
            open: (0.0, 0.0),
            not_worse: NotWorse::begin(),
        }
    }

    /// The open block adds up its bad requests.
    pub(super) fn count(&mut self, arms: &Arms) {
        self.open.0 += arms.canary.bad;
        self.open.1 += arms.stable.bad;
    }

    /// The promotion test takes an interval with requests of both arms.
    pub(super) fn test(&mut self, arms: &Arms, margin: &Margin) {
        self.not_worse.observe(arms, margin);
    }

    /// The open block is complete: it votes. `w` is the configured share.
    pub(super) fn close_block(&mut self, w: f64, ratio: f64) {
        let (canary, stable) = std::mem::take(&mut self.open);
        self.block.vote(canary, stable, w, ratio);
    }

    /// The open block is not to be counted (the share changed or is wrong).
    pub(super) fn drop_block(&mut self) {
        self.open = (0.0, 0.0);
    }

    /// A new step: fixed share for the witness, the promotion test begins anew.
    pub(super) fn weight_changed(&mut self) {
        self.drop_block();
        self.block.share_changed();
        self.restart_promotion();
    }

    pub(super) fn restart_promotion(&mut self) {
        self.not_worse = NotWorse::begin();
    }

    /// Whether the block witness is at `bound`.
    pub(super) fn block_reaches(&self, bound: f64) -> bool {
        self.block.reaches(bound)
    }

    pub(super) fn log_block(&self) -> f64 {
        self.block.log()
    }

    /// What [`Tail::log_block`] were if the open block voted now.
    pub(super) fn log_block_if_closed(&self, w: f64, ratio: f64) -> f64 {
        let mut block = self.block.clone();
        block.vote(self.open.0, self.open.1, w, ratio);
        block.log()
    }

    /// The promotion test as it is now.
    pub(super) fn log_not_worse_now(&self) -> f64 {
        self.not_worse.log()
    }

    /// The promotion test's highest value in this step.
    pub(super) fn log_not_worse(&self) -> f64 {
        self.not_worse.top()
    }
}
