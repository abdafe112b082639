//! Whole rollouts through `decide`: the tables of whole rollouts, suspicion and patience in docs/concepts/proof.md.

use std::time::Duration;

use sluice::rollout::evidence::{Evidence, Patience, Settings};

use super::many::{Wanted, mean, part, printed, quantile};
use super::rates::settings;
use super::rollout::{End, Setup, Told, play};
use super::table::Row;
use super::traffic::{Damage, Traffic, errors, latency};

/// Rates of stable and canary, and the median seconds wanted at 10, 100 and 1,000 requests a second.
const WHOLE: [(f64, f64, [f64; 3]); 5] = [
    (0.001, 0.001, [3443.0, 351.0, 45.0]),
    (0.01, 0.01, [6938.0, 724.0, 85.0]),
    (0.001, 0.01, [2958.0, 309.0, 34.0]),
    (0.001, 0.05, [544.0, 60.0, 9.0]),
    (0.01, 0.02, [f64::NAN, 952.0, 101.0]),
];

/// Steps 1, 5, 20, 50%, the finest blast radius.
pub fn whole(wanted: &Wanted) -> Vec<Row> {
    let setup = setup(&[1, 5, 20, 50], 0.002, 14_400.0);
    wholes(wanted, "whole rollout", &setup)
}

/// The same without what the wanted figures do not know: the settling of a weight, and suspicion.
pub fn apart(wanted: &Wanted) -> Vec<Row> {
    let ways = [
        ("neither", 0, false),
        ("settling only", 3, false),
        ("suspicion only", 0, true),
        ("both", 3, true),
    ];
    let way = |(name, settle, suspicion): (&str, u64, bool)| {
        let mut setup = setup(&[1, 5, 20, 50], 0.002, 14_400.0);
        setup.settings.settle = Duration::from_secs(settle);
        setup.suspicion = suspicion;
        wholes(wanted, &format!("apart, {name}"), &setup)
    };
    ways.into_iter().flat_map(way).collect()
}

fn wholes(wanted: &Wanted, what: &str, setup: &Setup) -> Vec<Row> {
    let mut rows = Vec::new();
    for (stable, canary, medians) in WHOLE {
        for (rps, median) in [10.0, 100.0, 1000.0].into_iter().zip(medians) {
            let (s, c) = (stable * 100.0, canary * 100.0);
            let name = format!("{what}: {s}% -> {c}%, {rps} rps");
            if !wanted.wants(&name) {
                continue;
            }
            let told = wanted.many(&name, wanted.few(), |chance| {
                let damage = Damage::errors(stable, canary);
                play(setup, &mut Traffic::plain(chance, rps, damage))
            });
            let end = if canary > stable {
                End::RolledBack
            } else {
                End::Promoted
            };
            rows.push(printed(whole_row(name, &told, end, median)));
        }
    }
    rows
}

fn whole_row(name: String, told: &[Told], end: End, median: f64) -> Row {
    let right: Vec<f64> = told
        .iter()
        .filter(|t| t.end == end)
        .map(|t| t.seconds)
        .collect();
    let share = part(right.len(), told.len()).0;
    let back = told
        .iter()
        .filter(|told| told.end == End::RolledBack)
        .count();
    let extra: Vec<f64> = told.iter().map(|told| told.extra_bad).collect();
    let seconds = quantile(right, 0.5);
    let measured = match end {
        End::RolledBack => format!(
            "{:.1}% rolled back, median {seconds:.0} s, {:.1} extra bad answers",
            share * 100.0,
            mean(&extra)
        ),
        End::Promoted | End::Undecided => format!(
            "{:.1}% promoted, median {seconds:.0} s, {back} rolled back",
            share * 100.0
        ),
    };
    if median.is_nan() {
        return Row::held(name, measured, "87.8% rolled back", share >= 0.85);
    }
    let met = share >= 0.985 && seconds <= median * 1.15 + 5.0;
    Row::held(name, measured, format!("about all, {median} s"), met)
}

fn setup(steps: &[u8], blast: f64, limit: f64) -> Setup {
    Setup {
        settings: Settings {
            steps: steps.to_vec(),
            blast,
            blast_max: blast,
            ..settings(1.2, 0.001)
        },
        before: 60.0,
        limit,
        suspicion: true,
        damage_from: 0,
    }
}

/// Steps 5, 25, 50%, damage that begins at the last: without suspicion and with it.
pub fn suspicion(wanted: &Wanted) -> Vec<Row> {
    let table = [
        (0.05, 1000.0, 130.0, 16.0),
        (0.3, 1000.0, 760.0, 15.0),
        (0.05, 100.0, 33.0, 34.0),
        (0.3, 100.0, 87.0, 16.0),
        (0.01, 1000.0, 59.0, 35.0),
    ];
    let mut rows = Vec::new();
    for (canary, rps, bad, seconds) in table {
        let name = format!("suspicion: 0.1% -> {}%, {rps} rps", canary * 100.0);
        if !wanted.wants(&name) {
            continue;
        }
        let measure = |suspicion: bool| {
            let setup = Setup {
                suspicion,
                damage_from: 50,
                ..setup(&[5, 25, 50], 0.002, 7200.0)
            };
            let row = format!("{name}, {suspicion}");
            let told = wanted.many(&row, wanted.few(), |chance| {
                play(
                    &setup,
                    &mut Traffic::plain(chance, rps, Damage::errors(0.001, canary)),
                )
            });
            let back = told.iter().filter(|told| told.end == End::RolledBack);
            let back: Vec<&Told> = back.collect();
            let of = |value: fn(&Told) -> f64| {
                mean(&back.iter().map(|told| value(told)).collect::<Vec<_>>())
            };
            let (bad, seconds) = (of(|told| told.extra_bad), of(|told| told.after_damage));
            (bad, seconds, part(back.len(), told.len()).0)
        };
        let (without, with) = (measure(false), measure(true));
        rows.push(printed(Row::held(
            name,
            format!(
                "{:.0} / {:.0} bad, {:.0} / {:.0} s, {:.1}% / {:.1}% rolled back",
                without.0,
                with.0,
                without.1,
                with.1,
                without.2 * 100.0,
                with.2 * 100.0
            ),
            format!("with: {bad} bad, {seconds} s"),
            with.0 <= bad * 1.25 + 5.0 && with.1 <= seconds * 1.25 + 5.0,
        )));
    }
    rows
}

/// Healthy releases through within `within`, where it was said that nine of ten are.
pub fn patience(wanted: &Wanted) -> Vec<Row> {
    let mut rows = Vec::new();
    for both in [false, true] {
        for rps in [3.0, 10.0, 30.0, 100.0, 1000.0] {
            for rate in [0.0, 0.001, 0.01, 0.05] {
                rows.extend(patient(wanted, both, rps, rate));
            }
        }
    }
    rows
}

fn patient(wanted: &Wanted, both: bool, rps: f64, rate: f64) -> Option<Row> {
    let rules = if both { "errors and latency" } else { "errors" };
    let name = format!("patience: {rules}, {rps} rps, {}% bad", rate * 100.0);
    if !wanted.wants(&name) {
        return None;
    }
    let mut settings = Settings {
        steps: vec![5, 25, 50],
        within: Duration::from_secs(600),
        ..Settings::default()
    };
    settings.questions.push(errors(1.2, 0.001));
    if both {
        settings.questions.push(latency(1.2, 0.001));
    }
    let setup = Setup {
        settings,
        before: 60.0,
        limit: 600.0,
        suspicion: true,
        damage_from: 0,
    };
    let results = wanted.many(&name, wanted.few(), |chance| {
        let damage = Damage::errors(rate, rate);
        let mut traffic = Traffic::plain(chance, rps, damage);
        let told = play(&setup, &mut traffic);
        (told, said(&setup, rps, rate, &mut traffic))
    });
    let through = results
        .iter()
        .filter(|(told, _)| told.end == End::Promoted)
        .count();
    let back = results
        .iter()
        .filter(|(told, _)| told.end == End::RolledBack)
        .count();
    let share = part(through, results.len());
    let reachable = results.iter().filter(|(_, said)| said.reachable).count();
    let blast = mean(
        &results
            .iter()
            .map(|(_, said)| said.blast)
            .collect::<Vec<_>>(),
    );
    let told = format!(
        "{:.1}% through, {back} rolled back; blast {:.2}%, said reachable in {:.0}%",
        share.0 * 100.0,
        blast * 100.0,
        100.0 * reachable as f64 / results.len().max(1) as f64
    );
    Some(printed(if 2 * reachable > results.len() {
        Row::held(name, told, ">= 90% through", share.0 >= 0.90)
    } else {
        Row::held(name, told, "says that it cannot", share.0 <= 0.95)
    }))
}

/// What a daemon that sees such traffic for as long says at the start.
fn said(setup: &Setup, rps: f64, rate: f64, traffic: &mut Traffic) -> Patience {
    traffic.damage = Damage::errors(rate, rate);
    traffic.rps = rps;
    let mut evidence = Evidence::begin(&setup.settings);
    let end = traffic.now + setup.before;
    while traffic.now < end {
        for sample in traffic.second(&setup.settings, 0.0) {
            evidence.baseline(&setup.settings, sample);
        }
    }
    evidence.set_patience(&setup.settings)
}
