//! The exact witness for ordered buckets: at some boundary, is the canary's share of slower
//! requests above `ratio * stable's + absolute`?
//!
//! A bet is an alternative of bucket ratios `r_k`, non-decreasing in `k`. Its factors `f_k` (a
//! canary request in bucket k) and `g_k` (a stable one) fulfil
//! `w*((1-ratio)*f_0 + ratio*f_k) + (1-w)*g_k = 1` and rise with `k`, so it is valid whatever the
//! stable's probabilities `p` were estimated to be, if that was done before; `f_0` is chosen for the
//! largest growth. Two buckets give the error kernel of `worse`.
//!
//! `f_0` is found once per estimate and share; each tick then uses its own realised share, which
//! is as valid (any `f_0` is) and costs one logarithm a bucket. Not here: where `p` comes from.

use super::quantile::{above, quantile};
use super::{Margin, realised_share};

/// Alternatives: all times are multiplied by this.
const STRETCHES: [f64; 6] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0];
/// Alternatives: the tail above a boundary is multiplied by this.
const TAILS: [f64; 5] = [1.5, 2.0, 3.0, 5.0, 10.0];
/// Tails are taken at the boundaries nearest to these quantiles of stable.
const QUANTILES: [f64; 3] = [0.75, 0.95, 0.99];
const CASH: f64 = 0.1;
/// A multiplied tail holds at most this share.
const LARGEST_TAIL: f64 = 0.9;
/// `w * f_0` stays below this, so that `g` stays positive.
const LARGEST_STAKE: f64 = 0.999;

/// Number of entries in the mixture: cash, stretches, tails at three boundaries.
pub const BETS: usize = 1 + STRETCHES.len() + TAILS.len() * QUANTILES.len();

/// Priors of the mixture as natural logarithms: cash, then half of the rest for each sort.
pub fn ln_priors() -> [f64; BETS] {
    let half = (1.0 - CASH) / 2.0;
    let tails = (TAILS.len() * QUANTILES.len()) as f64;
    let mut priors = [(half / tails).ln(); BETS];
    for (i, prior) in priors.iter_mut().enumerate().take(1 + STRETCHES.len()) {
        *prior = if i == 0 {
            CASH.ln()
        } else {
            (half / STRETCHES.len() as f64).ln()
        };
    }
    priors
}

/// Bucket probabilities from counts, none of them 0 (half a request is added to each).
pub fn probabilities(counts: &[f64]) -> Vec<f64> {
    let total = counts.iter().sum::<f64>() + 0.5 * counts.len() as f64;
    counts.iter().map(|count| (count + 0.5) / total).collect()
}

/// The boundaries (indices) nearest to stable's p75, p95 and p99; empty without boundaries.
pub fn tail_boundaries(boundaries: &[f64], p: &[f64]) -> Vec<usize> {
    let nearest = |q: &f64| nearest_boundary(boundaries, p, *q);
    QUANTILES.iter().filter_map(nearest).collect()
}

/// The boundary (index) nearest to the `q` quantile in time, as a ratio. Not nearest in the share
/// above it: that may leave several times as many above, and hide what a far tail does.
pub fn nearest_boundary(boundaries: &[f64], p: &[f64], q: f64) -> Option<usize> {
    let time = quantile(boundaries, p, q)?.value;
    let distance = |i: &usize| {
        (boundaries
            .get(*i)
            .map_or(f64::INFINITY, |l| (l / time).ln()))
        .abs()
    };
    (0..boundaries.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// One alternative: its ratios and the `f_0` of largest growth.
#[derive(Debug, Clone, PartialEq)]
pub struct Bet {
    ratios: Vec<f64>,
    ln_ratios: Vec<f64>,
    floor: f64,
}

impl Bet {
    /// The bet on `ratios` (canary to stable, non-decreasing, up to a factor) at canary share `w`,
    /// where stable's probabilities are `p` and `rho` is the tolerated ratio.
    pub fn new(p: &[f64], mut ratios: Vec<f64>, w: f64, rho: f64) -> Self {
        let norm: f64 = p.iter().zip(&ratios).map(|(p, r)| p * r).sum();
        for r in &mut ratios {
            *r /= norm;
        }
        let floor = best_floor(p, &ratios, w, rho);
        let ln_ratios = ratios.iter().map(|r| r.ln()).collect();
        Self {
            ratios,
            ln_ratios,
            floor,
        }
    }

    /// `(f_k, g_k)` of every bucket at canary share `w`.
    pub fn factors(&self, w: f64, rho: f64) -> Vec<(f64, f64)> {
        let floor = self.floor_at(w);
        let lift = 1.0 + w * (rho - 1.0) * floor;
        self.ratios
            .iter()
            .enumerate()
            .map(|(k, r)| {
                let free = lift * r / (rho * (w * r + 1.0 - w));
                let f = if k == 0 { floor } else { free.max(floor) };
                (f, (lift - w * rho * f) / (1.0 - w))
            })
            .collect()
    }

    /// Natural logarithm of the e-value's factor for these counts at their realised share `w`.
    fn growth(&self, counts: &Counts<'_>, w: f64, margin: &Margin) -> f64 {
        let (floor, rho) = (self.floor_at(w), margin.ratio);
        let lift = 1.0 + w * (rho - 1.0) * floor;
        let (ln_lift, ln_rho) = (lift.ln(), rho.ln());
        let (ln_floor, ln_held) = (floor.ln(), ((1.0 - w * floor) / (1.0 - w)).ln());
        let (mut log, mut last) = (0.0, floor);
        let buckets = counts.canary.iter().zip(counts.stable);
        let ratios = self.ratios.iter().zip(&self.ln_ratios);
        // Neighbours often have the same ratio, and then the same logarithm.
        let (mut known_r, mut ln_g) = (f64::NAN, 0.0);
        for (k, ((y_c, y_b), (r, ln_r))) in buckets.zip(ratios).enumerate() {
            let divisor = w * r + 1.0 - w;
            let free = lift * r / (rho * divisor);
            if k == 0 || free <= floor {
                log += y_c * ln_floor + y_b * ln_held;
                last = floor;
            } else {
                last = free;
                if y_c + y_b > 0.0 {
                    if r.to_bits() != known_r.to_bits() {
                        (known_r, ln_g) = (*r, ln_lift - divisor.ln());
                    }
                    log += y_c * (ln_g + ln_r - ln_rho) + y_b * ln_g;
                }
            }
        }
        log - counts.requests * margin.absolute * (last - floor)
    }

    fn floor_at(&self, w: f64) -> f64 {
        self.floor.min(LARGEST_STAKE / w)
    }
}

/// The root of growth's derivative in `f_0`, by bisection.
fn best_floor(p: &[f64], ratios: &[f64], w: f64, rho: f64) -> f64 {
    let (mut low, mut high) = (0.001, (LARGEST_STAKE / w).min(1.5));
    for _ in 0..48 {
        let f = 0.5 * (low + high);
        if slope(p, ratios, w, rho, f) > 0.0 {
            low = f;
        } else {
            high = f;
        }
    }
    0.5 * (low + high)
}

/// Derivative of the expected growth: `held` buckets are those whose factor is `f_0` itself.
fn slope(p: &[f64], ratios: &[f64], w: f64, rho: f64, f: f64) -> f64 {
    let lift = 1.0 + w * (rho - 1.0) * f;
    let (mut held_q, mut held_p, mut free) = (0.0, 0.0, 0.0);
    for (k, (&p, &r)) in p.iter().zip(ratios).enumerate() {
        let q = r * p;
        if k == 0 || lift * r <= f * rho * (w * r + 1.0 - w) {
            held_q += q;
            held_p += p;
        } else {
            free += w * q + (1.0 - w) * p;
        }
    }
    w * held_q / f - (1.0 - w) * held_p * w / (1.0 - w * f) + free * w * (rho - 1.0) / lift
}

struct Counts<'a> {
    canary: &'a [f64],
    stable: &'a [f64],
    requests: f64,
}

/// All bets for one estimate of stable and one configured share.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    bets: Vec<Bet>,
}

impl Kernel {
    /// `boundaries` as in `quantile`, `p` stable's probabilities (all above 0), `tails` from
    /// [`tail_boundaries`], `w` the configured canary share (in 0..1), `rho` the tolerated ratio.
    pub fn new(boundaries: &[f64], p: &[f64], tails: &[usize], w: f64, rho: f64) -> Self {
        let stretched = STRETCHES.iter().map(|&s| stretched(boundaries, p, s));
        let heavier = tails
            .iter()
            .flat_map(|&tail| TAILS.iter().map(move |&times| heavier(p, tail, times)));
        let bets = stretched
            .chain(heavier)
            .map(|ratios| Bet::new(p, ratios, w, rho))
            .collect();
        Self { bets }
    }

    /// Natural logarithms of the factors of the mixture's entries (cash first) for one interval's
    /// counts per bucket; `None` if an arm is empty.
    pub fn growth<'a>(
        &'a self,
        canary: &'a [f64],
        stable: &'a [f64],
        margin: &'a Margin,
    ) -> Option<impl Iterator<Item = f64> + 'a> {
        let requests = canary.iter().sum::<f64>();
        let w = realised_share(requests, stable.iter().sum())?;
        let counts = Counts {
            canary,
            stable,
            requests,
        };
        let bets = self
            .bets
            .iter()
            .map(move |bet| bet.growth(&counts, w, margin));
        Some(std::iter::once(0.0).chain(bets))
    }
}

/// Ratios when all of stable's times are multiplied by `s`.
fn stretched(boundaries: &[f64], p: &[f64], s: f64) -> Vec<f64> {
    let tails: Vec<f64> = (0..boundaries.len()).map(|i| above(p, i)).collect();
    let mut before = 1.0;
    let slower = boundaries
        .iter()
        .map(|l| tail_at(boundaries, &tails, l / s))
        .chain(std::iter::once(0.0));
    let q = slower.map(|tail| (std::mem::replace(&mut before, tail) - tail).max(0.0));
    rising(q.zip(p).map(|(q, p)| q / p))
}

/// Stable's share above `x`, log-linear between the boundaries (linear in time below the first).
fn tail_at(boundaries: &[f64], tails: &[f64], x: f64) -> f64 {
    let next = boundaries.partition_point(|l| *l < x);
    let (Some(&upper), Some(&upper_tail)) = (boundaries.get(next), tails.get(next)) else {
        return 0.0;
    };
    let lower = next.checked_sub(1);
    let (part, lower_tail) = match lower.and_then(|i| Some((*boundaries.get(i)?, *tails.get(i)?))) {
        Some((l, tail)) if l > 0.0 => ((x / l).ln() / (upper / l).ln(), tail),
        Some((l, tail)) => ((x - l) / (upper - l), tail),
        None if upper <= 0.0 => return upper_tail,
        None => ((x / upper).clamp(0.0, 1.0), 1.0),
    };
    (lower_tail.ln() + part * (upper_tail / lower_tail).ln()).exp()
}

/// Ratios when the tail above a boundary is multiplied by `times`.
fn heavier(p: &[f64], tail: usize, times: f64) -> Vec<f64> {
    let share = above(p, tail);
    let times = times.min(LARGEST_TAIL / share).max(1.0);
    let rest = (1.0 - times * share) / (1.0 - share);
    let ratios = (0..p.len()).map(|k| if k > tail { times } else { rest });
    ratios.collect()
}

/// Makes ratios non-decreasing, and positive.
fn rising(ratios: impl Iterator<Item = f64>) -> Vec<f64> {
    let higher = |top: &mut f64, r: f64| {
        *top = r.max(*top);
        Some(*top)
    };
    ratios.scan(1e-6, higher).collect()
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;
    use crate::stats::chance::Chance;
    use crate::stats::mixture::{Mixture, log_sum_exp};
    use proptest::prelude::*;

    const P: [f64; 5] = [0.5, 0.3, 0.15, 0.04, 0.01];
    const R: [f64; 5] = [0.8, 1.0, 1.3, 2.0, 4.0];

    fn log_e(bet: &Bet, w: f64, rho: f64) -> f64 {
        let (y_c, y_b) = ([4., 3., 2., 2., 1.], [40., 30., 16., 3., 1.]);
        let counts = Counts {
            canary: &y_c,
            stable: &y_b,
            requests: 12.0,
        };
        bet.growth(
            &counts,
            w,
            &Margin {
                ratio: rho,
                absolute: 0.0,
            },
        )
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }

    #[test]
    fn the_kernel_agrees_with_the_reference_without_a_margin() {
        let bet = Bet::new(&P, R.to_vec(), 0.1, 1.0);
        let want = [
            (0.8052340211, 1.0216406643),
            (0.9866798224, 1.0014800197),
            (1.2458073790, 0.9726880690),
            (1.7961383026, 0.9115401886),
            (3.0452988199, 0.7727445756),
        ];
        for ((f, g), (want_f, want_g)) in bet.factors(0.1, 1.0).into_iter().zip(want) {
            near(f, want_f);
            near(g, want_g);
        }
        near(log_e(&bet, 0.1, 1.0), 1.7397522954);
    }

    #[test]
    fn the_kernel_agrees_with_the_reference_with_a_margin() {
        let bet = Bet::new(&P, R.to_vec(), 0.1, 1.2);
        let want = [
            0.9179198990,
            0.9179198990,
            1.0572320056,
            1.5242604370,
            2.5843380230,
        ];
        for ((f, _), want) in bet.factors(0.1, 1.2).into_iter().zip(want) {
            near(f, want);
        }
        near(log_e(&bet, 0.1, 1.2), 1.3248911056);
        let bet = Bet::new(&P, R.to_vec(), 0.5, 1.2);
        let factors = bet.factors(0.5, 1.2);
        near(factors[0].0, 0.9571350978);
        near(factors[4].0, 1.4565816016);
        near(log_e(&bet, 0.5, 1.2), 1.0764044746);
    }

    #[test]
    fn priors_sum_to_one() {
        near(log_sum_exp(&ln_priors()), 0.0);
    }

    #[test]
    fn tails_lie_nearest_to_the_quantiles() {
        let boundaries = [0.1, 0.2, 0.4, 0.8];
        assert_eq!(tail_boundaries(&boundaries, &P), vec![1, 2, 3]);
        assert_eq!(tail_boundaries(&[], &[1.0]), Vec::<usize>::new());
        // 3.7% lie above 0.25 and 0.2% above 0.5, which is further from 1%; but the p99 is 0.44.
        let p = [0.9, 0.063, 0.035, 0.002];
        assert_eq!(nearest_boundary(&[0.1, 0.25, 0.5], &p, 0.99), Some(2));
    }

    #[test]
    fn stretching_moves_the_tail_by_interpolation() {
        let ratios = stretched(&[1.0, 2.0, 4.0], &[0.5, 0.25, 0.125, 0.125], 2.0);
        let tail_at_two: f64 = 0.25 * ratios[1] + 0.125 * ratios[2] + 0.125 * ratios[3];
        assert!(ratios.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(tail_at_two > 0.25, "{ratios:?}");
    }

    proptest! {
        /// The identity from which validity follows, at any share, estimate and alternative.
        #[test]
        fn every_bucket_keeps_the_balance(
            raw in prop::collection::vec(0.01..1.0f64, 6),
            steps in prop::collection::vec(0.0..2.0f64, 6),
            w0 in 0.01..0.9f64, w in 0.01..0.95f64, rho in 1.0..2.0f64,
        ) {
            let p = probabilities(&raw);
            let mut r = 0.2;
            let ratios: Vec<f64> = steps.iter().map(|s| { r += s; r }).collect();
            let factors = Bet::new(&p, ratios, w0, rho).factors(w, rho);
            let floor = factors[0].0;
            for pair in factors.windows(2) {
                prop_assert!(pair[0].0 <= pair[1].0);
            }
            for (f, g) in factors {
                prop_assert!(g > 0.0);
                prop_assert!((w * ((1.0 - rho) * floor + rho * f) + (1.0 - w) * g - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn under_the_null_the_mean_wealth_is_at_most_one_even_with_a_wrong_estimate() {
        let mut chance = Chance::seeded(5);
        let wrong = [0.3, 0.3, 0.2, 0.15, 0.05];
        let boundaries = [0.1, 0.2, 0.5, 1.0];
        let tails = tail_boundaries(&boundaries, &wrong);
        let kernel = Kernel::new(&boundaries, &wrong, &tails, 0.2, 1.0);
        let margin = Margin {
            ratio: 1.0,
            absolute: 0.0,
        };
        let mut draw = |n: usize| {
            let mut counts = [0.0; 5];
            for _ in 0..n {
                let (mut u, mut k) = (chance.uniform(), 0);
                while k < 4 && u > P[k] {
                    u -= P[k];
                    k += 1;
                }
                counts[k] += 1.0;
            }
            counts
        };
        let runs = 1500;
        let total: f64 = (0..runs)
            .map(|_| {
                let mut mixture = Mixture::begin(&ln_priors());
                for _ in 0..4 {
                    let (c, b) = (draw(10), draw(40));
                    mixture.gain(kernel.growth(&c, &b, &margin).unwrap());
                }
                mixture.log().exp()
            })
            .sum();
        let mean = total / f64::from(runs);
        assert!(mean < 1.1, "mean wealth {mean}");
    }
}
