//! Samples: read again, late, overlapping, unsound, or of a rule that was edited.

use super::*;

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
