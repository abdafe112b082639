//! A wealth spread over several bets, kept in logarithms.
//!
//! One entry per bet holds `ln(prior * e)`; the wealth is their sum (log-sum-exp). Bets that do
//! not know the right alternative share a prior over a grid (Robbins' mixtures). Cash is a bet
//! whose factor is always 1 and bounds the loss.
//!
//! Fixed share (Herbster and Warmuth) moves wealth back towards the prior without changing its
//! sum, so the process stays an e-process. Not here: what the bets are.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Natural logarithms of the wealth in each of `N` bets, priors included.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture<const N: usize> {
    logs: [f64; N],
}

impl<const N: usize> Mixture<N> {
    /// Starts with the priors (natural logarithms; their sum of exponentials is 1).
    pub fn begin(ln_priors: &[f64; N]) -> Self {
        Self { logs: *ln_priors }
    }

    /// Multiplies each bet by its factor, given as natural logarithms in the bets' order.
    pub fn gain(&mut self, ln_factors: impl IntoIterator<Item = f64>) {
        for (log, factor) in self.logs.iter_mut().zip(ln_factors) {
            *log += factor;
        }
    }

    /// The whole wealth's natural logarithm.
    pub fn log(&self) -> f64 {
        log_sum_exp(&self.logs)
    }

    /// Whether the whole wealth's logarithm is at `bound` or above; cheap far from it.
    pub fn reaches(&self, bound: f64) -> bool {
        let (least, most) = self.range();
        least >= bound || (most >= bound && self.log() >= bound)
    }

    /// The greater of `floor` and the whole wealth's logarithm; cheap far below.
    pub fn at_least(&self, floor: f64) -> f64 {
        if self.range().1 <= floor {
            return floor;
        }
        floor.max(self.log())
    }

    /// Between what the whole wealth's logarithm lies: one bet's, and `N` times that bet's.
    fn range(&self) -> (f64, f64) {
        let top = top(&self.logs);
        (top, top + (N as f64).ln())
    }

    /// Fixed share: every bet gives up the fraction `h`, which is dealt out again by the priors.
    pub fn share(&mut self, h: f64, ln_priors: &[f64; N]) {
        let whole = self.log();
        for (log, prior) in self.logs.iter_mut().zip(ln_priors) {
            *log = log_add_exp(*log + (-h).ln_1p(), h.ln() + prior + whole);
        }
    }
}

/// Stored as a list of the logarithms.
impl<const N: usize> Serialize for Mixture<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.logs)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Mixture<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let logs = Vec::<f64>::deserialize(deserializer)?;
        let logs = <[f64; N]>::try_from(logs)
            .map_err(|logs| D::Error::invalid_length(logs.len(), &"one number a bet"))?;
        Ok(Self { logs })
    }
}

/// Priors of one cash entry and `N - 1` equal bets, as natural logarithms.
pub fn with_cash<const N: usize>(cash: f64) -> [f64; N] {
    let mut priors = [((1.0 - cash) / (N as f64 - 1.0)).ln(); N];
    if let Some(first) = priors.first_mut() {
        *first = cash.ln();
    }
    priors
}

/// `ln(sum(exp(logs)))` without overflow; negative infinity for nothing.
pub fn log_sum_exp(logs: &[f64]) -> f64 {
    let top = top(logs);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln()
}

fn top(logs: &[f64]) -> f64 {
    logs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `ln(mean(exp(logs)))`; 0 for nothing (no test, no evidence).
pub fn log_mean_exp(logs: &[f64]) -> f64 {
    if logs.is_empty() {
        return 0.0;
    }
    log_sum_exp(logs) - (logs.len() as f64).ln()
}

fn log_add_exp(a: f64, b: f64) -> f64 {
    log_sum_exp(&[a, b])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn priors_with_cash_sum_to_one() {
        assert!(log_sum_exp(&with_cash::<9>(0.1)).abs() < 1e-15);
        assert!(log_sum_exp(&with_cash::<5>(0.1)).abs() < 1e-15);
    }

    #[test]
    fn huge_logs_do_not_overflow() {
        assert!((log_sum_exp(&[1000.0, 1000.0]) - 1000.0 - 2f64.ln()).abs() < 1e-12);
        assert!((log_sum_exp(&[-2000.0, -3000.0]) + 2000.0).abs() < 1e-12);
    }

    #[test]
    fn a_list_of_another_length_is_no_mixture() {
        assert!(serde_json::from_str::<Mixture<3>>("[0.0, 0.0]").is_err());
    }

    proptest! {
        #[test]
        fn short_cuts_say_what_the_sum_says(
            logs in prop::array::uniform9(-5.0..5.0f64),
            bound in -10.0..10.0f64,
        ) {
            let mixture = Mixture { logs };
            prop_assert_eq!(mixture.reaches(bound), mixture.log() >= bound);
            prop_assert!((mixture.at_least(bound) - mixture.log().max(bound)).abs() < 1e-15);
        }

        #[test]
        fn fixed_share_does_not_move_the_wealth(
            logs in prop::array::uniform9(-500.0..500.0f64),
            h in 0.001..0.999f64,
        ) {
            let mut mixture = Mixture { logs };
            let before = mixture.log();
            mixture.share(h, &with_cash::<9>(0.1));
            prop_assert!((mixture.log() - before).abs() < 1e-9);
        }

        #[test]
        fn fixed_share_leaves_no_bet_below_its_part_of_the_wealth(
            logs in prop::array::uniform9(-500.0..500.0f64),
        ) {
            let priors = with_cash::<9>(0.1);
            let mut mixture = Mixture { logs };
            mixture.share(0.2, &priors);
            for (log, prior) in mixture.logs.iter().zip(priors) {
                prop_assert!(*log >= mixture.log() + prior + 0.2f64.ln() - 1e-9);
            }
        }

        #[test]
        fn a_mixture_round_trips_through_json(logs in prop::array::uniform9(-500.0..500.0f64)) {
            let mixture = Mixture { logs };
            let text = serde_json::to_string(&mixture).unwrap();
            let read: Mixture<9> = serde_json::from_str(&text).unwrap();
            prop_assert!((read.log() - mixture.log()).abs() < 1e-9);
        }
    }
}
