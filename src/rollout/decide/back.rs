//! Going back between runs, at a person's request: to the last good revision, or to one that is
//! named. Its template is put back through the open gate and rolls natively; the gate stays.
//!
//! What served until then is not good any more: whoever applies it again (Flux, until Git
//! follows) finds it held, as a revision that failed.
//!
//! Not here: taking a run back (`rolling_back`), and a known good template that somebody
//! applies (`known`).

use super::approvals;
use super::idle::begun;
use super::known;
use super::pass::Pass;
use super::promoting::{self, stuck};
use super::requests::meant;
use super::template::{has_failed, keep_desired};
use crate::rollout::action::Action;
use crate::rollout::observation::{Past, Target};
use crate::rollout::reason::Reason;
use crate::rollout::request::{Act, Request};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Failure, Phase, Promotion, Run, State, Trigger};

/// Whether a decision needs to know what the Deployment's `ReplicaSets` hold.
pub fn needs_past(state: &State, requests: &[Request]) -> bool {
    let answered = |request: &Request| state.answers.iter().any(|answer| answer.id == request.id);
    state.phase.run().is_none()
        && requests
            .iter()
            .any(|request| request.act == Ok(Act::Rollback) && !answered(request))
}

/// Begins the way back, or says why there is none.
pub(super) fn go_back(pass: &mut Pass<'_>, request: &Request) -> Result<String, String> {
    let (from, target) = at_rest(pass)?;
    meant(pass, request, &from, "serves now")?;
    let to = match &request.goal {
        Some(goal) => named(pass, target, &from, goal)?,
        None => last_good(pass, target, &from)?,
    };
    let message = format!("goes back from {from} to {to}");
    pass.state.phase = begin(pass, from, to);
    Ok(message)
}

/// What serves and the Deployment, if it is guarded, no run goes on, and the gate could be opened.
fn at_rest<'a>(pass: &Pass<'a>) -> Result<(Revision, &'a Target), String> {
    let resting = matches!(pass.state.phase, Phase::Idle | Phase::Failed);
    let adopted = pass.state.target.as_ref();
    let target = pass.target().filter(|target| adopted == Some(&target.uid));
    match (&pass.state.stable, target) {
        _ if pass.seen.gate.holds_us => {
            Err("the gate was made for another account and would hold it".to_owned())
        }
        (Some(stable), Some(target)) if resting => Ok((stable.clone(), target)),
        _ => Err(format!(
            "nothing is guarded in phase {}",
            pass.state.phase.name()
        )),
    }
}

/// The newest good revision before the one that serves.
fn last_good(pass: &Pass<'_>, target: &Target, from: &Revision) -> Result<Revision, String> {
    let kept = |revision: &&Revision| target.past.iter().any(|past| past.revision.same(revision));
    let mut good = pass.state.known_good.iter().rev();
    good.find(|revision| !revision.same(from) && kept(revision))
        .cloned()
        .ok_or_else(|| {
            format!(
                "no earlier revision is known to be good; `--to` names one: {}",
                list(target, from)
            )
        })
}

/// The revision that a person names by number, hash, image or tag; the newest of several.
fn named(
    pass: &Pass<'_>,
    target: &Target,
    from: &Revision,
    goal: &str,
) -> Result<Revision, String> {
    let by_number = target
        .past
        .iter()
        .find(|past| past.number.to_string() == goal);
    let by_hash = one_of(target.past.iter().filter(|past| past.revision.begins(goal)))?;
    let by_name = || {
        let named = target
            .past
            .iter()
            .filter(|past| past.revision.is_named(goal));
        named.max_by_key(|past| past.number)
    };
    let Some(found) = by_number.or(by_hash).or_else(by_name) else {
        return Err(format!(
            "no revision {goal} is kept; {}",
            list(target, from)
        ));
    };
    let revision = found.revision.clone();
    if revision.same(from) {
        return Err(format!("{from} serves already"));
    }
    if has_failed(pass, &revision) {
        return Err(format!(
            "{revision} failed here; `sluice retry` and its template try it again"
        ));
    }
    let mut promoted = pass.state.known_good.iter();
    if approvals::matter(pass.plan) && !promoted.any(|known| known.same(&revision)) {
        return Err(format!(
            "{revision} was never promoted here, and a release needs approvals; apply its template"
        ));
    }
    Ok(revision)
}

/// The newest of those, if they are of one template.
fn one_of<'a>(begun: impl Iterator<Item = &'a Past>) -> Result<Option<&'a Past>, String> {
    let mut begun: Vec<&Past> = begun.collect();
    begun.sort_by_key(|past| past.number);
    match begun.as_slice() {
        [first, rest @ ..] if rest.iter().any(|past| !past.revision.same(&first.revision)) => {
            Err("several revisions begin so: write the whole hash, or the number".to_owned())
        }
        all => Ok(all.last().copied()),
    }
}

/// What is kept, in words.
fn list(target: &Target, from: &Revision) -> String {
    let mut past: Vec<&Past> = target.past.iter().collect();
    past.sort_by_key(|past| past.number);
    let each = past.into_iter().map(|past| {
        let serves = if past.revision.same(from) {
            ", serves"
        } else {
            ""
        };
        let images = past.revision.images.join(" ");
        format!("{} ({images}{serves})", past.number)
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() {
        "none is kept".to_owned()
    } else {
        format!("kept are {}", each.join(", "))
    }
}

fn begin(pass: &mut Pass<'_>, from: Revision, to: Revision) -> Phase {
    pass.tell(Reason::GoesBack {
        from: from.clone(),
        to: to.clone(),
    });
    let proof = format!("a person went back to it from {from}");
    // What failed is still not to be given back.
    let failed = pass.state.failed.take();
    let mut run = begun(pass, to, Trigger::Back { from });
    pass.state.failed = failed;
    run.straight = true;
    pass.state.evidence = None;
    promoting::begin(pass, run, proof)
}

/// Puts the template back that a person goes back to, whatever is there now. What is neither left
/// nor failed is kept, and tried afterwards.
pub(super) fn put_back(
    pass: &mut Pass<'_>,
    target: &Target,
    run: Run,
    stage: Promotion,
    from: &Revision,
) -> Phase {
    let present = &target.revision;
    if !present.same(from) && !has_failed(pass, present) {
        let told = pass.state.desired.as_ref();
        if !told.is_some_and(|kept| kept.same(present)) {
            pass.tell(Reason::DesiredKept {
                kept: present.clone(),
                finished: run.revision.clone(),
            });
        }
        keep_desired(pass, present);
    }
    pass.act(Action::RestoreTemplate {
        to: run.revision.clone(),
        expect: present.clone(),
        paused: false,
        restarted_at: None,
    });
    let Promotion::Rolling { ready, since } = stage else {
        return Phase::Promoting { run, stage };
    };
    let since = promoting::counts_from(pass, target, &run, since);
    if let Some(cause) = stuck(pass, target, since) {
        return pass.roll_back(run, cause);
    }
    let stage = Promotion::Rolling { ready, since };
    Phase::Promoting { run, stage }
}

/// The way back is done: what was left is not tried again by itself.
pub(super) fn leave(pass: &mut Pass<'_>, from: &Revision) {
    known::forget(pass, from);
    if pass.state.failed.is_none() {
        pass.state.failed = Some(Failure {
            revision: from.clone(),
            message: "a person went back from it".to_owned(),
            at: pass.now(),
        });
    }
}
