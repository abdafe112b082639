//! Templates that are kept: stable's, so that it can be brought up again, and the one that is wanted, while an older
//! one is finished.
//!
//! Guarantees: what is overwritten was kept before, unless it failed. Not here: what a run puts back when it
//! ends (`rolling_back`, `baking`).

use std::time::Duration;

use super::lingering;
use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::observation::Target;
use crate::rollout::reason::Reason;
use crate::rollout::revision::Revision;
use crate::rollout::state::Mending;

/// A kept template that was not seen for so long does not merely come late.
const GONE_FOR_GOOD: Duration = Duration::from_secs(60);

/// Makes `revision` the stable one.
pub(super) fn keep_stable(pass: &mut Pass<'_>, revision: Revision) {
    if !pass.seen.kept.is_stable(&revision) {
        pass.act(Action::KeepStable {
            revision: revision.clone(),
        });
    }
    pass.state.stable = Some(revision);
}

/// Keeps the template that a person wants, before it is overwritten.
pub(super) fn keep_desired(pass: &mut Pass<'_>, revision: &Revision) {
    pass.state.desired = Some(revision.clone());
    pass.act(Action::KeepDesired {
        revision: revision.clone(),
    });
}

/// Forgets the template that was kept: it was given back, or something newer is wanted.
pub(super) fn drop_desired(pass: &mut Pass<'_>) {
    pass.state.desired_gone = None;
    if pass.state.desired.take().is_some() {
        pass.act(Action::DropDesired);
    }
}

/// Gives back the template that was kept while an older one was finished.
pub(super) fn give_back_desired(pass: &mut Pass<'_>, target: &Target) {
    let Some(desired) = pass.state.desired.clone() else {
        return;
    };
    let untouched = pass
        .state
        .stable
        .as_ref()
        .is_some_and(|s| s.same(&target.revision));
    if untouched && target.complete {
        pass.act(Action::RestoreTemplate {
            to: desired.clone(),
            expect: target.revision.clone(),
            paused: true,
            restarted_at: None,
        });
        give_up_desired(pass, desired);
        return;
    }
    if untouched || has_failed(pass, &target.revision) || is_set_aside(pass, target, &desired) {
        // The older one is still in the way, rolling or left in place, or on its way.
        return;
    }
    drop_desired(pass);
    if desired.same(&target.revision) {
        pass.tell(Reason::DesiredGiven { revision: desired });
    }
}

/// Whether it stands in the Deployment only since stable, which is put in its place, was not seen there yet, or by
/// whoever applies it again and again.
fn is_set_aside(pass: &Pass<'_>, target: &Target, desired: &Revision) -> bool {
    let Some(stable) = &pass.state.stable else {
        return false;
    };
    let gone = target.serving(stable).is_none() && target.replicas > 0;
    let waits = gone || lingering::is_so(pass, target);
    target.paused && waits && target.revision.same(desired) && pass.seen.kept.is_stable(stable)
}

/// What is gone for long was deleted by somebody, and cannot be given back.
fn give_up_desired(pass: &mut Pass<'_>, desired: Revision) {
    let kept = pass.seen.kept.desired.as_ref();
    if kept.is_some_and(|kept| kept.same(&desired)) {
        pass.state.desired_gone = None;
        return;
    }
    let now = pass.now();
    let since = pass.state.desired_gone.map_or(now, |since| since.min(now));
    pass.state.desired_gone = Some(since);
    if pass.over(since, GONE_FOR_GOOD) {
        drop_desired(pass);
        pass.tell(Reason::SetAside {
            revision: desired,
            how: "what it was kept in was deleted; apply it again to release it".to_owned(),
        });
    }
}

/// Whether this is the revision that failed last.
pub(super) fn has_failed(pass: &Pass<'_>, revision: &Revision) -> bool {
    let failed = pass.state.failed.as_ref();
    failed.is_some_and(|failure| failure.revision.same(revision))
}

/// Lets something serve again. A template that is overwritten for that is kept, unless it failed.
pub(super) fn bring_up(pass: &mut Pass<'_>, target: &Target, stable: Revision) {
    let held = &target.revision;
    let known = pass.seen.kept.is_stable(&stable);
    let failed = has_failed(pass, held);
    let serves = match target.serving.first() {
        Some(other) => format!("{} serves instead of stable", other.revision),
        None => "nothing serves".to_owned(),
    };
    let what = match (known, failed) {
        (true, _) => format!("{serves} while {held} is held: {stable} is brought up again"),
        (false, false) => {
            format!("{serves} and no stable template is known: {held} is let through as the first")
        }
        // It stays held: applying anything else is the way out.
        (false, true) => return,
    };
    pass.tell_mending(Mending::Serving, true, Reason::Healed { what });
    let expect = held.clone();
    if !known {
        pass.act(Action::Unpause { expect });
        return;
    }
    if !has_failed(pass, held) {
        keep_desired(pass, held);
    }
    pass.act(Action::RestoreTemplate {
        to: stable,
        expect,
        paused: false,
        restarted_at: None,
    });
}
