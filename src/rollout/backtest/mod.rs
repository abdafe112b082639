//! Releases played on what was really counted: would the rules have cried wolf, would they have found harm?
//!
//! History is stable's alone. At evenly spaced times a pseudo-release begins: of each request that
//! was counted the canary gets its share by seeded chance (a binomial thinning, at the weight in
//! force), so both arms are equally good and every difference is chance. Then the same with harm
//! added to the canary's part. Guarantees: deterministic; the verdicts are the daemon's own.
//! Assumption: which request goes to the canary has nothing to do with how it ends. Caveat: noise
//! that belongs to single pods is in both arms here, in a real canary in one.
//!
//! Not here: reading history (`prometheus`).

mod thin;

use jiff::Timestamp;
use serde::Serialize;

use super::evidence::{ArmCounts, Evidence, Sample, Settings};
use super::forecast::chance::Chance;
use super::forecast::play::{End, Play};
use super::forecast::traffic::{later, sum};
use super::forecast::{Harm, Outcome, Size, Times, Usual, each, harms_of};
use super::plan::Plan;
use thin::Thinning;

/// Samples that end so close together are one tick, in seconds.
const TOGETHER: f64 = 1.0;
/// Seconds of history that a release has seen of stable before it begins, if they are there ...
const BEFORE: f64 = 1_800.0;
/// ... and at least.
const LEAST_BEFORE: f64 = 60.0;
/// Pseudo-releases begin at least so far apart, in seconds.
const APART: f64 = 60.0;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Pseudo-releases at most.
    pub runs: u64,
    /// What chance begins with.
    pub seed: u64,
    /// Pods of the Deployment; 0 if unknown.
    pub pods: u32,
}

/// What the rules would have said.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// The first time that was counted.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// Releases that are as good as stable.
    pub healthy: Outcome,
    /// Those that were cut off by the end of the history or a hole in it, and count for nothing.
    pub cut_off: usize,
    /// What each rule did.
    pub rules: Vec<RuleBacktest>,
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleBacktest {
    /// The rule's name.
    pub rule: String,
    /// Requests that were counted.
    pub requests: f64,
    /// The share of bad ones; errors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Events an hour and pod; rules about pods' events only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<f64>,
    /// Healthy releases that it rolled back.
    pub false_rollbacks: usize,
    /// Harm that was added, from the first step on.
    pub harms: Vec<HarmBacktest>,
}

/// Harm that was added.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HarmBacktest {
    /// How much.
    #[serde(flatten)]
    pub size: Size,
    /// Whether the rule tolerates it (`worseBy`).
    pub tolerated: bool,
    /// How it ended; `rolled_back` is the share that was found.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Bad answers that were added until it ended, in the mean; errors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_bad: Option<f64>,
}

/// Samples in the order of their ends, as ticks.
#[derive(Debug, Clone)]
pub struct History {
    ticks: Vec<Vec<Sample>>,
}

impl History {
    /// Of samples in any order. What was the canary's is left out.
    pub fn new(mut samples: Vec<Sample>) -> Self {
        samples.retain(|sample| sample.to > sample.from);
        samples.sort_by_key(|sample| sample.to);
        let mut ticks: Vec<Vec<Sample>> = Vec::new();
        for sample in samples {
            let near = |tick: &Vec<Sample>| {
                let begun = tick.first().map(|first| first.to);
                let fresh = tick.iter().all(|other| other.rule != sample.rule);
                fresh && begun.is_some_and(|begun| sample.to <= later(begun, TOGETHER))
            };
            match ticks.last_mut().filter(|tick| near(tick)) {
                Some(tick) => tick.push(sample),
                None => ticks.push(vec![sample]),
            }
        }
        Self { ticks }
    }

    /// The first and the last time counted; `None` without a sample.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.ticks.first()?.first()?.from;
        let last = self.ticks.last()?.last()?.to;
        Some((first, last))
    }

    /// What stable did, rule by rule; rules without a request, or a pod, are left out.
    fn usual(&self, settings: &Settings) -> Vec<(String, f64, Usual)> {
        let all = settings.questions.iter().filter_map(|question| {
            let of = self.ticks.iter().flatten();
            let of = of.filter(|sample| sample.rule == question.name);
            let counts = sum(of.map(|sample| &sample.stable))?;
            let requests = counts.total();
            let usual = match counts {
                ArmCounts::Proportion { total, bad } => Usual::Errors(bad / total.max(1.0)),
                ArmCounts::Buckets { boundaries, counts } => Usual::times(boundaries, &counts),
                ArmCounts::Events { seconds, events } if seconds > 0.0 => Usual::Events {
                    often: events / seconds,
                    pods: 0, // they are in each sample
                },
                ArmCounts::Events { .. } | ArmCounts::Numbers(_) => return None,
            };
            let counted = requests > 0.0 || matches!(usual, Usual::Events { .. });
            counted.then(|| (question.name.clone(), requests, usual))
        });
        all.collect()
    }

    /// The positions of the ticks at which releases begin.
    fn starts(&self, runs: u64) -> Vec<usize> {
        let Some((first, last)) = self.span() else {
            return Vec::new();
        };
        let begin = later(first, LEAST_BEFORE);
        let span = last.duration_since(begin).as_secs_f64();
        let apart = (span / runs.max(1) as f64).max(APART);
        let count = (span / apart).floor().max(0.0) as u64;
        let at = |n: u64| {
            let at = later(begin, n as f64 * apart);
            self.ticks.partition_point(|tick| end(tick) <= at)
        };
        (0..count.min(runs)).map(at).collect()
    }
}

fn end(tick: &[Sample]) -> Timestamp {
    tick.last().map_or(Timestamp::MIN, |sample| sample.to)
}

/// A pseudo-release that is over, or was cut off.
struct Over {
    end: Option<End>,
    seconds: f64,
    extra_bad: f64,
}

struct Scene<'a> {
    plan: &'a Plan,
    settings: &'a Settings,
    history: &'a History,
    starts: Vec<usize>,
    seed: u64,
    pods: u32,
}

impl Scene<'_> {
    fn play(&self, thinning: &Thinning) -> Vec<Over> {
        each(0..self.starts.len() as u64, |run| {
            let chance = Chance::of(self.seed, run);
            self.one(self.starts[run as usize], thinning, chance)
        })
    }

    fn one(&self, start: usize, thinning: &Thinning, mut chance: Chance) -> Over {
        let (before, after) = self.history.ticks.split_at(start);
        let now = before.last().map_or(Timestamp::MIN, |tick| end(tick));
        let mut play = Play::begin(
            self.plan,
            self.settings,
            self.evidence(before, now),
            self.pods,
            now,
        );
        let (mut last, mut extra_bad) = (now, 0.0);
        for tick in after {
            let now = end(tick);
            if self.is_hole(last, now) {
                break;
            }
            last = now;
            let (samples, extra) = thinning.split(tick, play.share(), &mut chance);
            extra_bad += extra;
            if let Some(end) = play.tick(&samples, now) {
                let (end, seconds) = (Some(end), play.seconds(now));
                return Over {
                    end,
                    seconds,
                    extra_bad,
                };
            }
        }
        Over {
            end: None,
            seconds: play.seconds(last),
            extra_bad,
        }
    }

    fn evidence(&self, before: &[Vec<Sample>], now: Timestamp) -> Evidence {
        let mut evidence = Evidence::begin(self.settings);
        let recent = before.partition_point(|tick| end(tick) <= later(now, -BEFORE));
        for sample in before[recent..].iter().flatten() {
            evidence.baseline(self.settings, &thin::stable_only(sample));
        }
        evidence
    }

    /// Whether the daemon would have missed its metrics in between.
    fn is_hole(&self, from: Timestamp, to: Timestamp) -> bool {
        let longest = self.plan.analysis.no_data.0.as_secs_f64();
        to.duration_since(from).as_secs_f64() >= longest
    }
}

/// Plays the plan on the history; `None` if nothing can be played on it. `told` hears, from 0 to
/// 1, how far it has come.
pub fn backtest(
    plan: &Plan,
    settings: &Settings,
    history: &History,
    effort: Effort,
    mut told: impl FnMut(f64),
) -> Option<Backtest> {
    let usual = history.usual(settings);
    let (from, to) = history.span()?;
    let mut settings = settings.clone();
    settings
        .questions
        .retain(|question| usual.iter().any(|(name, ..)| *name == question.name));
    let scene = Scene {
        plan,
        settings: &settings,
        starts: history.starts(effort.runs),
        history,
        seed: effort.seed,
        pods: effort.pods,
    };
    if scene.starts.is_empty() || usual.is_empty() {
        return None;
    }
    let healthy = scene.play(&Thinning::fair());
    let parts = 1 + usual
        .iter()
        .map(|(.., usual)| harms_of(usual).len())
        .sum::<usize>();
    let mut done = 0_usize;
    let mut step = || {
        done += 1;
        told(done as f64 / parts as f64);
    };
    step();
    let rules = usual.iter().map(|(name, requests, usual)| RuleBacktest {
        rule: name.clone(),
        requests: *requests,
        rate: match usual {
            Usual::Errors(rate) => Some(*rate),
            Usual::Times { .. } | Usual::Events { .. } => None,
        },
        per_hour: match usual {
            Usual::Events { often, .. } => Some(often * 3600.0),
            Usual::Errors(_) | Usual::Times { .. } => None,
        },
        false_rollbacks: by(&healthy, name),
        harms: harms_of(usual)
            .into_iter()
            .map(|harm| {
                let found = harmed(&scene, name, usual, harm);
                step();
                found
            })
            .collect(),
    });
    let rules = rules.collect();
    Some(Backtest {
        from,
        to,
        cut_off: healthy.iter().filter(|one| one.end.is_none()).count(),
        healthy: outcome(&healthy, true),
        rules,
    })
}

fn by(all: &[Over], rule: &str) -> usize {
    let own = |one: &&Over| match &one.end {
        Some(End::RolledBack(Some(by))) => by == rule,
        Some(End::RolledBack(None) | End::Promoted | End::Undecided | End::Suspect(_)) | None => {
            false
        }
    };
    all.iter().filter(own).count()
}

fn harmed(scene: &Scene<'_>, rule: &str, usual: &Usual, harm: Harm) -> HarmBacktest {
    let played = scene.play(&Thinning::harmful(rule, usual, harm));
    let over: Vec<&Over> = played.iter().filter(|one| one.end.is_some()).collect();
    let bad = over.iter().map(|one| one.extra_bad).sum::<f64>();
    HarmBacktest {
        size: Size::of(usual, harm),
        tolerated: super::forecast::tolerated(scene.settings, rule, usual, harm),
        outcome: outcome(&played, false),
        extra_bad: matches!(harm, Harm::Rate(_)).then(|| bad / over.len().max(1) as f64),
    }
}

/// How those that were not cut off ended; times are to the promotion, or to the rollback.
fn outcome(all: &[Over], to_promotion: bool) -> Outcome {
    let over = all
        .iter()
        .filter_map(|one| Some((one.end.as_ref()?, one.seconds)));
    let over: Vec<(&End, f64)> = over.collect();
    let up = |(end, _): &&(&End, f64)| **end == End::Promoted;
    let back = |(end, _): &&(&End, f64)| matches!(end, End::RolledBack(_));
    let (promoted, rolled_back) = (
        over.iter().filter(up).count(),
        over.iter().filter(back).count(),
    );
    let share = |count: usize| count as f64 / over.len().max(1) as f64;
    let meant: Vec<f64> = if to_promotion {
        over.iter().filter(up).map(|one| one.1).collect()
    } else {
        over.iter().filter(back).map(|one| one.1).collect()
    };
    Outcome {
        runs: over.len(),
        promoted: share(promoted),
        rolled_back: share(rolled_back),
        held: share(over.len() - promoted - rolled_back),
        seconds: Times::of(meant),
    }
}

#[cfg(test)]
mod tests;
