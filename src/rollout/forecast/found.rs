//! What one step can find: how bad a canary must be to be acted upon in so many seconds.
//!
//! A step stands alone here: the canary becomes bad when the step begins, and nothing is known of
//! it from before. Found is what is acted upon: Worse, or above the first weight Suspect, which
//! takes the weight back. Probabilities are shares of played runs; the same chance is
//! used for every harm, so that a larger one is found no less.

use serde::Serialize;

use super::chance::Chance;
use super::many::{before, each, quantile};
use super::play::canary_pods;
use super::traffic::{Harm, Stage, Stream, Usual};
use crate::rollout::evidence::{Evidence, Settings, Verdict};

/// Harms between the finest and the coarsest that are tried first.
const GRID: i32 = 7;
/// How often the place between two of them is made better.
const ROUNDS: u32 = 3;
/// Ticks of all runs at one harm together, about.
const TICKS: u64 = 6_000;
/// The coarsest harm that is looked for: half of all requests bad, everything 20 times as slow.
const COARSEST: (f64, f64) = (0.5, 20.0);
/// ... each pod hit every second.
const MOST_OFTEN: f64 = 3600.0;
/// Where no request is usually bad: the finest rate that is looked for.
const FINEST: f64 = 1e-4;

/// A harm as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// How many times as many bad requests, or how many times as slow; `None` where none are
    /// usually bad.
    pub ratio: Option<f64>,
    /// The canary's share of bad requests; errors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Events an hour of each canary pod; rules about pods' events only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<f64>,
}

impl Size {
    /// The size of a harm to what is usual.
    pub fn of(usual: &Usual, harm: Harm) -> Self {
        match (usual, harm) {
            (Usual::Errors(usual), Harm::Rate(rate)) => Self {
                ratio: (*usual > 0.0).then(|| rate / usual),
                rate: Some(rate),
                per_hour: None,
            },
            (_, Harm::Often(an_hour)) => Self {
                ratio: None,
                rate: None,
                per_hour: Some(an_hour),
            },
            (_, Harm::Slower(ratio) | Harm::Rate(ratio)) => Self {
                ratio: Some(ratio),
                rate: None,
                per_hour: None,
            },
        }
    }
}

/// The smallest harms that are found with 80% and with 95% probability; `None` if not even the
/// coarsest (half of the canary's answers bad, everything 20 times as slow) is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Found {
    /// Seconds at the step's weight.
    pub seconds: f64,
    /// Found with 80% probability.
    pub p80: Option<Size>,
    /// Found with 95% probability.
    pub p95: Option<Size>,
}

/// Evidence and traffic at the moment when a step begins.
type Past = (Evidence, Stage);

/// One rule in one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub settings: &'a Settings,
    pub stream: &'a Stream,
    pub every: f64,
    pub seed: u64,
    pub runs: u64,
    pub weight: u8,
    /// Pods of the Deployment; 0 if unknown.
    pub pods: u32,
    /// Whether the step is above the first weight, so that a suspicion is acted upon.
    pub above_first: bool,
}

impl Search<'_> {
    /// What was before the step; the same for all runs.
    pub(super) fn past(&self) -> Past {
        let streams = std::slice::from_ref(self.stream);
        let mut chance = Chance::of(self.seed, u64::MAX);
        let mut stage = Stage::healthy(streams, self.every);
        let mut evidence = before(self.settings, &mut stage, &mut chance);
        evidence.weight_changed(self.settings, self.weight, 100, stage.now());
        evidence.pods_seen(canary_pods(self.pods, self.weight), self.pods);
        (evidence, stage)
    }

    /// Seconds until the harm is found, if it is before `limit` ticks.
    fn one(&self, past: &Past, harm: Harm, limit: u64, run: u64) -> Option<f64> {
        let (mut evidence, stage) = past.clone();
        let mut stage = stage.harmed(0, harm);
        let mut chance = Chance::of(self.seed, run);
        for tick in 1..=limit {
            for sample in stage.tick(f64::from(self.weight) / 100.0, &mut chance) {
                evidence.observe(self.settings, sample);
            }
            let acted_upon = |verdict| match verdict {
                Verdict::Worse => true,
                Verdict::Suspect => self.above_first,
                Verdict::NotWorse | Verdict::Undecided => false,
            };
            let mut verdicts = evidence.verdicts(self.settings);
            if verdicts.any(acted_upon) {
                return Some(tick as f64 * self.every);
            }
        }
        None
    }

    fn runs(&self, limit: u64) -> u64 {
        (TICKS / limit.max(1)).clamp(40, 120).min(self.runs)
    }

    /// The share of runs in which the harm is found in `limit` ticks.
    pub(super) fn share(&self, past: &Past, harm: Harm, limit: u64) -> f64 {
        let runs = self.runs(limit);
        let found = each(0..runs, |run| self.one(past, harm, limit, run).is_some());
        found.iter().filter(|found| **found).count() as f64 / runs.max(1) as f64
    }

    /// The harm that is `part` (0..1) of the way from the finest to the coarsest, in logarithms.
    fn harm(&self, part: f64) -> Harm {
        let between = |low: f64, high: f64| low * (high / low).powf(part);
        match &self.stream.usual {
            Usual::Errors(rate) => {
                let finest = rate.max(FINEST);
                Harm::Rate(between(finest, COARSEST.0.max(finest)))
            }
            Usual::Times { .. } => Harm::Slower(between(1.0, COARSEST.1)),
            Usual::Events { often, .. } => {
                let finest = (often * 3600.0).max(1.0);
                Harm::Often(between(finest, MOST_OFTEN.max(finest)))
            }
        }
    }

    /// Shares that are found of harms of falling size, by their places; the last is too small.
    fn descend(&self, past: &Past, limit: u64) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        for rank in (0..=GRID).rev() {
            let part = f64::from(rank) / f64::from(GRID);
            let share = self.share(past, self.harm(part), limit);
            all.push((part, share));
            if share < 0.5 {
                break;
            }
        }
        all
    }

    /// The place of the smallest harm that is found with this probability.
    fn place(&self, past: &Past, grid: &[(f64, f64)], probability: f64, limit: u64) -> Option<f64> {
        let found = |(_, share): &&(f64, f64)| *share >= probability;
        let mut high = *grid.iter().take_while(found).last()?;
        let too_small = grid.iter().find(|pair| !found(pair));
        let Some(&(mut low)) = too_small else {
            return Some(high.0);
        };
        for _ in 0..ROUNDS {
            let part = crossing(low, high, probability);
            let share = self.share(past, self.harm(part), limit);
            if share >= probability {
                high = (part, share);
            } else {
                low = (part, share);
            }
        }
        Some(crossing(low, high, probability))
    }

    /// What is found in `seconds`.
    pub fn found(&self, seconds: f64) -> Found {
        let limit = (seconds / self.every + 1e-6) as u64;
        let past = self.past();
        let grid = self.descend(&past, limit);
        let size = |probability: f64| {
            let part = self.place(&past, &grid, probability, limit)?;
            Some(Size::of(&self.stream.usual, self.harm(part)))
        };
        Found {
            seconds,
            p80: size(0.8),
            p95: size(0.95),
        }
    }

    /// Seconds in which a harm is found with 80% probability, if that is before `limit` seconds.
    pub fn seconds(&self, harm: Harm, limit: f64) -> Option<f64> {
        let ticks = (limit / self.every) as u64;
        let past = self.past();
        let mut all = each(0..self.runs(ticks), |run| {
            self.one(&past, harm, ticks, run).unwrap_or(f64::INFINITY)
        });
        all.sort_by(f64::total_cmp);
        quantile(&all, 0.8).filter(|seconds| seconds.is_finite())
    }
}

/// Where the share found crosses `probability`, between two places: along the logarithm of the odds,
/// but not at an end, where nothing would be learnt.
fn crossing(low: (f64, f64), high: (f64, f64), probability: f64) -> f64 {
    let z = |share: f64| {
        let share = share.clamp(0.01, 0.99);
        (share / (1.0 - share)).ln()
    };
    let (from, to) = (z(low.1), z(high.1));
    let way = if to > from {
        ((z(probability) - from) / (to - from)).clamp(0.15, 0.85)
    } else {
        0.5
    };
    low.0 + way * (high.0 - low.0)
}
