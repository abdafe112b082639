//! Whole runs against simulated traffic, and what the evidence does with odd samples.
//!
//! Seeded, so that each gives the same numbers everywhere; the bounds have room for another seed.

mod reading;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::stats::chance::Chance;

const BOUNDARIES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

fn errors() -> Question {
    Question::new("error-rate", Kind::Proportion)
}

fn latency() -> Question {
    Question::new("latency-p99", Kind::Latency { quantile: 0.99 })
}

fn settings(questions: Vec<Question>, steps: &[u8]) -> Settings {
    Settings {
        questions,
        steps: steps.to_vec(),
        ..Settings::default()
    }
}

fn at(seconds: f64) -> Timestamp {
    let origin = Timestamp::from_second(1_700_000_000).unwrap();
    origin + SignedDuration::from_secs_f64(seconds)
}

fn proportion(from: f64, to: f64, canary: (f64, f64), stable: (f64, f64)) -> Sample {
    let arm = |(total, bad)| ArmCounts::Proportion { total, bad };
    Sample {
        rule: "error-rate".into(),
        from: at(from),
        to: at(to),
        canary: arm(canary),
        stable: arm(stable),
    }
}

/// Traffic through the router, scraped each second.
struct Traffic {
    chance: Chance,
    boundaries: Arc<[f64]>,
    now: f64,
    rps: f64,
    /// Bad shares of stable and canary.
    rates: (f64, f64),
    /// The canary's times are stable's, multiplied by this.
    slower: f64,
    /// ... and the slowest 5% of them by this too.
    tail: f64,
    /// The boundaries that both arms have, where they do not have all.
    common: Vec<f64>,
}

impl Traffic {
    fn new(seed: u64, rps: f64, stable: f64, canary: f64) -> Self {
        Self {
            chance: Chance::seeded(seed),
            boundaries: BOUNDARIES.into(),
            now: 0.0,
            rps,
            rates: (stable, canary),
            slower: 1.0,
            tail: 1.0,
            common: Vec::new(),
        }
    }

    fn errors(&mut self, w: f64) -> Sample {
        let (n_c, n_b) = self.requests(w);
        let x_c = self.chance.binomial(n_c, self.rates.1);
        let x_b = self.chance.binomial(n_b, self.rates.0);
        proportion(self.now - 1.0, self.now, (n_c, x_c), (n_b, x_b))
    }

    fn requests(&mut self, w: f64) -> (f64, f64) {
        let n_c = self.chance.poisson(self.rps * w);
        (n_c, self.chance.poisson(self.rps * (1.0 - w)))
    }

    fn times(&mut self, w: f64) -> Sample {
        let (n_c, n_b) = self.requests(w);
        let canary = draw(&mut self.chance, n_c, self.slower, self.tail);
        let stable = draw(&mut self.chance, n_b, 1.0, 1.0);
        let arm = |counts| ArmCounts::Buckets {
            boundaries: self.boundaries.clone(),
            counts,
        };
        let sample = Sample {
            rule: "latency-p99".into(),
            from: at(self.now - 1.0),
            to: at(self.now),
            canary: arm(canary),
            stable: arm(stable),
        };
        if self.common.is_empty() {
            sample
        } else {
            sample.at(&self.common)
        }
    }
}

/// Log-normal times, median 60 ms, sigma 0.8.
fn draw(chance: &mut Chance, requests: f64, slower: f64, tail: f64) -> Vec<f64> {
    let mut counts = vec![0.0; BOUNDARIES.len() + 1];
    for _ in 0..requests as u64 {
        let z = chance.normal();
        let factor = if z > 1.645 { slower * tail } else { slower };
        let time = 0.06 * factor * (0.8 * z).exp();
        counts[BOUNDARIES.partition_point(|limit| *limit < time)] += 1.0;
    }
    counts
}

/// Feeds one second, returns the worst verdict, or `NotWorse` if all rules are.
fn second(evidence: &mut Evidence, settings: &Settings, traffic: &mut Traffic, w: f64) -> Verdict {
    traffic.now += 1.0;
    for question in &settings.questions {
        let sample = match question.kind {
            Kind::Proportion => traffic.errors(w),
            Kind::Latency { .. } => traffic.times(w),
            Kind::Events | Kind::Compare { .. } | Kind::Value { .. } | Kind::Load { .. } => {
                continue;
            }
        };
        evidence.observe(settings, &sample);
    }
    let verdicts = evidence
        .report(settings)
        .into_iter()
        .map(|report| report.verdict);
    verdicts.max().unwrap()
}

fn warm_up(settings: &Settings, traffic: &mut Traffic) -> Evidence {
    let mut evidence = Evidence::begin(settings);
    for _ in 0..30 {
        second(&mut evidence, settings, traffic, 0.0);
    }
    evidence
}

/// How a run through all steps ends: the verdict and the seconds since the first step.
fn run(settings: &Settings, traffic: &mut Traffic, limit: f64) -> (Verdict, f64) {
    let mut evidence = warm_up(settings, traffic);
    evidence.set_patience(settings);
    let begun = traffic.now;
    for (i, &weight) in settings.steps.iter().enumerate() {
        let next = settings.steps.get(i + 1).copied().unwrap_or(100);
        let step = traffic.now;
        evidence.weight_changed(settings, weight, next, at(step));
        loop {
            let verdict = second(&mut evidence, settings, traffic, f64::from(weight) / 100.0);
            let elapsed = traffic.now - begun;
            match verdict {
                Verdict::Worse | Verdict::Suspect => return (verdict, elapsed),
                Verdict::NotWorse if traffic.now - step >= 13.0 => break,
                Verdict::NotWorse | Verdict::Undecided if elapsed > limit => {
                    return (Verdict::Undecided, elapsed);
                }
                Verdict::NotWorse | Verdict::Undecided => {}
            }
        }
    }
    (Verdict::NotWorse, traffic.now - begun)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_forgiven_suspicion_leaves_no_exact_evidence_and_raises_none() {
    let settings = settings(vec![errors()], &[5, 50]);
    let mut traffic = Traffic::new(3, 500.0, 0.001, 0.3);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 50, 100, at(traffic.now));
    for _ in 0..6 {
        second(&mut evidence, &settings, &mut traffic, 0.5);
    }
    assert!(evidence.report(&settings)[0].log_exact > 10.0);
    evidence.forgive();
    assert!(evidence.report(&settings)[0].log_exact.abs() < 1e-9);
    traffic.rates.1 = 0.0;
    for _ in 0..60 {
        second(&mut evidence, &settings, &mut traffic, 0.5);
    }
    let before = evidence.report(&settings)[0].log_exact;
    evidence.forgive();
    assert!(before < 0.0);
    assert!((evidence.report(&settings)[0].log_exact - before).abs() < 1e-12);
}

#[test]
fn a_wrong_share_is_seen_and_believed_again_after_ten_good_seconds() {
    let settings = settings(vec![errors()], &[5]);
    let mut traffic = Traffic::new(2, 200.0, 0.01, 0.01);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 5, 100, at(traffic.now));
    for _ in 0..20 {
        second(&mut evidence, &settings, &mut traffic, 0.05);
    }
    assert!(evidence.share().ok);
    assert!((evidence.share().agreed_seconds(at(traffic.now)) - 17.0).abs() < 1e-6);
    for _ in 0..10 {
        second(&mut evidence, &settings, &mut traffic, 0.2);
    }
    let wrong = evidence.share();
    assert!(!wrong.ok && wrong.agreed_since.is_none(), "{wrong:?}");
    let before = evidence.report(&settings)[0].log_block;
    second(&mut evidence, &settings, &mut traffic, 0.2);
    assert!((evidence.report(&settings)[0].log_block - before).abs() < 1e-12);
    for _ in 0..40 {
        second(&mut evidence, &settings, &mut traffic, 0.05);
    }
    assert!(evidence.share().ok, "{}", evidence.share().sentence());
}

#[test]
fn telling_the_same_weight_twice_changes_nothing() {
    let settings = settings(vec![errors(), latency()], &[10]);
    let mut traffic = Traffic::new(4, 100.0, 0.01, 0.01);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 10, 100, at(traffic.now));
    let told = traffic.now;
    for _ in 0..9 {
        second(&mut evidence, &settings, &mut traffic, 0.1);
    }
    let before = evidence.clone();
    evidence.weight_changed(&settings, 10, 100, at(told));
    assert_eq!(evidence, before);
}

#[test]
fn no_data_is_undecided() {
    let settings = settings(vec![errors(), latency()], &[10]);
    let mut evidence = Evidence::begin(&settings);
    evidence.weight_changed(&settings, 10, 100, at(0.0));
    for report in evidence.report(&settings) {
        assert_eq!(report.verdict, Verdict::Undecided);
        assert_eq!(report.newest, None);
    }
}

#[test]
fn alpha_is_shared_between_the_sorts() {
    let both = settings(vec![errors(), latency()], &[10]);
    let alone = settings(vec![errors()], &[10]);
    assert!((both.bound(&errors()) - 200f64.ln()).abs() < 1e-12);
    assert!((both.bound(&latency()) - 200f64.ln()).abs() < 1e-12);
    assert!((alone.bound(&errors()) - 100f64.ln()).abs() < 1e-12);
    let three = settings(vec![errors(), latency(), latency()], &[10]);
    assert!((three.bound(&latency()) - 400f64.ln()).abs() < 1e-12);
}

#[test]
fn a_verdict_is_told_with_both_arms_and_the_odds() {
    let settings = settings(vec![errors(), latency()], &[5]);
    let mut evidence = Evidence::begin(&settings);
    evidence.weight_changed(&settings, 5, 100, at(0.0));
    for i in 0..10 {
        let from = 3.0 + 2.0 * f64::from(i);
        evidence.observe(
            &settings,
            &proportion(from, from + 2.0, (60.0, 3.0), (1160.0, 1.0)),
        );
    }
    let report = evidence.report(&settings).remove(0);
    assert_eq!(report.verdict, Verdict::Worse);
    let sentence = report.sentence();
    assert!(
        sentence
            .starts_with("canary 30 of 600 (5.00%), stable 10 of 11,600 (0.086%): 58 times worse;"),
        "{sentence}"
    );
    assert!(sentence.ends_with("needed 200 to 1"), "{sentence}");
}
