//! Seeded chance: the generator splitmix64, and the two draws that do without a choice of method.
//!
//! Written out, so that what is drawn is the same on every machine and in every version; reference
//! values depend on it. Source: S. Vigna, <https://prng.di.unimi.it/splitmix64.c>. Not for secrets. Not here: how
//! seeds are made, and draws of counts, for which tests and forecasts have methods of their own.

/// A stream of chance; its seed is whatever stands in it.
#[derive(Debug, Clone)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end`; 0 where there is none. Slightly uneven, as a remainder is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    /// A draw from the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers that the author's program gives for this seed.
    #[test]
    fn the_bits_are_those_of_the_source() {
        let mut chance = SplitMix(1_234_567);
        let first = [(); 3].map(|()| chance.bits());
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, wanted);
    }
}
