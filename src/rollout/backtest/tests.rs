//! Pseudo-releases on a history that was drawn: healthy ones pass, harmed ones are found.

use std::time::Duration;

use super::*;
use crate::rollout::evidence::Kind;
use crate::rollout::forecast::tests::{plan, settings};

/// Stable's history: `rps` requests a second at this error rate, `seconds` long.
fn drawn(seconds: u64, rps: f64, rate: f64) -> History {
    let mut chance = Chance::of(9, 9);
    let mut at = Timestamp::from_second(1_700_000_000).unwrap();
    let mut samples = Vec::new();
    for _ in 0..seconds / 5 {
        let from = at;
        at = later(at, 5.0);
        let bad = chance.poisson(5.0 * rps * rate);
        let total = bad + chance.poisson(5.0 * rps * (1.0 - rate));
        samples.push(Sample {
            rule: "error-rate".to_owned(),
            from,
            to: at,
            canary: ArmCounts::Proportion {
                total: 3.0,
                bad: 3.0,
            },
            stable: ArmCounts::Proportion { total, bad },
        });
    }
    History::new(samples)
}

const EFFORT: Effort = Effort {
    runs: 20,
    seed: 1,
    pods: 10,
};

#[test]
fn healthy_history_passes_and_harm_is_found() {
    let plan = plan(&[(10, 0), (50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let history = drawn(4 * 3600, 200.0, 0.002);
    let mut heard = Vec::new();
    let got = backtest(&plan, &settings, &history, EFFORT, |part| heard.push(part)).unwrap();
    assert!(got.healthy.rolled_back.abs() < 1e-9, "{got:?}");
    assert!(
        got.healthy.promoted > 0.9 && got.healthy.runs >= 18,
        "{got:?}"
    );
    let rule = &got.rules[0];
    assert!((rule.rate.unwrap() - 0.002).abs() < 0.0002 && rule.false_rollbacks == 0);
    let found: Vec<f64> = rule
        .harms
        .iter()
        .map(|harm| harm.outcome.rolled_back)
        .collect();
    assert!(found[1] > 0.8 && found[2] > 0.9, "{found:?}");
    let seconds = |at: usize| rule.harms[at].outcome.seconds.unwrap().mean;
    assert!(seconds(2) < seconds(1), "{rule:?}");
    assert_eq!(heard.len(), 4);
    assert!((heard[3] - 1.0).abs() < 1e-12);
}

#[test]
fn an_outage_of_all_moves_both_arms_and_rolls_nothing_back() {
    let plan = plan(&[(10, 0), (50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let mut history = drawn(2 * 3600, 200.0, 0.002);
    for tick in history.ticks.iter_mut().skip(300).take(60) {
        if let ArmCounts::Proportion { total, bad } = &mut tick[0].stable {
            *bad = (*total * 0.4).floor();
        }
    }
    let got = backtest(&plan, &settings, &history, EFFORT, |_| {}).unwrap();
    assert!(got.healthy.rolled_back.abs() < 1e-9, "{got:?}");
}

#[test]
fn a_hole_in_the_history_cuts_a_release_off() {
    let mut plan = plan(&[(10, 0), (50, 0)]);
    plan.analysis.no_data.0 = Duration::from_secs(60);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let mut history = drawn(600, 50.0, 0.002);
    history
        .ticks
        .retain(|tick| (tick[0].to.as_second() / 100) % 2 == 0);
    let got = backtest(&plan, &settings, &history, EFFORT, |_| {}).unwrap();
    assert!(got.cut_off > 0 && got.healthy.promoted < 0.1, "{got:?}");
}

#[test]
fn without_history_there_is_nothing_to_play() {
    let plan = plan(&[(50, 0)]);
    let settings = settings(&plan, &[("error-rate", Kind::Proportion)]);
    let none = History::new(Vec::new());
    assert_eq!(backtest(&plan, &settings, &none, EFFORT, |_| {}), None);
    assert_eq!(
        backtest(&plan, &settings, &drawn(50, 10.0, 0.0), EFFORT, |_| {}),
        None
    );
}
