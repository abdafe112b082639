//! Little traffic: most intervals have no request of the canary, or the arms are read at different
//! moments. Seconds to detection against Wald's bound, whose requests are then the same.

use sluice::rollout::evidence::{ArmCounts, Evidence, Sample, Settings, Verdict};
use sluice::rollout::forecast::chance::Chance;

use super::many::{Wanted, mean, printed};
use super::rates::{settings, wald};
use super::table::Row;
use super::traffic::{Damage, Traffic, at};
use super::watch::{Until, Watch, watch};

const LIMIT: f64 = 1e5;

/// Mean seconds at 1, 3 and 10 requests a second, and at 100 with arms that are read apart.
pub fn little(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    for rps in [1.0, 3.0, 10.0] {
        for weight in [5, 25, 50] {
            for (stable, canary) in [(0.001, 0.05), (0.01, 0.1), (0.01, 0.3)] {
                let of = (stable, canary, rps, weight);
                rows.extend(row(
                    wanted,
                    "little traffic",
                    of,
                    |chance, settings, until| {
                        let mut traffic =
                            Traffic::plain(chance, rps, Damage::errors(stable, canary));
                        let seen = watch(settings, &mut traffic, &Watch::at(weight, LIMIT), until);
                        let at = match until {
                            Until::Exact => seen.exact,
                            Until::Worse => seen.worse,
                        };
                        at.unwrap_or(LIMIT)
                    },
                ));
            }
        }
    }
    let of = (0.001, 0.05, 100.0, 10);
    rows.extend(row(wanted, "arms read apart", of, apart));
    rows
}

fn row(
    wanted: &Wanted,
    part: &str,
    (stable, canary, rps, weight): (f64, f64, f64, u8),
    seconds: impl Fn(Chance, &Settings, Until) -> f64 + Sync,
) -> Option<Row> {
    let (s, c) = (stable * 100.0, canary * 100.0);
    let name = format!("{part}: {s}% -> {c}%, {rps} rps, {weight}%");
    if !wanted.wants(&name) {
        return None;
    }
    let of = |settings: Settings, until| {
        let name = format!("{name}, {until:?}");
        let seconds = wanted.many(&name, wanted.few(), |chance| {
            seconds(chance, &settings, until)
        });
        mean(&seconds)
    };
    let exact = of(settings(1.0, 0.0), Until::Exact);
    let worse = of(settings(1.2, 0.001), Until::Worse);
    let bound = wald(stable, canary, f64::from(weight) / 100.0) / rps;
    let times = exact / bound;
    let measured =
        format!("exact {exact:.0} s, {times:.2} times Wald's {bound:.0} s; both {worse:.0} s");
    Some(printed(Row::held(
        name,
        measured,
        "1.5 times",
        times <= 1.5,
    )))
}

/// Each second the canary's counts come half a second before stable's.
fn apart(chance: Chance, settings: &Settings, until: Until) -> f64 {
    let mut traffic = Traffic::plain(chance, 100.0, Damage::errors(0.001, 0.05));
    let mut evidence = Evidence::begin(settings);
    evidence.weight_changed(settings, 10, 100, at(-10.0));
    while traffic.now < LIMIT {
        for sample in traffic.second(settings, 0.1).to_vec() {
            let none = ArmCounts::Proportion {
                total: 0.0,
                bad: 0.0,
            };
            let half = at(traffic.now - 0.5);
            let canary = Sample {
                to: half,
                stable: none.clone(),
                ..sample.clone()
            };
            let stable = Sample {
                from: half,
                canary: none,
                ..sample.clone()
            };
            evidence.observe(settings, &canary);
            evidence.observe(settings, &stable);
        }
        if !evidence
            .verdicts(settings)
            .any(|verdict| verdict >= Verdict::Suspect)
        {
            continue;
        }
        let convinced = |report: &sluice::rollout::evidence::RuleReport| match until {
            Until::Exact => report.log_exact >= report.bound,
            Until::Worse => report.log_exact.min(report.log_block) >= report.bound,
        };
        if evidence.report(settings).iter().all(convinced) {
            break;
        }
    }
    traffic.now
}
