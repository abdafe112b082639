//! Seeded chance: a small generator and the draws that the simulations need.
//!
//! Counts are drawn as Poisson numbers, the bad and the good requests of an arm each on their own,
//! which is what a thinned Poisson stream is. Small means by products of uniforms, large ones by
//! Hörmann's transformed rejection (PTRS), so that tails are exact too.
//!
//! The generator (splitmix64) is written out: a table must be the same on every machine.

use statrs::function::gamma::ln_gamma;

/// A stream of chance.
pub struct Chance(u64);

impl Chance {
    /// The stream of one run of one row; streams of different runs have nothing in common.
    pub fn of(seed: u64, run: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ run);
        let mixed = chance.bits() ^ run.rotate_left(32);
        Self(mixed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Poisson with this mean.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean >= 20.0 {
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
}
