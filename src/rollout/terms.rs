//! The terms of a decision: the plan, its rules resolved into questions, and the daemon's
//! timings. All of it is fixed for a pass.

use std::borrow::Cow;
use std::time::Duration;

use super::evidence;
use super::plan::Plan;
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
