//! The canary's objects: made, mended and sized for the weight, awaited, and taken away once their last
//! requests are answered.
//!
//! Not here: the weight itself (`weight`), and the phases that ask for any of it.

use std::time::Duration;

use jiff::Timestamp;

use super::pass::Pass;
use super::weight::{first_weight, keep_off};
use crate::rollout::action::Action;
use crate::rollout::plan::Route;
use crate::rollout::reason::{Cause, HeldWhy, Reason};
use crate::rollout::state::{Mending, Phase, Run};

/// Pods of a node that is lost are not waited for longer than this.
const LONGEST_LEAVE: Duration = Duration::from_secs(120);

/// Replicas of the canary at `weight` percent of `stable` replicas: at least one.
pub(super) fn replicas(stable: i32, weight: u8) -> i32 {
    let share = (i64::from(stable) * i64::from(weight) + 99) / 100;
    i32::try_from(share).unwrap_or(i32::MAX).max(1)
}

/// Replicas that the canary should have now.
fn wanted_replicas(pass: &Pass<'_>, run: &Run) -> i32 {
    let stable = pass.target().map_or(0, |target| target.replicas);
    replicas(
        stable.max(run.size),
        run.weight.max(run.peak).max(first_weight(pass.plan)),
    )
}

/// Whether the canary has the pods that its weight needs.
pub(super) fn canary_ready(pass: &Pass<'_>, run: &Run) -> bool {
    pass.seen.canary.as_ref().is_some_and(|canary| {
        canary.revision == run.mark()
            && canary.leaving.is_none()
            && canary.ready >= wanted_replicas(pass, run)
    })
}

/// Whether the canary's Deployment is there, as this run wants it.
pub(super) fn is_made(pass: &Pass<'_>, run: &Run) -> bool {
    let canary = pass.seen.canary.as_ref();
    canary.is_some_and(|canary| canary.leaving.is_none() && canary.revision == run.mark())
}

/// Makes and mends the canary's objects.
pub(super) fn keep_canary(pass: &mut Pass<'_>, run: &Run) {
    let wanted = wanted_replicas(pass, run);
    let present = pass.seen.canary.as_ref();
    if present.is_some_and(|canary| canary.leaving.is_some()) {
        return;
    }
    let ours = present.is_some_and(|canary| canary.revision == run.mark());
    let whole = ours && present.is_some_and(|canary| !canary.differs);
    // Before it has had a request, an incomplete canary is one that is being made.
    pass.tell_mending(
        Mending::Canary,
        !whole && run.peak > 0,
        Reason::CanaryMended,
    );
    if !whole {
        pass.act(Action::EnsureCanary {
            template: run.revision.clone(),
            mark: run.mark(),
            replicas: wanted,
        });
    } else if present.is_some_and(|canary| canary.replicas != wanted) {
        pass.act(Action::ScaleCanary { replicas: wanted });
    }
}

/// Whether the canary has been short of ready pods for the deadline, counted from when it became so: a
/// step may be older than that when stable is scaled up, and the canary with it.
pub(super) fn too_long_short(pass: &mut Pass<'_>, run: &mut Run) -> bool {
    if canary_ready(pass, run) {
        run.short_since = None;
        return false;
    }
    let since = *run.short_since.get_or_insert(pass.now());
    pass.watched_for(since, pass.plan.progress_deadline)
}

/// The canary did not get its pods in time, or lost them: refused by the cluster, or bad.
pub(super) fn too_late(pass: &mut Pass<'_>, run: Run) -> Phase {
    let canary = pass.seen.canary.as_ref();
    if let Some(why) = canary.and_then(|canary| canary.refused.clone()) {
        return pass.hold(run, HeldWhy::PodsRefused { why });
    }
    if !is_made(pass, &run) {
        let why = pass.seen.trouble.clone();
        let why = why.unwrap_or_else(|| "its Deployment is not there".to_owned());
        return pass.hold(run, HeldWhy::NotMade { why });
    }
    let after = humantime::format_duration(pass.plan.progress_deadline).to_string();
    pass.roll_back(run, Cause::Deadline { after })
}

/// Weight 0, and, when that has been in force long enough, no Ingress, then no canary.
/// Returns since when the weight is 0.
pub(super) fn take_away(pass: &mut Pass<'_>, off_since: Option<Timestamp>) -> Option<Timestamp> {
    keep_off(pass);
    let off = pass
        .seen
        .route
        .canary
        .as_ref()
        .is_none_or(|route| route.weight == Some(0));
    if !off {
        empty_canary(pass);
        return None;
    }
    let since = off_since.unwrap_or_else(|| pass.now());
    if !answered(pass, since) {
        return Some(since);
    }
    if pass.seen.route.canary.is_some() {
        pass.act(Action::RemoveRoute);
    }
    remove_canary(pass);
    Some(since)
}

/// Where the weight cannot be lowered, a canary without pods gets no request by ingress-nginx.
fn empty_canary(pass: &mut Pass<'_>) {
    let nginx = matches!(pass.plan.route, Route::IngressNginx { .. });
    let canary = pass.seen.canary.as_ref();
    let stands = canary.is_some_and(|canary| canary.leaving.is_none() && canary.replicas > 0);
    if nginx && stands && pass.seen.trouble.is_some() {
        pass.act(Action::ScaleCanary { replicas: 0 });
    }
}

/// Removes the canary's objects; again, without waiting for its pods, if they do not go.
fn remove_canary(pass: &mut Pass<'_>) {
    let Some(canary) = &pass.seen.canary else {
        return;
    };
    let due = canary
        .leaving
        .is_none_or(|since| pass.over(since, LONGEST_LEAVE));
    if due {
        pass.act(Action::RemoveCanary);
    }
}

/// Whether the canary's last requests are answered; without a route there were none.
fn answered(pass: &mut Pass<'_>, since: Timestamp) -> bool {
    pass.seen.route.canary.is_none() || pass.over(since, pass.terms.tuning.drain)
}

/// Whether nothing of the canary is left.
pub(super) fn canary_gone(pass: &Pass<'_>) -> bool {
    pass.seen.canary.is_none() && pass.seen.route.canary.is_none()
}

/// Takes away what a run left that is not known any more. Whether there is still something.
pub(super) fn clear_leftovers(pass: &mut Pass<'_>) -> bool {
    if canary_gone(pass) {
        return false;
    }
    keep_off(pass);
    if let Some(route) = &pass.seen.route.canary {
        if route.weight == Some(0) {
            pass.act(Action::RemoveRoute);
        }
    } else {
        remove_canary(pass);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_follow_the_weight_and_are_never_none() {
        let table = [
            (3, 5, 1),
            (10, 25, 3),
            (10, 100, 10),
            (0, 50, 1),
            (-1, 50, 1),
            (7, 50, 4),
            (i32::MAX, 100, i32::MAX),
        ];
        for (stable, weight, expected) in table {
            assert_eq!(replicas(stable, weight), expected, "{stable} at {weight}%");
        }
    }
}
