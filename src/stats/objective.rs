//! One arm against a fixed limit: is its bad share above `max`, is it below?
//!
//! For an alternative whose odds of being bad are `r` times the limit's, a bad request is worth
//! `r / (1 + max*(r-1))` and a good one `1 / (1 + max*(r-1))`: Wald's likelihood ratio, whose
//! expectation is at most 1 while the share is at most `max` (`r > 1`) or at least `max` (`r < 1`),
//! whether it stays the same or moves. A mixture over `r` is an e-process at every look.
//!
//! Requests fail in bursts, so a second witness gives each block one vote, its share of bad
//! requests, clipped: `1 + lambda*(min(y, c)/max - 1)` has expectation at most 1 whatever the
//! correlation inside the block, since `E[min(y, c)] <= E[y] <= max`; a short burst cannot decide.
//!
//! Not here: the comparison of two arms (`worse`, `not_worse`), and where blocks end.

use serde::{Deserialize, Serialize};

use super::Arm;
use super::mixture::{Mixture, with_cash};
use super::worse::RATIOS;

/// Odds of the alternatives above the limit, in multiples of the limit's: as in `worse`.
const ABOVE: [f64; 8] = RATIOS;
/// ... and below it.
const BELOW: [f64; 6] = [0.02, 0.1, 0.25, 0.5, 0.7, 0.85];
/// Parts of the wealth that are bet on a block's vote.
const BETS: [f64; 4] = [0.1, 0.3, 0.6, 0.9];
/// A block's share counts up to this many times the limit ...
const CLIP: f64 = 3.0;
/// ... or this many bad requests, where a block holds few.
const CLIP_REQUESTS: f64 = 2.0;
/// Part of the wealth that is never bet.
const CASH: f64 = 0.1;
/// Part of each bet that fixed share deals out again at a new step.
const SHARE: f64 = 0.2;

/// State of the tests against one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    exact: Mixture<9>,
    block: Mixture<5>,
    below: Mixture<6>,
    /// The highest logarithm of `below` since it began.
    top: f64,
}

impl Objective {
    /// Nothing shown.
    pub fn begin() -> Self {
        Self {
            exact: Mixture::begin(&with_cash::<9>(CASH)),
            block: Mixture::begin(&with_cash::<5>(CASH)),
            below: below(),
            top: 0.0,
        }
    }

    /// Folds requests in; `max` is the limit, in 0..1, the same at each call.
    pub fn observe(&mut self, arm: Arm, max: f64) {
        let growth = |r: f64| arm.bad * r.ln() - arm.total * (max * (r - 1.0)).ln_1p();
        self.exact
            .gain(std::iter::once(0.0).chain(ABOVE.map(growth)));
        self.below.gain(BELOW.map(growth));
        self.top = self.below.at_least(self.top);
    }

    /// A block is complete, in which `arm` was seen: it votes. One without requests does not.
    pub fn vote(&mut self, arm: Arm, max: f64) {
        if arm.total <= 0.0 {
            return;
        }
        let most = (CLIP * max).max(CLIP_REQUESTS / arm.total);
        let excess = arm.rate().min(most) / max - 1.0;
        self.block
            .gain(std::iter::once(0.0).chain(BETS.map(|bet| (bet * excess).ln_1p())));
    }

    /// A new step: what was learned of the alternatives is partly forgotten, no wealth is.
    pub fn step_changed(&mut self) {
        self.exact.share(SHARE, &with_cash::<9>(CASH));
        self.block.share(SHARE, &with_cash::<5>(CASH));
        self.restart_below();
    }

    /// The test for "below" begins anew.
    pub fn restart_below(&mut self) {
        self.below = below();
        self.top = 0.0;
    }

    /// The exact witness goes back to its start if it stands above; it only falls.
    pub fn forgive(&mut self) {
        if self.log_exact() > 0.0 {
            self.exact = Mixture::begin(&with_cash::<9>(CASH));
        }
    }

    /// Natural logarithm of the e-value for "above", requests taken as independent.
    pub fn log_exact(&self) -> f64 {
        self.exact.log()
    }

    /// The same, one vote a block.
    pub fn log_block(&self) -> f64 {
        self.block.log()
    }

    /// Natural logarithm of the highest e-value for "below" since it began.
    pub fn log_below(&self) -> f64 {
        self.top
    }
}

fn below() -> Mixture<6> {
    Mixture::begin(&[-(BELOW.len() as f64).ln(); BELOW.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::chance::Chance;

    /// How many of `runs` ever reach `bound`, with `n` requests a block and `blocks` of them.
    fn reached(
        share: f64,
        n: f64,
        runs: u32,
        blocks: u32,
        log: impl Fn(&Objective) -> f64,
        bound: f64,
    ) -> u32 {
        let mut chance = Chance::seeded(5);
        let mut count = 0;
        for _ in 0..runs {
            let mut test = Objective::begin();
            let hit = (0..blocks).any(|_| {
                let arm = Arm::new(n, chance.binomial(n, share));
                test.observe(arm, 0.01);
                test.vote(arm, 0.01);
                log(&test) >= bound
            });
            count += u32::from(hit);
        }
        count
    }

    #[test]
    fn values_agree_with_wald() {
        // One bad of ten against 1%: the mixture of r/(1+m(r-1))^10, by hand.
        let mut test = Objective::begin();
        test.observe(Arm::new(10.0, 1.0), 0.01);
        let each = RATIOS.map(|r| r / (1.0 + 0.01 * (r - 1.0)).powi(10));
        let want = (0.1 + 0.9 / 8.0 * each.iter().sum::<f64>()).ln();
        assert!((test.log_exact() - want).abs() < 1e-12);
        // No error in 300 requests: 1/(1 - 0.0098)^300 and so on.
        let mut test = Objective::begin();
        test.observe(Arm::new(300.0, 0.0), 0.01);
        let each = BELOW.map(|r| (1.0 + 0.01 * (r - 1.0)).powi(-300));
        let want = (each.iter().sum::<f64>() / 6.0).ln();
        assert!((test.log_below() - want).abs() < 1e-9);
    }

    #[test]
    fn a_share_at_the_limit_is_seldom_shown_above_or_below_at_any_look() {
        let (runs, alpha) = (2000, 0.05f64);
        let most = 1.3 * alpha * f64::from(runs);
        for n in [2.0, 20.0, 200.0] {
            for log in [
                Objective::log_exact,
                Objective::log_block,
                Objective::log_below,
            ] {
                let hits = reached(0.01, n, runs, 300, log, -alpha.ln());
                assert!(f64::from(hits) < most, "{hits} of {runs} at {n} a block");
            }
        }
    }

    #[test]
    fn a_share_above_or_below_the_limit_is_found() {
        let bound = 400f64.ln();
        for (share, n, blocks) in [(0.05, 20.0, 60), (0.05, 2.0, 300), (0.3, 200.0, 10)] {
            for log in [Objective::log_exact, Objective::log_block] {
                let hits = reached(share, n, 200, blocks, log, bound);
                assert!(hits >= 195, "{share} at {n} a block: {hits} of 200");
            }
        }
        let hits = reached(0.001, 20.0, 200, 40, Objective::log_below, 20f64.ln());
        assert!(hits >= 165, "{hits}");
    }

    #[test]
    fn a_short_burst_does_not_decide_alone() {
        let mut test = Objective::begin();
        for block in 0..30 {
            let bad = if (10..14).contains(&block) {
                100.0
            } else {
                0.0
            };
            test.observe(Arm::new(200.0, bad), 0.01);
            test.vote(Arm::new(200.0, bad), 0.01);
            assert!(test.log_block() < 400f64.ln(), "{}", test.log_block());
        }
        assert!(test.log_exact() > 400f64.ln());
    }
}
