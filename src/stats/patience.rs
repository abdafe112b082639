//! How small a harm can be excluded in the time that people are willing to wait?
//!
//! The promotion test's margin follows from a *blast radius*: the extra share of all requests
//! that may go bad without being noticed, divided by the next step's share. The smaller it is,
//! the longer a healthy release needs. This finds the smallest one that nine of ten healthy
//! releases can show in time.
//!
//! A plan, not a test: a step's time is taken as the first passage of a Brownian motion with
//! the promotion test's own drift and variance, steps are added as if normal. It is checked
//! against simulation in the tests, to about a fifth. No verdict depends on its being exact.

use statrs::function::erf::erfc;

use super::Margin;
use super::not_worse::drift;

/// Standard deviations above the mean that nine of ten stay below.
const NINE_OF_TEN: f64 = 1.2816;
/// ... and what is planned with: the sum of skewed times and a rate that is only estimated need
/// more room (in simulation 85 to 88% were in time without it, where rates were 0.1% to 5%).
const PRUDENT: f64 = 1.6;
const ROUNDS: usize = 24;

/// One test that each step has to pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Requests per second, both arms together.
    pub rps: f64,
    /// Share of bad requests that both arms have.
    pub rate: f64,
    /// Tolerated ratio of the rates.
    pub ratio: f64,
    /// This test's blast radius in multiples of the common one.
    pub leniency: f64,
    /// The canary's share of these requests, where that is not the step's.
    pub share: Option<f64>,
}

/// What is to be planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Canary share of each step, and of the one after it (1 after the last).
    pub steps: Vec<(f64, f64)>,
    /// All tests of a step; each must pass.
    pub tests: Vec<Test>,
    /// Error probability of the promotion test.
    pub beta: f64,
    /// Seconds of a step in which nothing is counted.
    pub settle: f64,
    /// Seconds that a step counts at least.
    pub least: f64,
    /// Seconds in which a healthy release should be through.
    pub within: f64,
    /// Finest and coarsest blast radius allowed.
    pub range: (f64, f64),
}

/// The plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The blast radius to use.
    pub blast: f64,
    /// Whether it can be shown in time; if not, `blast` is the coarsest allowed.
    pub reachable: bool,
    /// Seconds in which nine of ten healthy releases show it; may be infinite.
    pub seconds: f64,
}

/// The smallest blast radius that nine of ten healthy releases show in time.
pub fn smallest_blast(ask: &Ask) -> Answer {
    let (finest, coarsest) = ask.range;
    let answer = |blast: f64| {
        let seconds = seconds(ask, blast, PRUDENT);
        let reachable = seconds <= ask.within;
        Answer {
            blast,
            reachable,
            seconds,
        }
    };
    let (fine, coarse) = (answer(finest), answer(coarsest));
    if fine.reachable || !coarse.reachable {
        return if fine.reachable { fine } else { coarse };
    }
    let (mut low, mut best) = (finest.max(1e-6), coarse);
    for _ in 0..12 {
        let middle = answer((low * best.blast).sqrt());
        if middle.reachable {
            best = middle;
        } else {
            low = middle.blast;
        }
    }
    best
}

/// Seconds that a healthy release needs at `blast`, `deviations` above the mean.
pub fn seconds(ask: &Ask, blast: f64, deviations: f64) -> f64 {
    let (mut mean, mut variance) = (0.0, 0.0);
    for &(w, next) in &ask.steps {
        let passages = passages(ask, w, blast / next);
        let middle = time_of(&passages, 0.5);
        let late = time_of(&passages, 0.9);
        // A right-skewed time: its mean lies above its median by about a third of the spread.
        let spread = (late - middle) / NINE_OF_TEN;
        mean += ask.settle + (middle + 0.2 * spread).max(ask.least);
        variance += if late > ask.least {
            spread * spread
        } else {
            0.0
        };
    }
    mean + deviations * variance.sqrt()
}

fn passages(ask: &Ask, w: f64, margin: f64) -> Vec<Passage> {
    let passage = |test: &Test| {
        let w = test.share.unwrap_or(w);
        Passage::new(ask.beta, w, margin * test.leniency, test)
    };
    ask.tests.iter().map(passage).collect()
}

/// The time by which all tests have passed with this probability.
fn time_of(passages: &[Passage], probability: f64) -> f64 {
    let passed = |t: f64| passages.iter().map(|p| p.passed(t)).product::<f64>();
    let mut high = 1.0;
    while passed(high) < probability {
        high *= 2.0;
        if high > 1e8 {
            return f64::INFINITY;
        }
    }
    let mut low = if high > 1.0 { 0.5 * high } else { 0.0 };
    for _ in 0..ROUNDS {
        let t = 0.5 * (low + high);
        if passed(t) < probability {
            low = t;
        } else {
            high = t;
        }
    }
    high
}

/// One test in one step: when does its wealth reach the bound?
struct Passage {
    bets: [(f64, f64); 6],
    bound: f64,
}

impl Passage {
    fn new(beta: f64, w: f64, absolute: f64, test: &Test) -> Self {
        let margin = Margin {
            ratio: test.ratio,
            absolute,
        };
        let per_second = test.rps * w;
        Self {
            bets: drift(w, &margin, test.rate)
                .map(|(mean, variance)| (mean * per_second, variance * per_second)),
            bound: (1.0 / beta).ln(),
        }
    }

    /// Probability that the bound was reached by `t` seconds.
    fn passed(&self, t: f64) -> f64 {
        let top = self
            .bets
            .iter()
            .map(|bet| bet.0 * t)
            .fold(f64::MIN, f64::max);
        let weights = self.bets.map(|bet| (bet.0 * t - top).exp());
        let sum: f64 = weights.iter().sum();
        let level = top + (sum / 6.0).ln();
        let deviation = self
            .bets
            .iter()
            .zip(weights)
            .map(|(b, w)| b.1.sqrt() * w)
            .sum::<f64>()
            / sum;
        let drift = level / t;
        first_passage(self.bound, drift, deviation, t)
    }
}

/// Probability that a Brownian motion with this drift and deviation has crossed `bound` by `t`.
fn first_passage(bound: f64, drift: f64, deviation: f64, t: f64) -> f64 {
    let spread = deviation * t.sqrt();
    if spread < 1e-12 {
        return if drift * t >= bound { 1.0 } else { 0.0 };
    }
    let direct = upper((bound - drift * t) / spread);
    let reflected = 2.0 * drift * bound / (deviation * deviation);
    if reflected > 500.0 {
        return direct;
    }
    (direct + reflected.exp() * upper((bound + drift * t) / spread)).min(1.0)
}

/// Probability that a standard normal lies above `z`.
fn upper(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}
