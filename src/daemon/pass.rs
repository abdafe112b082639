//! One pass over one Rollout: convert, observe, decide, relieve, save, tell, execute.
//!
//! Guarantees: what only takes load off the canary is sent before the state is saved, and
//! everything else after it; a failure ends the pass, and the samples that it had taken are
//! folded again in the next one; an unchanged state writes nothing.
//!
//! Not here: when passes happen (`queue`), and what follows from what (`rollout::decide`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::context::Context;
use super::entry::{Entry, mark};
use super::publish;
use super::queue::Key;
use crate::causes;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::events::reference;
use crate::kubernetes::execute::{self, Order};
use crate::kubernetes::observe::observe;
use crate::kubernetes::scene::Scene;
use crate::kubernetes::{conversion, status};
use crate::prometheus;
use crate::rollout::action::Action;
use crate::rollout::bound;
use crate::rollout::decide::{Decision, decide};
use crate::rollout::evidence::Verdict;
use crate::rollout::observation::{Metrics, Observation};
use crate::rollout::plan::Plan;
use crate::rollout::reason::Reason;
use crate::rollout::state::State;
use crate::rollout::terms::Terms;

/// A checkpoint is written at least this often while evidence comes in.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// Readings that wait for a pass that succeeds; more are read again.
const MOST_UNREAD: usize = 128;
/// The first wait after a failed pass; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// After effects: look again, should the watch not bring them.
const AFTER_EFFECTS: Duration = Duration::from_secs(2);

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
    #[error(transparent)]
    Execute(#[from] execute::Error),
}

/// Makes one pass.
pub async fn pass(context: &Context, key: &Key, entry: &mut Entry) -> After {
    let Some(rollout) = entry.newest(context.cache.rollouts.get(&key.0, &key.1)) else {
        publish::forget(context, key);
        return After::Gone;
    };
    context.metrics.reconciled();
    match look(context, entry, rollout).await {
        Ok(wake) => {
            entry.failures = 0;
            After::Wake(wake)
        }
        Err(error) => After::Wake(Some(failed(context, key, entry, &error))),
    }
}

fn failed(context: &Context, key: &Key, entry: &mut Entry, error: &Error) -> Duration {
    let (category, conflict) = match error {
        Error::Execute(error) => (error.category(), error.is_conflict()),
        Error::Checkpoint(_) | Error::Encode(_) => ("checkpoint", false),
    };
    context.metrics.reconcile_failed(category);
    let wait = FIRST_RETRY
        .saturating_mul(1 << entry.failures.min(10))
        .min(LONGEST_RETRY);
    entry.failures = entry.failures.saturating_add(1);
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
) -> Result<Option<Duration>, Error> {
    let Some(terms) = convert(context, entry, &rollout) else {
        refuse(context, entry, &rollout).await?;
        return Ok(None);
    };
    restore(context, entry, &rollout)?;
    let before = entry.state.clone().unwrap_or_default();
    let other = bound::instead(&terms.plan, &before);
    let edited = other.is_some();
    let terms = other.map_or(terms.clone(), |plan| Arc::new(terms.with(plan)));
    let scene = Scene::gather(&context.cache, rollout, &terms.plan);
    let seen = see(context, entry, &scene, &terms, &before);
    let decision = decide(&terms, &before, &seen);
    let done = act(context, entry, &scene, &terms, &before, &seen, &decision).await;
    if done.is_ok() {
        publish::publish(context, &scene, &terms, &decision.next, seen.now);
    }
    // Events of objects that the spec does not name do not lead to passes.
    let soon = edited.then_some(AFTER_EFFECTS);
    Ok([done?, soon].into_iter().flatten().min())
}

/// The terms of the spec. Of one that cannot be used it is told, and the terms that were accepted
/// last stay in force; after a restart, those by which nothing can rise.
fn convert(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Option<Arc<Terms>> {
    let rules = context.rule_set();
    let known: BTreeSet<String> = rules.keys().cloned().collect();
    match conversion::plan(rollout, &known) {
        Ok(plan) => {
            let terms = Arc::new(context.terms(plan, &rules));
            entry.refusal = None;
            entry.terms = Some(terms.clone());
            Some(terms)
        }
        Err(problems) => {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            tell_refusal(context, entry, rollout, text.join("; "));
            entry.terms.clone().or_else(|| fallback(context, rollout))
        }
    }
}

/// Tells once why a spec is not accepted.
fn tell_refusal(context: &Context, entry: &mut Entry, rollout: &Rollout, why: String) {
    let known = entry.refusal.clone();
    let known = known.or_else(|| status::refusal(rollout.status.as_ref()));
    if known.as_ref() != Some(&why) {
        let reason = [Reason::Unguarded { why: why.clone() }];
        let now = context.clock.now();
        publish::tell(context, &[reference(rollout)], "", &reason, now);
    }
    entry.refusal = Some(why);
}

/// Terms for a Rollout that was guarded before and whose spec cannot be used: enough to watch a
/// run, to put back and to let go. A rule that is not known has no samples, so nothing rises.
fn fallback(context: &Context, rollout: &Rollout) -> Option<Arc<Terms>> {
    let guarded = rollout.status.as_ref()?.checkpoint.is_some();
    let named = rollout.spec.analysis.iter().flat_map(|a| &a.rules);
    let known: BTreeSet<String> = named.cloned().collect();
    let plan = conversion::plan(rollout, &known).ok();
    let plan = plan.or_else(|| going(rollout))?;
    guarded.then(|| Arc::new(context.terms(plan, &context.rule_set())))
}

/// For one that is being deleted its target and route are enough.
fn going(rollout: &Rollout) -> Option<Plan> {
    rollout.metadata.deletion_timestamp.as_ref()?;
    let mut bare = rollout.clone();
    bare.spec.analysis = None;
    bare.spec.strategy = None;
    bare.spec.progress_deadline = None;
    let known = conversion::DEFAULT_RULES.map(str::to_owned);
    conversion::plan(&bare, &known.into()).ok()
}

/// Says in the status that the spec is not accepted, where nothing else is to be said.
async fn refuse(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Result<(), Error> {
    let problems = entry.refusal.clone().unwrap_or_default();
    let generation = rollout.metadata.generation;
    let now = context.clock.now();
    let refused = status::refused(rollout.status.as_ref(), generation, &problems, now);
    if rollout.status.as_ref() == Some(&refused) {
        return Ok(());
    }
    let mut object = rollout.clone();
    object.status = Some(refused);
    entry.written = Some(Arc::new(context.executor.save(&object).await?));
    Ok(())
}

/// Loads the state from the checkpoint, unless this daemon has written it and come further.
fn restore(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Result<(), Error> {
    let checkpoint = rollout
        .status
        .as_ref()
        .and_then(|status| status.checkpoint.as_deref().map(mark));
    if entry.state.is_some() && checkpoint == entry.checkpoint {
        return Ok(());
    }
    let state = status::state(rollout.status.as_ref()).map_err(Error::Checkpoint)?;
    let mut state = state.unwrap_or_default();
    state.resumed = match &entry.state {
        Some(before) => before.resumed,
        None => Some(context.clock.now()),
    };
    let key = prometheus::Key {
        namespace: rollout.namespace().unwrap_or_default(),
        name: rollout.name_any(),
    };
    context.watchlist.rewind(&key, publish::cursor(&state));
    entry.unread.clear();
    entry.state = Some(state);
    entry.checkpoint = checkpoint;
    entry.saved_at = None;
    Ok(())
}

fn see(
    context: &Context,
    entry: &mut Entry,
    scene: &Scene,
    terms: &Terms,
    before: &State,
) -> Observation {
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
    let newest = entry.unread.last();
    let metrics = Metrics {
        samples: entry
            .unread
            .iter()
            .flat_map(|reading| reading.samples.clone())
            .collect(),
        bookmark: newest.and_then(|reading| serde_json::to_value(&reading.cursor).ok()),
        absent: context.watchlist.absent(&key),
    };
    let now = context.clock.now();
    observe(scene, &terms.plan, before, context.gate(), metrics, now)
}

/// Relieves, saves, tells, executes.
async fn act(
    context: &Context,
    entry: &mut Entry,
    scene: &Scene,
    terms: &Terms,
    before: &State,
    seen: &Observation,
    decision: &Decision,
) -> Result<Option<Duration>, Error> {
    let run = decision.next.phase.run().or_else(|| before.phase.run());
    let (run, mark) = run
        .map(|run| (run.id.clone(), run.mark()))
        .unwrap_or_default();
    let order = Order {
        scene,
        rollout: &scene.rollout,
        plan: &terms.plan,
        run: &run,
        mark: &mark,
    };
    let relief = decision.actions.iter().filter(|action| action.relieves());
    for action in relief {
        execute(context, order, action).await?;
    }
    reacted(context, before, decision, seen.now);
    save(context, entry, scene, terms, before, decision, seen.now).await?;
    entry.state = Some(decision.next.clone());
    entry.unread.clear();
    publish::tell(
        context,
        &regarding(scene),
        &run,
        &decision.notices,
        seen.now,
    );
    let wait = execute_rest(context, entry, order, decision, seen.now).await?;
    let alarm = decision
        .wake_at
        .map(|at| elapsed(seen.now, at).max(Duration::from_millis(1)));
    Ok([wait, alarm].into_iter().flatten().min())
}

fn regarding(scene: &Scene) -> Vec<k8s_openapi::api::core::v1::ObjectReference> {
    let target = scene.target.iter().map(|target| reference(&target.object));
    std::iter::once(reference(&*scene.rollout))
        .chain(target)
        .collect()
}

async fn execute(
    context: &Context,
    order: Order<'_>,
    action: &Action,
) -> Result<Option<Rollout>, Error> {
    tracing::debug!(
        namespace = order.plan.namespace,
        rollout = order.plan.name,
        run = order.run,
        ?action,
        "acts"
    );
    Ok(context.executor.execute(order, action).await?)
}

/// When a rule became Worse in this pass: the time that this took since the weight was in force,
/// and the time from the pass's look to weight 0 in the API.
fn reacted(context: &Context, before: &State, decision: &Decision, looked: Timestamp) {
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

/// Writes the status, if the state changed or the checkpoint is old.
async fn save(
    context: &Context,
    entry: &mut Entry,
    scene: &Scene,
    terms: &Terms,
    before: &State,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), Error> {
    let status = scene.rollout.status.as_ref();
    let answered = status.and_then(|status| status.observed_generation)
        == scene.rollout.metadata.generation
        && status::refusal(status) == entry.refusal;
    let first = entry.checkpoint.is_none() || !answered;
    let old = decision.next.evidence != before.evidence
        && entry
            .saved_at
            .is_none_or(|at| at > now || elapsed(at, now) >= CHECKPOINT);
    if !first && !old && !decision.next.differs_durably(before) {
        return Ok(());
    }
    // A Rollout that is about to lose its finalizer needs no status any more.
    if scene.rollout.metadata.deletion_timestamp.is_some() && scene.rollout.finalizers().is_empty()
    {
        return Ok(());
    }
    write(context, entry, scene, terms, &decision.next, now).await
}

/// Writes the status of a state.
pub async fn write(
    context: &Context,
    entry: &mut Entry,
    scene: &Scene,
    terms: &Terms,
    state: &State,
    now: Timestamp,
) -> Result<(), Error> {
    let mut object = (*scene.rollout).clone();
    let mut status =
        status::status(terms, state, object.status.as_ref(), now).map_err(Error::Encode)?;
    if let Some(problems) = &entry.refusal {
        let before = object.status.as_ref();
        status.conditions = before.map_or_else(Vec::new, |before| before.conditions.clone());
        let generation = object.metadata.generation;
        status = status::refused(Some(&status), generation, problems, now);
    }
    entry.checkpoint = status.checkpoint.as_deref().map(mark);
    object.status = Some(status);
    match context.executor.save(&object).await {
        Ok(written) => {
            entry.written = Some(Arc::new(written));
            entry.saved_at = Some(now);
            Ok(())
        }
        Err(error) => {
            let stored = scene.rollout.status.as_ref();
            entry.checkpoint = stored.and_then(|status| status.checkpoint.as_deref().map(mark));
            Err(error.into())
        }
    }
}

/// Executes what does not relieve. Returns when to look again at the latest.
async fn execute_rest(
    context: &Context,
    entry: &mut Entry,
    order: Order<'_>,
    decision: &Decision,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    if decision.actions.is_empty() {
        entry.came_through();
        return Ok(None);
    }
    if let Some(wait) = entry.too_soon(&decision.actions, now) {
        return Ok(Some(wait));
    }
    entry.executed(decision.actions.clone(), now);
    for action in decision.actions.iter().filter(|action| !action.relieves()) {
        let written = entry.written.clone();
        let rollout = written.as_deref().unwrap_or(order.rollout);
        let order = Order { rollout, ..order };
        if let Some(rollout) = execute(context, order, action).await? {
            entry.written = Some(Arc::new(rollout));
        }
    }
    Ok(Some(AFTER_EFFECTS))
}

/// Writes the evidence that is not saved yet: at shutdown.
pub async fn checkpoint(context: &Context, key: &Key, entry: &mut Entry) -> Result<(), Error> {
    let cached = context.cache.rollouts.get(&key.0, &key.1);
    let (Some(rollout), Some(terms), Some(state)) = (
        entry.newest(cached),
        entry.terms.clone(),
        entry.state.clone(),
    ) else {
        return Ok(());
    };
    if state.evidence.is_none() {
        return Ok(());
    }
    let scene = Scene::gather(&context.cache, rollout, &terms.plan);
    write(context, entry, &scene, &terms, &state, context.clock.now()).await
}
