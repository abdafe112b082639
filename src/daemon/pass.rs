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
use super::entry::{Entry, mark};
use super::publish;
use super::queue::Key;
use super::recall;
use super::smoke;
use super::traced;
use crate::backoff::Doubling;
use crate::causes;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::execute::{self, Order};
use crate::kubernetes::observe::{Elsewhere, observe, requests};
use crate::kubernetes::scene::Scene;
use crate::kubernetes::status;
use crate::prometheus::{self, Reading};
use crate::rollout::action::Action;
use crate::rollout::bookmark::Bookmark;
use crate::rollout::bound;
use crate::rollout::decide::{Decision, decide, needs_past, needs_pods};
use crate::rollout::evidence::Verdict;
use crate::rollout::observation::Metrics;
use crate::rollout::reason::HeldWhy;
use crate::rollout::smoke::{At, Words};
use crate::rollout::state::{Phase, State};
use crate::rollout::terms::Terms;

/// A checkpoint is written at least this often while evidence comes in.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// Readings that wait for a pass that succeeds; more are read again.
const MOST_UNREAD: usize = 128;
/// Waits after failed passes.
const RETRY: Doubling = Doubling::new(Duration::from_millis(100), Duration::from_secs(30));
/// Without a pass for longer than this, time that went by was not watched; a run has three passes in it at least.
const WATCHED: Duration = Duration::from_secs(60);
/// A pass was overruled while it ran.
const IMMEDIATELY: Duration = Duration::from_millis(1);
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

/// A pass that has decided: what it goes by, and what it came to.
struct Round<'a> {
    context: &'a Context,
    scene: &'a Scene,
    terms: &'a Terms,
    before: &'a State,
    decision: &'a Decision,
    /// When it looked.
    now: Timestamp,
}

impl Round<'_> {
    /// Relieves, saves, tells, executes. Returns when to look again at the latest.
    async fn act(&self, entry: &mut Entry) -> Result<Option<Duration>, Error> {
        let (context, decision, now) = (self.context, self.decision, self.now);
        let run = decision
            .next
            .phase
            .run()
            .or_else(|| self.before.phase.run());
        let (run, mark) = run
            .map(|run| (run.id.clone(), run.mark()))
            .unwrap_or_default();
        let order = Order {
            run: &run,
            mark: &mark,
            ..Order::outside(self.scene, &self.terms.plan)
        };
        let relief = decision.actions.iter().filter(|action| action.relieves());
        let mut denied = None;
        for action in relief {
            match execute(context, order, action).await {
                // What is decided is saved and told all the same, and there may be another way.
                Err(Error::Execute(error)) if error.is_denied() => denied = Some(error),
                done => drop(done?),
            }
        }
        reacted(context, self.before, decision, now);
        let nudge = entry.nudge.clone();
        let mut glances = Glances::from(context, self.terms, &decision.next);
        let save = self.save(entry);
        let saved = beside(Box::pin(save), &nudge, || glances.look()).await;
        if saved.is_ok() {
            entry.unread.clear();
        }
        entry.unread.append(&mut glances.readings);
        saved?;
        entry.state = Some(decision.next.clone());
        let regarding = self.scene.regarding(self.terms.plan.kind);
        publish::tell(context, &regarding, &run, &decision.reasons, now);
        let denied = denied.map(Error::from);
        let rest = self.execute_rest(entry, order, &mut glances, denied).await;
        entry.unread.append(&mut glances.readings);
        let wait = rest?;
        let alarm = decision
            .wake_at
            .map(|at| elapsed(now, at).max(Duration::from_millis(1)));
        Ok([wait, alarm].into_iter().flatten().min())
    }

    /// Writes the status, if the state changed or the checkpoint is old.
    async fn save(&self, entry: &mut Entry) -> Result<(), Error> {
        let (before, next, now) = (self.before, &self.decision.next, self.now);
        let rollout = &*self.scene.rollout;
        let status = rollout.status.as_ref();
        let answered = status.and_then(|status| status.observed_generation)
            == rollout.metadata.generation
            && status::refusal(status) == entry.refusal
            && !status::is_unreadable(status);
        let first = entry.checkpoint.is_none() || !answered;
        let old = next.evidence != before.evidence
            && entry
                .saved_at
                .is_none_or(|at| at > now || elapsed(at, now) >= CHECKPOINT);
        if !first && !old && !next.differs_durably(before) {
            return Ok(());
        }
        // A Rollout that is about to lose its finalizer needs no status any more.
        if rollout.metadata.deletion_timestamp.is_some() && rollout.finalizers().is_empty() {
            return Ok(());
        }
        write(self.context, entry, rollout, self.terms, next, now).await
    }

    /// Executes what does not relieve, also where what does was `denied`, which is told at the end. Returns when to
    /// look again at the latest.
    async fn execute_rest(
        &self,
        entry: &mut Entry,
        order: Order<'_>,
        glances: &mut Glances<'_>,
        denied: Option<Error>,
    ) -> Result<Option<Duration>, Error> {
        let actions = &self.decision.actions;
        if actions.is_empty() {
            entry.came_through();
            return Ok(None);
        }
        if let Some(wait) = entry.too_soon(actions, self.now) {
            return denied.map_or(Ok(Some(wait)), Err);
        }
        entry.executed(actions.clone(), self.now);
        let nudge = entry.nudge.clone();
        let mut told_last = denied;
        for action in actions.iter().filter(|action| !action.relieves()) {
            if glances.overruled {
                return told_last.map_or(Ok(Some(IMMEDIATELY)), Err);
            }
            if told_last.is_some() && action.tidies() {
                continue;
            }
            let written = entry.written.clone();
            let rollout = written.as_deref().unwrap_or(order.rollout);
            let order = Order { rollout, ..order };
            let write = Box::pin(execute(self.context, order, action));
            match beside(write, &nudge, || glances.look()).await {
                Ok(Some(rollout)) => entry.written = Some(Arc::new(rollout)),
                Ok(None) => {}
                // Told at the end: a policy against deleting must not keep the template from being put back.
                Err(error) if action.tidies() => told_last = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = told_last {
            return Err(error);
        }
        entry.succeeded();
        Ok(Some(if glances.overruled {
            IMMEDIATELY
        } else {
            AFTER_EFFECTS
        }))
    }
}

/// Smoke tests against the canary's Service, or the stable one once it is promoted.
fn order_of(order: Order<'_>, tests: &[String], at: At) -> smoke::Order {
    let plan = order.plan;
    let mut words = Words::from([
        ("namespace", plan.namespace.clone()),
        ("rollout", plan.name.clone()),
        ("revision", order.mark.to_owned()),
    ]);
    if let Some(names) = order.scene.names(plan) {
        let service = match at {
            At::Canary => names.canary_service,
            At::Promoted => names.service.clone(),
        };
        words.insert("service", service);
        words.insert("stable", names.service);
        words.insert("port", names.port);
    }
    smoke::Order {
        key: (plan.namespace.clone(), plan.name.clone()),
        run: at.of_run(order.run),
        tests: tests.to_vec(),
        words,
    }
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
    if let Action::Smoke { tests, at } = action {
        context.smoke.ask(order_of(order, tests, *at));
    }
    let begun = context.clock.now();
    let done = context.executor.execute(order, action).await;
    let error = done.as_ref().err().map(|error| causes::told(error));
    traced::acted(context, &order, action, begun, error);
    Ok(done?)
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

/// How much earlier than usual a Rollout's first checkpoint after a restart is: all of them at once would stand in
/// the way of a weight that must fall.
pub fn earlier(uid: &str) -> Duration {
    CHECKPOINT.mul_f64(f64::from(mark(uid) as u16) / f64::from(u16::MAX))
}

/// Writes the status of a state.
pub async fn write(
    context: &Context,
    entry: &mut Entry,
    rollout: &Rollout,
    terms: &Terms,
    state: &State,
    now: Timestamp,
) -> Result<(), Error> {
    let mut object = rollout.clone();
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
            let stored = rollout.status.as_ref();
            entry.checkpoint = stored.and_then(|status| status.checkpoint.as_deref().map(mark));
            Err(error.into())
        }
    }
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
    write(
        context,
        entry,
        &rollout,
        &terms,
        &state,
        context.clock.now(),
    )
    .await
}
