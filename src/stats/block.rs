//! The block witness: one vote for a block of time, whatever happened inside it.
//!
//! Requests are not independent, bursts count once. Two kinds of vote stand side by side, each a
//! mixture of its own: the canary's average share of the bad requests, and that share
//! standardised and clipped, which keeps its power where a block holds many of them. Both only
//! need that, given that something bad happened, the canary's mean share of it is at most
//! `theta = w*ratio/(w*ratio+1-w)`.
//!
//! No absolute margin here: the gain of a block is bounded, a margin's cost would not be.
//! Not here: when a block ends.

use serde::{Deserialize, Serialize};

use super::mixture::{Mixture, log_mean_exp, with_cash};
use super::worse::bets;

/// How boldly the clipped vote bets.
const STAKES: [f64; 4] = [0.2, 0.5, 0.8, 0.95];
const CASH: f64 = 0.1;
const SHARE: f64 = 0.2;

/// The clipped vote's longer tail must be the clipped one: canary shares up to one half.
const LARGEST_CLIPPED_SHARE: f64 = 0.5;

/// The block witness's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    average: Mixture<9>,
    clipped: Mixture<5>,
}

impl Block {
    /// No evidence: wealth 1.
    pub fn begin() -> Self {
        Self {
            average: Mixture::begin(&with_cash::<9>(CASH)),
            clipped: Mixture::begin(&with_cash::<5>(CASH)),
        }
    }

    /// A block's vote: its bad requests in both arms, `w` being the *configured* canary share
    /// and `ratio` the tolerated one. A block without a bad request says nothing.
    pub fn vote(&mut self, canary_bad: f64, stable_bad: f64, w: f64, ratio: f64) {
        let bad = canary_bad + stable_bad;
        if bad <= 0.0 || w <= 0.0 || w >= 1.0 {
            return;
        }
        let y = canary_bad / bad;
        let average = bets(w, ratio).map(|bet| (y * bet.canary + (1.0 - y) * bet.stable).ln());
        self.average.gain(std::iter::once(0.0).chain(average));
        if w <= LARGEST_CLIPPED_SHARE {
            let u = standardised(y, bad, w, ratio);
            let clipped = STAKES.map(|stake| (stake * u).ln_1p());
            self.clipped.gain(std::iter::once(0.0).chain(clipped));
        }
    }

    /// Natural logarithm of the e-value: the mean of both kinds' wealth.
    pub fn log(&self) -> f64 {
        log_mean_exp(&[self.average.log(), self.clipped.log()])
    }

    /// Whether [`Block::log`] is at `bound` or above; cheap far below.
    pub fn reaches(&self, bound: f64) -> bool {
        // The mean of two is at most the greater.
        (self.average.reaches(bound) || self.clipped.reaches(bound)) && self.log() >= bound
    }

    /// To be called once when the canary's share was changed.
    pub fn share_changed(&mut self) {
        self.average.share(SHARE, &with_cash::<9>(CASH));
        self.clipped.share(SHARE, &with_cash::<5>(CASH));
    }
}

/// The canary's share of `bad` requests in half standard deviations above the tolerated share,
/// clipped to -1..1, and damped where less than one bad canary request was to be expected.
fn standardised(y: f64, bad: f64, w: f64, ratio: f64) -> f64 {
    let theta = w * ratio / (w * ratio + 1.0 - w);
    let deviation = (theta * (1.0 - theta) / bad).sqrt();
    ((y - theta) / (2.0 * deviation)).clamp(-1.0, 1.0) * (bad * theta).min(1.0)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;
    use crate::stats::chance::Chance;

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }

    #[test]
    fn the_average_vote_agrees_with_the_reference() {
        type Row = (&'static [(f64, f64, f64)], &'static [f64]);
        let rows: [Row; 3] = [
            (
                &[
                    (0., 1., 0.1),
                    (2., 1., 0.1),
                    (1., 0., 0.1),
                    (3., 2., 0.1),
                    (2., 0., 0.1),
                ],
                &[
                    -0.404938770397,
                    0.174838888709,
                    1.286256735019,
                    2.300488193474,
                    3.920432039323,
                ],
            ),
            (
                &[
                    (1., 0., 0.01),
                    (0., 3., 0.01),
                    (1., 2., 0.05),
                    (4., 2., 0.2),
                    (6., 3., 0.5),
                    (0., 0., 0.5),
                ],
                &[
                    2.516475292961,
                    1.765542450568,
                    3.018598425622,
                    3.967606616545,
                    4.155034086678,
                    4.155034086678,
                ],
            ),
            (
                &[(30., 70., 0.1), (30., 70., 0.1), (30., 70., 0.1)],
                &[0.416156181842, 0.940963861495, 1.566960282919],
            ),
        ];
        for (blocks, want) in rows {
            let mut block = Block::begin();
            for (&(x_c, x_b, w), &want) in blocks.iter().zip(want) {
                block.vote(x_c, x_b, w, 1.2);
                near(block.average.log(), want);
            }
        }
    }

    /// Both votes together; the values were computed independently from the formulas above.
    #[test]
    fn both_votes_together_agree_with_an_independent_computation() {
        let mut block = Block::begin();
        for (x_c, x_b, want) in [
            (0., 1., -0.189239121328),
            (2., 1., 0.170015709982),
            (1., 0., 0.891882443141),
            (3., 2., 1.764607507126),
            (2., 0., 3.265315686998),
        ] {
            block.vote(x_c, x_b, 0.1, 1.2);
            near(block.log(), want);
        }
    }

    #[test]
    fn one_burst_is_one_vote_however_large() {
        let mut block = Block::begin();
        block.vote(10_000.0, 0.0, 0.1, 1.2);
        assert!(block.log() < 100f64.ln());
    }

    #[test]
    fn shares_above_one_half_leave_the_clipped_vote_alone() {
        let mut block = Block::begin();
        block.vote(9.0, 1.0, 0.6, 1.2);
        assert_eq!(block.clipped, Block::begin().clipped);
        assert_ne!(block.average, Block::begin().average);
    }

    #[test]
    fn under_bursts_without_a_difference_the_mean_wealth_is_at_most_one() {
        let mut chance = Chance::seeded(3);
        let runs = 3000;
        let total: f64 = (0..runs)
            .map(|_| {
                let mut block = Block::begin();
                for _ in 0..10 {
                    let rate = if chance.uniform() < 0.2 { 0.3 } else { 0.01 };
                    let (c, b) = (chance.binomial(20.0, rate), chance.binomial(60.0, rate));
                    block.vote(c, b, 0.25, 1.0);
                }
                block.log().exp()
            })
            .sum();
        let mean = total / f64::from(runs);
        assert!(mean < 1.1, "mean wealth {mean}");
    }
}
