//! Errors that depend on each other (docs/concepts/noise.md). Healthy hours that would be rolled back, and what
//! it costs in detection: before and after the noise of pods is taken into account.

use super::many::{Wanted, mean, part, printed};
use super::rates::settings;
use super::table::Row;
use super::traffic::{Damage, Traffic};
use super::watch::{Seen, Until, Watch, watch};
use super::world::{Noise, PODS};

/// Seconds of stable's history that the daemon reads before a run.
const HISTORY: f64 = 1800.0;
const HEALTHY: f64 = 0.005;

const SORTS: [(&str, Noise); 9] = [
    ("shared AR(1), 1, 30 s", Noise::Shared(1.0, 30.0)),
    ("shared incidents", Noise::SharedIncidents),
    ("pod AR(1), .5, 30 s", Noise::PerPod(0.5, 30.0)),
    ("pod AR(1), 1, 30 s", Noise::PerPod(1.0, 30.0)),
    ("pod AR(1), .5, 300 s", Noise::PerPod(0.5, 300.0)),
    ("pod incidents, 10 s", Noise::PodIncidents(10.0)),
    ("pod incidents, 3 s", Noise::PodIncidents(3.0)),
    ("pods differ, .1", Noise::Persistent(0.1)),
    ("pods differ, .3", Noise::Persistent(0.3)),
];

/// Healthy hours that are rolled back, at 100 and 1,000 rps with 1, 2 and 5 of ten pods.
pub fn healthy(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    for rps in [100.0, 1000.0] {
        for canary in [1, 2, 5] {
            let told = format!("{rps} rps, {canary} of {PODS} pods");
            rows.extend(hours(wanted, "dependent", &told, rps, &hour(canary, 0.0)));
        }
    }
    rows
}

/// The same with one canary pod, where nothing is known of the time before the run: the daemon scrapes,
/// or Prometheus is new.
pub fn blind(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    for rps in [100.0, 1000.0] {
        let watching = Watch {
            history: 30.0,
            ..hour(1, 0.0)
        };
        let told = format!("{rps} rps, 1 of {PODS} pods");
        rows.extend(hours(wanted, "without history", &told, rps, &watching));
    }
    rows
}

fn hours(wanted: &Wanted, part: &str, told: &str, rps: f64, watching: &Watch) -> Vec<Row> {
    let canary = usize::from(watching.weight) * PODS / 100;
    let one = |(sort, noise): (&str, Noise)| {
        let name = format!("{part}: {sort}, {told}");
        if !wanted.wants(&name) {
            return None;
        }
        let seen = wanted.many(&name, (wanted.runs / 10).max(50), |chance| {
            let damage = Damage::errors(HEALTHY, HEALTHY);
            let mut traffic = Traffic::new(chance, rps, damage, noise, canary);
            watch(&settings(1.2, 0.001), &mut traffic, watching, Until::Worse)
        });
        Some(printed(row(name, &seen)))
    };
    SORTS.into_iter().filter_map(one).collect()
}

fn row(name: String, seen: &[Seen]) -> Row {
    let of =
        |hit: fn(&Seen) -> bool| part(seen.iter().filter(|seen| hit(seen)).count(), seen.len());
    let (exact, _) = of(|seen| seen.exact.is_some());
    let (both, _) = of(|seen| seen.both.is_some());
    let (worse, _) = of(|seen| seen.worse.is_some());
    let percents = [exact, both, worse].map(|part| format!("{:.1}%", part * 100.0));
    Row::held(
        name,
        format!(
            "exact {}, both {}, verdict {}",
            percents[0], percents[1], percents[2]
        ),
        "< 2%",
        worse < 0.02,
    )
}

fn hour(canary: usize, damage_after: f64) -> Watch {
    Watch {
        pods: Some((canary as u32, (PODS - canary) as u32)),
        history: HISTORY,
        damage_after,
        ..Watch::at((canary * 100 / PODS) as u8, 3600.0)
    }
}

/// What it costs: mean seconds to Worse before and after, without noise.
pub fn cost(wanted: &Wanted) -> Vec<Row> {
    let table = [
        (0.005, 0.025, 100.0, 10),
        (0.005, 0.025, 100.0, 20),
        (0.005, 0.025, 100.0, 50),
        (0.005, 0.025, 1000.0, 10),
        (0.005, 0.025, 1000.0, 50),
        (0.001, 0.05, 100.0, 10),
        (0.001, 0.05, 1000.0, 1),
        (0.001, 0.05, 1000.0, 50),
        (0.001, 0.01, 100.0, 10),
        (0.001, 0.01, 1000.0, 1),
        (0.001, 0.01, 1000.0, 50),
        (0.01, 0.02, 100.0, 10),
    ];
    let mut rows = Vec::new();
    for late in [0.0, 300.0] {
        for (stable, canary, rps, weight) in table {
            let name = format!(
                "cost: {}% -> {}% after {late} s, {rps} rps, {weight}%",
                stable * 100.0,
                canary * 100.0
            );
            if !wanted.wants(&name) {
                continue;
            }
            let pods = (usize::from(weight) * PODS).div_ceil(100);
            let watching = Watch {
                weight,
                limit: 1e4,
                ..hour(pods, late)
            };
            let seen = wanted.many(&name, wanted.few(), |chance| {
                let damage = Damage::errors(stable, canary);
                let mut traffic = Traffic::plain(chance, rps, damage);
                watch(&settings(1.2, 0.001), &mut traffic, &watching, Until::Worse)
            });
            let of = |at: fn(&Seen) -> Option<f64>| {
                let seconds: Vec<f64> = seen.iter().map(|seen| at(seen).unwrap_or(1e4)).collect();
                mean(&seconds) - late
            };
            let (before, after) = (of(|seen| seen.both), of(|seen| seen.worse));
            rows.push(printed(Row::held(
                name,
                format!("{before:.1} -> {after:.1} s, {:.2} times", after / before),
                "<= 1.5 times",
                after <= 1.5 * before,
            )));
        }
    }
    rows
}

/// What a noisy service costs: mean seconds to Worse for five, eleven and sixty times the errors under each
/// sort of noise.
pub fn noisy(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    let damages = [
        (2.5, 100.0, 1),
        (2.5, 1000.0, 1),
        (2.5, 1000.0, 5),
        (5.5, 100.0, 1),
        (5.5, 1000.0, 1),
        (30.0, 1000.0, 1),
    ];
    for (bad, rps, canary) in damages {
        for (told, noise) in SORTS {
            let name = format!(
                "noisy detection: {told}, 0.5% -> {bad}%, {rps} rps, {canary} of {PODS} pods"
            );
            if !wanted.wants(&name) {
                continue;
            }
            let seen = wanted.many(&name, wanted.few(), |chance| {
                let damage = Damage::errors(HEALTHY, bad / 100.0);
                let mut traffic = Traffic::new(chance, rps, damage, noise, canary);
                watch(
                    &settings(1.2, 0.001),
                    &mut traffic,
                    &hour(canary, 0.0),
                    Until::Worse,
                )
            });
            let both: Vec<f64> = seen.iter().map(|s| s.both.unwrap_or(3600.0)).collect();
            let worse: Vec<f64> = seen.iter().map(|s| s.worse.unwrap_or(3600.0)).collect();
            rows.push(printed(Row::known(
                name,
                format!("{:.0} -> {:.0} s", mean(&both), mean(&worse)),
            )));
        }
    }
    rows
}
