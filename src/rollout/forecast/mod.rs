//! What a plan can show, before it is tried: times, harms that are found, harms that pass.
//!
//! By playing many seeded runs on the production evidence: a healthy canary, and canaries that are
//! bad from the first step on. Guarantees: deterministic; the same verdicts that the daemon would
//! reach on the same samples. Assumptions: independent requests at a constant rate, canary pods
//! that are ready, approvals that are given at once. Caveats: some hundred runs a figure, so
//! times are right to about a tenth.
//!
//! Not here: reading the present traffic, and the words (`cli`).

pub mod chance;
mod found;
mod many;
pub mod play;
mod propose;
pub mod traffic;

use std::time::Duration;

use serde::Serialize;

pub use found::{Found, Size};
pub use many::{Effort, Times};
pub use propose::reference;
pub use traffic::{Harm, Stream, Usual};

use crate::rollout::LEAST_STEP;
use crate::rollout::evidence::{Evidence, Limit, Patience, Settings};
use crate::rollout::plan::{Plan, Step, Strategy};
use found::Search;
pub(super) use many::each;
use many::{Played, Scene};
use play::End;
use traffic::Stage;

/// How many times as many bad requests are played.
const WORSE: [f64; 3] = [2.0, 5.0, 10.0];
/// The rates that are played where usually none is bad.
const FROM_NONE: [f64; 3] = [0.001, 0.01, 0.05];
/// How many times as slow.
const SLOWER: [f64; 3] = [1.5, 2.0, 5.0];
/// How often an hour each pod of a bad canary is hit: every five minutes, every minute, every ten seconds.
const OFTEN: [f64; 3] = [12.0, 60.0, 360.0];
/// Ticks that a run may have at most before they are taken further apart.
const LONGEST: f64 = 4_000.0;
/// The same within one step.
const LONGEST_STEP: f64 = 900.0;
/// A switch waits no longer to see what stable is like.
const SWITCH_MINUTES: usize = 5;
/// How much is played of a canary that does harm, to a healthy one.
const PART: u64 = 3;

/// The traffic that a plan is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Seconds between two samples.
    pub every: f64,
    /// Pods of the Deployment, which say how much one pod's way may come to; 0 if unknown.
    pub pods: u32,
    /// What each rule sees; rules that are missing here are left out.
    pub streams: Vec<Stream>,
}

/// What a plan can show.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What a promotion can exclude.
    pub patience: Patience,
    /// What a release is held to once all traffic is switched to it, where the plan has a switch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// A release that is as good as stable.
    pub healthy: Outcome,
    /// Each step by itself.
    pub steps: Vec<StepForecast>,
    /// Releases that are bad from the first step on.
    pub harms: Vec<HarmForecast>,
    /// Steps that would show something, where some do not and others would.
    pub proposal: Option<Vec<Proposed>>,
}

/// How runs end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Runs that were played.
    pub runs: usize,
    /// The share that is promoted.
    pub promoted: f64,
    /// The share that is rolled back.
    pub rolled_back: f64,
    /// The share in which a person is asked.
    pub held: f64,
    /// Seconds to the end that is meant: the promotion of a healthy one, else the rollback.
    pub seconds: Option<Times>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepForecast {
    /// Its weight in percent.
    pub weight: u8,
    /// Its least time in seconds: its hold, at least 10.
    pub hold: f64,
    /// The seconds that a healthy release spends in it.
    pub spent: Option<Times>,
    /// What each rule finds.
    pub rules: Vec<RuleForecast>,
}

/// What one rule finds in a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleForecast {
    /// The rule's name.
    pub rule: String,
    /// In the step's hold.
    pub in_hold: Found,
    /// In the time that a healthy release spends there, if that is more.
    pub in_time: Found,
    /// Seconds in which the reference harm is found with 80% probability.
    pub to_show: Option<f64>,
    /// The reference harm: ten times as bad, and at least 1%.
    pub reference: Size,
    /// Whether it is found before the step is left.
    pub shows: bool,
}

/// A bad release.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HarmForecast {
    /// The rule that should find it.
    pub rule: String,
    /// How bad it is.
    #[serde(flatten)]
    pub size: Size,
    /// Whether the rule tolerates it (`worseBy`).
    pub tolerated: bool,
    /// How it ends.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Bad answers beyond the usual ones until it ends, in the mean; errors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_bad: Option<f64>,
}

/// A proposed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposed {
    /// Its weight in percent.
    pub weight: u8,
    /// Its hold as the resource has it; none if it need not be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether a person approves it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
}

/// Plays the plan at this traffic.
pub fn forecast(plan: &Plan, settings: &Settings, traffic: &Traffic, effort: Effort) -> Forecast {
    let longest: f64 = plan.steps.iter().map(|step| longest(plan, step)).sum();
    let every = traffic.every.max(longest / LONGEST);
    let settings = asked(settings, traffic, every);
    let shares = plan.strategy == Strategy::Canary;
    let limits = if shares {
        Vec::new()
    } else {
        limits(&settings, traffic, effort.seed)
    };
    let settings = &if shares {
        settings
    } else {
        settings.limited(&limits)
    };
    let traffic = &Traffic {
        every,
        pods: traffic.pods,
        streams: traffic.streams.clone(),
    };
    let scene = Scene {
        plan,
        settings,
        every,
        pods: traffic.pods,
        effort,
    };
    let healthy = scene.play(&Stage::healthy(&traffic.streams, every));
    let steps = steps(&scene, traffic, &healthy);
    Forecast {
        patience: patience(&scene, traffic),
        limits,
        healthy: outcome(&healthy, &End::Promoted),
        harms: harms(&scene, traffic),
        proposal: proposal(&scene, traffic, &steps),
        steps,
    }
}

fn longest(plan: &Plan, step: &Step) -> f64 {
    step.hold.max(plan.analysis.undecided.0).as_secs_f64()
}

/// The settings with the questions that have traffic, and blocks of a tick at least.
fn asked(settings: &Settings, traffic: &Traffic, every: f64) -> Settings {
    let mut settings = settings.clone();
    let seen = |name: &str| traffic.streams.iter().any(|stream| stream.rule == name);
    settings.questions.retain(|question| seen(&question.name));
    settings.block = settings.block.max(Duration::from_secs_f64(every));
    settings
}

/// What stable is like before a switch, as limits.
fn limits(settings: &Settings, traffic: &Traffic, seed: u64) -> Vec<Limit> {
    let mut stage = Stage::healthy(&traffic.streams, traffic.every);
    let mut chance = chance::Chance::of(seed, 0);
    let mut evidence = Evidence::begin(settings);
    for _ in 0..SWITCH_MINUTES {
        for sample in stage.stretch(60.0, 0.0, &mut chance) {
            evidence.baseline(settings, sample);
        }
        if evidence.knows_stable(settings) {
            break;
        }
    }
    evidence.limits(settings)
}

fn patience(scene: &Scene<'_>, traffic: &Traffic) -> Patience {
    let mut stage = Stage::healthy(&traffic.streams, scene.every);
    let mut chance = chance::Chance::of(scene.effort.seed, 0);
    let mut evidence = Evidence::begin(scene.settings);
    // A long look: the plan's own rates, not those of one chance.
    for sample in stage.stretch(3_600.0, 0.0, &mut chance) {
        evidence.baseline(scene.settings, sample);
    }
    evidence.set_patience(scene.settings)
}

fn outcome(played: &[Played], meant: &End) -> Outcome {
    let runs = played.len();
    let rolled_back = |played: &Played| matches!(played.end, End::RolledBack(_));
    let promoted = |played: &Played| played.end == End::Promoted;
    let is_meant = |one: &&Played| match meant {
        End::Promoted => promoted(one),
        End::RolledBack(_) | End::Undecided | End::Suspect(_) => rolled_back(one),
    };
    let share = |count: usize| count as f64 / runs.max(1) as f64;
    let (up, back) = (
        played.iter().filter(|one| promoted(one)).count(),
        played.iter().filter(|one| rolled_back(one)).count(),
    );
    Outcome {
        runs,
        promoted: share(up),
        rolled_back: share(back),
        held: share(runs - up - back),
        seconds: Times::of(played.iter().filter(is_meant).map(|one| one.seconds)),
    }
}

fn steps(scene: &Scene<'_>, traffic: &Traffic, healthy: &[Played]) -> Vec<StepForecast> {
    let first = scene.plan.steps.first().map_or(0, |step| step.weight);
    let one = |(at, step): (usize, &Step)| {
        let spent = healthy.iter().filter_map(|one| one.spent.get(at).copied());
        let spent = Times::of(spent.filter(|seconds| *seconds > 0.0));
        let hold = step.hold.max(LEAST_STEP).as_secs_f64();
        let takes = spent.map_or(hold, |spent| spent.median.max(hold));
        let rule = |stream| {
            rule(
                &search(scene, stream, step.weight, step.weight > first),
                hold,
                takes,
            )
        };
        StepForecast {
            weight: step.weight,
            hold,
            spent,
            rules: traffic.streams.iter().map(rule).collect(),
        }
    };
    scene.plan.steps.iter().enumerate().map(one).collect()
}

fn search<'a>(scene: &Scene<'a>, stream: &'a Stream, weight: u8, above_first: bool) -> Search<'a> {
    Search {
        settings: scene.settings,
        stream,
        every: scene.every,
        seed: scene.effort.seed,
        runs: scene.effort.runs,
        weight,
        pods: scene.pods,
        above_first,
    }
}

fn rule(search: &Search<'_>, hold: f64, takes: f64) -> RuleForecast {
    let far = |seconds: f64| Search {
        every: search.every.max(seconds / LONGEST_STEP),
        ..*search
    };
    let in_hold = far(hold).found(hold);
    let in_time = if takes > hold {
        far(takes).found(takes)
    } else {
        in_hold
    };
    let usual = &search.stream.usual;
    let reference = Size::of(usual, propose::reference(usual));
    let shows = |size: Size| {
        let rate = size.rate <= reference.rate;
        size.ratio <= reference.ratio && rate && size.per_hour <= reference.per_hour
    };
    RuleForecast {
        rule: search.stream.rule.clone(),
        in_hold,
        in_time,
        to_show: far(takes.max(1800.0)).seconds_to_show(takes.max(1800.0)),
        reference,
        shows: in_time.p80.is_some_and(shows),
    }
}

/// The harms that are played to what is usual, the last the worst.
pub(super) fn harms_of(usual: &Usual) -> [Harm; 3] {
    match usual {
        Usual::Errors(rate) if *rate > 0.0 => WORSE.map(|times| Harm::Rate(times * rate)),
        Usual::Errors(_) => FROM_NONE.map(Harm::Rate),
        Usual::Times { .. } => SLOWER.map(Harm::Slower),
        Usual::Events { .. } => OFTEN.map(Harm::Often),
    }
}

fn harms(scene: &Scene<'_>, traffic: &Traffic) -> Vec<HarmForecast> {
    let scene = Scene {
        effort: Effort {
            ticks: scene.effort.ticks / PART,
            ..scene.effort
        },
        ..*scene
    };
    let streams = traffic.streams.iter().enumerate();
    let all = streams.flat_map(|(at, stream)| {
        let harms = harms_of(&stream.usual);
        harms.into_iter().map(move |harm| (at, stream, harm))
    });
    all.map(|(at, stream, harm)| {
        let stage = Stage::healthy(&traffic.streams, scene.every).harmed(at, harm);
        let played = scene.play(&stage);
        let errors = matches!(harm, Harm::Rate(_));
        let bad = played.iter().map(|one| one.extra_bad).sum::<f64>();
        HarmForecast {
            rule: stream.rule.clone(),
            size: Size::of(&stream.usual, harm),
            tolerated: tolerated(scene.settings, &stream.rule, &stream.usual, harm),
            outcome: outcome(&played, &End::RolledBack(None)),
            extra_bad: errors.then(|| bad / played.len().max(1) as f64),
        }
    })
    .collect()
}

/// Whether the rule allows as much (`worseBy`, and its limit if it has one).
pub(super) fn tolerated(settings: &Settings, rule: &str, usual: &Usual, harm: Harm) -> bool {
    match (usual, harm, settings.question(rule)) {
        (Usual::Errors(usual), Harm::Rate(rate), Some(question)) => {
            let below = question.max.is_none_or(|max| rate <= max.share);
            below && rate <= usual * question.ratio + question.absolute
        }
        (Usual::Events { often, .. }, Harm::Often(an_hour), Some(question)) => {
            an_hour / 3600.0 <= often * question.ratio + question.absolute
        }
        (_, _, _) => false,
    }
}

/// Steps that would show something by the first rule, where the present ones do not.
fn proposal(scene: &Scene<'_>, traffic: &Traffic, steps: &[StepForecast]) -> Option<Vec<Proposed>> {
    let shows = |step: &StepForecast| step.rules.first().is_none_or(|rule| rule.shows);
    if scene.plan.strategy != Strategy::Canary || steps.iter().all(shows) {
        return None;
    }
    let stream = traffic.streams.first()?;
    let within = scene.plan.analysis.within;
    let limit = within.as_secs_f64();
    let spent = |step: &StepForecast| step.spent.map_or(step.hold, |s| s.median.max(step.hold));
    let present = scene.plan.steps.iter().cloned();
    let present: Vec<(Step, f64)> = present.zip(steps.iter().map(spent)).collect();
    let seconds = |weight, above_first| {
        let search = search(scene, stream, weight, above_first);
        let every = search.every.max(limit / LONGEST_STEP);
        Search { every, ..search }.seconds_to_show(limit)
    };
    let proposed = propose::propose(&present, within, seconds)?;
    Some(proposed.into_iter().map(Proposed::from).collect())
}

impl From<Step> for Proposed {
    fn from(step: Step) -> Self {
        let held = !step.hold.is_zero();
        Self {
            weight: step.weight,
            hold: held.then(|| {
                humantime::format_duration(step.hold)
                    .to_string()
                    .replace(' ', "")
            }),
            approval: step.approval,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
