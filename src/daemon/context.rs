//! What every pass shares: the cache, the executor, the rules, and where things are told.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::notices::Notices;
use super::reach::Reach;
use super::rules::RuleSet;
use super::settings;
use super::smoke::Desk;
use super::watchlist::Watchlist;
use crate::clock::Clock;
use crate::history::History;
use crate::kubernetes::cache::Cache;
use crate::kubernetes::events::Events;
use crate::kubernetes::execute::Executor;
use crate::rollout::approval::Environment;
use crate::rollout::evidence::{self, Bounds, Counted, Kind, Question};
use crate::rollout::freeze::{self, Window};
use crate::rollout::observation::Gate;
use crate::rollout::plan::Plan;
use crate::rollout::rule::{Kind as RuleKind, Rule};
use crate::rollout::terms::{Terms, Tuning};
use crate::telemetry::{Metrics, Traces};
use crate::web::Board;

#[allow(missing_debug_implementations)] // kube's Client has none
/// What every pass shares.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub cache: Arc<Cache>,
    pub executor: Executor,
    pub events: Events,
    pub watchlist: Arc<Watchlist>,
    pub metrics: Metrics,
    /// Where spans are told.
    pub traces: Traces,
    pub board: Board,
    pub history: History,
    /// Where people are told from.
    pub notices: Notices,
    /// Where smoke tests are asked for.
    pub smoke: Desk,
    /// The rules in force.
    pub rules: Arc<RwLock<RuleSet>>,
    /// How the gate stands.
    pub gate: Arc<RwLock<Gate>>,
    pub timing: Timing,
    /// Times in which no new run begins.
    pub freeze: Arc<[Window]>,
    /// Whose approvals the environment asks for.
    pub approvals: Arc<Environment>,
    /// Who reckons, in the order of asking.
    pub turns: Arc<Semaphore>,
    /// Whether the API server answers.
    pub reach: Reach,
}

/// The daemon's timings that concern evidence.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time between two looks at the metrics.
    pub every: Duration,
    /// One vote of the block witness.
    pub block: Duration,
    /// Time after a weight change in which nothing is counted.
    pub settle: Duration,
}

impl Context {
    /// Waits for the turn to reckon; it is to be given back before anything else is waited for.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.turns.acquire().await.ok()
    }

    /// The rules in force; a copy of references.
    pub fn rule_set(&self) -> RuleSet {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How the gate stands now, and whether it is frozen.
    pub fn gate(&self) -> Gate {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        Gate {
            frozen: freeze::frozen(&self.freeze, self.clock.now()),
            ..gate.clone()
        }
    }

    /// The terms of a plan; a rule that vanished is asked all the same, and gets no answer.
    pub fn terms(&self, mut plan: Plan, rules: &RuleSet) -> Terms {
        plan.take_place_in(&self.approvals);
        self.timing.terms(plan, rules)
    }
}

impl From<&settings::Evidence> for Timing {
    fn from(settings: &settings::Evidence) -> Self {
        Self {
            every: settings.every,
            block: settings.block,
            settle: settings.settle,
        }
    }
}

impl Timing {
    /// The terms of a plan under these timings.
    pub fn terms(&self, plan: Plan, rules: &RuleSet) -> Terms {
        let named = plan.analysis.rules.iter().map(|name| {
            rules
                .get(name)
                .map_or_else(|| unanswered(name), |rule| question(rule))
        });
        let rolling = plan.strategy.is_rolling();
        let asked = named.filter(|question: &Question| !rolling || question.counts_requests());
        let evidence = evidence::Settings {
            questions: asked.collect(),
            alpha: plan.analysis.false_rollback_rate,
            within: plan.analysis.within,
            blast: plan.analysis.blast,
            blast_max: plan.analysis.blast_max,
            steps: plan.steps.iter().map(|step| step.weight).collect(),
            block: self.block,
            settle: self.settle,
            ..evidence::Settings::default()
        };
        Terms {
            plan,
            evidence,
            tuning: self.tuning(),
        }
    }

    fn tuning(&self) -> Tuning {
        let usual = Tuning::default();
        Tuning {
            stale_after: usual.stale_after.max(self.every.saturating_mul(3)),
            ..usual
        }
    }
}

/// Stands for a rule that is not known: nothing is shown, so nothing rises.
fn unanswered(name: &str) -> Question {
    Question {
        of: Counted::Nothing,
        name: name.to_owned(),
        kind: Kind::Proportion,
        ratio: 1.0,
        absolute: 0.0,
        max: None,
    }
}

fn question(rule: &Rule) -> Question {
    Question {
        of: Counted::Of(rule.counted()),
        name: rule.name.clone(),
        kind: match &rule.kind {
            RuleKind::Proportion(_) => Kind::Proportion,
            RuleKind::Latency(latency) => Kind::Latency {
                quantile: latency.quantile,
            },
            RuleKind::Events(_) => Kind::Events,
            RuleKind::Compare(compare) => Kind::Compare {
                higher: compare.higher,
                every: compare.every,
            },
            RuleKind::Value(value) => Kind::Value {
                bounds: Bounds {
                    min: value.min,
                    max: value.max,
                    failures: value.failures,
                    window: value.window,
                },
                every: value.every,
            },
            RuleKind::Load(load) => Kind::Load { every: load.every },
        },
        ratio: rule.ratio,
        absolute: rule.absolute,
        max: rule.max,
    }
}
