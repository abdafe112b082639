//! What every pass shares: the cache, the executor, the rules, and where things are told.

use std::sync::{Arc, PoisonError, RwLock};

use kube::Client;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::notices::Notices;
use super::reach::Reach;
use super::settings;
use super::smoke::Desk;
use super::watchlist::Watchlist;
use crate::clock::Clock;
use crate::history::History;
use crate::kubernetes::cache::Cache;
use crate::kubernetes::events::Events;
use crate::kubernetes::execute::Executor;
use crate::rollout::approval::Environment;
use crate::rollout::freeze::{self, Window};
use crate::rollout::observation::Gate;
use crate::rollout::plan::Plan;
use crate::rollout::rule::RuleSet;
use crate::rollout::terms::{Terms, Timing};
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

#[allow(missing_debug_implementations)] // kube's Client has none
/// Clients of the daemon's cluster.
#[derive(Clone)]
pub struct Access {
    /// For lists, gets and watches.
    pub reads: Client,
    /// Only while this daemon leads.
    pub writes: Client,
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
