//! Whole runs against simulated traffic, and what the evidence does with odd samples.
//!
//! Seeded, so that each gives the same numbers everywhere; the bounds have room for another seed.

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
fn healthy_releases_pass_in_about_the_documented_time() {
    let mut settings = settings(vec![errors()], &[5, 25, 50]);
    settings.within = Duration::from_secs(3600);
    let ends: Vec<_> = (0..60)
        .map(|seed| {
            run(
                &settings,
                &mut Traffic::new(seed, 100.0, 0.001, 0.001),
                3600.0,
            )
        })
        .collect();
    assert!(
        ends.iter()
            .all(|(verdict, _)| *verdict == Verdict::NotWorse),
        "{ends:?}"
    );
    let median = median(ends.into_iter().map(|(_, seconds)| seconds).collect());
    assert!((180.0..330.0).contains(&median), "median {median} s");
}

/// Mean seconds from the end of settling to Worse at one weight.
fn detection(rates: (f64, f64), rps: f64, weight: u8) -> f64 {
    let settings = settings(vec![errors()], &[weight]);
    let w = f64::from(weight) / 100.0;
    let times: Vec<f64> = (0..80)
        .map(|seed| {
            let mut traffic = Traffic::new(1000 + seed, rps, rates.0, rates.1);
            let mut evidence = warm_up(&settings, &mut traffic);
            evidence.weight_changed(&settings, weight, 100, at(traffic.now));
            let settled = traffic.now + 3.0;
            while second(&mut evidence, &settings, &mut traffic, w) != Verdict::Worse {
                assert!(traffic.now < 1500.0);
            }
            traffic.now - settled
        })
        .collect();
    mean(&times)
}

#[test]
fn damage_is_found_in_about_the_documented_time() {
    for (rates, rps, weight, low, high) in [
        ((0.001, 0.05), 100.0, 10, 8.0, 16.0),
        ((0.001, 0.05), 1000.0, 1, 7.0, 14.0),
        ((0.001, 0.05), 1000.0, 50, 12.0, 24.0),
        ((0.001, 0.01), 1000.0, 50, 12.0, 30.0),
    ] {
        let mean = detection(rates, rps, weight);
        assert!(
            (low..high).contains(&mean),
            "{rates:?} at {rps}, {weight}%: {mean} s"
        );
    }
}

#[test]
fn damage_at_half_of_the_traffic_is_suspect_within_two_seconds() {
    let settings = settings(vec![errors()], &[5, 25, 50]);
    for seed in 0..30 {
        let mut traffic = Traffic::new(seed, 500.0, 0.001, 0.001);
        let mut evidence = warm_up(&settings, &mut traffic);
        evidence.weight_changed(&settings, 50, 100, at(traffic.now));
        for _ in 0..20 {
            assert!(second(&mut evidence, &settings, &mut traffic, 0.5) <= Verdict::Undecided);
        }
        traffic.rates.1 = 0.3;
        second(&mut evidence, &settings, &mut traffic, 0.5);
        let verdict = second(&mut evidence, &settings, &mut traffic, 0.5);
        assert_eq!(verdict, Verdict::Suspect);
        // Back at the first step's weight both witnesses agree soon.
        evidence.weight_changed(&settings, 5, 25, at(traffic.now));
        let down = traffic.now;
        while second(&mut evidence, &settings, &mut traffic, 0.05) != Verdict::Worse {
            assert!(traffic.now - down < 25.0, "seed {seed}");
        }
    }
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
fn twice_the_latency_is_found_and_the_same_latency_is_not() {
    let settings = settings(vec![latency()], &[10]);
    let mut found = Vec::new();
    for seed in 0..15 {
        let mut traffic = Traffic::new(seed, 100.0, 0.0, 0.0);
        let mut evidence = warm_up(&settings, &mut traffic);
        evidence.weight_changed(&settings, 10, 100, at(traffic.now));
        for _ in 0..60 {
            assert!(second(&mut evidence, &settings, &mut traffic, 0.1) <= Verdict::Undecided);
        }
        traffic.slower = 2.0;
        let (changed, mut suspect) = (traffic.now, None);
        while second(&mut evidence, &settings, &mut traffic, 0.1) != Verdict::Worse {
            let exact = evidence.report(&settings)[0].verdict == Verdict::Suspect;
            suspect = suspect.or(exact.then_some(traffic.now - changed));
            assert!(
                traffic.now - changed < 300.0,
                "{:?}",
                evidence.report(&settings)
            );
        }
        found.push(traffic.now - changed);
    }
    let mean = mean(&found);
    assert!(mean < 60.0, "mean {mean} s");
}

/// A release that writes other buckets: the boundaries that both arms have from the first step on.
fn with_other_buckets(seed: u64, slower: f64) -> (Verdict, f64) {
    let settings = settings(vec![latency()], &[10, 50]);
    let mut traffic = Traffic::new(seed, 200.0, 0.0, 0.0);
    traffic.slower = slower;
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.set_patience(&settings);
    let begun = traffic.now;
    for (weight, next) in [(10, 50), (50, 100)] {
        evidence.weight_changed(&settings, weight, next, at(traffic.now));
        traffic.common = vec![0.01, 0.05, 0.25, 1.0, 10.0];
        let w = f64::from(weight) / 100.0;
        loop {
            let verdict = second(&mut evidence, &settings, &mut traffic, w);
            let elapsed = traffic.now - begun;
            match verdict {
                Verdict::Worse => return (verdict, elapsed),
                Verdict::NotWorse => break,
                Verdict::Undecided | Verdict::Suspect if elapsed > 1200.0 => {
                    return (verdict, elapsed);
                }
                Verdict::Undecided | Verdict::Suspect => {}
            }
        }
    }
    (Verdict::NotWorse, traffic.now - begun)
}

#[test]
fn a_release_that_writes_other_buckets_is_judged_by_the_common_boundaries() {
    for seed in 0..30 {
        let (verdict, seconds) = with_other_buckets(seed, 1.0);
        assert_eq!(verdict, Verdict::NotWorse, "{seed} after {seconds} s");
        let (verdict, seconds) = with_other_buckets(seed, 3.0);
        assert_eq!(verdict, Verdict::Worse, "{seed} after {seconds} s");
        assert!(seconds < 120.0, "{seed}: {seconds} s");
    }
}

/// Each of many seeds: a boundary below the changed tail must never be taken for the p99's.
#[test]
fn a_slow_tail_is_found_whatever_the_estimate_of_stable() {
    let settings = settings(vec![latency()], &[5]);
    for seed in 0..40 {
        let mut traffic = Traffic::new(seed, 200.0, 0.0, 0.0);
        traffic.tail = 3.0;
        let mut evidence = warm_up(&settings, &mut traffic);
        evidence.weight_changed(&settings, 5, 25, at(traffic.now));
        let begun = traffic.now;
        while second(&mut evidence, &settings, &mut traffic, 0.05) != Verdict::Worse {
            let report = evidence.report(&settings).remove(0);
            assert!(
                traffic.now - begun < 120.0,
                "seed {seed}: {}",
                report.sentence()
            );
        }
    }
}

#[test]
fn a_healthy_release_passes_with_both_rules() {
    let settings = settings(vec![errors(), latency()], &[5, 25, 50]);
    let ends: Vec<_> = (0..6)
        .map(|seed| {
            run(
                &settings,
                &mut Traffic::new(seed, 200.0, 0.001, 0.001),
                1200.0,
            )
        })
        .collect();
    assert!(
        ends.iter()
            .all(|(verdict, _)| *verdict == Verdict::NotWorse),
        "{ends:?}"
    );
}

#[test]
fn the_planned_time_holds_for_nine_of_ten() {
    for (rps, rate, within) in [
        (10.0, 0.001, 600.0),
        (30.0, 0.01, 600.0),
        (100.0, 0.001, 300.0),
    ] {
        let mut settings = settings(vec![errors()], &[5, 25, 50]);
        settings.within = Duration::from_secs_f64(within);
        let late = (0..60)
            .filter(|seed| {
                let mut traffic = Traffic::new(500 + seed, rps, rate, rate);
                run(&settings, &mut traffic, 4.0 * within).1 > within
            })
            .count();
        assert!(late <= 12, "{late} of 60 late at {rps} rps, {rate}");
    }
}

#[test]
fn slow_traffic_makes_the_blast_radius_coarser_and_says_so() {
    let settings = settings(vec![errors()], &[5, 25, 50]);
    let plan = |rps: f64| {
        let mut traffic = Traffic::new(1, rps, 0.001, 0.001);
        traffic.now = 0.0;
        let mut evidence = warm_up(&settings, &mut traffic);
        evidence.set_patience(&settings)
    };
    let (slow, fast, tiny) = (plan(12.0), plan(1000.0), plan(0.5));
    assert!(
        slow.reachable && slow.blast > 0.004 && slow.blast < 0.02,
        "{slow:?}"
    );
    assert!(
        fast.reachable && (fast.blast - 0.002).abs() < 1e-12,
        "{fast:?}"
    );
    assert!(
        !tiny.reachable && (tiny.blast - 0.02).abs() < 1e-12,
        "{tiny:?}"
    );
    assert!(slow.sentence().contains("is not promoted"));
    assert!(tiny.sentence().contains("undecided"));
    let unknown = Evidence::begin(&settings).set_patience(&settings);
    assert!(unknown.sentence().starts_with("no traffic"));
}

#[test]
fn traffic_that_comes_late_makes_the_present_step_coarser_once() {
    let settings = settings(vec![errors()], &[5, 25, 50]);
    let mut traffic = Traffic::new(1, 12.0, 0.001, 0.001);
    let mut evidence = Evidence::begin(&settings);
    assert!(!evidence.set_patience(&settings).reachable);
    evidence.weight_changed(&settings, 5, 25, at(0.0));
    assert!((evidence.report(&settings)[0].margin - 0.008).abs() < 1e-12);
    for _ in 0..30 {
        second(&mut evidence, &settings, &mut traffic, 0.05);
    }
    let patience = evidence.set_patience(&settings);
    let report = evidence.report(&settings).remove(0);
    assert!((report.margin - patience.blast / 0.25).abs() < 1e-12);
    assert_eq!(report.log_not_worse.to_bits(), 0);
    second(&mut evidence, &settings, &mut traffic, 0.05);
    let before = evidence.report(&settings);
    evidence.set_patience(&settings);
    let after = evidence.report(&settings);
    assert_eq!(before[0].margin.to_bits(), after[0].margin.to_bits());
    assert_eq!(
        before[0].log_not_worse.to_bits(),
        after[0].log_not_worse.to_bits()
    );
}

#[test]
fn reading_samples_again_changes_nothing() {
    let settings = settings(vec![errors(), latency()], &[10]);
    let mut traffic = Traffic::new(9, 200.0, 0.01, 0.05);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 10, 100, at(traffic.now));
    let mut samples = Vec::new();
    for _ in 0..20 {
        traffic.now += 1.0;
        samples.extend([traffic.errors(0.1), traffic.times(0.1)]);
    }
    for sample in &samples {
        evidence.observe(&settings, sample);
    }
    let once = evidence.clone();
    for sample in &samples {
        evidence.observe(&settings, sample);
    }
    assert_eq!(evidence, once);
    assert_eq!(evidence.newest("error-rate"), Some(at(traffic.now)));
    assert_eq!(evidence.until(), Some(at(traffic.now)));
}

#[test]
fn a_rule_that_counts_something_else_since_it_was_edited_begins_anew() {
    let of = |of| settings(vec![Question { of, ..errors() }], &[10]);
    let (before, edited) = (of(Counted::Of(1)), of(Counted::Of(2)));
    let mut traffic = Traffic::new(9, 1000.0, 0.001, 0.3);
    let mut evidence = warm_up(&before, &mut traffic);
    evidence.weight_changed(&before, 10, 100, at(traffic.now));
    let verdicts = (0..60).map(|_| second(&mut evidence, &before, &mut traffic, 0.1));
    assert_eq!(verdicts.last(), Some(Verdict::Worse));

    evidence.follow(&before);
    assert_eq!(evidence.report(&before)[0].verdict, Verdict::Worse);
    evidence.follow(&edited);
    let report = evidence.report(&edited).remove(0);
    assert_eq!((report.verdict, report.newest), (Verdict::Undecided, None));
    assert!(report.canary.total.abs() < 1e-12 && report.log_exact.abs() < 1e-12);
    traffic.rates.1 = 0.001;
    let mut verdicts = (0..300).map(|_| second(&mut evidence, &edited, &mut traffic, 0.1));
    assert!(verdicts.any(|verdict| verdict == Verdict::NotWorse));
}

#[test]
fn a_rule_that_is_not_known_for_a_moment_shows_nothing_and_goes_on_where_it_was() {
    let of = |of| settings(vec![Question { of, ..latency() }], &[10]);
    let known = of(Counted::Of(1));
    let mut unknown = of(Counted::Nothing);
    unknown.questions[0].kind = Kind::Proportion;
    let mut traffic = Traffic::new(9, 1000.0, 0.001, 0.001);
    let mut evidence = warm_up(&known, &mut traffic);
    evidence.weight_changed(&known, 10, 100, at(traffic.now));
    let mut verdicts = (0..600).map(|_| second(&mut evidence, &known, &mut traffic, 0.1));
    assert!(verdicts.any(|verdict| verdict == Verdict::NotWorse));

    let before = evidence.clone();
    evidence.follow(&unknown);
    assert_eq!(evidence.report(&unknown)[0].verdict, Verdict::Undecided);
    assert!(evidence.verdicts(&unknown).eq([Verdict::Undecided]));
    assert_eq!(evidence.limits(&unknown), []);
    evidence.follow(&known);
    assert_eq!(evidence, before);
    evidence.follow(&settings(Vec::new(), &[10]));
    assert_eq!(evidence.newest("latency-p99"), None, "nobody asks it");
}

#[test]
fn evidence_goes_on_after_json_as_if_nothing_had_been() {
    let settings = settings(vec![errors(), latency()], &[10]);
    let mut traffic = Traffic::new(9, 200.0, 0.01, 0.05);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 10, 100, at(traffic.now));
    for _ in 0..9 {
        second(&mut evidence, &settings, &mut traffic, 0.1);
    }
    let text = serde_json::to_string(&evidence).unwrap();
    assert!(text.len() < 8000, "{} bytes", text.len());
    let mut read: Evidence = serde_json::from_str(&text).unwrap();
    for _ in 0..9 {
        traffic.now += 1.0;
        for sample in [traffic.errors(0.1), traffic.times(0.1)] {
            evidence.observe(&settings, &sample);
            read.observe(&settings, &sample);
        }
    }
    for (a, b) in evidence
        .report(&settings)
        .iter()
        .zip(read.report(&settings))
    {
        assert!((a.log_exact - b.log_exact).abs() < 1e-9);
        assert!((a.log_block - b.log_block).abs() < 1e-9);
        assert!((a.log_not_worse - b.log_not_worse).abs() < 1e-9);
        assert_eq!(
            (a.canary, a.stable, a.verdict),
            (b.canary, b.stable, b.verdict)
        );
    }
}

#[test]
fn samples_of_the_settling_time_and_unsound_ones_are_not_tested() {
    let settings = settings(vec![errors()], &[10]);
    let begun = || {
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 100, at(0.0));
        evidence
    };
    let tested = |sample: Sample| {
        let mut evidence = begun();
        evidence.observe(&settings, &sample);
        evidence.report(&settings)[0].canary.total > 0.0
    };
    let good = proportion(3.0, 5.0, (10.0, 1.0), (90.0, 1.0));
    assert!(tested(good.clone()));
    assert!(!tested(proportion(2.5, 4.5, (10.0, 1.0), (90.0, 1.0))));
    assert!(!tested(proportion(-1.0, 5.0, (10.0, 1.0), (90.0, 1.0))));
    assert!(!tested(proportion(3.0, 5.0, (10.0, 11.0), (90.0, 1.0))));
    assert!(!tested(proportion(3.0, 5.0, (f64::NAN, 0.0), (90.0, 1.0))));
    assert!(!tested(proportion(5.0, 5.0, (10.0, 1.0), (90.0, 1.0))));
    assert!(!tested(Sample {
        rule: "another".into(),
        ..good.clone()
    }));
    let buckets = ArmCounts::Buckets {
        boundaries: BOUNDARIES.into(),
        counts: vec![1.0; 12],
    };
    assert!(!tested(Sample {
        canary: buckets,
        ..good
    }));
}

#[test]
fn a_sample_that_overlaps_its_forerunner_counts_and_one_that_ends_with_it_does_not() {
    let settings = settings(vec![errors()], &[10]);
    let mut evidence = Evidence::begin(&settings);
    evidence.weight_changed(&settings, 10, 100, at(0.0));
    for (from, to) in [(3.0, 5.0), (4.0, 7.0), (3.0, 9.0), (8.0, 9.0), (6.0, 8.0)] {
        evidence.observe(&settings, &proportion(from, to, (10.0, 1.0), (90.0, 1.0)));
    }
    let total = evidence.report(&settings)[0].canary.total;
    assert!((total - 30.0).abs() < 1e-9, "{total}");
}

#[test]
fn a_dropped_sample_still_moves_the_newest_time() {
    let settings = settings(vec![errors()], &[10]);
    let mut evidence = Evidence::begin(&settings);
    evidence.weight_changed(&settings, 10, 100, at(0.0));
    evidence.observe(&settings, &proportion(0.0, 2.0, (10.0, 1.0), (90.0, 1.0)));
    assert_eq!(evidence.newest("error-rate"), Some(at(2.0)));
    assert_eq!(evidence.report(&settings)[0].canary.total.to_bits(), 0);
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

#[test]
fn a_bad_canary_is_found_with_its_pods_told_too_and_a_slightly_worse_pod_is_not_its_release() {
    let settings = settings(vec![errors()], &[10]);
    for (rate, found) in [(0.025, true), (0.0082, false)] {
        let mut traffic = Traffic::new(21, 3000.0, 0.005, rate);
        let mut evidence = warm_up(&settings, &mut traffic);
        evidence.weight_changed(&settings, 10, 100, at(traffic.now));
        evidence.pods_seen(1, 9);
        let verdicts: Vec<Verdict> = (0..1500)
            .map(|_| second(&mut evidence, &settings, &mut traffic, 0.1))
            .collect();
        assert_eq!(verdicts.contains(&Verdict::Worse), found, "{rate}");
        assert!(verdicts.contains(&Verdict::Suspect));
    }
}

#[test]
fn a_checkpoint_from_before_the_noise_of_pods_was_known_is_read() {
    let settings = settings(vec![errors()], &[10]);
    let mut traffic = Traffic::new(9, 200.0, 0.01, 0.05);
    let mut evidence = warm_up(&settings, &mut traffic);
    evidence.weight_changed(&settings, 10, 100, at(traffic.now));
    second(&mut evidence, &settings, &mut traffic, 0.1);
    let mut value = serde_json::to_value(&evidence).unwrap();
    value["rules"][0]
        .as_object_mut()
        .unwrap()
        .remove("noise")
        .unwrap();
    let read: Evidence = serde_json::from_value(value).unwrap();
    let (old, new) = (read.report(&settings), evidence.report(&settings));
    assert_eq!(old[0].log_block.to_bits(), new[0].log_block.to_bits());
}

/// One arm's requests; the other has none.
fn lone(rule: &str, second: f64, canary: (f64, f64), stable: (f64, f64)) -> Sample {
    let arm = |(total, bad)| ArmCounts::Proportion { total, bad };
    Sample {
        rule: rule.to_owned(),
        from: at(second - 1.0),
        to: at(second),
        canary: arm(canary),
        stable: arm(stable),
    }
}

#[test]
fn intervals_with_an_empty_arm_are_tested_together_but_never_across_a_change_of_weight() {
    let settings = settings(vec![errors()], &[10]);
    let begin = || {
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 100, at(0.0));
        evidence
    };
    let exact = |evidence: &Evidence| evidence.report(&settings)[0].log_exact;
    let whole = lone("error-rate", 10.0, (10.0, 4.0), (90.0, 1.0));
    let halves = [
        lone("error-rate", 10.0, (0.0, 0.0), (90.0, 1.0)),
        lone("error-rate", 11.0, (10.0, 4.0), (0.0, 0.0)),
    ];
    let (mut once, mut twice, mut across) = (begin(), begin(), begin());
    once.observe(&settings, &whole);
    twice.observe(&settings, &halves[0]);
    // A restart in between changes nothing.
    let text = serde_json::to_string(&twice).unwrap();
    twice = serde_json::from_str(&text).unwrap();
    twice.observe(&settings, &halves[1]);
    assert!(exact(&once) > 2.0 && (exact(&once) - exact(&twice)).abs() < 1e-9);
    across.observe(&settings, &halves[0]);
    across.weight_changed(&settings, 25, 100, at(10.0));
    let mut later = halves[1].clone();
    (later.from, later.to) = (at(20.0), at(21.0));
    across.observe(&settings, &later);
    assert!(exact(&across).abs() < 1e-9, "{}", exact(&across));
}
