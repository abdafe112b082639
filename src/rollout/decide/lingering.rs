//! A revision that failed and has pods beside stable's still when its run is over: they go as stable's template
//! rolls. A template that is applied meanwhile stops that half way, since the gate pauses it.
//!
//! Guarantees: what failed is not left in service by that, and nothing is compared with it. Not here: how a run puts
//! its template back (`rolling_back`, `baking`).

use super::pass::Pass;
use super::rolling_back::tell_hindrance;
use super::template::{has_failed, keep_desired};
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::Reason;
use crate::rollout::revision::Revision;

/// Forgets the pods of a failed revision once they are gone.
pub(super) fn follow(pass: &mut Pass<'_>, target: &Target) {
    if !is_so(pass, target) && !target.behind {
        pass.state.lingering = None;
    }
}

/// Whether such pods serve beside stable's.
pub(super) fn is_so(pass: &Pass<'_>, target: &Target) -> bool {
    let failed = pass.state.lingering.as_ref();
    let serving = failed.and_then(|failed| target.serving(failed));
    serving.is_some_and(|serving| serving.replicas > 0)
}

/// Puts stable's template in the place of the one that stopped the way back, which is kept unless it failed. Whether
/// that is so.
pub(super) fn go_on(pass: &mut Pass<'_>, target: &Target, stable: &Revision) -> bool {
    let present = &target.revision;
    let failed = has_failed(pass, present);
    let left = failed && !pass.plan.restore_template;
    if !is_so(pass, target) || left || !pass.can_restore(target, stable) {
        return false;
    }
    let kept = pass.state.desired.as_ref();
    if failed || kept.is_some_and(|kept| kept.same(present)) {
        tell_hindrance(pass, true, true);
    } else {
        let why = format!(
            "{present} was applied meanwhile; it is kept, and tried once {stable} serves alone"
        );
        pass.tell(Reason::RollbackHindered { why, serves: true });
    }
    if !failed {
        keep_desired(pass, present);
    }
    pass.act(Action::RestoreTemplate {
        to: stable.clone(),
        expect: present.clone(),
        paused: false,
        restarted_at: None,
    });
    true
}
