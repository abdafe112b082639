//! Many runs of one story, on all cores, and what they come to together.
//!
//! Each run has its own stream of chance, so the figures do not depend on the number of cores. How
//! many are played depends on how long they are, in ticks, never on the clock.

use serde::Serialize;

use super::chance::Chance;
use super::play::{End, Play};
use super::traffic::Stage;
use crate::rollout::evidence::{Evidence, Settings};
use crate::rollout::plan::Plan;

/// Seconds of traffic that are seen before the first step, as the daemon reads them.
const BEFORE: f64 = 1_800.0;
/// Runs that say how long the others will be.
const FIRST: u64 = 12;
/// Runs that are played whatever they cost.
const LEAST: u64 = 40;

/// How much is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Runs of each story at most.
    pub runs: u64,
    /// Ticks of all runs of a story together, about.
    pub ticks: u64,
    /// What chance begins with.
    pub seed: u64,
}

/// What a story is played with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub plan: &'a Plan,
    pub settings: &'a Settings,
    pub every: f64,
    pub pods: u32,
    pub effort: Effort,
}

/// One run that is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Played {
    pub end: End,
    pub seconds: f64,
    pub spent: Vec<f64>,
    pub extra_bad: f64,
    ticks: u64,
}

/// Evidence that has seen a little of `stage`, none of it tested.
pub(super) fn before(settings: &Settings, stage: &mut Stage, chance: &mut Chance) -> Evidence {
    let mut evidence = Evidence::begin(settings);
    let begun = stage.now();
    while stage.now().duration_since(begun).as_secs_f64() < BEFORE {
        for sample in stage.tick(0.0, chance) {
            evidence.baseline(settings, sample);
        }
    }
    evidence
}

impl Scene<'_> {
    /// The most ticks of a run: what waits for ever is undecided.
    fn limit(&self) -> u64 {
        let longest = |step: &crate::rollout::plan::Step| {
            let after = self.plan.analysis.undecided.0;
            step.hold.max(after).as_secs_f64()
        };
        let seconds: f64 = self.plan.steps.iter().map(longest).sum();
        (4.0 * (seconds + 60.0) / self.every) as u64
    }

    fn one(&self, mut stage: Stage, evidence: Evidence, run: u64) -> Played {
        let mut chance = Chance::of(self.effort.seed, run);
        let now = stage.now();
        let mut play = Play::begin(self.plan, self.settings, evidence, self.pods, now);
        let (mut ticks, mut extra_bad) = (0, 0.0);
        let end = loop {
            let w = play.share();
            extra_bad += stage.excess(w);
            ticks += 1;
            let samples = stage.tick(w, &mut chance);
            let now = samples.first().map_or(jiff::Timestamp::MAX, |s| s.to);
            if let Some(end) = play.tick(samples, now) {
                break end;
            }
            if ticks >= self.limit() {
                break End::Undecided;
            }
        };
        Played {
            end,
            seconds: play.seconds(stage.now()),
            spent: play.spent,
            extra_bad,
            ticks,
        }
    }

    /// Plays a story as often as the effort allows.
    pub fn play(&self, stage: &Stage) -> Vec<Played> {
        // Its past is the same for all runs.
        let (mut stage, mut chance) = (stage.clone(), Chance::of(self.effort.seed, u64::MAX));
        let evidence = before(self.settings, &mut stage, &mut chance);
        let one = |run| self.one(stage.clone(), evidence.clone(), run);
        let first = FIRST.min(self.effort.runs);
        let mut all = each(0..first, one);
        let ticks: u64 = all.iter().map(|played| played.ticks).sum();
        let affordable = self.effort.ticks * first / ticks.max(1);
        let runs = affordable.max(LEAST).min(self.effort.runs).max(first);
        all.extend(each(first..runs, one));
        all
    }
}

/// Runs `one` for every number, on all cores; the results in the numbers' order.
pub(in crate::rollout) fn each<T: Send>(
    numbers: std::ops::Range<u64>,
    one: impl Fn(u64) -> T + Sync,
) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let cores = cores.min(8).min(numbers.end - numbers.start).max(1);
    let (start, one) = (numbers.start, &one);
    let mut parts: Vec<std::vec::IntoIter<T>> = std::thread::scope(|scope| {
        let part = |core| {
            let mine = (start + core..numbers.end).step_by(cores as usize);
            scope.spawn(move || mine.map(one).collect::<Vec<T>>())
        };
        let running: Vec<_> = (0..cores).map(part).collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(part) => part.into_iter(),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    let mut all = Vec::new();
    for at in 0..numbers.end - start {
        all.extend(parts[(at % cores) as usize].next());
    }
    all
}

/// Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Their mean.
    pub mean: f64,
    /// Half are below.
    pub median: f64,
    /// Nine of ten are below.
    pub p90: f64,
}

impl Times {
    /// Of these; `None` of none.
    pub fn of(seconds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = seconds.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&all, 0.5)?,
            p90: quantile(&all, 0.9)?,
            mean: all.iter().sum::<f64>() / all.len() as f64,
        })
    }
}

/// The `q` quantile of sorted numbers.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let place = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(place.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_cores() {
        assert_eq!(each(3..40, |n| n), (3..40).collect::<Vec<u64>>());
        assert_eq!(each(3..3, |n| n), Vec::<u64>::new());
    }

    #[test]
    fn times_are_told_by_mean_and_quantiles() {
        let times = Times::of([4.0, 1.0, 2.0, 3.0, 10.0]).unwrap();
        let wanted = Times {
            mean: 4.0,
            median: 3.0,
            p90: 10.0,
        };
        assert_eq!(times, wanted);
        assert_eq!(Times::of([]), None);
    }
}
