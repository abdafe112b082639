//! Seeded chance for the simulations in tests: a small generator and the draws they need.
//!
//! Tests must give the same result on every machine and for years, so the generator
//! (splitmix64) is written out here and belongs to no dependency. Not for anything but tests.

pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
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
