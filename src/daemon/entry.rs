//! What the daemon remembers of one Rollout between two passes.
//!
//! The truth is the checkpoint in the status; this is how far it has come since. A checkpoint
//! that was not written by this daemon replaces what is remembered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Notify;

use super::placing::Placing;
use crate::backoff::Doubling;
use crate::clock::elapsed;
use crate::kubernetes::crd::Rollout;
use crate::prometheus::Reading;
use crate::rollout::action::Action;
use crate::rollout::state::State;
use crate::rollout::terms::Terms;

/// Waits after actions that were executed and are asked for again.
const AGAIN: Doubling = Doubling::new(Duration::from_millis(500), Duration::from_secs(30));
/// What failed so often in a row is told: a single failure is nobody's matter.
const TROUBLE: u32 = 3;

/// What is remembered of one Rollout.
#[derive(Debug, Default)]
pub struct Entry {
    /// Its state, once it was loaded.
    pub state: Option<State>,
    /// The newest answer of the API server to one of our own writes.
    pub written: Option<Arc<Rollout>>,
    /// The checkpoint that the state came from or went to, as its mark.
    pub checkpoint: Option<u64>,
    /// When the checkpoint was written.
    pub saved_at: Option<Timestamp>,
    /// The terms that were last accepted.
    pub terms: Option<Arc<Terms>>,
    /// Why the present spec is not accepted.
    pub refusal: Option<String>,
    /// Readings that were taken for a pass that failed.
    pub unread: Vec<Reading>,
    /// Says during a pass that something came in.
    pub nudge: Arc<Notify>,
    /// When a pass came through last.
    pub passed_at: Option<Timestamp>,
    /// Whether its pods find nodes.
    pub placing: Placing,
    /// Passes that failed in a row.
    pub failures: u32,
    /// What was executed last, when, and how often in a row.
    executed: Option<(Vec<Action>, Timestamp, u32)>,
    /// Why something could not be done, and how often in a row.
    trouble: Option<(String, u32)>,
}

impl Entry {
    /// The newest of what is cached and what we wrote, which is forgotten once it is cached.
    pub fn newest(&mut self, cached: Option<Arc<Rollout>>) -> Option<Arc<Rollout>> {
        let cached = cached?;
        let newer = |written: &Arc<Rollout>| {
            written.uid() == cached.uid() && version(written) > version(&cached)
        };
        self.written = self.written.take().filter(newer);
        Some(self.written.clone().unwrap_or(cached))
    }

    /// How long to wait before the same actions are executed again: the watch may lag behind
    /// what was done, or something may undo it again and again.
    pub fn too_soon(&self, actions: &[Action], now: Timestamp) -> Option<Duration> {
        let (last, at, times) = self.executed.as_ref()?;
        // A clock that was set back says nothing of how long ago that was.
        if last != actions || *at > now {
            return None;
        }
        let left = AGAIN.after(*times).saturating_sub(elapsed(*at, now));
        (!left.is_zero()).then_some(left)
    }

    /// Notes what was executed.
    pub fn executed(&mut self, actions: Vec<Action>, now: Timestamp) {
        let times = match &self.executed {
            Some((last, _, times)) if *last == actions => times + 1,
            _ => 0,
        };
        self.executed = Some((actions, now, times));
    }

    /// Nothing was to be done: what was executed has come through.
    pub fn came_through(&mut self) {
        self.executed = None;
        self.trouble = None;
    }

    /// Everything that was to be done was taken.
    pub fn succeeded(&mut self) {
        self.trouble = None;
    }

    /// Something could not be done; that somebody else wrote meanwhile is no trouble.
    pub fn failed(&mut self, conflict: bool, why: &str) {
        if !conflict {
            let times = self.trouble.take().map_or(0, |(_, times)| times);
            self.trouble = Some((why.to_owned(), times.saturating_add(1)));
        }
    }

    /// Why nothing goes on, once that was so several times.
    pub fn trouble(&self) -> Option<&str> {
        let (why, times) = self.trouble.as_ref()?;
        (*times >= TROUBLE).then_some(why)
    }
}

/// What a checkpoint is recognised by; the text itself would be kept twice.
pub fn mark(checkpoint: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    checkpoint.hash(&mut hasher);
    hasher.finish()
}

fn version(rollout: &Rollout) -> u64 {
    rollout
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_told_until_it_succeeds() {
        let mut entry = Entry::default();
        for _ in 0..9 {
            entry.failed(true, "somebody else wrote");
        }
        assert_eq!(entry.trouble(), None);
        for times in 1..TROUBLE {
            entry.failed(false, "no");
            assert_eq!(entry.trouble(), None, "{times}");
        }
        entry.failed(false, "denied by a webhook");
        assert_eq!(entry.trouble(), Some("denied by a webhook"));
        entry.succeeded();
        assert_eq!(entry.trouble(), None);
    }

    #[test]
    fn the_same_actions_wait_longer_each_time() {
        let mut entry = Entry::default();
        let now = Timestamp::UNIX_EPOCH;
        let actions = vec![Action::Guard];
        assert_eq!(entry.too_soon(&actions, now), None);
        entry.executed(actions.clone(), now);
        assert_eq!(
            entry.too_soon(&actions, now),
            Some(Duration::from_millis(500))
        );
        assert_eq!(entry.too_soon(&[Action::Unguard], now), None);
        entry.executed(actions.clone(), now);
        assert_eq!(entry.too_soon(&actions, now), Some(Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert_eq!(entry.too_soon(&actions, later), None);
        let set_back = now - Duration::from_secs(3600);
        assert_eq!(entry.too_soon(&actions, set_back), None);
    }
}
