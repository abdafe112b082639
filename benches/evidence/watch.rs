//! A canary at one weight, watched each second: when is which witness convinced?

use sluice::rollout::evidence::{Evidence, Settings, Verdict};

use super::traffic::{Traffic, at};

/// How a canary is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    pub weight: u8,
    /// Ready pods of canary and stable, if they are told.
    pub pods: Option<(u32, u32)>,
    /// Seconds of stable's history before the canary.
    pub history: f64,
    /// Seconds for which it is watched.
    pub limit: f64,
    /// Seconds after which the canary begins to be bad.
    pub damage_after: f64,
}

impl Watch {
    /// From the first second on, without history, pods unknown.
    pub fn at(weight: u8, limit: f64) -> Self {
        Self {
            weight,
            pods: None,
            history: 30.0,
            limit,
            damage_after: 0.0,
        }
    }
}

/// Seconds since counting began until something was first so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The exact witness reached its bound.
    pub exact: Option<f64>,
    /// Exact and block witness both had, whatever the noise of pods.
    pub both: Option<f64>,
    /// The verdict was Worse.
    pub worse: Option<f64>,
}

/// What an observer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Exact,
    Worse,
}

/// Watches until the time is over or what is waited for has come.
pub fn watch(settings: &Settings, traffic: &mut Traffic, watch: &Watch, until: Until) -> Seen {
    let damage = traffic.damage;
    traffic.damage.rates.1 = damage.rates.0;
    let mut evidence = Evidence::begin(settings);
    while traffic.now < watch.history {
        for sample in traffic.second(settings, 0.0) {
            evidence.baseline(settings, sample);
        }
    }
    let settled = traffic.now;
    let begin = settled - settings.settle.as_secs_f64();
    evidence.weight_changed(settings, watch.weight, 100, at(begin));
    if let Some((canary, stable)) = watch.pods {
        evidence.pods_seen(canary, stable);
    }
    let w = f64::from(watch.weight) / 100.0;
    let mut seen = Seen::default();
    while traffic.now - settled < watch.limit {
        if traffic.now - settled >= watch.damage_after {
            traffic.damage = damage;
        }
        for sample in traffic.second(settings, w) {
            evidence.observe(settings, sample);
        }
        look(&evidence, settings, traffic.now - settled, &mut seen);
        let done = match until {
            Until::Exact => seen.exact,
            Until::Worse => seen.worse,
        };
        if done.is_some() {
            break;
        }
    }
    seen
}

fn look(evidence: &Evidence, settings: &Settings, now: f64, seen: &mut Seen) {
    // A report is dear, and has nothing to say of a rule whose exact witness is not convinced.
    if !evidence
        .verdicts(settings)
        .any(|verdict| verdict >= Verdict::Suspect)
    {
        return;
    }
    for report in evidence.report(settings) {
        if report.log_exact < report.bound {
            continue;
        }
        seen.exact.get_or_insert(now);
        if report.log_block >= report.bound {
            seen.both.get_or_insert(now);
        }
        if report.verdict == Verdict::Worse {
            seen.worse.get_or_insert(now);
        }
    }
}
