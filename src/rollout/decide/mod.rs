//! The decision: from terms, a state and an observation to the next state and its actions.
//!
//! Guarantees: pure and deterministic; a weight that must fall is the first action; a weight
//! rises only with fresh samples, no bad verdict and a ready canary; the same observation twice
//! asks for nothing new once it is executed.
//!
//! Assumptions: actions are executed in order, those that relieve before the state is saved and
//! the others after it; a failed action ends the pass and the next pass looks again.
//!
//! The phases each have a file. A pass runs through phases until one stays, so that a verdict
//! and what follows from it happen in one pass.
//!
//! * *The phases*: `adopting`, `idle` (and `pause`), `stepping` (with `switching` for blue/green), `held`, `promoting`, `baking`, `rolling_back`; `running` is what
//!   holds in all of a canary's run, with its `canary` and its `weight`, `native` a run without one.
//! * *In every phase*: `guard`, `requests` and `approvals`, `smoke`; `unseen` is the whole of it where nothing can be seen.
//! * *Between runs*: `back` to what served before, what is `known` to be good, and what failed and is `lingering`. Each `template` that may be wanted again is kept.
//! * `pass` is what each of them is handed.

mod adopting;
mod approvals;
mod back;
mod baking;
mod canary;
mod guard;
mod held;
mod idle;
mod known;
mod lingering;
mod native;
mod pass;
mod pause;
mod promoting;
mod requests;
mod rolling_back;
mod running;
mod smoke;
mod stepping;
mod switching;
mod template;
#[cfg(test)]
mod tests;
mod unseen;
mod weight;

use jiff::Timestamp;

use super::action::Action;
use super::observation::Observation;
use super::reason::Reason;
use super::state::{Phase, State};
use super::terms::Terms;
pub use back::needs_past;
use pass::Pass;
pub use promoting::needs_pods;

/// What a pass leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The state afterwards.
    pub next: State,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// When to look again at the latest, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// What to tell.
    pub reasons: Vec<Reason>,
}

/// Phases that one pass may run through; more would be a loop.
const PHASES_A_PASS: usize = 6;

/// Decides.
pub fn decide(terms: &Terms, state: &State, seen: &Observation) -> Decision {
    let mut pass = Pass::new(terms, state, seen);
    pass.take_samples();
    if let Some(why) = &seen.unseen {
        unseen::stand(&mut pass, why);
        return pass.finish();
    }
    guard::look_after(&mut pass);
    approvals::follow(&mut pass);
    requests::answer(&mut pass);
    for _ in 0..PHASES_A_PASS {
        let before = pass.state.phase.clone();
        pass.state.phase = step(&mut pass, before.clone());
        if pass.state.phase == before {
            break;
        }
    }
    running::note_silence(&mut pass);
    pass.finish()
}

fn step(pass: &mut Pass<'_>, phase: Phase) -> Phase {
    match phase {
        Phase::Adopting { why } => adopting::adopting(pass, &why),
        Phase::Idle => idle::idle(pass),
        Phase::Failed => idle::failed(pass),
        Phase::Suspended => guard::suspended(pass),
        Phase::Preparing(run) => running::preparing(pass, run),
        Phase::Stepping(run) => stepping::stepping(pass, run),
        Phase::AwaitingApproval(run) => stepping::awaiting_approval(pass, run),
        Phase::Held { run, why } => held::held(pass, run, why),
        Phase::Promoting { run, stage } => promoting::promoting(pass, run, stage),
        Phase::Baking(run) => baking::baking(pass, run),
        Phase::RollingBack { run, rollback } => rolling_back::rolling_back(pass, run, rollback),
    }
}
