//! The state that a Rollout's status carries, and what is done where it cannot be read.
//!
//! Such a Rollout stands still: its canary gets no requests, since nothing watches over it, and
//! that is said. One that is deleted is put back and let go by what its objects tell.
//!
//! Not here: how a state is written (`pass`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::context::Context;
use super::entry::{Entry, mark};
use super::pass::Error;
use super::publish;
use super::round;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::events::reference;
use crate::kubernetes::execute::Order;
use crate::kubernetes::observe::{Elsewhere, observe};
use crate::kubernetes::scene::Scene;
use crate::kubernetes::status;
use crate::prometheus;
use crate::rollout::action::Action;
use crate::rollout::reason::Reason;
use crate::rollout::state::State;
use crate::rollout::terms::Terms;

/// Two daemons that take over each other's state would write without a pause.
const CONTESTED: Duration = Duration::from_secs(2);

/// Whether another daemon wrote right after this one. Then it waits: whoever took the checkpoint away did so once.
pub fn is_contested(entry: &Entry, rollout: &Rollout, now: Timestamp) -> bool {
    let stored = rollout
        .status
        .as_ref()
        .and_then(|status| status.checkpoint.as_deref());
    let others = stored.is_some_and(|stored| entry.checkpoint != Some(mark(stored)));
    let just_wrote = |at| at <= now && elapsed(at, now) < CONTESTED;
    entry.state.is_some() && others && entry.saved_at.is_some_and(just_wrote)
}

/// Loads the state from the checkpoint, unless this daemon has written it and come further.
pub fn recall(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Result<(), Error> {
    let checkpoint = rollout
        .status
        .as_ref()
        .and_then(|status| status.checkpoint.as_deref().map(mark));
    if entry.state.is_some() && checkpoint == entry.checkpoint {
        return Ok(());
    }
    let state = match status::state(rollout.status.as_ref()) {
        Err(_) if rollout.metadata.deletion_timestamp.is_some() => None,
        state => state.map_err(Error::Checkpoint)?,
    };
    let mut state = state.unwrap_or_default();
    state.resumed = match &entry.state {
        Some(before) => before.resumed,
        None => Some(context.clock.now()),
    };
    let restarted = entry.state.is_none();
    let key = prometheus::Key {
        namespace: rollout.namespace().unwrap_or_default(),
        name: rollout.name_any(),
    };
    context.watchlist.rewind(&key, publish::cursor(&state));
    entry.unread.clear();
    entry.state = Some(state);
    entry.checkpoint = checkpoint;
    // Another daemon's is as good as ours: two that wrote over each other would never end.
    let earlier = rollout.uid().filter(|_| restarted);
    let earlier = earlier.map_or(Duration::ZERO, |uid| round::earlier(&uid));
    entry.saved_at = checkpoint.map(|_| context.clock.now() - earlier);
    Ok(())
}

/// Takes the canary's requests away and says why the Rollout stands still.
pub async fn stand_still(
    context: &Context,
    entry: &mut Entry,
    rollout: &Arc<Rollout>,
    terms: &Terms,
    why: &Error,
) -> Result<(), Error> {
    // Nobody takes its readings.
    let key = prometheus::Key {
        namespace: terms.plan.namespace.clone(),
        name: terms.plan.name.clone(),
    };
    context.watchlist.leave(&key);
    entry.unread.clear();
    let scene = Scene::gather(&context.cache, rollout.clone(), &terms.plan);
    let (now, gate) = (context.clock.now(), context.gate());
    let elsewhere = Elsewhere {
        gate,
        ..Elsewhere::default()
    };
    let seen = observe(&scene, &terms.plan, &State::default(), elsewhere, now);
    if seen
        .route
        .canary
        .is_some_and(|canary| canary.weight != Some(0))
    {
        let order = Order::outside(&scene, &terms.plan);
        let off = Action::LowerWeight { weight: 0 };
        context.executor.execute(order, &off).await?;
    }
    let name = &terms.plan.name;
    let why = format!(
        "{why}: kubectl -n {} patch rollouts.sluice.dev {name} --subresource status --type merge -p '{{\"status\":{{\"checkpoint\":null}}}}'",
        terms.plan.namespace
    );
    let said = status::unreadable(
        rollout.status.as_ref(),
        rollout.metadata.generation,
        &why,
        now,
    );
    if rollout.status.as_ref() == Some(&said) {
        return Ok(());
    }
    let mut object = (**rollout).clone();
    object.status = Some(said);
    entry.written = Some(Arc::new(context.executor.save(&object).await?));
    publish::tell(
        context,
        &[reference(&**rollout)],
        "",
        &[Reason::CheckpointUnreadable { why }],
        now,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_writes_right_after_this_daemon_is_another_and_who_takes_the_checkpoint_away_is_not() {
        let now = Timestamp::UNIX_EPOCH;
        let mut entry = Entry::default();
        entry.state = Some(State::default());
        entry.checkpoint = Some(mark("ours"));
        entry.saved_at = Some(now);
        let contested = |entry: &Entry, checkpoint: Option<&str>, after: Duration| {
            let status = json!({"checkpoint": checkpoint});
            let rollout: Rollout = serde_json::from_value(json!({
                "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop"},
                "spec": {"target": {"name": "shop"}}, "status": status,
            }))
            .unwrap();
            is_contested(entry, &rollout, now + after)
        };
        let soon = CONTESTED / 2;
        assert!(contested(&entry, Some("theirs"), soon));
        assert!(!contested(&entry, Some("theirs"), CONTESTED), "its turn");
        assert!(!contested(&entry, Some("ours"), soon));
        assert!(!contested(&entry, None, soon));
        assert!(!contested(&Entry::default(), Some("theirs"), soon));
    }
}
