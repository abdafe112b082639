//! The exact witness: is the canary's rate above `ratio * stable's + absolute`?
//!
//! For each alternative ratio on the grid a bet multiplies by `a` for every bad canary request
//! and by `b` for every bad stable one, where `w*ratio*(a-1) + (1-w)*(b-1) = 0`. So under the
//! null its expectation given the request counts is at most `exp(n_c*absolute*(a-1))`, which is
//! taken off (Lindon and Kallus; Turner, Ly and Gruenwald). A common outage cancels.
//!
//! Assumes independent requests; the block witness beside it does not. Not here: when to look.

use serde::{Deserialize, Serialize};

use super::mixture::{Mixture, with_cash};
use super::{Arms, Margin};

/// Alternatives: the canary's rate is this many times what is tolerated.
pub const RATIOS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 300.0];

/// Their natural logarithms.
const LN_RATIOS: [f64; 8] = [
    0.223_143_551_314_209_76,
    0.405_465_108_108_164_4,
    std::f64::consts::LN_2,
    1.098_612_288_668_109_8,
    1.609_437_912_434_100_3,
    std::f64::consts::LN_10,
    3.401_197_381_662_155_5,
    5.703_782_474_656_201,
];

/// Part of the wealth that is never bet.
const CASH: f64 = 0.1;

/// Part of each bet that fixed share deals out again when the weight changes.
const SHARE: f64 = 0.2;

/// The factors of one alternative at a canary share `w`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bet {
    /// Factor for a bad canary request.
    pub canary: f64,
    /// Factor for a bad stable request.
    pub stable: f64,
}

/// The bets of the whole grid at canary share `w` (in 0..1) against a tolerated `ratio`.
pub fn bets(w: f64, ratio: f64) -> [Bet; 8] {
    let tolerated = w * ratio + 1.0 - w;
    RATIOS.map(|r| {
        let stable = tolerated / (w * ratio * r + 1.0 - w);
        Bet {
            canary: r * stable,
            stable,
        }
    })
}

/// Natural logarithm of the e-value's factor for each alternative; `None` if an arm is empty.
pub fn growth(arms: &Arms, margin: &Margin) -> Option<[f64; 8]> {
    let w = arms.share()?;
    let allowance = arms.canary.total * margin.absolute;
    let bets = bets(w, margin.ratio);
    let mut growth = bets.map(|bet| allowance * (1.0 - bet.canary));
    let bad = arms.canary.bad + arms.stable.bad;
    if bad > 0.0 {
        // A bet's factors differ by its ratio: one logarithm serves both.
        for ((log, bet), ln_ratio) in growth.iter_mut().zip(bets).zip(LN_RATIOS) {
            *log += bad * bet.stable.ln() + arms.canary.bad * ln_ratio;
        }
    }
    Some(growth)
}

/// The exact witness's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exact(Mixture<9>);

impl Exact {
    /// No evidence: wealth 1.
    pub fn begin() -> Self {
        Self(Mixture::begin(&with_cash::<9>(CASH)))
    }

    /// Folds one interval in; one with an empty arm brings nothing.
    pub fn observe(&mut self, arms: &Arms, margin: &Margin) {
        if let Some(growth) = growth(arms, margin) {
            self.0.gain(std::iter::once(0.0).chain(growth));
        }
    }

    /// Natural logarithm of the e-value.
    pub fn log(&self) -> f64 {
        self.0.log()
    }

    /// Whether [`Exact::log`] is at `bound` or above.
    pub fn reaches(&self, bound: f64) -> bool {
        self.0.reaches(bound)
    }

    /// To be called once when the canary's share was changed.
    pub fn share_changed(&mut self) {
        self.0.share(SHARE, &with_cash::<9>(CASH));
    }
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;
    use crate::stats::{Arm, chance::Chance};

    fn arms(x_c: f64, x_b: f64, n: f64, w: f64) -> Arms {
        Arms {
            canary: Arm::new(n * w, x_c),
            stable: Arm::new(n * (1.0 - w), x_b),
        }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }

    #[test]
    fn the_grid_agrees_with_the_reference() {
        type Row = (&'static [(f64, f64, f64)], f64, [f64; 8], Option<f64>);
        let rows: [Row; 5] = [
            (
                &[(2., 0., 0.01)],
                1.,
                [
                    0.441293342231,
                    0.800955133194,
                    1.366393699414,
                    2.157619322744,
                    3.140434398562,
                    4.432814793506,
                    6.293110326577,
                    8.639982487509,
                ],
                Some(6.566449079729),
            ),
            (
                &[(9., 11., 0.1)],
                1.,
                [
                    1.51443971002,
                    2.673382689585,
                    4.332121028953,
                    6.241079462134,
                    7.755496479483,
                    7.886188113499,
                    3.391245372247,
                    -17.281081406168,
                ],
                Some(6.451736935545),
            ),
            (
                &[(9., 11., 0.1)],
                1.25,
                [
                    1.40764621985,
                    2.465408545167,
                    3.936938029344,
                    5.522439277613,
                    6.538905262527,
                    5.907761245962,
                    0.367284294782,
                    -21.13325466816,
                ],
                Some(5.044387363991),
            ),
            (
                &[(1., 3., 0.05), (2., 5., 0.1), (7., 6., 0.5)],
                1.,
                [
                    0.477717681482,
                    0.713483314449,
                    0.798093484885,
                    0.317717922627,
                    -1.272172511869,
                    -5.115105698096,
                    -14.730134464582,
                    -43.236823952143,
                ],
                Some(-0.053730786800),
            ),
            (
                &[(0., 50., 0.2)],
                1.,
                [
                    -2.439508208472,
                    -4.765508990216,
                    -9.116077839698,
                    -16.823611831061,
                    -29.389333245106,
                    -51.480970859058,
                    -95.846130609103,
                    -205.379489448606,
                ],
                Some(-2.200198881083),
            ),
        ];
        for (ticks, ratio, want, mixture) in rows {
            let margin = Margin {
                ratio,
                absolute: 0.0,
            };
            let (mut sums, mut exact) = ([0.0; 8], Exact::begin());
            for &(x_c, x_b, w) in ticks {
                let tick = arms(x_c, x_b, 1000.0, w);
                for (sum, part) in sums.iter_mut().zip(growth(&tick, &margin).unwrap()) {
                    *sum += part;
                }
                exact.observe(&tick, &margin);
            }
            for (got, want) in sums.into_iter().zip(want) {
                near(got, want);
            }
            if let Some(want) = mixture {
                near(exact.log(), want);
            }
        }
    }

    #[test]
    fn the_three_ticks_with_a_margin_agree_with_the_reference() {
        let margin = Margin {
            ratio: 1.25,
            absolute: 0.0,
        };
        let mut exact = Exact::begin();
        for (x_c, x_b, w) in [(1., 3., 0.05), (2., 5., 0.1), (7., 6., 0.5)] {
            exact.observe(&arms(x_c, x_b, 1000.0, w), &margin);
        }
        // Computed from the formula with fifty digits.
        near(exact.log(), -0.518218135820);
    }

    const T1: [(f64, f64, f64, f64); 5] = [
        (0., 1., 100., 0.1),
        (2., 1., 90., 0.1),
        (1., 0., 110., 0.1),
        (3., 2., 95., 0.1),
        (2., 0., 105., 0.1),
    ];
    const T2: [(f64, f64, f64, f64); 6] = [
        (1., 0., 100., 0.01),
        (0., 3., 120., 0.01),
        (1., 2., 80., 0.05),
        (4., 2., 90., 0.2),
        (6., 3., 100., 0.5),
        (0., 0., 100., 0.5),
    ];

    #[test]
    fn whole_sequences_agree_with_the_reference() {
        type Row = (&'static [(f64, f64, f64, f64)], f64, f64, &'static [f64]);
        let rows: [Row; 3] = [
            (
                &T1,
                1.0,
                0.0,
                &[
                    -0.378371066583,
                    1.196122685692,
                    2.565242639508,
                    5.892627890426,
                    9.386249677929,
                ],
            ),
            (
                &T1,
                1.2,
                0.001,
                &[
                    -0.417454725018,
                    0.941553267589,
                    2.111957553838,
                    4.945592854745,
                    8.026495348689,
                ],
            ),
            (
                &T2,
                1.2,
                0.001,
                &[
                    2.473247516608,
                    1.151766362225,
                    1.806849777453,
                    3.912938102579,
                    2.850024227751,
                    2.825697378838,
                ],
            ),
        ];
        for (ticks, ratio, absolute, want) in rows {
            let mut exact = Exact::begin();
            for (&(x_c, x_b, n, w), &want) in ticks.iter().zip(want) {
                exact.observe(&arms(x_c, x_b, n, w), &Margin { ratio, absolute });
                near(exact.log(), want);
            }
        }
    }

    #[test]
    fn fixed_share_before_the_third_tick_agrees_with_the_reference() {
        let mut exact = Exact::begin();
        for (i, (x_c, x_b, n, w)) in T2.into_iter().enumerate() {
            if i == 2 {
                exact.share_changed();
            }
            exact.observe(
                &arms(x_c, x_b, n, w),
                &Margin {
                    ratio: 1.2,
                    absolute: 0.001,
                },
            );
        }
        near(exact.log(), 2.837946123125);
    }

    #[test]
    fn the_logarithms_of_the_grid_are_right() {
        for (ratio, ln) in RATIOS.into_iter().zip(LN_RATIOS) {
            assert!((ratio.ln() - ln).abs() < 1e-15);
        }
    }

    #[test]
    fn an_empty_arm_brings_nothing() {
        let mut exact = Exact::begin();
        exact.observe(
            &arms(5.0, 0.0, 100.0, 1.0),
            &Margin {
                ratio: 1.0,
                absolute: 0.0,
            },
        );
        near(exact.log(), 0.0);
    }

    #[test]
    fn under_the_null_the_mean_wealth_is_at_most_one() {
        let mut chance = Chance::seeded(7);
        let margin = Margin {
            ratio: 1.2,
            absolute: 0.001,
        };
        let runs = 4000;
        let total: f64 = (0..runs)
            .map(|_| {
                let mut exact = Exact::begin();
                for _ in 0..5 {
                    exact.observe(
                        &Arms {
                            canary: Arm::new(20.0, chance.binomial(20.0, 0.013)),
                            stable: Arm::new(80.0, chance.binomial(80.0, 0.01)),
                        },
                        &margin,
                    );
                }
                exact.log().exp()
            })
            .sum();
        let mean = total / f64::from(runs);
        assert!(mean < 1.1, "mean wealth {mean}");
    }
}
