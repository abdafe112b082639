//! Seeded chance: the draws that a forecast and the bench of the evidence need.
//!
//! A plan is the same on every machine and in every version. Small means are drawn exactly, large Poisson numbers by Hörmann's transformed
//! rejection, large binomial ones as rounded normal numbers, whose error is far below what a few
//! hundred runs can show. Not for secrets; not here: the generator (`stats::splitmix`).

use statrs::function::gamma::ln_gamma;

use crate::stats::splitmix::SplitMix;

/// Above this mean a number is drawn by rejection or as a normal one.
const LARGE: f64 = 20.0;
/// A binomial number is drawn as a normal one above this variance.
const SMOOTH: f64 = 60.0;

/// A stream of chance.
#[derive(Debug, Clone)]
pub struct Chance(SplitMix);

impl Chance {
    /// The stream of one run; those of different runs have nothing in common.
    pub fn of(seed: u64, run: u64) -> Self {
        let mut mixed = SplitMix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ run);
        Self(SplitMix(mixed.bits() ^ run.rotate_left(32)))
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    /// A draw from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        self.0.normal()
    }

    /// Poisson with this mean.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean >= LARGE {
            return self.large_poisson(mean);
        }
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }

    /// W. Hörmann, *The transformed rejection method for generating Poisson random variables* (1993).
    fn large_poisson(&mut self, mean: f64) -> f64 {
        let width = 0.931 + 2.53 * mean.sqrt();
        let bend = -0.059 + 0.024_83 * width;
        let inverse = 1.1239 + 1.1328 / (width - 3.4);
        let inside = 0.9277 - 3.6224 / (width - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let edge = 0.5 - u.abs();
            let k = ((2.0 * bend / edge + width) * u + mean + 0.43).floor();
            if edge >= 0.07 && v <= inside {
                return k;
            }
            if k < 0.0 || (edge < 0.013 && v > edge) {
                continue;
            }
            let density = k * mean.ln() - mean - ln_gamma(k + 1.0);
            if (v * inverse / (bend / (edge * edge) + width)).ln() <= density {
                return k;
            }
        }
    }

    /// How many of `trials` (a whole number) succeed with probability `p` each.
    pub fn binomial(&mut self, trials: f64, p: f64) -> f64 {
        if p > 0.5 {
            return trials - self.binomial(trials, 1.0 - p);
        }
        if trials < 1.0 || p <= 0.0 {
            return 0.0;
        }
        let variance = trials * p * (1.0 - p);
        if variance > SMOOTH {
            let drawn = trials * p + variance.sqrt() * self.normal();
            return drawn.round().clamp(0.0, trials);
        }
        // The waits between successes are geometric.
        let ln_fail = (-p).ln_1p();
        let (mut at, mut count) = (0.0, 0.0);
        loop {
            at += (self.uniform().ln() / ln_fail).floor() + 1.0;
            if at > trials {
                return count;
            }
            count += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl Fn(&mut Chance) -> f64) -> (f64, f64) {
        let mut chance = Chance::of(1, 1);
        let all: Vec<f64> = (0..20_000).map(|_| draw(&mut chance)).collect();
        let mean = all.iter().sum::<f64>() / 20_000.0;
        let square = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        (mean, square / 20_000.0)
    }

    fn near(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 0.04, "got {got}, want {want}");
    }

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        for mean in [0.2, 7.0, 30.0, 900.0] {
            let (got, variance) = moments(|chance| chance.poisson(mean));
            near(got, mean);
            near(variance, mean);
        }
    }

    #[test]
    fn binomial_numbers_have_their_mean_and_variance() {
        for (trials, p) in [(10.0, 0.3), (400.0, 0.01), (5.0, 0.9), (2000.0, 0.4)] {
            let (got, variance) = moments(|chance| chance.binomial(trials, p));
            near(got, trials * p);
            near(variance, trials * p * (1.0 - p));
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let mut chance = Chance::of(1, 1);
        assert!(chance.poisson(0.0) < 0.5 && chance.binomial(0.0, 0.3) < 0.5);
        assert!((chance.binomial(9.0, 1.0) - 9.0).abs() < 1e-9);
    }
}
