//! What comes in: the questions asked of a run, and what was counted in one scrape interval.
//!
//! Counts are increments, already freed of counter resets, of both arms over the same time.
//! Several processes (controller pods) are merged by the caller into one [`Sample`] per rule and
//! time. Not here: where counts come from, and what they prove.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stats::quantile::{above, coarser};
use crate::stats::{Arm, Arms, Margin};

/// Increments of one rule over one scrape interval, both arms from the same scrapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the rule that was counted for.
    pub rule: String,
    /// Start of the interval (the older scrape).
    pub from: Timestamp,
    /// End of the interval (the newer scrape).
    pub to: Timestamp,
    /// The canary's increments; all zero where it has no series yet.
    pub canary: ArmCounts,
    /// The stable's increments.
    pub stable: ArmCounts,
}

impl Sample {
    /// The same at these boundaries, all of which its buckets must have.
    pub(super) fn at(&self, boundaries: &[f64]) -> Self {
        let boundaries: Arc<[f64]> = boundaries.into();
        Self {
            canary: self.canary.at(&boundaries),
            stable: self.stable.at(&boundaries),
            ..self.clone()
        }
    }

    /// Requests of both arms and bad ones: errors, or those slower than the boundary with the index `cut`.
    pub(super) fn arms(&self, cut: Option<usize>) -> Option<Arms> {
        Some(Arms {
            canary: self.canary.arm(cut)?,
            stable: self.stable.arm(cut)?,
        })
    }

    /// Seconds of both arms' pods, and events in them.
    pub(super) fn events(&self) -> Option<Arms> {
        Some(Arms {
            canary: self.canary.events()?,
            stable: self.stable.events()?,
        })
    }

    /// Requests per bucket of both arms.
    pub(super) fn buckets(&self) -> Option<(&[f64], &[f64])> {
        self.canary.buckets().zip(self.stable.buckets())
    }
}

/// Increments of one arm.
#[derive(Debug, Clone, PartialEq)]
pub enum ArmCounts {
    /// Requests and bad ones among them.
    Proportion {
        /// Number of requests.
        total: f64,
        /// Number of bad requests, at most `total`.
        bad: f64,
    },
    /// Requests per bucket of their duration.
    Buckets {
        /// Finite upper limits in seconds, rising; shared by both arms, and some by all samples.
        boundaries: Arc<[f64]>,
        /// Requests per bucket, not cumulative: one more than `boundaries`, the last without limit.
        counts: Vec<f64>,
    },
    /// Rare events, and the time in which they could happen.
    Events {
        /// Seconds that the pods lived, all together.
        seconds: f64,
        /// Number of events.
        events: f64,
    },
    /// Numbers that a query came to; none where it came to nothing.
    Numbers(Vec<f64>),
}

impl Sample {
    /// How much worse than stable the canary looks by this sample alone: the difference of the bad shares over
    /// its usual error, at the worst boundary. Only the order in which Rollouts are looked at follows from it.
    pub fn suspicion(&self) -> f64 {
        let apart = |cut| {
            let (canary, stable) = (self.canary.arm(cut)?, self.stable.arm(cut)?);
            (canary.total > 0.0).then(|| {
                let share = |arm: &Arm| arm.bad / arm.total.max(1.0);
                (share(&canary) - share(&stable)) * canary.total.sqrt()
            })
        };
        match &self.canary {
            ArmCounts::Buckets { boundaries, .. } => (0..boundaries.len())
                .filter_map(|cut| apart(Some(cut)))
                .fold(0.0, f64::max),
            ArmCounts::Events { events, .. } => *events,
            ArmCounts::Proportion { .. } | ArmCounts::Numbers(_) => {
                apart(None).unwrap_or_default().max(0.0)
            }
        }
    }
}

impl ArmCounts {
    /// Number of requests; 0 for what counts none.
    pub fn total(&self) -> f64 {
        match self {
            Self::Proportion { total, .. } => *total,
            Self::Buckets { counts, .. } => counts.iter().sum(),
            Self::Events { .. } | Self::Numbers(_) => 0.0,
        }
    }

    fn at(&self, fewer: &Arc<[f64]>) -> Self {
        match self {
            Self::Buckets { boundaries, counts } => Self::Buckets {
                boundaries: Arc::clone(fewer),
                counts: coarser(counts, boundaries, fewer),
            },
            Self::Proportion { .. } | Self::Events { .. } | Self::Numbers(_) => self.clone(),
        }
    }

    /// Requests and bad ones: errors, or those slower than the boundary with the index `cut`.
    pub(super) fn arm(&self, cut: Option<usize>) -> Option<Arm> {
        match self {
            Self::Proportion { total, bad } => Some(Arm::new(*total, *bad)),
            Self::Buckets { counts, .. } => {
                Some(Arm::new(counts.iter().sum(), above(counts, cut?)))
            }
            Self::Events { .. } | Self::Numbers(_) => None,
        }
    }

    fn events(&self) -> Option<Arm> {
        match self {
            Self::Events { seconds, events } => Some(Arm::new(*seconds, *events)),
            Self::Proportion { .. } | Self::Buckets { .. } | Self::Numbers(_) => None,
        }
    }

    fn buckets(&self) -> Option<&[f64]> {
        match self {
            Self::Buckets { counts, .. } => Some(counts),
            Self::Proportion { .. } | Self::Events { .. } | Self::Numbers(_) => None,
        }
    }

    /// What a query came to.
    pub(super) fn numbers(&self) -> Option<&[f64]> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Proportion { .. } | Self::Buckets { .. } | Self::Events { .. } => None,
        }
    }

    /// Whether the numbers can be counts at all: finite, not negative, of matching lengths.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |x: f64| x.is_finite() && x >= 0.0;
        match self {
            Self::Proportion { total, bad } => sound(*total) && sound(*bad) && bad <= total,
            Self::Buckets { boundaries, counts } => {
                let rising = boundaries.windows(2).all(|pair| pair[0] < pair[1]);
                let sound_counts = counts.iter().all(|x| sound(*x));
                let sound_limits = rising && boundaries.iter().all(|x| sound(*x));
                counts.len() == boundaries.len() + 1 && sound_counts && sound_limits
            }
            Self::Events { seconds, events } => sound(*seconds) && sound(*events),
            // What is no number among them is left out.
            Self::Numbers(_) => true,
        }
    }
}

/// What a rule asks, already parsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The rule's name.
    pub name: String,
    /// What is counted.
    pub kind: Kind,
    /// Which samples answer it.
    #[serde(default)]
    pub of: Counted,
    /// Tolerated ratio of the bad shares, at least 1.
    pub ratio: f64,
    /// Tolerated difference of the bad shares, as a fraction; of events, a second and pod.
    pub absolute: f64,
    /// What the canary may do at most, whatever stable does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Max>,
}

/// Which samples answer a question: a rule that is edited during a run asks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counted {
    /// Those with the question's name.
    #[default]
    Any,
    /// Those of a rule that counts this; the same number, the same series.
    Of(u32),
    /// None: the rule is not known now. What was counted stays as it is.
    Nothing,
}

impl Counted {
    /// Whether what was counted for one answers the other.
    pub(super) fn agrees(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

/// A fixed limit of the canary's bad share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Max {
    /// The largest share, above 0 and below 1.
    pub share: f64,
    /// Times: what is slower than this many seconds is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Question {
    /// A question with the usual margin.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            of: Counted::Any,
            ratio: 1.2,
            absolute: 0.001,
            max: None,
        }
    }

    /// Stands for a rule that is not known: nothing is shown, so nothing rises.
    pub fn unanswered(name: &str) -> Self {
        Self {
            of: Counted::Nothing,
            ratio: 1.0,
            absolute: 0.0,
            ..Self::new(name, Kind::Proportion)
        }
    }

    /// Whether its rule is known, so that something can be shown.
    pub(super) fn is_asked(&self) -> bool {
        self.of != Counted::Nothing
    }

    /// Whether it counts requests, so that it can be asked without a second arm.
    pub fn counts_requests(&self) -> bool {
        matches!(self.kind, Kind::Proportion | Kind::Latency { .. })
    }

    /// What is tolerated, as the statistics want it.
    pub fn margin(&self) -> Margin {
        Margin {
            ratio: self.ratio,
            absolute: self.absolute,
        }
    }

    /// The quantile that is told to people, 0..1.
    pub(super) fn told_quantile(&self) -> f64 {
        match self.kind {
            Kind::Latency { quantile } => quantile,
            Kind::Proportion
            | Kind::Events
            | Kind::Compare { .. }
            | Kind::Value { .. }
            | Kind::Load { .. } => 0.99,
        }
    }

    /// How much coarser this question's blast radius is than the common one: a slow answer
    /// harms less than none.
    pub fn leniency(&self) -> f64 {
        match self.kind {
            Kind::Proportion
            | Kind::Events
            | Kind::Compare { .. }
            | Kind::Value { .. }
            | Kind::Load { .. } => 1.0,
            Kind::Latency { .. } => 5.0,
        }
    }

    /// The time between two samples that is to be expected; zero for what is counted all the time.
    pub fn spacing(&self) -> Duration {
        match self.kind {
            Kind::Proportion | Kind::Latency { .. } => Duration::ZERO,
            Kind::Events => EVENTS_SPACING,
            Kind::Compare { every, .. } | Kind::Value { every, .. } | Kind::Load { every } => every,
        }
    }
}

/// Sorts of questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Share of bad requests.
    Proportion,
    /// Times by bucket; every boundary is tested.
    Latency {
        /// The quantile that is told to people, 0..1.
        quantile: f64,
    },
    /// Rare events of each pod in its time.
    Events,
    /// Sampled numbers of both arms, compared by ranks.
    Compare {
        /// Whether larger numbers are worse; if not, smaller ones are.
        higher: bool,
        /// Time between two samples.
        every: Duration,
    },
    /// Sampled numbers of the canary that should stay within bounds.
    Value {
        /// Where they should be.
        bounds: Bounds,
        /// Time between two samples.
        every: Duration,
    },
    /// Share of bad answers to synthetic requests, as many of each arm.
    Load {
        /// Time between two requests of an arm.
        every: Duration,
    },
}

const ERRORS: u8 = 0;
const LATENCIES: u8 = 1;
const COMPARISONS: u8 = 2;
const RARE: u8 = 3;

/// What counts the events of pods is often scraped each half minute, whatever the router is.
const EVENTS_SPACING: Duration = Duration::from_secs(30);

impl Kind {
    /// What shares alpha with what; `None` for what is no matter of chance.
    fn sort(self) -> Option<u8> {
        match self {
            Self::Proportion | Self::Load { .. } => Some(ERRORS),
            Self::Latency { .. } => Some(LATENCIES),
            Self::Compare { .. } => Some(COMPARISONS),
            Self::Events => Some(RARE),
            Self::Value { .. } => None,
        }
    }
}

/// Where a number should be, and how often it may not be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// The smallest number that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest number that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// So many numbers outside ...
    pub failures: u32,
    /// ... of so many newest ones are worse.
    pub window: u32,
}

/// How a run's evidence is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// All questions with sequential tests.
    pub questions: Vec<Question>,
    /// Probability of a false rollback over the whole run, all rules together.
    pub alpha: f64,
    /// Probability, per step, that a canary at the margin is shown to be no worse.
    pub beta: f64,
    /// Time in which a healthy release should be through.
    pub within: Duration,
    /// Finest blast radius: share of all requests that may go bad unnoticed.
    pub blast: f64,
    /// Coarsest blast radius.
    pub blast_max: f64,
    /// Weights of the steps in percent, rising.
    pub steps: Vec<u8>,
    /// Length of a block of the block witness, at least the scrape interval.
    pub block: Duration,
    /// Time after a change of weight in which nothing is counted.
    pub settle: Duration,
}

impl Default for Settings {
    /// The documented defaults, without questions or steps.
    fn default() -> Self {
        Self {
            questions: Vec::new(),
            alpha: 0.01,
            beta: 0.05,
            within: Duration::from_secs(600),
            blast: 0.002,
            blast_max: 0.02,
            steps: Vec::new(),
            block: Duration::from_secs(2),
            settle: Duration::from_secs(3),
        }
    }
}

impl Settings {
    /// The question with this name.
    pub fn question(&self, name: &str) -> Option<&Question> {
        self.questions.iter().find(|question| question.name == name)
    }

    /// The question's share of `alpha`: each sort that is asked has the same part together (errors
    /// one half, latencies the other), each question of it the same of that. Fixed bounds are no
    /// matter of chance and have none.
    pub fn omega(&self, question: &Question) -> f64 {
        let sorts = self.questions.iter().filter_map(|q| q.kind.sort());
        let own = question.kind.sort();
        let same = sorts.clone().filter(|sort| Some(*sort) == own).count();
        let all: BTreeSet<u8> = sorts.collect();
        1.0 / (all.len().max(1) * same.max(1)) as f64
    }

    /// `ln(1/(alpha*omega))`: what both witnesses must reach for Worse. A question with a limit
    /// is two tests, the comparison and the limit, each with one half.
    pub fn bound(&self, question: &Question) -> f64 {
        let tests = if question.max.is_some() { 2.0 } else { 1.0 };
        -(self.alpha * self.omega(question) / tests).ln()
    }

    /// `ln(1/beta)`: what the promotion test must reach for `NotWorse`.
    pub fn bound_not_worse(&self) -> f64 {
        -self.beta.ln()
    }

    /// The question whose requests tell the arms' share and the traffic: the first that counts
    /// all requests, else the first that counts those of a histogram.
    pub(super) fn leading(&self) -> Option<&Question> {
        let mut all = self.questions.iter();
        let first = all.find(|question| question.kind == Kind::Proportion);
        let times = |question: &&Question| question.kind.sort() == Some(LATENCIES);
        first.or_else(|| self.questions.iter().find(times))
    }

    /// Each step's canary share with the next step's, as fractions; 1 follows the last.
    pub(super) fn shares(&self) -> Vec<(f64, f64)> {
        let share = |weight: &u8| f64::from(*weight) / 100.0;
        let next = self
            .steps
            .iter()
            .skip(1)
            .map(share)
            .chain(std::iter::once(1.0));
        let steps = self.steps.iter().map(share).zip(next);
        steps.filter(|(w, _)| *w > 0.0 && *w < 1.0).collect()
    }
}
