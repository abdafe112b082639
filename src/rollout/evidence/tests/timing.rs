//! How soon good releases pass and bad ones are found.

use super::*;

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
