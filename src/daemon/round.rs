//! What a pass has decided is done: relieve, save, execute the rest.
//!
//! Guarantees: as those of `pass`. Not here: how it is decided (`pass`), and how one action is done
//! (`kubernetes::execute`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::beside::{Glances, beside};
use super::context::Context;
use super::entry::{Entry, mark};
use super::pass::{Error, reacted};
use super::publish;
use super::queue::Key;
use super::smoke;
use super::traced;
use crate::causes;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::execute::Order;
use crate::kubernetes::scene::Scene;
use crate::kubernetes::status;
use crate::rollout::action::Action;
use crate::rollout::decide::Decision;
use crate::rollout::smoke::{At, Words};
use crate::rollout::state::State;
use crate::rollout::terms::Terms;

/// A checkpoint is written at least this often while evidence comes in.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// A pass was overruled while it ran.
pub const IMMEDIATELY: Duration = Duration::from_millis(1);
/// After effects: look again, should the watch not bring them.
pub const AFTER_EFFECTS: Duration = Duration::from_secs(2);

/// A pass that has decided: what it goes by, and what it came to.
pub struct Round<'a> {
    pub context: &'a Context,
    pub scene: &'a Scene,
    pub terms: &'a Terms,
    pub before: &'a State,
    pub decision: &'a Decision,
    /// When it looked.
    pub now: Timestamp,
}

impl Round<'_> {
    /// Relieves, saves, tells, executes. Returns when to look again at the latest.
    pub async fn act(&self, entry: &mut Entry) -> Result<Option<Duration>, Error> {
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
