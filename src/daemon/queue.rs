//! The order of passes: which Rollout is looked at next, and when again.
//!
//! Guarantees: a Rollout has one pass at a time; a touch during its pass is told to it and leads to another one;
//! Rollouts in a run go before those that only changed, and do not wait for them; a wake-up that is
//! earlier replaces a later one.
//!
//! Not here: what a pass does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::time::{DelayQueue, delay_queue};

/// Namespace and name of a Rollout.
pub type Key = (String, String);

/// The longest that a Rollout waits for its next pass: what people write (a freeze "until further notice") may lie
/// further ahead than the queue can tell (795 days), and a machine's clock may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The order of passes.
#[derive(Debug, Default)]
pub struct Queue {
    urgent: VecDeque<Key>,
    plain: VecDeque<Key>,
    waiting: BTreeSet<Key>,
    /// Each with what tells its pass that something came in.
    busy: BTreeMap<Key, Arc<Notify>>,
    /// Those of the busy ones that only changed.
    busy_plain: BTreeSet<Key>,
    again: BTreeSet<Key>,
    delays: DelayQueue<Key>,
    alarms: BTreeMap<Key, delay_queue::Key>,
}

impl Queue {
    /// Asks for a pass as soon as possible.
    pub fn touch(&mut self, key: Key, urgent: bool) {
        if let Some(nudge) = self.busy.get(&key) {
            nudge.notify_one();
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            if urgent {
                self.urgent.push_back(key);
            } else {
                self.plain.push_back(key);
            }
        } else if urgent && let Some(at) = self.plain.iter().position(|other| *other == key) {
            // It waits already, in the slower line.
            self.plain.remove(at);
            self.urgent.push_back(key);
        }
    }

    /// Asks for a pass after `wait` of the runtime's time, or after [`LONGEST`] if that is sooner; replaces an alarm
    /// that was set before.
    pub fn wake_in(&mut self, key: Key, wait: Duration) {
        self.forget_alarm(&key);
        let alarm = self.delays.insert(key.clone(), wait.min(LONGEST));
        self.alarms.insert(key, alarm);
    }

    /// The next Rollout, not more than `plain` at a time of those that only changed; it is busy until
    /// [`Queue::done`].
    pub fn next(&mut self, plain: usize) -> Option<Key> {
        let key = match self.urgent.pop_front() {
            Some(key) => key,
            None if self.busy_plain.len() < plain => {
                let key = self.plain.pop_front()?;
                self.busy_plain.insert(key.clone());
                key
            }
            None => return None,
        };
        self.waiting.remove(&key);
        self.busy.insert(key.clone(), Arc::default());
        self.forget_alarm(&key);
        Some(key)
    }

    /// What tells the pass of a busy Rollout that something came in.
    pub fn nudge(&self, key: &Key) -> Arc<Notify> {
        self.busy.get(key).cloned().unwrap_or_default()
    }

    /// A pass is over.
    pub fn done(&mut self, key: &Key) {
        self.busy.remove(key);
        self.busy_plain.remove(key);
        if self.again.remove(key) {
            self.touch(key.clone(), true);
        }
    }

    /// Waits for the next alarm and touches its Rollout; for ever if none is set.
    pub async fn alarm(&mut self) {
        match self.delays.next().await {
            Some(expired) => {
                let key = expired.into_inner();
                self.alarms.remove(&key);
                self.touch(key, true);
            }
            None => futures::future::pending().await,
        }
    }

    fn forget_alarm(&mut self, key: &Key) {
        if let Some(alarm) = self.alarms.remove(key) {
            self.delays.try_remove(&alarm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("ns".to_owned(), name.to_owned())
    }

    #[test]
    fn what_is_in_a_run_goes_first() {
        let mut queue = Queue::default();
        queue.touch(key("idle"), false);
        queue.touch(key("run"), true);
        assert_eq!(queue.next(9), Some(key("run")));
        assert_eq!(queue.next(9), Some(key("idle")));
        assert_eq!(queue.next(9), None);
    }

    #[test]
    fn what_is_in_a_run_does_not_wait_for_what_only_changed() {
        let mut queue = Queue::default();
        for name in ["a", "b", "c"] {
            queue.touch(key(name), false);
        }
        assert_eq!(queue.next(1), Some(key("a")));
        assert_eq!(queue.next(1), None);
        queue.touch(key("c"), true);
        queue.touch(key("run"), true);
        assert_eq!(queue.next(1), Some(key("c")));
        assert_eq!(queue.next(1), Some(key("run")));
        assert_eq!(queue.next(1), None);
        queue.done(&key("a"));
        assert_eq!(queue.next(1), Some(key("b")));
    }

    #[test]
    fn a_touch_during_a_pass_leads_to_one_more() {
        let mut queue = Queue::default();
        queue.touch(key("a"), false);
        assert_eq!(queue.next(9), Some(key("a")));
        queue.touch(key("a"), false);
        queue.touch(key("a"), true);
        assert_eq!(queue.next(9), None);
        queue.done(&key("a"));
        assert_eq!(queue.next(9), Some(key("a")));
        queue.done(&key("a"));
        assert_eq!(queue.next(9), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_of_years_from_now_comes_within_a_day() {
        let mut queue = Queue::default();
        queue.wake_in(key("a"), Duration::MAX);
        let alarm = tokio::time::timeout(LONGEST * 2, queue.alarm()).await;
        assert!(alarm.is_ok());
        assert_eq!(queue.next(9), Some(key("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_is_replaced_by_the_newer_one() {
        let mut queue = Queue::default();
        queue.wake_in(key("a"), Duration::from_secs(60));
        queue.wake_in(key("a"), Duration::from_secs(1));
        let began = tokio::time::Instant::now();
        queue.alarm().await;
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(queue.next(9), Some(key("a")));
        let none = tokio::time::timeout(Duration::from_secs(120), queue.alarm()).await;
        assert!(none.is_err());
    }
}
