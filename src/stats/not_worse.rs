//! The promotion test: is the canary shown to be no worse than `ratio * stable's + margin`?
//!
//! The null is that it *is* worse than that, so the wealth grows with every good canary request
//! (Wald's test turned round, mixed over a grid of rates below the margin). Once it has reached
//! its bound it stays shown: the bound holds at every look. It is begun anew for each step.
//!
//! Not here: where the margin comes from (`patience`).

use serde::{Deserialize, Serialize};

use super::mixture::Mixture;
use super::{Arms, Margin};

/// Alternatives: a bad canary request is worth this factor.
const FACTORS: [f64; 6] = [0.02, 0.1, 0.25, 0.5, 0.7, 0.85];

/// Their natural logarithms.
const LN_FACTORS: [f64; 6] = [
    -3.912_023_005_428_146,
    -std::f64::consts::LN_10,
    -1.386_294_361_119_890_6,
    -std::f64::consts::LN_2,
    -0.356_674_943_938_732_45,
    -0.162_518_929_497_774_94,
];

/// Factor per bad stable request that belongs to a factor `a` per bad canary request.
fn stable_factor(a: f64, w: f64, ratio: f64) -> f64 {
    1.0 + ratio * w / (1.0 - w) * (1.0 - a)
}

/// Mean and variance of one alternative's logarithm, per canary request, where both arms are
/// bad at `rate`; for planning.
pub fn drift(w: f64, margin: &Margin, rate: f64) -> [(f64, f64); 6] {
    FACTORS.map(|a| {
        let (ln_a, ln_b) = (a.ln(), stable_factor(a, w, margin.ratio).ln());
        let stable_bad = rate * (1.0 - w) / w;
        let mean = rate * ln_a + stable_bad * ln_b + margin.absolute * (1.0 - a);
        (mean, rate * ln_a * ln_a + stable_bad * ln_b * ln_b)
    })
}

/// The promotion test's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotWorse {
    wealth: Mixture<6>,
    top: f64,
}

impl NotWorse {
    /// Nothing shown yet.
    pub fn begin() -> Self {
        Self {
            wealth: Mixture::begin(&[-(FACTORS.len() as f64).ln(); FACTORS.len()]),
            top: 0.0,
        }
    }

    /// Folds one interval in; one with an empty arm brings nothing.
    pub fn observe(&mut self, arms: &Arms, margin: &Margin) {
        let Some(w) = arms.share() else { return };
        let allowance = arms.canary.total * margin.absolute;
        let mut growth = FACTORS.map(|a| allowance * (1.0 - a));
        for ((log, a), ln_a) in growth.iter_mut().zip(FACTORS).zip(LN_FACTORS) {
            *log += arms.canary.bad * ln_a;
            if arms.stable.bad > 0.0 {
                *log += arms.stable.bad * stable_factor(a, w, margin.ratio).ln();
            }
        }
        self.wealth.gain(growth);
        self.top = self.wealth.at_least(self.top);
    }

    /// Natural logarithm of the e-value now.
    pub fn log(&self) -> f64 {
        self.wealth.log()
    }

    /// The highest value so far, which is what is held against the bound.
    pub fn top(&self) -> f64 {
        self.top
    }
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;
    use crate::stats::{Arm, chance::Chance};

    const MARGIN: Margin = Margin {
        ratio: 1.2,
        absolute: 0.01,
    };

    fn arms(x_c: f64, x_b: f64, n: f64, w: f64) -> Arms {
        Arms {
            canary: Arm::new(n * w, x_c),
            stable: Arm::new(n * (1.0 - w), x_b),
        }
    }

    #[test]
    fn a_sequence_agrees_with_the_reference() {
        let mut test = NotWorse::begin();
        let rows = [
            (arms(0., 1., 100., 0.1), 0.137828900873),
            (arms(0., 0., 100., 0.1), 0.200026417093),
            (arms(0., 2., 500., 0.1), 0.697044767349),
            (arms(1., 5., 500., 0.1), 0.050783510166),
        ];
        for (tick, want) in rows {
            test.observe(&tick, &MARGIN);
            assert!((test.log() - want).abs() < 1e-9, "{} {want}", test.log());
        }
        assert!((test.top() - 0.697044767349).abs() < 1e-9);
    }

    #[test]
    fn the_logarithms_of_the_factors_are_right() {
        for (factor, ln) in FACTORS.into_iter().zip(LN_FACTORS) {
            assert!((factor.ln() - ln).abs() < 1e-15);
        }
    }

    #[test]
    fn a_clean_canary_agrees_with_the_reference() {
        let mut test = NotWorse::begin();
        test.observe(
            &arms(0., 0., 2000., 0.05),
            &Margin {
                ratio: 1.2,
                absolute: 0.04,
            },
        );
        assert!((test.log() - 2.992523029158).abs() < 1e-9);
    }

    #[test]
    fn a_canary_at_the_margin_is_seldom_shown_to_be_no_worse() {
        let mut chance = Chance::seeded(11);
        let runs = 1500;
        let passed = (0..runs)
            .filter(|_| {
                let mut test = NotWorse::begin();
                for _ in 0..60 {
                    let canary = Arm::new(20.0, chance.binomial(20.0, 0.022));
                    let stable = Arm::new(60.0, chance.binomial(60.0, 0.01));
                    test.observe(&Arms { canary, stable }, &MARGIN);
                }
                test.top() >= 20f64.ln()
            })
            .count();
        assert!(
            (passed as f64) < 0.07 * f64::from(runs),
            "{passed} of {runs}"
        );
    }
}
