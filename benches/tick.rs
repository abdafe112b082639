//! What one tick of one Rollout costs: both rules' samples folded in, both verdicts reported.
//!
//! A plain loop over prepared samples, printed as one line against its target. Not measured
//! here: reading the counters, the decision, and the API.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sluice::rollout::evidence::{ArmCounts, Evidence, Kind, Question, Sample, Settings};

const TICKS: u32 = 20_000;
const TARGET_NANOSECONDS: u128 = 20_000;
const BOUNDARIES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Requests per bucket and second of 500, log-normal with a median of 60 ms.
const BUCKETS: [f64; 12] = [
    0.5, 6.0, 62.0, 137.0, 164.0, 112.0, 16.0, 2.0, 0.4, 0.1, 0.0, 0.0,
];

fn main() {
    let settings = settings();
    let mut evidence = Evidence::begin(&settings);
    for sample in &samples(Timestamp::UNIX_EPOCH, 30) {
        evidence.baseline(&settings, sample);
    }
    let begun = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(30);
    let patience = time(1, || {
        black_box(evidence.set_patience(&settings));
    });
    evidence.weight_changed(&settings, 5, 25, begun);
    let ticks = samples(begun, TICKS);
    let mut pairs = ticks.chunks(2);
    let tick = time(TICKS, || {
        for sample in pairs.next().unwrap_or_default() {
            evidence.observe(&settings, sample);
        }
        black_box(evidence.report(&settings));
    });
    println!("tick: {tick} ns (target {} us)", TARGET_NANOSECONDS / 1000);
    println!("patience, once a run: {patience} ns");
}

/// Nanoseconds per round.
#[allow(clippy::disallowed_methods)] // measures itself; nothing is decided by this time
fn time(rounds: u32, mut round: impl FnMut()) -> u128 {
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        round();
    }
    start.elapsed().as_nanos() / u128::from(rounds)
}

fn settings() -> Settings {
    let question = |name: &str, kind| Question {
        name: name.to_owned(),
        kind,
        ratio: 1.2,
        absolute: 0.001,
    };
    Settings {
        questions: vec![
            question("error-rate", Kind::Proportion),
            question("latency-p99", Kind::Latency { quantile: 0.99 }),
        ],
        steps: vec![5, 25, 50],
        within: Duration::from_secs(600),
        ..Settings::default()
    }
}

/// Two samples a second: 500 requests, 5% of them to the canary, with a little noise.
fn samples(from: Timestamp, seconds: u32) -> Vec<Sample> {
    let boundaries: Arc<[f64]> = BOUNDARIES.into();
    let mut noise = 12_345_u32;
    let mut samples = Vec::new();
    for second in 0..i64::from(seconds) {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let swing = 0.8 + f64::from(noise >> 16) / 163_840.0;
        let (start, end) = (
            SignedDuration::from_secs(second),
            SignedDuration::from_secs(second + 1),
        );
        let sample = |rule: &str, canary, stable| Sample {
            rule: rule.to_owned(),
            from: from + start,
            to: from + end,
            canary,
            stable,
        };
        let errors = |total: f64, bad: u32| ArmCounts::Proportion {
            total,
            bad: f64::from(bad % 2),
        };
        let times = |share: f64| ArmCounts::Buckets {
            boundaries: boundaries.clone(),
            counts: BUCKETS.map(|count| (count * share).round()).to_vec(),
        };
        samples.push(sample(
            "error-rate",
            errors((25.0 * swing).round(), noise >> 30),
            errors(475.0, noise >> 20),
        ));
        samples.push(sample("latency-p99", times(0.05 * swing), times(0.95)));
    }
    samples
}
