//! Guarding, in every phase: the gate, bypasses, a target that vanished, a Rollout that lets go.
//!
//! Not here: what is new (`idle`), and how a run's objects are put back (`rolling_back`).

use std::time::Duration;

use super::baking;
use super::canary::clear_leftovers;
use super::pass::Pass;
use super::template::{drop_desired, has_failed, keep_desired};
use crate::rollout::action::Action;
use crate::rollout::config::Config;
use crate::rollout::observation::Target;
use crate::rollout::plan::Plan;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase};

/// What is not there for so long does not merely change its owner.
const LACKS_FOR: Duration = Duration::from_secs(60);
/// Watches of two kinds are no further apart than this, most of the time.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// What is looked after in every phase: the gate itself, a detached or vanished target.
pub(super) fn look_after(pass: &mut Pass<'_>) {
    tell_gate(pass);
    tell_open(pass);
    notice_bypass(pass);
    if detached(pass) {
        detach(pass);
        return;
    }
    if pass.target().map(|target| &target.uid) != pass.state.target.as_ref()
        && pass.state.target.is_some()
    {
        lose_target(pass);
    } else if let Some(target) = pass.target() {
        keep_guarded(pass, target);
    }
}

/// Whether the Rollout says not to guard any more.
pub(super) fn detached(pass: &Pass<'_>) -> bool {
    pass.plan.suspended || for_good(pass)
}

/// Whether the Deployment is never to be guarded again by this Rollout.
fn for_good(pass: &Pass<'_>) -> bool {
    pass.plan.moved_to.is_some() || pass.seen.rollout.deleting
}

/// Ends a run, if there is one; `suspended` does the rest.
fn detach(pass: &mut Pass<'_>) {
    if let Phase::RollingBack { .. } = pass.state.phase {
        return;
    }
    pass.state.phase = match pass.state.phase.run().cloned() {
        Some(run) if run.bakes => {
            baking::conclude(pass, &run);
            Phase::Suspended
        }
        Some(run) => pass.roll_back(run, Cause::Detached),
        None => Phase::Suspended,
    };
}

fn lose_target(pass: &mut Pass<'_>) {
    let run = pass.state.phase.run().cloned();
    pass.state.phase = match (std::mem::take(&mut pass.state.phase), run) {
        (Phase::RollingBack { run, mut rollback }, _) => {
            rollback.cause = Cause::TargetGone;
            Phase::RollingBack { run, rollback }
        }
        (_, Some(run)) => pass.roll_back(run, Cause::TargetGone),
        (_, None) => {
            forget_target(pass);
            Phase::default()
        }
    };
}

/// Forgets what belongs to one Deployment.
pub(super) fn forget_target(pass: &mut Pass<'_>) {
    pass.state.target = None;
    pass.state.stable = None;
    pass.state.config = Config::default();
    pass.state.known_good.clear();
    pass.state.failed = None;
    pass.state.lingering = None;
    pass.state.opened = None;
    pass.state.bypassed = None;
    pass.state.desired_gone = None;
    if pass.state.desired.take().is_some() || pass.seen.kept.desired.is_some() {
        pass.act(Action::DropDesired);
    }
}

/// Lets go of a Deployment, but not of the template that was taken from it while it was held: that
/// is given back when it is guarded again.
fn set_aside(pass: &mut Pass<'_>) {
    pass.state.target = None;
    pass.state.config = Config::default();
    pass.state.failed = None;
    pass.state.lingering = None;
    pass.state.bypassed = None;
    if pass.state.desired.is_none() {
        pass.state.stable = None;
    }
}

/// Without a guard others change the template at will: then what was set aside is not the newest.
pub(super) fn forget_overtaken(pass: &mut Pass<'_>) {
    if pass.state.target.is_some() || pass.state.desired.is_none() {
        return;
    }
    let stable = pass.state.stable.as_ref();
    let untouched = pass
        .target()
        .is_some_and(|target| stable.is_some_and(|stable| stable.same(&target.revision)));
    if !untouched {
        drop_desired(pass);
        pass.state.stable = None;
    }
}

fn tell_gate(pass: &mut Pass<'_>) {
    let problem = pass.seen.gate.problem.clone();
    if problem == pass.state.gate_problem {
        return;
    }
    match &problem {
        Some(problem) => pass.tell(Reason::GateBroken {
            problem: problem.clone(),
        }),
        None => pass.tell(Reason::GateMended),
    }
    pass.state.gate_problem = problem;
}

/// Says once that somebody opened the gate of this workload, and once that it is shut again.
fn tell_open(pass: &mut Pass<'_>) {
    let Some(target) = adopted(pass) else {
        return;
    };
    let open = target.open.clone();
    if open == pass.state.opened {
        return;
    }
    pass.tell(match &open {
        Some(why) => Reason::GateOpened { why: why.clone() },
        None => Reason::GateShut,
    });
    pass.state.opened = open;
}

fn keep_guarded(pass: &mut Pass<'_>, target: &Target) {
    // While it is being adopted the label is on its way.
    if pass.state.target.is_none() || matches!(pass.state.phase, Phase::Adopting { .. }) {
        return;
    }
    tell_lacks(pass, target);
    pass.tell_mending(Mending::Label, !target.guarded, Reason::LabelRestored);
    if !pass.seen.rollout.finalizer {
        pass.act(Action::TakeCustody);
    }
    if !target.guarded || !held_by_us(pass, target) {
        pass.act(Action::Guard);
    }
}

/// Tells once what stable needs and does not find for a while: who rotates a Secret may delete it first, and whoever brings a newer template may have taken it away with the
/// older one, which is still the one that serves and that is put back.
fn tell_lacks(pass: &mut Pass<'_>, target: &Target) {
    let Some(stable) = pass.state.stable.clone() else {
        return;
    };
    let lacks = !target.lacks.is_empty();
    let since = pass.state.lacks_since.filter(|at| *at <= pass.now());
    let since = lacks.then(|| since.unwrap_or_else(|| pass.now()));
    pass.state.lacks_since = since;
    let lasts = since.is_some_and(|since| pass.over(since, LACKS_FOR));
    if lasts || !lacks {
        let what = target.lacks.join(", ");
        pass.tell_mending(Mending::Lacks, lacks, Reason::StableLacks { stable, what });
    }
}

/// Whether the Deployment says to be held by this Rollout.
pub(super) fn held_by_us(pass: &Pass<'_>, target: &Target) -> bool {
    target.held_by.as_deref() == Some(pass.plan.name.as_str())
}

/// Says once when a revision has pods that no run approved.
fn notice_bypass(pass: &mut Pass<'_>) {
    let (Some(target), Some(stable)) = (adopted(pass), pass.state.stable.clone()) else {
        return;
    };
    let Some(stranger) = stranger(pass, target, &stable) else {
        pass.state.strange_since = None;
        return;
    };
    let told = pass.state.bypassed.as_ref() == Some(&stranger.hash);
    if is_early(pass, target, &stranger) || told {
        return;
    }
    pass.state.bypassed = Some(stranger.hash.clone());
    match &target.open {
        Some(why) => pass.tell(Reason::Opened {
            revision: stranger,
            why: why.clone(),
        }),
        None => pass.tell(Reason::Bypassed { revision: stranger }),
    }
}

/// The workload that was adopted, if it is there.
fn adopted<'s>(pass: &Pass<'s>) -> Option<&'s Target> {
    let adopted = pass.state.target.as_ref();
    pass.target().filter(|target| Some(&target.uid) == adopted)
}

/// A revision with pods that are neither stable's, nor of a run that let them out, nor about to go.
fn stranger(pass: &Pass<'_>, target: &Target, stable: &Revision) -> Option<Revision> {
    let proven = match &pass.state.phase {
        Phase::Promoting { run, .. } | Phase::Baking(run) => Some(&run.revision),
        Phase::RollingBack { run, rollback } => {
            (rollback.cause != Cause::WentOut).then_some(&run.revision)
        }
        Phase::Adopting { .. }
        | Phase::Idle
        | Phase::Preparing(_)
        | Phase::Stepping(_)
        | Phase::AwaitingApproval(_)
        | Phase::Held { .. }
        | Phase::Failed
        | Phase::Suspended => None,
    };
    let returns = target.revision.same(stable) && !target.complete;
    let ended = pass.state.last_run.as_ref().map(|run| &run.revision);
    let ended = ended.filter(|_| returns);
    let lingering = pass.state.lingering.as_ref();
    // Who opens the gate for what failed lets it out.
    let lingering = lingering.filter(|failed| target.paused || !target.revision.same(failed));
    let known = [Some(stable), proven, ended, lingering];
    let is_known = |revision: &Revision| known.iter().flatten().any(|known| known.same(revision));
    let serving = target.serving.iter().map(|serving| &serving.revision);
    serving
        .into_iter()
        .find(|revision| !is_known(revision))
        .cloned()
}

/// Pods may be seen before the change of the Deployment that let them out, and with it who did.
fn is_early(pass: &mut Pass<'_>, target: &Target, stranger: &Revision) -> bool {
    if !target.paused || !target.revision.same(stranger) {
        return false;
    }
    let since = pass.state.strange_since.filter(|at| *at <= pass.now());
    let since = since.unwrap_or_else(|| pass.now());
    pass.state.strange_since = Some(since);
    !pass.over(since, SEEN_WITHIN)
}

/// A kept template is not given back when another one went out while nothing was guarded.
fn forget_what_is_older(pass: &mut Pass<'_>) {
    let (Some(desired), Some(target)) = (pass.state.desired.clone(), pass.target()) else {
        return;
    };
    let stable = pass.state.stable.as_ref();
    let known = desired.same(&target.revision) || stable.is_some_and(|s| s.same(&target.revision));
    if target.guarded || target.paused || known {
        return;
    }
    drop_desired(pass);
    pass.tell(Reason::SetAside {
        revision: desired,
        how: "another template was applied while nothing was guarded".to_owned(),
    });
}

/// Puts back to stable, takes the gate away, lets go. Never forward.
pub(super) fn suspended(pass: &mut Pass<'_>) -> Phase {
    if !detached(pass) {
        return Phase::default();
    }
    if clear_leftovers(pass) {
        return Phase::Suspended;
    }
    forget_what_is_older(pass);
    // Only what was adopted is ours to open: another Rollout may hold this Deployment.
    let Some(target) = pass.target().filter(|target| ours(pass, target)) else {
        if pass.state.target.is_some() {
            // What was kept went with its Deployment.
            drop_desired(pass);
        }
        release(pass, forget_target);
        return Phase::Suspended;
    };
    if let Some(stable) = unproven(pass, target) {
        take_back(pass, target, &stable);
        pass.act(Action::RestoreTemplate {
            to: stable,
            expect: target.revision.clone(),
            paused: false,
            restarted_at: None,
        });
        return Phase::Suspended;
    }
    if target.paused {
        pass.act(Action::Unpause {
            expect: target.revision.clone(),
        });
        return Phase::Suspended;
    }
    if target.guarded {
        pass.act(Action::Unguard);
        pass.tell(Reason::Suspended);
        return Phase::Suspended;
    }
    release(
        pass,
        if for_good(pass) {
            forget_target
        } else {
            set_aside
        },
    );
    Phase::Suspended
}

/// Whether the Deployment was adopted, or, where that is not known any more, says that it was.
fn ours(pass: &Pass<'_>, target: &Target) -> bool {
    match &pass.state.target {
        Some(adopted) => *adopted == target.uid,
        None => held_by_us(pass, target),
    }
}

/// Keeps the unproven template that is about to be overwritten, unless it failed.
fn take_back(pass: &mut Pass<'_>, target: &Target, stable: &Revision) {
    pass.state.stable = Some(stable.clone());
    if !has_failed(pass, &target.revision) {
        keep_desired(pass, &target.revision);
    }
}

/// The stable revision, if the Deployment is held with another one that can be taken back.
fn unproven(pass: &Pass<'_>, target: &Target) -> Option<Revision> {
    let stable = pass.state.stable.as_ref();
    let stable = stable.or(pass.seen.kept.stable.as_ref())?.clone();
    let known = pass.can_restore(target, &stable);
    (target.paused && !target.revision.same(&stable) && known).then_some(stable)
}

/// Lets go of the Deployment, and of the Rollout if that is being deleted.
fn release(pass: &mut Pass<'_>, forget: fn(&mut Pass<'_>)) {
    let deleting = pass.seen.rollout.deleting;
    forget_overtaken(pass);
    if let Some(revision) = pass.state.desired.clone()
        && (deleting || pass.state.target.is_some())
    {
        pass.tell(aside(pass, revision));
    }
    if pass.state.target.is_some() {
        forget(pass);
        pass.tell(Reason::Released);
    } else if deleting {
        drop_desired(pass);
    }
    if pass.seen.rollout.deleting && pass.seen.rollout.finalizer {
        pass.act(Action::ReleaseCustody);
    }
}

/// Says what became of a template that was held, and how it is had again.
fn aside(pass: &Pass<'_>, revision: Revision) -> Reason {
    let Plan {
        namespace, name, ..
    } = pass.plan;
    let how = match &pass.plan.moved_to {
        _ if pass.seen.rollout.deleting => {
            "the Rollout is deleted; apply it again to release it".to_owned()
        }
        Some(other) => {
            format!("the Rollout guards {other} from now on; apply it again to release it")
        }
        None => format!(
            "it is kept; `kubectl -n {namespace} patch rollouts.sluice.dev {name} --type merge -p '{{\"spec\":{{\"suspended\":false}}}}'` gives it back, held"
        ),
    };
    Reason::SetAside { revision, how }
}
