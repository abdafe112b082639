//! Latency in docs/concepts/proof.md: slower canaries, by the exact witness of the latency rule.

use sluice::rollout::evidence::Settings;

use super::many::{Wanted, mean, part, printed};
use super::table::Row;
use super::traffic::{Damage, Traffic, latency};
use super::watch::{Until, Watch, watch};

/// One change: all times, the tail, requests a second, weight, Wald's bound in seconds, the means
/// that are to be reached without margin and with the default one.
type Change = (f64, f64, f64, u8, f64, f64, f64);

/// Detection and false rates of the latency rule.
pub fn latencies(wanted: &Wanted) -> Vec<Row> {
    let table: [Change; 6] = [
        (1.2, 1.0, 100.0, 10, 21.3, 33.0, 347.0),
        (1.5, 1.0, 100.0, 10, 4.4, 6.8, 17.0),
        (2.0, 1.0, 100.0, 10, 1.5, 2.7, 3.9),
        (1.0, 1.5, 100.0, 10, 51.5, 94.0, 154.0),
        (1.5, 1.0, 1000.0, 1, 3.9, 6.4, 19.0),
        (1.0, 1.5, 1000.0, 1, 44.0, 71.0, 119.0),
    ];
    let mut rows = Vec::new();
    for (ratio, absolute) in [(1.0, 0.0), (1.2, 0.001)] {
        let settings = Settings {
            questions: vec![latency(ratio, absolute)],
            ..Settings::default()
        };
        rows.push(printed(healthy(wanted, &settings, ratio)));
        for change in table {
            rows.push(printed(found(wanted, &settings, ratio, change)));
        }
    }
    rows
}

fn found(wanted: &Wanted, settings: &Settings, ratio: f64, change: Change) -> Row {
    let (slower, tail, rps, weight, wald, plain, margin) = change;
    let target = if ratio > 1.0 { margin } else { plain };
    let what = if tail > 1.0 { "slowest 5%" } else { "all" };
    let name = format!(
        "latency, rho {ratio}: {what} x {}, {rps} rps, {weight}%",
        slower * tail
    );
    let watching = Watch {
        history: 300.0,
        ..Watch::at(weight, 5000.0)
    };
    let seconds = wanted.many(&name, wanted.few(), |chance| {
        let damage = Damage {
            rates: (0.0, 0.0),
            slower,
            tail,
        };
        let mut traffic = Traffic::plain(chance, rps, damage);
        let seen = watch(settings, &mut traffic, &watching, Until::Exact);
        seen.exact.unwrap_or(5000.0)
    });
    let mean = mean(&seconds);
    Row::held(
        name,
        format!("{mean:.1} s, {:.2} times Wald's {wald} s", mean / wald),
        format!("about {target} s"),
        mean <= target * 1.1 + 0.5,
    )
}

fn healthy(wanted: &Wanted, settings: &Settings, ratio: f64) -> Row {
    let name = format!("latency, rho {ratio}: none, 100 rps, 10%, 20 min");
    let watching = Watch {
        history: 300.0,
        ..Watch::at(10, 1200.0)
    };
    let seen = wanted.many(&name, wanted.runs, |chance| {
        let mut traffic = Traffic::plain(chance, 100.0, Damage::errors(0.0, 0.0));
        watch(settings, &mut traffic, &watching, Until::Exact)
    });
    let hits = seen.iter().filter(|seen| seen.exact.is_some()).count();
    let (share, _) = part(hits, seen.len());
    Row::held(
        name,
        format!("{:.2}% false", share * 100.0),
        "<= 1%",
        share <= 0.01,
    )
}
