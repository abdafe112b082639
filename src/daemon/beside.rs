//! Waiting for a write without looking away: while it takes long, what comes in is looked at, and
//! load is taken off the canary at once where that asks for it.
//!
//! Guarantees: nothing is sent beside a write but what lowers the weight; a pass that was overruled sends
//! nothing more, and what was read beside it is folded in the next one.
//!
//! Assumptions: lowering needs no saved state. A share that is under way carries the version of the Ingress
//! that it was decided for, so it cannot arrive after a lowering that did.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::context::Context;
use super::pass::{metrics, reacted};
use crate::causes;
use crate::kubernetes::execute::Order;
use crate::kubernetes::observe::{Elsewhere, observe};
use crate::kubernetes::scene::Scene;
use crate::prometheus::{self, Reading};
use crate::rollout::decide::{Decision, decide};
use crate::rollout::state::State;
use crate::rollout::terms::Terms;

/// A write that takes longer is not merely waited for; also the least time between two glances.
const LONG: Duration = Duration::from_millis(250);

/// Waits for `write`. When `nudge` says that something came in and the write takes long, `glance`
/// looks at it; what it gives back is done beside the write.
pub async fn beside<T, R: Future<Output = ()>>(
    write: impl Future<Output = T>,
    nudge: &Notify,
    mut glance: impl FnMut() -> Option<R>,
) -> T {
    let mut write = pin!(write);
    loop {
        tokio::select! {
            biased;
            done = &mut write => return done,
            () = news(nudge) => {}
        }
        let Some(relief) = glance() else {
            continue;
        };
        match select(&mut write, pin!(relief)).await {
            Either::Left((done, relief)) => {
                relief.await;
                return done;
            }
            Either::Right(((), _)) => {}
        }
    }
}

async fn news(nudge: &Notify) {
    tokio::time::sleep(LONG).await;
    nudge.notified().await;
}

/// Looks at what came in during a pass, from the state that the pass comes to.
pub struct Glances<'a> {
    context: &'a Context,
    terms: &'a Terms,
    state: &'a State,
    /// What was read beside the pass.
    pub readings: Vec<Reading>,
    /// Whether less weight is wanted than the pass came to.
    pub overruled: bool,
}

impl<'a> Glances<'a> {
    /// Has not looked yet; `state` is what the pass comes to.
    pub fn from(context: &'a Context, terms: &'a Terms, state: &'a State) -> Self {
        Self {
            context,
            terms,
            state,
            readings: Vec::new(),
            overruled: false,
        }
    }

    /// Looks; gives back the lowering, if less weight is wanted.
    pub fn look(&mut self) -> Option<BoxFuture<'a, ()>> {
        let (context, terms, state) = (self.context, self.terms, self.state);
        let plan = &terms.plan;
        let rollout = context.cache.rollouts.get(&plan.namespace, &plan.name)?;
        let key = prometheus::Key {
            namespace: plan.namespace.clone(),
            name: plan.name.clone(),
        };
        self.readings.extend(context.watchlist.take(&key));
        let scene = Scene::gather(&context.cache, rollout, plan);
        let elsewhere = Elsewhere {
            gate: context.gate(),
            metrics: metrics(context, &key, &self.readings),
            ..Elsewhere::default()
        };
        let now = context.clock.now();
        let seen = observe(&scene, plan, state, elsewhere, now);
        let decision = decide(terms, state, &seen);
        let less = weight(&decision.next) < weight(state);
        self.overruled |= less;
        less.then(|| relieve(context, terms, state, scene, decision, now).boxed())
    }
}

/// The weight that a state wants.
fn weight(state: &State) -> u8 {
    state.phase.run().map_or(0, |run| run.weight)
}

async fn relieve(
    context: &Context,
    terms: &Terms,
    state: &State,
    scene: Scene,
    decision: Decision,
    looked: Timestamp,
) {
    let order = Order::outside(&scene, &terms.plan);
    for action in decision.actions.iter().filter(|action| action.relieves()) {
        tracing::debug!(
            namespace = order.plan.namespace,
            rollout = order.plan.name,
            ?action,
            "acts beside a write"
        );
        if let Err(error) = context.executor.execute(order, action).await {
            // The next pass, which is due, tries again.
            let error = causes::told(&error);
            tracing::warn!(
                namespace = order.plan.namespace,
                rollout = order.plan.name,
                error,
                "the weight was not lowered yet"
            );
            return;
        }
    }
    reacted(context, state, &decision, looked);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, sleep};

    use super::*;

    const HANGS: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_does_not_delay_what_is_urgent() {
        let (began, nudge) = (Instant::now(), Notify::new());
        let relieved = Cell::new(None);
        let news = async {
            sleep(Duration::from_secs(1)).await;
            nudge.notify_one();
        };
        let glance = || {
            Some(async {
                sleep(Duration::from_millis(10)).await;
                relieved.set(Some(began.elapsed()));
            })
        };
        tokio::join!(beside(sleep(HANGS), &nudge, glance), news);
        let after = relieved.get().unwrap();
        assert!(after < Duration::from_millis(1100), "{after:?}");
        assert!(began.elapsed() < HANGS + Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_begun_beside_a_write_is_finished_though_the_write_is_done_before() {
        let nudge = Notify::new();
        nudge.notify_one();
        let relieved = Cell::new(false);
        let glance = || {
            Some(async {
                sleep(HANGS).await;
                relieved.set(true);
            })
        };
        beside(sleep(Duration::from_millis(300)), &nudge, glance).await;
        assert!(relieved.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_quick_is_only_waited_for() {
        let nudge = Notify::new();
        nudge.notify_one();
        let glance = || -> Option<std::future::Ready<()>> { panic!("looked") };
        beside(sleep(Duration::from_millis(200)), &nudge, glance).await;
    }
}
