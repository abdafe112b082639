//! Sequential statistics for two arms: is the one worse, is it no worse, is the split right?
//!
//! Everything here but `rank` and `binomial` is an e-process: a wealth that is expected to fall or stay under its null
//! hypothesis, so that reaching `1/alpha` at *any* look is evidence at level `alpha` (Ville's
//! inequality). The sources of each formula are named where it stands.
//!
//! * *Worse*: `worse` (errors) and `latency` are the exact witnesses, `block` the other one; `objective` is one arm against a limit, `rank` is for numbers,
//!   `binomial` for a few events.
//! * *No worse*: `not_worse`, and `patience` for how small a harm it can exclude in time.
//! * *The split*: `share`. *The noise*: `dispersion`.
//! * *Below them*: `mixture`, `quantile`. *For simulations*: `splitmix`.
//!
//! Guarantees: pure and deterministic, one update costs O(grid), state is a few numbers that
//! can be stored. Not here: domain words, time, settling, which metric was counted.

pub mod binomial;
pub mod block;
pub mod dispersion;
pub mod latency;
pub mod mixture;
pub mod not_worse;
pub mod objective;
pub mod patience;
pub mod quantile;
pub mod rank;
pub mod share;
pub mod splitmix;
pub mod worse;

#[cfg(test)]
pub(crate) mod chance;

#[cfg(test)]
mod oracles;

/// What one arm did in an interval: trials, and how many of them were bad.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Arm {
    /// Number of requests.
    pub total: f64,
    /// Number of bad ones among them.
    pub bad: f64,
}

impl Arm {
    /// An arm with `total` trials of which `bad` were bad.
    pub fn new(total: f64, bad: f64) -> Self {
        Self { total, bad }
    }

    /// Share of bad trials; 0 where there were none.
    pub fn rate(self) -> f64 {
        if self.total > 0.0 {
            self.bad / self.total
        } else {
            0.0
        }
    }
}

impl std::ops::AddAssign for Arm {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.bad += other.bad;
    }
}

/// Both arms in the same interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Arms {
    /// The arm in question.
    pub canary: Arm,
    /// The arm it is compared with.
    pub stable: Arm,
}

impl Arms {
    /// The canary's realised share of the trials, or `None` if an arm is empty.
    pub fn share(&self) -> Option<f64> {
        realised_share(self.canary.total, self.stable.total)
    }
}

impl std::ops::AddAssign for Arms {
    fn add_assign(&mut self, other: Self) {
        self.canary += other.canary;
        self.stable += other.stable;
    }
}

/// What is tolerated: the canary's rate may be `ratio * stable's rate + absolute`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margin {
    /// Tolerated ratio of the rates, at least 1.
    pub ratio: f64,
    /// Tolerated difference of the rates, at least 0 (a fraction, not percent).
    pub absolute: f64,
}

/// `canary / (canary + stable)`, or `None` if one of the two is empty.
pub fn realised_share(canary: f64, stable: f64) -> Option<f64> {
    (canary > 0.0 && stable > 0.0).then(|| canary / (canary + stable))
}
