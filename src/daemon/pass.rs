//! One pass over one Rollout: convert, observe, decide, relieve, save, tell, execute.
//!
//! Guarantees: what only takes load off the canary is sent before the state is saved, and
//! everything else after it; a failure ends the pass, and the samples that it had taken are
//! folded again in the next one; an unchanged state writes nothing; a write that hangs does not
//! delay a weight that must fall.
//!
//! Not here: when passes happen (`queue`), and what follows from what (`rollout::decide`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::SemaphorePermit;

use super::accept;
use super::beside::{Glances, beside};
use super::context::Context;
use super::entry::Entry;
use super::publish;
use super::queue::Key;
use super::recall;
use super::round::{AFTER_EFFECTS, IMMEDIATELY, Round};
use super::traced;
use crate::backoff::Doubling;
use crate::causes;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::execute::{self};
use crate::kubernetes::observe::{Elsewhere, observe, requests};
use crate::kubernetes::scene::Scene;
use crate::prometheus::{self, Reading};
use crate::rollout::action::Action;
use crate::rollout::bookmark::Bookmark;
use crate::rollout::bound;
use crate::rollout::decide::{Decision, decide, needs_past, needs_pods};
use crate::rollout::evidence::Verdict;
use crate::rollout::observation::Metrics;
use crate::rollout::reason::HeldWhy;
use crate::rollout::smoke::At;
use crate::rollout::state::{Phase, State};
use crate::rollout::terms::Terms;

/// Readings that wait for a pass that succeeds; more are read again.
const MOST_UNREAD: usize = 128;
/// Waits after failed passes.
const RETRY: Doubling = Doubling::new(Duration::from_millis(100), Duration::from_secs(30));
/// Without a pass for longer than this, time that went by was not watched; a run has three passes in it at least.
const WATCHED: Duration = Duration::from_secs(60);

/// What a pass leaves behind.
#[derive(Debug)]
pub enum After {
    /// Look again after this time, or when something changes.
    Wake(Option<Duration>),
    /// The Rollout is gone.
    Gone,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the checkpoint in the status cannot be read; remove status.checkpoint to begin anew")]
    Checkpoint(#[source] serde_json::Error),
    #[error("the state cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    #[error(
        "another daemon writes this Rollout's status too: only daemons of one leaderElection may watch the same namespaces"
    )]
    Contested,
    #[error(transparent)]
    Execute(#[from] execute::Error),
}

impl Error {
    /// Whether somebody else wrote meanwhile: no news, the next pass looks again.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Execute(error) if error.is_conflict())
    }
}

/// Makes one pass.
pub async fn pass(context: &Context, key: &Key, entry: &mut Entry) -> After {
    let turn = context.turn().await;
    let Some(rollout) = entry.newest(context.cache.rollouts.get(&key.0, &key.1)) else {
        publish::forget(context, key);
        return After::Gone;
    };
    context.metrics.reconciled();
    match Box::pin(look(context, entry, rollout, turn)).await {
        Ok(wake) => {
            entry.failures = 0;
            entry.passed_at = Some(context.clock.now());
            After::Wake(wake)
        }
        Err(error) => After::Wake(Some(failed(context, key, entry, &error))),
    }
}

fn failed(context: &Context, key: &Key, entry: &mut Entry, error: &Error) -> Duration {
    let category = match error {
        Error::Execute(error) => error.category(),
        Error::Checkpoint(_) | Error::Encode(_) => "checkpoint",
        Error::Contested => "contested",
    };
    context.metrics.reconcile_failed(category);
    let wait = RETRY.after(entry.failures);
    entry.failures = entry.failures.saturating_add(1);
    let conflict = error.is_conflict();
    let error = causes::told(error);
    if conflict {
        tracing::debug!(namespace = key.0, rollout = key.1, %error, "pass ended; looking again");
    } else {
        tracing::warn!(namespace = key.0, rollout = key.1, %error, retry = ?wait, "pass failed");
    }
    wait
}

/// The pass proper. Returns when to look again.
async fn look(
    context: &Context,
    entry: &mut Entry,
    rollout: Arc<Rollout>,
    mut turn: Option<SemaphorePermit<'_>>,
) -> Result<Option<Duration>, Error> {
    let Some(terms) = accept::terms(context, entry, &rollout) else {
        drop(turn);
        accept::refuse(context, entry, &rollout).await?;
        return Ok(None);
    };
    if recall::is_contested(entry, &rollout, context.clock.now()) {
        return Err(Error::Contested);
    }
    if let Err(error) = recall::recall(context, entry, &rollout) {
        drop(turn);
        recall::stand_still(context, entry, &rollout, &terms, &error).await?;
        return Err(error);
    }
    let mut before = entry.state.clone().unwrap_or_default();
    let now = context.clock.now();
    if !was_watched(entry, now) || context.reach.is_lost() {
        before.resumed = Some(now);
    }
    let other = bound::instead(&terms.plan, &before);
    let edited = other.is_some();
    let terms = other.map_or(terms.clone(), |plan| Arc::new(terms.with(plan)));
    let mut scene = Scene::gather(&context.cache, rollout, &terms.plan);
    let unseen = unseen(context, &terms.plan.namespace);
    if unseen.is_none() && needs_past(&before, &requests(scene.rollout.annotations())) {
        drop(turn);
        scene.past = context.executor.past(&scene).await?;
        turn = context.turn().await;
    }
    if needs_pods(&terms, &before, now) {
        scene.unplaced = entry.placing.unplaced(now);
    }
    let elsewhere = Elsewhere {
        unseen,
        ..elsewhere(context, entry, &terms, &before)
    };
    let seen = observe(&scene, &terms.plan, &before, elsewhere, context.clock.now());
    let looked = context.clock.now();
    let decision = decide(&terms, &before, &seen);
    let decided = (looked, context.clock.now());
    drop(turn);
    let round = Round {
        context,
        scene: &scene,
        terms: &terms,
        before: &before,
        decision: &decision,
        now: seen.now,
    };
    let done = round.act(entry).await;
    let error = done.as_ref().err().map(|error| causes::told(error));
    if let (Err(failed), Some(error)) = (&done, &error) {
        entry.failed(failed.is_conflict(), error);
    }
    traced::passed(context, &terms.plan, &before, &decision, decided, error);
    // Also of a pass that failed: what was saved before it did is so.
    let state = entry.state.as_ref().unwrap_or(&before);
    let unseen = seen.unseen.as_deref().filter(|_| !says_so(state));
    let trouble = entry.trouble().or(unseen);
    publish::publish(context, &scene, &terms, state, (trouble, seen.now));
    let wait = done?;
    let placed = if wait == Some(IMMEDIATELY) {
        None
    } else {
        ask_for_nodes(context, entry, &scene, (&terms, &before)).await
    };
    // Events of objects that the spec does not name do not lead to passes.
    let soon = edited.then_some(AFTER_EFFECTS);
    Ok([wait, soon, placed].into_iter().flatten().min())
}

/// Asks now and then whether the pods of a promotion that comes to nothing find nodes. Returns when to look
/// again, if that makes a difference; that it could not be asked makes none.
async fn ask_for_nodes(
    context: &Context,
    entry: &mut Entry,
    scene: &Scene,
    (terms, before): (&Terms, &State),
) -> Option<Duration> {
    let now = context.clock.now();
    let state = entry.state.as_ref().unwrap_or(before);
    if unseen(context, &terms.plan.namespace).is_some() || !needs_pods(terms, state, now) {
        entry.placing.rest();
        return None;
    }
    if !entry.placing.is_due(now) {
        return None;
    }
    let state = state.clone();
    let nudge = entry.nudge.clone();
    let mut glances = Glances::from(context, terms, &state);
    let asks = Box::pin(context.executor.unplaced(scene));
    let answer = beside(asks, &nudge, || glances.look()).await;
    entry.unread.append(&mut glances.readings);
    let answer = answer.inspect_err(|error| {
        let (namespace, rollout) = (&terms.plan.namespace, &terms.plan.name);
        let error = causes::told(error);
        tracing::debug!(namespace, rollout, %error, "whether the pods find nodes is not known");
    });
    let news = entry.placing.note(now, answer);
    (news || glances.overruled).then_some(IMMEDIATELY)
}

/// Whether somebody has looked until now: passes that came through tell so. A daemon that was stopped, passes that
/// could not write, and a clock that went ahead are all the same here.
fn was_watched(entry: &Entry, now: Timestamp) -> bool {
    let passed = entry.passed_at;
    passed.is_none_or(|at| at > now || elapsed(at, now) < WATCHED)
}

/// Whether the run is held for that, which is told already.
fn says_so(state: &State) -> bool {
    let unseen = |why: &HeldWhy| matches!(why, HeldWhy::Unseen { .. });
    matches!(&state.phase, Phase::Held { why, .. } if unseen(why))
}

/// Why what is known of the namespace is old.
fn unseen(context: &Context, namespace: &str) -> Option<String> {
    let why = context.cache.unseen(namespace)?;
    Some(format!("the namespace cannot be seen: {why}"))
}

/// What is seen beside the cluster's objects; that the namespace is out of sight is not among it yet.
fn elsewhere(context: &Context, entry: &mut Entry, terms: &Terms, before: &State) -> Elsewhere {
    let key = prometheus::Key {
        namespace: terms.plan.namespace.clone(),
        name: terms.plan.name.clone(),
    };
    entry.unread.extend(context.watchlist.take(&key));
    if entry.unread.len() > MOST_UNREAD {
        // Passes have failed for long: the source is asked again from where the state is.
        entry.unread.clear();
        context.watchlist.rewind(&key, publish::cursor(before));
    }
    let metrics = metrics(context, &key, &entry.unread);
    let name = (key.namespace, key.name);
    let run = before.phase.run();
    let came_to = |at: At| {
        let run = run.map(|run| at.of_run(&run.id))?;
        context.smoke.came_to(&name, &run)
    };
    Elsewhere {
        gate: context.gate(),
        metrics,
        smoked: came_to(At::Canary),
        smoked_after: came_to(At::Promoted),
        trouble: entry.trouble().map(str::to_owned),
        unseen: None,
    }
}

/// What readings say that no pass has folded yet.
pub fn metrics(context: &Context, key: &prometheus::Key, unread: &[Reading]) -> Metrics {
    let newest = unread.last();
    let samples = unread.iter().flat_map(|reading| reading.samples.clone());
    Metrics {
        samples: samples.collect(),
        bookmark: newest.and_then(|reading| Bookmark::of(&reading.cursor)),
        absent: context.watchlist.absent(key),
    }
}

/// When a rule became Worse in this pass: the time that this took since the weight was in force,
/// and the time from the pass's look to weight 0 in the API.
pub fn reacted(context: &Context, before: &State, decision: &Decision, looked: Timestamp) {
    let verdict = |state: &State| state.phase.run().map(|run| run.verdict);
    let worse =
        verdict(&decision.next) == Some(Verdict::Worse) && verdict(before) != Some(Verdict::Worse);
    if worse && decision.actions.iter().any(Action::relieves) {
        context
            .metrics
            .reacted(elapsed(looked, context.clock.now()));
        if let Some(since) = before.phase.run().and_then(|run| run.weight_since) {
            context.metrics.detected(elapsed(since, looked));
        }
    }
}
