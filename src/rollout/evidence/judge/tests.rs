//! The judge against the reference values, and what it makes of streams that are not as they should be.

#![allow(clippy::unreadable_literal)] // reference values stand as they were given

use super::super::Verdict;
use super::super::sample::Kind;
use super::*;

/// `(x_c, x_b, n, w)` of the reference.
type Tuple = (f64, f64, f64, f64);
const T1: [Tuple; 5] = [
    (0., 1., 100., 0.1),
    (2., 1., 90., 0.1),
    (1., 0., 110., 0.1),
    (3., 2., 95., 0.1),
    (2., 0., 105., 0.1),
];
const T2: [Tuple; 6] = [
    (1., 0., 100., 0.01),
    (0., 3., 120., 0.01),
    (1., 2., 80., 0.05),
    (4., 2., 90., 0.2),
    (6., 3., 100., 0.5),
    (0., 0., 100., 0.5),
];

fn tick(run: &str, t: f64, weight: f64, canary: (f64, f64), stable: (f64, f64)) -> Tick<'_> {
    let arm = |(total, bad)| Counts {
        total,
        bad: Some(bad),
        buckets: None,
    };
    Tick {
        run,
        t,
        weight,
        canary: arm(canary),
        stable: arm(stable),
        boundaries: &[],
        samples: None,
        events: None,
    }
}

fn of(tuple: Tuple, t: f64, weight: f64) -> Tick<'static> {
    let (x_c, x_b, n, w) = tuple;
    tick("a", t, weight, (n * w, x_c), (n * (1.0 - w), x_b))
}

fn terms(ratio: f64, absolute: f64) -> Terms {
    let mut terms = Terms::default();
    (terms.errors.ratio, terms.errors.absolute) = (ratio, absolute);
    terms
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
}

fn exact(judge: &Judge) -> f64 {
    judge.report(0).unwrap().rules[0].evidence.unwrap().0
}

/// Each tuple is one block; the value after each tick is that of its line.
#[test]
fn whole_sequences_agree_with_the_reference() {
    let rows: [(&[Tuple], f64, f64, &[f64]); 3] = [
        (
            &T1,
            1.0,
            0.0,
            &[
                -0.378371066583,
                1.196122685692,
                2.565242639508,
                5.892627890426,
                9.386249677929,
            ],
        ),
        (
            &T1,
            1.2,
            0.001,
            &[
                -0.417454725018,
                0.941553267589,
                2.111957553838,
                4.945592854745,
                8.026495348689,
            ],
        ),
        (
            &T2,
            1.2,
            0.001,
            &[
                2.473247516608,
                1.151766362225,
                1.806849777453,
                3.912938102579,
                2.850024227751,
                2.825697378838,
            ],
        ),
    ];
    for (tuples, ratio, absolute, want) in rows {
        let mut judge = Judge::new(terms(ratio, absolute));
        for (i, (tuple, want)) in tuples.iter().zip(want).enumerate() {
            judge.observe(&of(*tuple, 2.0 * i as f64, 10.0)).unwrap();
            near(exact(&judge), *want);
        }
    }
}

#[test]
fn a_change_of_weight_deals_the_bets_out_again() {
    let mut judge = Judge::new(terms(1.2, 0.001));
    for (i, tuple) in T2.into_iter().enumerate() {
        let weight = if i < 2 { 1.0 } else { 5.0 };
        judge.observe(&of(tuple, i as f64, weight)).unwrap();
    }
    near(exact(&judge), 2.837946123125);
}

/// Both votes; the average's alone are in `stats::block`.
#[test]
fn blocks_agree_with_the_reference_after_each_tick() {
    let mut judge = Judge::new(terms(1.2, 0.001));
    let want = [
        -0.189239121328,
        0.170015709982,
        0.891882443141,
        1.764607507126,
        3.265315686998,
    ];
    for (i, (tuple, want)) in T1.into_iter().zip(want).enumerate() {
        judge.observe(&of(tuple, 2.0 * i as f64, 10.0)).unwrap();
        near(judge.report(0).unwrap().rules[0].evidence.unwrap().1, want);
    }
    let open = judge.report(0).unwrap().rules;
    judge.finish();
    assert_eq!(judge.report(0).unwrap().rules, open);
}

#[test]
fn several_ticks_of_one_block_are_one_vote() {
    let mut halves = Judge::new(terms(1.2, 0.001));
    let mut wholes = Judge::new(terms(1.2, 0.001));
    for i in 0..20 {
        let t = f64::from(i);
        halves
            .observe(&tick("a", t, 10.0, (10.0, 1.0), (90.0, 1.0)))
            .unwrap();
        if i % 2 == 1 {
            wholes
                .observe(&tick("a", t, 10.0, (20.0, 2.0), (180.0, 2.0)))
                .unwrap();
        }
    }
    let block = |judge: &Judge| judge.report(0).unwrap().rules[0].evidence.unwrap().1;
    near(block(&halves), block(&wholes));
}

#[test]
fn the_promotion_test_agrees_with_the_reference() {
    let mut judge = Judge::new(Terms {
        margin: 0.01,
        ..terms(1.2, 0.001)
    });
    let rows = [
        ((0., 1., 100., 0.1), 0.137828900873),
        ((0., 0., 100., 0.1), 0.200026417093),
        ((0., 2., 500., 0.1), 0.697044767349),
        ((1., 5., 500., 0.1), 0.050783510166),
    ];
    for (i, (tuple, want)) in rows.into_iter().enumerate() {
        judge.observe(&of(tuple, i as f64, 10.0)).unwrap();
        near(
            judge.report(0).unwrap().rules[0].log_not_worse.unwrap(),
            want,
        );
    }
}

#[test]
fn the_share_guard_agrees_with_the_reference() {
    let rows = [
        (120., 1000., 10.0, 0.640383303485),
        (5., 200., 5.0, 0.625336435314),
    ];
    for (n_c, n, weight, want) in rows {
        let mut judge = Judge::new(Terms::default());
        judge
            .observe(&tick("a", 0.0, weight, (n_c, 0.0), (n - n_c, 0.0)))
            .unwrap();
        let report = judge.report(0).unwrap();
        near(report.log_share, want);
        assert!(report.share_ok);
    }
    let mut judge = Judge::new(Terms::default());
    judge
        .observe(&tick("a", 0.0, 10.0, (60.0, 0.0), (940.0, 0.0)))
        .unwrap();
    assert!(!judge.report(0).unwrap().share_ok);
}

#[test]
fn a_wrong_share_silences_the_block_witness_until_it_is_right() {
    let mut judge = Judge::new(Terms::default());
    for i in 0..10 {
        let t = f64::from(i);
        judge
            .observe(&tick("a", t, 10.0, (500.0, 25.0), (500.0, 1.0)))
            .unwrap();
    }
    let report = judge.report(0).unwrap();
    assert!(!report.share_ok && report.verdict == Verdict::Undecided);
    near(report.rules[0].evidence.unwrap().1, 0.0);
    for i in 10..60 {
        let t = f64::from(i);
        judge
            .observe(&tick("a", t, 10.0, (100.0, 5.0), (900.0, 1.0)))
            .unwrap();
    }
    let report = judge.report(0).unwrap();
    assert!(
        report.share_ok && report.verdict == Verdict::Worse,
        "{report:?}"
    );
}

fn worse_run() -> Judge {
    let mut judge = Judge::new(Terms::default());
    for i in 0..100 {
        let t = f64::from(i);
        judge
            .observe(&tick("a", t, 10.0, (10.0, 1.0), (90.0, 0.0)))
            .unwrap();
    }
    judge
}

#[test]
fn a_worse_canary_is_dated_by_the_tick_that_showed_it() {
    let judge = worse_run();
    let report = judge.report(0).unwrap();
    assert_eq!(report.verdict, Verdict::Worse);
    let at = report.at.unwrap();
    near(report.requests, 100.0 * (at + 1.0));
    assert!(at < 20.0, "{at}");
    assert!(
        report
            .sentence
            .contains("worse than none; odds against chance"),
        "{}",
        report.sentence
    );
    assert_eq!((report.t, report.ticks), (99.0, 100));
}

#[test]
fn a_good_canary_is_not_worse_and_worse_wins_later() {
    let mut judge = Judge::new(Terms::default());
    for i in 0..30 {
        let t = f64::from(i);
        judge
            .observe(&tick("a", t, 10.0, (100.0, 0.0), (900.0, 0.0)))
            .unwrap();
    }
    let report = judge.report(0).unwrap();
    assert_eq!(report.verdict, Verdict::NotWorse);
    let at = report.at;
    for i in 30..120 {
        let t = f64::from(i);
        judge
            .observe(&tick("a", t, 10.0, (100.0, 10.0), (900.0, 1.0)))
            .unwrap();
    }
    let report = judge.report(0).unwrap();
    assert_eq!(report.verdict, Verdict::Worse);
    assert!(report.at > at);
}

fn refused(judge: &mut Judge, tick: &Tick<'_>) -> String {
    let before = format!("{:?}", judge.report(0));
    let fault = judge.observe(tick).unwrap_err();
    assert_eq!(format!("{:?}", judge.report(0)), before);
    fault.to_string()
}

#[test]
fn what_cannot_be_counted_changes_nothing() {
    let mut judge = Judge::new(Terms::default());
    judge
        .observe(&tick("a", 5.0, 10.0, (10.0, 1.0), (90.0, 0.0)))
        .unwrap();
    let good = tick("a", 6.0, 10.0, (10.0, 1.0), (90.0, 0.0));
    let with = |canary: Counts<'static>| Tick { canary, ..good };
    let arm = |total, bad| Counts {
        total,
        bad: Some(bad),
        buckets: None,
    };
    let rows = [
        (
            Tick { t: 5.0, ..good },
            "t: found 5, wanted more than 5, the run's newest",
        ),
        (
            Tick { t: 1.0, ..good },
            "t: found 1, wanted more than 5, the run's newest",
        ),
        (
            Tick {
                weight: 101.0,
                ..good
            },
            "weight: found 101, wanted a percentage, 0 to 100",
        ),
        (
            with(arm(10.0, 11.0)),
            "canary.bad: found 11, wanted at most canary.total, 10",
        ),
        (
            with(arm(-1.0, 0.0)),
            "canary.total: found -1, wanted 0 or more",
        ),
        (with(arm(1e300, 0.0)), "canary.total: found 1"),
        (
            with(Counts {
                bad: None,
                ..arm(10.0, 0.0)
            }),
            "canary.bad: found nothing, wanted it, as stable.bad is there",
        ),
        (
            Tick {
                samples: Some((&[], &[])),
                ..good
            },
            "samples: found counts of another kind, wanted only what the run's first tick had, or the rules given",
        ),
    ];
    for (tick, want) in rows {
        let got = refused(&mut judge, &tick);
        assert!(got.starts_with(want), "{got}");
    }
    let none = Counts {
        bad: None,
        ..arm(10.0, 0.0)
    };
    let empty = Tick {
        run: "b",
        canary: none,
        stable: none,
        ..good
    };
    assert_eq!(
        refused(&mut judge, &empty),
        "canary: found none of the four, wanted bad, buckets, samples or events"
    );
    assert_eq!(judge.reports().count(), 1);
    judge.observe(&good).unwrap();
}

#[test]
fn fractions_empty_arms_and_weights_at_the_ends_are_taken() {
    let mut judge = Judge::new(Terms::default());
    let rows = [
        tick("a", 0.0, 0.0, (0.0, 0.0), (90.0, 3.0)),
        tick("a", 1.0, 10.0, (0.0, 0.0), (90.0, 3.0)),
        tick("a", 2.0, 10.0, (9.5, 0.25), (90.25, 3.0)),
        tick("a", 3.0, 100.0, (100.0, 1.0), (0.0, 0.0)),
    ];
    for tick in rows {
        judge.observe(&tick).unwrap();
        let (exact, block) = judge.report(0).unwrap().rules[0].evidence.unwrap();
        assert!(exact.is_finite() && block.is_finite());
    }
    near(judge.report(0).unwrap().requests, 90.0 + 99.75 + 100.0);
}

#[test]
fn ticks_soon_after_a_change_of_weight_are_left_out() {
    let mut judge = Judge::new(Terms {
        settle: 3.0,
        ..Terms::default()
    });
    for (t, weight) in [(0.0, 5.0), (2.0, 5.0), (3.0, 5.0), (4.0, 25.0), (7.0, 25.0)] {
        judge
            .observe(&tick("a", t, weight, (10.0, 0.0), (90.0, 0.0)))
            .unwrap();
    }
    near(judge.report(0).unwrap().requests, 200.0);
}

#[test]
fn runs_do_not_touch_each_other() {
    let mut together = Judge::new(Terms::default());
    for i in 0..100 {
        let t = f64::from(i);
        together
            .observe(&tick("b", t, 10.0, (10.0, 0.0), (90.0, 1.0)))
            .unwrap();
        together
            .observe(&tick("a", t, 10.0, (10.0, 1.0), (90.0, 0.0)))
            .unwrap();
    }
    let alone = worse_run();
    assert_eq!(together.report(1), alone.report(0));
    let names: Vec<&str> = together.reports().map(|report| report.run).collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn latencies_are_judged_by_buckets() {
    let mut judge = Judge::new(Terms::default());
    let boundaries = [0.1, 0.25, 0.5, 1.0];
    let arm = |buckets: &'static [f64]| Counts {
        total: buckets.iter().sum(),
        bad: None,
        buckets: Some(buckets),
    };
    for i in 0..60 {
        let tick = Tick {
            canary: arm(&[40., 20., 20., 15., 5.]),
            stable: arm(&[800., 80., 15., 4., 1.]),
            boundaries: &boundaries,
            ..tick("a", f64::from(i), 10.0, (0.0, 0.0), (0.0, 0.0))
        };
        judge.observe(&tick).unwrap();
    }
    let report = judge.report(0).unwrap();
    assert_eq!(report.verdict, Verdict::Worse);
    assert!(
        report
            .sentence
            .starts_with("p99 canary over 1.00 s, stable 433 ms"),
        "{}",
        report.sentence
    );
    let other = Tick {
        canary: arm(&[1., 0.]),
        stable: arm(&[1., 0.]),
        boundaries: &[0.1],
        ..tick("a", 61.0, 10.0, (0.0, 0.0), (0.0, 0.0))
    };
    let got = refused(&mut judge, &other);
    assert!(got.starts_with("buckets: found other boundaries"), "{got}");
    assert!(matches!(Terms::default().times.kind, Kind::Latency { .. }));
}

#[test]
fn samples_are_judged_by_ranks() {
    let mut judge = Judge::new(Terms::default());
    for i in 0..8 {
        let x = f64::from(i);
        let (canary, stable) = ([x + 20.0], [x]);
        let bare = Counts::default();
        let tick = Tick {
            canary: bare,
            stable: bare,
            samples: Some((&canary, &stable)),
            ..tick("a", x, 10.0, (0.0, 0.0), (0.0, 0.0))
        };
        judge.observe(&tick).unwrap();
    }
    let report = judge.report(0).unwrap();
    assert_eq!((report.verdict, report.at), (Verdict::Worse, Some(7.0)));
    assert!((report.rules[0].look.unwrap().p - 7.77000777e-5).abs() < 1e-12);
}

#[test]
fn several_kinds_share_alpha() {
    let mut judge = Judge::new(Terms::default());
    let arm = |bad| Counts {
        total: 100.0,
        bad: Some(bad),
        buckets: Some(&[90.0, 10.0]),
    };
    let two = Tick {
        canary: arm(0.0),
        stable: arm(0.0),
        boundaries: &[0.1],
        ..tick("a", 0.0, 50.0, (0.0, 0.0), (0.0, 0.0))
    };
    judge.observe(&two).unwrap();
    let bounds: Vec<f64> = judge
        .report(0)
        .unwrap()
        .rules
        .iter()
        .map(|r| r.bound)
        .collect();
    assert_eq!(bounds.len(), 2);
    for bound in bounds {
        near(bound, 200f64.ln());
    }
    near(
        Terms::default().bound(
            Kinds {
                errors: true,
                times: true,
                samples: true,
                events: false,
            }
            .other_part(),
        ),
        400f64.ln(),
    );
}
