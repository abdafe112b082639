//! Known good revisions: what was promoted here before, or served when the Deployment was adopted,
//! and has not failed since. Applied again (`kubectl rollout undo`, a revert in Git by hand, an
//! older tag) such a revision goes through at once: in an emergency nobody waits for statistics
//! to go back.
//!
//! They are known by their templates' hashes in the checkpoint: without it a canary is tried.
//!
//! Not here: going back at a person's request (`back`).

use super::idle::begun;
use super::pass::Pass;
use super::promoting;
use crate::rollout::evidence::Verdict;
use crate::rollout::plan::KnownGood;
use crate::rollout::reason::Reason;
use crate::rollout::revision::Revision;
use crate::rollout::state::{Phase, Run, Trigger};

/// As many as Kubernetes keeps `ReplicaSets` of by default.
const MOST: usize = 10;

/// What a run that went through without a canary is promoted for.
const PROOF: &str = "it was promoted here before, so it went through without a canary";

/// Notes a revision that is good, as the newest.
pub(super) fn note(pass: &mut Pass<'_>, revision: &Revision) {
    forget(pass, revision);
    let known = &mut pass.state.known_good;
    known.push(revision.clone());
    let surplus = known.len().saturating_sub(MOST);
    known.drain(..surplus);
}

/// Notes a revision that a run brought through, unless a person did so against the evidence.
pub(super) fn note_promoted(pass: &mut Pass<'_>, run: &Run) {
    if run.forced && run.verdict != Verdict::NotWorse && run.verdict != Verdict::Undecided {
        forget(pass, &run.revision);
    } else {
        note(pass, &run.revision);
    }
}

/// A revision that failed, or that a person went back from, is not good any more.
pub(super) fn forget(pass: &mut Pass<'_>, revision: &Revision) {
    pass.state.known_good.retain(|known| !known.same(revision));
}

/// Whether a revision goes through at once. A gate that holds us could not be opened.
pub(super) fn goes_through(pass: &Pass<'_>, revision: &Revision) -> bool {
    let known = &pass.state.known_good;
    pass.plan.known_good == KnownGood::Promote
        && !pass.seen.gate.holds_us
        && known.iter().any(|known| known.same(revision))
}

/// Brings a known good revision through.
pub(super) fn promote(pass: &mut Pass<'_>, revision: Revision, stable: Revision) -> Phase {
    pass.tell(Reason::KnownGood {
        revision: revision.clone(),
        stable,
    });
    let mut run = begun(pass, revision, Trigger::Template);
    run.straight = true;
    pass.state.evidence = None;
    promoting::begin(pass, run, PROOF.to_owned())
}
