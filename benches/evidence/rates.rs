//! False rates and detection of docs/concepts/proof.md: false rollbacks at every look for an hour, and detection against Wald's bound.

use sluice::rollout::evidence::Settings;

use super::many::{Wanted, mean, part, printed};
use super::table::Row;
use super::traffic::{Damage, Traffic, errors};
use super::watch::{Until, Watch, watch};

pub fn settings(ratio: f64, absolute: f64) -> Settings {
    Settings {
        questions: vec![errors(ratio, absolute)],
        ..Settings::default()
    }
}

/// Healthy canaries for an hour, a look each second; 36 settings with both margins.
pub fn false_rates(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    for (ratio, absolute) in [(1.0, 0.0), (1.2, 0.001)] {
        let settings = settings(ratio, absolute);
        for rate in [0.001, 0.01, 0.05] {
            for rps in [10.0, 100.0, 1000.0] {
                for weight in [1, 5, 10, 50] {
                    let name = format!(
                        "false rates, rho {ratio}: {}% bad, {rps} rps, {weight}%",
                        rate * 100.0
                    );
                    if !wanted.wants(&name) {
                        continue;
                    }
                    let seen = wanted.many(&name, wanted.runs, |chance| {
                        let mut traffic = Traffic::plain(chance, rps, Damage::errors(rate, rate));
                        watch(
                            &settings,
                            &mut traffic,
                            &Watch::at(weight, 3600.0),
                            Until::Worse,
                        )
                    });
                    let exact = seen.iter().filter(|seen| seen.exact.is_some()).count();
                    let worse = seen.iter().filter(|seen| seen.worse.is_some()).count();
                    let (exact, high) = part(exact, seen.len());
                    let both = part(worse, seen.len()).0;
                    rows.push(printed(Row::held(
                        name,
                        format!("exact {:.2}%, both {:.2}%", exact * 100.0, both * 100.0),
                        "exact <= 1%",
                        exact <= 0.01 || high <= 0.01,
                    )));
                }
            }
        }
    }
    rows
}

/// Mean requests until the exact witness is convinced, against Wald's bound and the figure of docs/concepts/proof.md.
pub fn detection(wanted: &Wanted) -> Vec<Row> {
    let table = [
        (0.01, 0.02, 1, 1.35),
        (0.01, 0.02, 10, 1.35),
        (0.01, 0.02, 50, 1.29),
        (0.001, 0.01, 5, 1.42),
        (0.001, 0.01, 10, 1.36),
        (0.001, 0.05, 10, 1.43),
        (0.001, 0.05, 50, 1.32),
        (0.0, 0.01, 10, 1.50),
    ];
    let settings = settings(1.0, 0.0);
    let one = |(stable, canary, weight, target): (f64, f64, u8, f64)| {
        let name = format!(
            "detection: {}% -> {}%, {weight}%",
            stable * 100.0,
            canary * 100.0
        );
        let wald = wald(stable, canary, f64::from(weight) / 100.0);
        // Five requests of the canary a tick: few ticks without one, many until the verdict.
        let rps = 500.0 / f64::from(weight);
        let seconds = wanted.many(&name, wanted.few(), |chance| {
            let mut traffic = Traffic::plain(chance, rps, Damage::errors(stable, canary));
            let seen = watch(
                &settings,
                &mut traffic,
                &Watch::at(weight, 1e5),
                Until::Exact,
            );
            seen.exact.unwrap_or(1e5)
        });
        let requests = mean(&seconds) * rps;
        let times = requests / wald;
        printed(Row::held(
            name,
            format!("{requests:.0} requests, {times:.2} times Wald's {wald:.0}"),
            format!("about {target:.2}, budget 1.5"),
            times <= 1.5,
        ))
    };
    table.into_iter().map(one).collect()
}

/// Wald's bound: `ln(1/alpha)` over the information of a request, against the common rate that
/// comes nearest.
pub fn wald(stable: f64, canary: f64, w: f64) -> f64 {
    let common = w * canary + (1.0 - w) * stable;
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    let information = |p: f64| term(p, common) + term(1.0 - p, 1.0 - common);
    100f64.ln() / (w * information(canary) + (1.0 - w) * information(stable))
}

/// Mean seconds until both witnesses agree, with the default margins.
pub fn both(wanted: &Wanted) -> Vec<Row> {
    let table = [
        (0.001, 0.05, 100.0, 10, 12.0, 21.0),
        (0.001, 0.05, 1000.0, 1, 9.6, 16.0),
        (0.001, 0.05, 1000.0, 50, 18.0, 52.0),
        (0.001, 0.01, 100.0, 10, 102.0, 106.0),
        (0.001, 0.01, 1000.0, 1, 93.0, 97.0),
        (0.001, 0.01, 1000.0, 50, 24.0, 60.0),
        (0.005, 0.025, 100.0, 10, 65.0, 71.0),
        (0.01, 0.02, 100.0, 10, 469.0, 464.0),
        (0.01, 0.02, 1000.0, 50, 32.0, f64::NAN),
        (0.04, 0.10, 1000.0, 50, 20.0, f64::NAN),
        (0.0, 0.01, 1000.0, 1, 49.0, 50.0),
    ];
    let mut rows = Vec::new();
    for (stable, canary, rps, weight, two, five) in table {
        for (block, target) in [(2, two), (5, five)] {
            if target.is_nan() {
                continue;
            }
            let name = format!(
                "both witnesses, B {block} s: {}% -> {}%, {rps} rps, {weight}%",
                stable * 100.0,
                canary * 100.0
            );
            if !wanted.wants(&name) {
                continue;
            }
            let settings = Settings {
                block: std::time::Duration::from_secs(block),
                ..settings(1.2, 0.001)
            };
            let seconds = wanted.many(&name, wanted.few(), |chance| {
                let mut traffic = Traffic::plain(chance, rps, Damage::errors(stable, canary));
                let seen = watch(
                    &settings,
                    &mut traffic,
                    &Watch::at(weight, 2e4),
                    Until::Worse,
                );
                seen.worse.unwrap_or(2e4)
            });
            let mean = mean(&seconds);
            rows.push(printed(Row::held(
                name,
                format!("{mean:.1} s"),
                format!("about {target} s"),
                mean <= target * 1.15 + 1.0,
            )));
        }
    }
    rows
}
