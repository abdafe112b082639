//! Adopting: waiting until a Deployment can be guarded, and healing one that nothing serves.

use super::guard::detached;
use super::idle::keep_stable;
use super::pass::Pass;
use super::rolling_back::clear_leftovers;
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::Reason;
use crate::rollout::revision::Revision;
use crate::rollout::state::Phase;

/// Waits until the Deployment can be guarded; heals one that nothing serves.
pub(super) fn adopting(pass: &mut Pass<'_>, told: &str) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    match adoptable(pass) {
        Ok(stable) => adopt(pass, stable),
        Err(why) => {
            if why != told {
                pass.tell(Reason::Unguarded { why: why.clone() });
            }
            Phase::Adopting { why }
        }
    }
}

/// The revision that serves, or why the Deployment cannot be guarded yet.
fn adoptable(pass: &mut Pass<'_>) -> Result<Revision, String> {
    if clear_leftovers(pass) {
        return Err("what an earlier run left is removed first".to_owned());
    }
    if let Some(rival) = &pass.seen.rollout.rival {
        return Err(format!("the Rollout {rival} guards the same Deployment"));
    }
    let Some(target) = pass.target() else {
        return Err(format!("there is no Deployment {}", pass.plan.target));
    };
    if let Some(refusal) = pass.seen.route.refusals.first() {
        return Err(refusal.clone());
    }
    if target.complete && !held(target) {
        return Ok(target.revision.clone());
    }
    if !target.paused {
        return Err("the Deployment is still rolling".to_owned());
    }
    match target.serving.as_slice() {
        [] => heal(pass, target),
        [one] if one.ready > 0 => Ok(one.revision.clone()),
        [_] => Err("no pod of the Deployment is ready".to_owned()),
        [..] => Err("the Deployment is paused in the middle of a roll".to_owned()),
    }
}

/// Whether something else than the template serves.
fn held(target: &Target) -> bool {
    target.paused
        && target
            .serving
            .iter()
            .any(|s| !s.revision.same(&target.revision))
}

/// A paused Deployment that nothing serves: its present template is let through.
fn heal(pass: &mut Pass<'_>, target: &Target) -> Result<Revision, String> {
    if target.replicas == 0 {
        return Ok(target.revision.clone());
    }
    pass.act(Action::Unpause {
        expect: target.revision.clone(),
    });
    pass.tell(Reason::Healed {
        what: "the Deployment was held with nothing that serves: its template is let through as the first".to_owned(),
    });
    Err("nothing serves yet; the Deployment is let through as the first".to_owned())
}

fn adopt(pass: &mut Pass<'_>, stable: Revision) -> Phase {
    let Some(target) = pass.target() else {
        return Phase::default();
    };
    pass.state.target = Some(target.uid.clone());
    pass.state.config = Some(target.config.clone());
    pass.state.bypassed = None;
    pass.act(Action::TakeCustody);
    pass.act(Action::Guard);
    keep_stable(pass, stable.clone());
    pass.tell(Reason::Adopted {
        stable,
        warnings: pass.seen.route.warnings.clone(),
    });
    Phase::Idle
}
