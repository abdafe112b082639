//! Seeded chance for the simulations in tests: the draws they need.
//!
//! Tests must give the same result on every machine and for years, so nothing here belongs to a
//! dependency. Not for anything but tests; not here: the generator (`splitmix`).

use super::splitmix::SplitMix;

pub(crate) struct Chance(SplitMix);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(SplitMix(seed))
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    pub(crate) fn normal(&mut self) -> f64 {
        self.0.normal()
    }

    /// Poisson with this mean: Knuth's product below 30, the rounded normal above.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }

    /// Binomial: trial by trial where few, as a Poisson number (at most `trials`) where many and rare.
    pub(crate) fn binomial(&mut self, trials: f64, chance: f64) -> f64 {
        if trials > 40.0 && chance < 0.02 {
            return self.poisson(trials * chance).min(trials);
        }
        (0..trials as u64)
            .filter(|_| self.uniform() < chance)
            .count() as f64
    }
}
