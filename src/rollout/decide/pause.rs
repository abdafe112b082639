//! Whether the Deployment is paused between runs: always in mode `paused`, else never, unless somebody opened the
//! gate.
//!
//! Not here: opening it for a promotion (`promoting`).

use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::observation::{GateMode, Target};

/// Between runs a Deployment is open in mode `policy` and paused in mode `paused`, unless somebody opened
/// the gate. One that has another template than stable's stays as it is.
pub(super) fn settle_pause(pass: &mut Pass<'_>, target: &Target) {
    let stable = pass.state.stable.as_ref();
    if !stable.is_some_and(|stable| stable.same(&target.revision)) {
        return;
    }
    if target.paused && !is_kept_paused(pass, target) {
        let expect = target.revision.clone();
        pass.act(Action::Unpause { expect });
    }
    keep_shut(pass, target);
}

/// Pauses what mode `paused` keeps paused, once nothing of it rolls.
pub(super) fn keep_shut(pass: &mut Pass<'_>, target: &Target) {
    if is_kept_paused(pass, target) && !target.paused && target.complete {
        let expect = target.revision.clone();
        pass.act(Action::Pause { expect });
    }
}

/// In mode `paused` only a paused Deployment holds what is applied.
pub(super) fn is_kept_paused(pass: &Pass<'_>, target: &Target) -> bool {
    pass.seen.gate.mode == GateMode::Paused && target.open.is_none()
}
