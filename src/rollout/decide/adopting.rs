//! Adopting: waiting until a Deployment can be guarded, and healing one that nothing serves.

use super::canary::clear_leftovers;
use super::guard::{detached, forget_overtaken, forget_target, held_by_us};
use super::known;
use super::pass::Pass;
use super::pause::is_kept_paused;
use super::template::{bring_up, keep_stable};
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::Reason;
use crate::rollout::revision::Revision;
use crate::rollout::state::Phase;

/// Said while the label is on its way; until it was seen, a release goes out ungated.
pub(super) const BEING_GUARDED: &str = "the gate's label is being put on the Deployment";

/// Said until the API server trusts the webhook: each change of what is guarded would be refused before.
const NOT_TRUSTED: &str = "the API server does not trust the gate's webhook yet";

/// Said in mode `paused` until the Deployment was seen paused; a release goes out ungated before.
const BEING_PAUSED: &str = "the Deployment is being paused, which is how it is held in this mode";

/// Waits until the Deployment can be guarded; heals one that nothing serves.
pub(super) fn adopting(pass: &mut Pass<'_>, told: &str) -> Phase {
    if detached(pass) {
        return Phase::Suspended;
    }
    forget_overtaken(pass);
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
        let why = format!("the Rollout {rival} guards the same Deployment");
        forget_target(pass);
        return Err(why);
    }
    let Some(target) = pass.target() else {
        return Err(format!(
            "there is no {} {}",
            pass.plan.kind, pass.plan.target
        ));
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

/// A paused Deployment that nothing serves: the stable template that is kept is brought up and the
/// present one kept; without one the present one is let through.
fn heal(pass: &mut Pass<'_>, target: &Target) -> Result<Revision, String> {
    if target.replicas == 0 {
        return Ok(target.revision.clone());
    }
    let kept = pass.seen.kept.stable.clone();
    if let Some(stable) = kept.filter(|stable| !stable.same(&target.revision)) {
        pass.state.stable = Some(stable.clone());
        bring_up(pass, target, stable);
        return Err("nothing serves yet; the stable template is brought up again".to_owned());
    }
    pass.act(Action::Unpause {
        expect: target.revision.clone(),
    });
    pass.tell(Reason::Healed {
        what: "the Deployment was held with nothing that serves: its template is let through as the first".to_owned(),
    });
    Err("nothing serves yet; the Deployment is let through as the first".to_owned())
}

/// Adopts what serves, once the label was seen: what was applied before that was seen too then.
fn adopt(pass: &mut Pass<'_>, stable: Revision) -> Phase {
    let Some(target) = pass.target() else {
        return Phase::default();
    };
    pass.state.target = Some(target.uid.clone());
    if !pass.seen.rollout.finalizer {
        pass.act(Action::TakeCustody);
    }
    if pass.seen.gate.refuses && !target.guarded {
        let why = NOT_TRUSTED.to_owned();
        return Phase::Adopting { why };
    }
    if !target.guarded || !held_by_us(pass, target) {
        pass.act(Action::Guard);
        let why = BEING_GUARDED.to_owned();
        return Phase::Adopting { why };
    }
    if is_kept_paused(pass, target) && !target.paused {
        let expect = target.revision.clone();
        pass.act(Action::Pause { expect });
        let why = BEING_PAUSED.to_owned();
        return Phase::Adopting { why };
    }
    pass.state.config = target.config.clone();
    pass.state.bypassed = None;
    keep_stable(pass, stable.clone());
    known::note(pass, &stable);
    pass.tell(Reason::Adopted {
        stable,
        warnings: pass.seen.route.warnings.clone(),
    });
    Phase::Idle
}
