//! Traffic through the router, counted once a second, as the samples that the daemon reads.
//!
//! Errors are drawn as independent Poisson numbers of bad and of good requests; times are
//! log-normal (median 60 ms, sigma 0.8) in Prometheus's default buckets, drawn bucket by bucket.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sluice::rollout::evidence::{ArmCounts, Kind, Question, Sample, Settings};
use statrs::function::erf::erfc;

use super::world::{Noise, World};
use sluice::rollout::forecast::chance::Chance;

/// Prometheus's default boundaries in seconds.
const BOUNDARIES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const MEDIAN: f64 = 0.06;
const SIGMA: f64 = 0.8;
/// Names of the rules that are simulated.
pub const ERRORS: &str = "error-rate";
/// ... and of the latency rule.
pub const LATENCY: &str = "latency-p99";

/// What is wrong with the canary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Damage {
    /// Bad shares of stable and canary.
    pub rates: (f64, f64),
    /// The canary's times are stable's, multiplied by this.
    pub slower: f64,
    /// ... and the slowest 5% of them by this too.
    pub tail: f64,
}

impl Damage {
    /// Only these error rates.
    pub fn errors(stable: f64, canary: f64) -> Self {
        Self {
            rates: (stable, canary),
            slower: 1.0,
            tail: 1.0,
        }
    }
}

/// The stream of samples.
pub struct Traffic {
    pub chance: Chance,
    /// Seconds since the beginning.
    pub now: f64,
    pub rps: f64,
    pub damage: Damage,
    world: World,
    boundaries: Arc<[f64]>,
    /// Shares of the buckets, as they are and with a damage.
    usual: Vec<f64>,
    changed: ((f64, f64), Vec<f64>),
    /// The last second's samples: their room is used again.
    samples: Vec<Sample>,
}

impl Traffic {
    /// Traffic to a service with `canary` of its ten pods in the canary.
    pub fn new(mut chance: Chance, rps: f64, damage: Damage, noise: Noise, canary: usize) -> Self {
        Self {
            world: World::new(noise, canary, &mut chance),
            chance,
            now: 0.0,
            rps,
            damage,
            boundaries: BOUNDARIES.into(),
            usual: shares(1.0, 1.0),
            changed: ((1.0, 1.0), shares(1.0, 1.0)),
            samples: Vec::new(),
        }
    }

    /// Independent requests.
    pub fn plain(chance: Chance, rps: f64, damage: Damage) -> Self {
        Self::new(chance, rps, damage, Noise::None, 1)
    }

    /// The next second's samples of all questions at canary share `w`.
    pub fn second(&mut self, settings: &Settings, w: f64) -> &[Sample] {
        self.now += 1.0;
        let (from, to) = (at(self.now - 1.0), at(self.now));
        let mut samples = std::mem::take(&mut self.samples);
        if samples.len() != settings.questions.len() {
            samples = settings.questions.iter().map(blank).collect();
        }
        for (sample, question) in samples.iter_mut().zip(&settings.questions) {
            (sample.from, sample.to) = (from, to);
            (sample.canary, sample.stable) = match question.kind {
                Kind::Latency { .. } => self.times(w),
                // Nothing else is simulated.
                _ => self.errors(w),
            };
        }
        self.samples = samples;
        &self.samples
    }

    fn errors(&mut self, w: f64) -> (ArmCounts, ArmCounts) {
        let (stable, canary) = self.damage.rates;
        let rates = self.world.next(canary, stable, &mut self.chance);
        let canary = self.arm(self.rps * w, rates.0);
        (canary, self.arm(self.rps * (1.0 - w), rates.1))
    }

    fn arm(&mut self, requests: f64, rate: f64) -> ArmCounts {
        let bad = self.chance.poisson(requests * rate);
        let good = self.chance.poisson(requests * (1.0 - rate));
        ArmCounts::Proportion {
            total: bad + good,
            bad,
        }
    }

    fn times(&mut self, w: f64) -> (ArmCounts, ArmCounts) {
        let change = (self.damage.slower, self.damage.tail);
        if self.changed.0 != change {
            self.changed = (change, shares(change.0, change.1));
        }
        let buckets = |chance: &mut Chance, requests: f64, shares: &[f64]| ArmCounts::Buckets {
            counts: shares
                .iter()
                .map(|share| chance.poisson(requests * share))
                .collect(),
            boundaries: self.boundaries.clone(),
        };
        let canary = buckets(&mut self.chance, self.rps * w, &self.changed.1);
        (
            canary,
            buckets(&mut self.chance, self.rps * (1.0 - w), &self.usual),
        )
    }
}

/// A sample to be filled in.
fn blank(question: &Question) -> Sample {
    let none = ArmCounts::Proportion {
        total: 0.0,
        bad: 0.0,
    };
    Sample {
        rule: question.name.clone(),
        from: at(0.0),
        to: at(0.0),
        canary: none.clone(),
        stable: none,
    }
}

/// A time of the simulation.
pub fn at(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(1.7e9 + seconds)
}

/// The question about errors with this margin.
pub fn errors(ratio: f64, absolute: f64) -> Question {
    Question {
        ratio,
        absolute,
        ..Question::new(ERRORS, Kind::Proportion)
    }
}

/// The question about times with this margin.
pub fn latency(ratio: f64, absolute: f64) -> Question {
    Question {
        ratio,
        absolute,
        ..Question::new(LATENCY, Kind::Latency { quantile: 0.99 })
    }
}

/// Shares of the buckets when all times are `slower` times as long, the slowest 5% `tail` times too.
pub fn shares(slower: f64, tail: f64) -> Vec<f64> {
    let cut = MEDIAN * slower * (1.645 * SIGMA).exp();
    let above = |limit: f64| {
        let plain = beyond(limit / slower);
        // Above the cut: those that the tail's factor takes over the limit.
        let stretched = beyond(limit / (slower * tail)).min(0.05);
        if limit < cut { plain } else { stretched }
    };
    let mut last = 1.0;
    let tails = BOUNDARIES.iter().map(|limit| above(*limit));
    tails
        .chain(std::iter::once(0.0))
        .map(|tail| (std::mem::replace(&mut last, tail) - tail).max(0.0))
        .collect()
}

/// The part of undamaged requests that take longer than this.
fn beyond(seconds: f64) -> f64 {
    let z = (seconds / MEDIAN).ln() / SIGMA;
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}
