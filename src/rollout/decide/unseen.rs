//! Without sight: the daemon may not look at the Rollout's namespace any more, so what it knows of it is old.
//!
//! Guarantees: nothing rises, nothing is promoted, and nothing is taken back for what cannot be seen. What needs no
//! sight is done all the same: a canary that the metrics show to be worse gets no more requests, and so does one
//! that a person or an alert ends; the rest of that waits.
//!
//! Not here: how a namespace is lost and found (`kubernetes::sight`).

use super::pass::Pass;
use super::promoting::waited_for;
use super::requests;
use super::running::worse;
use super::weight::{keep_off, weight_in_force};
use crate::rollout::reason::HeldWhy;
use crate::rollout::state::{Phase, Promotion, Run};

/// Stands still, and says why.
pub(super) fn stand(pass: &mut Pass<'_>, why: &str) {
    requests::answer_ends(pass);
    let phase = std::mem::take(&mut pass.state.phase);
    pass.state.phase = match phase {
        Phase::Preparing(mut run) | Phase::Stepping(mut run) => {
            follow_weight(pass, &mut run);
            let why = why.to_owned();
            let ended = found_bad(pass, &run);
            ended.unwrap_or_else(|| pass.hold(run, HeldWhy::Unseen { why }))
        }
        Phase::AwaitingApproval(run) => {
            let ended = found_bad(pass, &run);
            ended.unwrap_or(Phase::AwaitingApproval(run))
        }
        Phase::Held { mut run, why } => {
            follow_weight(pass, &mut run);
            let ended = found_bad(pass, &run);
            ended.unwrap_or(Phase::Held { run, why })
        }
        Phase::Promoting {
            run,
            stage: Promotion::Rolling { ready, since },
        } => {
            let since = waited_for(pass, Some(why.to_owned()), since);
            let ended = found_bad(pass, &run).filter(|_| !run.forced && !run.rolls);
            let stage = Promotion::Rolling { ready, since };
            ended.unwrap_or(Phase::Promoting { run, stage })
        }
        Phase::RollingBack { run, rollback } => {
            keep_off(pass);
            Phase::RollingBack { run, rollback }
        }
        other @ (Phase::Adopting { .. }
        | Phase::Idle
        | Phase::Failed
        | Phase::Suspended
        | Phase::Promoting { .. }
        | Phase::Baking(_)) => other,
    };
}

/// A weight that came into force is told to the evidence, which could not judge what it does not know of.
fn follow_weight(pass: &mut Pass<'_>, run: &mut Run) {
    let route = pass.seen.route.canary.as_ref();
    let seen = route.and_then(|route| route.weight);
    if run.weight > 0 && seen == Some(run.weight) {
        weight_in_force(pass, run);
    }
}

/// What the metrics show needs no sight of the cluster.
fn found_bad(pass: &mut Pass<'_>, run: &Run) -> Option<Phase> {
    let cause = worse(run, &pass.reports())?;
    Some(pass.roll_back(run.clone(), cause))
}
