//! The share guard: do the arms get the requests that the weight says they should?
//!
//! The Dirichlet-multinomial e-process of Lindon and Malek for two cells: the likelihood of the
//! counts under a prior of 100 requests around the configured share, against their likelihood at
//! exactly that share. Its state are the two counts.
//!
//! Not here: what to do about a wrong share, and when a corrected one is believed again.

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// The prior's weight in requests.
const PRIOR: f64 = 100.0;

/// Requests per arm since the guard began.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Split {
    /// Requests of the canary.
    pub canary: f64,
    /// Requests of stable.
    pub stable: f64,
}

impl Split {
    /// Adds an interval's requests.
    pub fn add(&mut self, canary: f64, stable: f64) {
        self.canary += canary;
        self.stable += stable;
    }

    /// All requests.
    pub fn total(&self) -> f64 {
        self.canary + self.stable
    }

    /// The observed canary share, if there was a request.
    pub fn observed(&self) -> Option<f64> {
        (self.total() > 0.0).then(|| self.canary / self.total())
    }

    /// Natural logarithm of the e-value against the configured share `w`; 0 outside 0..1.
    pub fn log(&self, w: f64) -> f64 {
        if w <= 0.0 || w >= 1.0 {
            return 0.0;
        }
        let (a, b) = (PRIOR * w, PRIOR * (1.0 - w));
        ln_beta(a + self.canary, b + self.stable)
            - ln_beta(a, b)
            - self.canary * w.ln()
            - self.stable * (1.0 - w).ln()
    }

    /// Whether [`Split::log`] is at `bound` (at least 0) or above; cheap where the share agrees.
    pub fn reaches(&self, w: f64, bound: f64) -> bool {
        // The e-value is at most the greatest likelihood ratio, whose logarithm is at most the
        // squared distance in standard deviations (Kullback-Leibler is below chi-squared).
        let distance = self.deviations(w);
        distance * distance >= bound && self.log(w) >= bound
    }

    /// Distance of the observed share from `w`, in standard deviations.
    pub fn deviations(&self, w: f64) -> f64 {
        let spread = (self.total() * w * (1.0 - w)).sqrt();
        if spread > 0.0 {
            (self.canary - self.total() * w).abs() / spread
        } else {
            0.0
        }
    }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_the_reference() {
        let rows = [
            (120., 1000., 0.1, 0.640383303485),
            (60., 1000., 0.1, 8.158466393980),
            (5., 200., 0.05, 0.625336435314),
            (700., 10000., 0.05, 34.834395415861),
        ];
        for (canary, total, w, want) in rows {
            let split = Split {
                canary,
                stable: total - canary,
            };
            assert!(
                (split.log(w) - want).abs() < 1e-9,
                "{} {want}",
                split.log(w)
            );
        }
    }

    #[test]
    fn the_short_cut_says_what_the_e_value_says() {
        for canary in 0..=400 {
            for w in [0.01, 0.1, 0.3, 0.5, 0.9] {
                let (canary, stable) = (f64::from(canary), 400.0 - f64::from(canary));
                let split = Split { canary, stable };
                let bound = 1000f64.ln();
                assert_eq!(
                    split.reaches(w, bound),
                    split.log(w) >= bound,
                    "{split:?} {w}"
                );
            }
        }
    }

    #[test]
    fn a_share_of_nothing_or_all_is_not_judged() {
        let split = Split {
            canary: 10.0,
            stable: 10.0,
        };
        assert_eq!((split.log(0.0), split.log(1.0)), (0.0, 0.0));
    }
}
