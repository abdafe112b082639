//! The terms of a decision: the plan, its rules resolved into questions, and the daemon's
//! timings. All of it is fixed for a pass.

use std::borrow::Cow;
use std::time::Duration;

use super::evidence::{self, Question};
use super::plan::Plan;
use super::rule::RuleSet;
use super::state::State;

/// What a decision goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The Rollout's spec.
    pub plan: Plan,
    /// Its rules as questions, with bounds.
    pub evidence: evidence::Settings,
    /// The daemon's timings.
    pub tuning: Tuning,
}

impl Terms {
    /// What is asked of the run that goes on: since all traffic was switched, whether it stays below
    /// what stable was like before.
    pub fn asked(&self, state: &State) -> Cow<'_, evidence::Settings> {
        let run = state.phase.run();
        match run.and_then(|run| run.goals.as_ref()) {
            Some(goals) => Cow::Owned(self.evidence.limited(goals)),
            None => Cow::Borrowed(&self.evidence),
        }
    }

    /// The same terms for another plan of the Rollout.
    #[must_use]
    pub fn with(&self, plan: Plan) -> Self {
        Self {
            plan,
            ..self.clone()
        }
    }
}

/// Timings that belong to the installation, not to a Rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// A sample older than this is stale.
    pub stale_after: Duration,
    /// From weight 0 until the canary is removed: its last requests are answered.
    pub drain: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(15),
            drain: Duration::from_secs(5),
        }
    }
}

/// How often the daemon looks, and what it waits for before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between two looks at the metrics.
    pub every: Duration,
    /// One vote of the block witness.
    pub block: Duration,
    /// Time after a weight change in which nothing is counted.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(2),
            block: Duration::from_secs(2),
            settle: Duration::from_secs(3),
        }
    }
}

impl Timing {
    /// The terms of a plan; a rule that vanished is asked all the same, and gets no answer.
    pub fn terms(&self, plan: Plan, rules: &RuleSet) -> Terms {
        let question = |name: &String| match rules.get(name) {
            Some(rule) => rule.question(),
            None => Question::unanswered(name),
        };
        let named = plan.analysis.rules.iter().map(question);
        let rolling = plan.strategy.is_rolling();
        let asked = named.filter(|question| !rolling || question.counts_requests());
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
