//! When what is due for each Rollout is tried: what failed waits ever longer, what is only awaited is looked at
//! ever more seldom, and nothing is begun beside itself.
//!
//! Times are ticks, which a machine's clock that is set does not touch.
//!
//! Not here: what is due (`due`), and whose turn it is at a repository (`turns`).

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::Id;

use crate::backoff::Doubling;
use crate::daemon::queue::Key;

/// Waits after something failed.
const RETRY: Doubling = Doubling::new(Duration::from_secs(2), Duration::from_secs(300));
/// A forge that wants to be left alone longer is asked all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// What fails so often passes by itself, and is not told.
const UNTOLD: u32 = 2;

/// What was tried without success.
#[derive(Debug, Default)]
struct Trouble {
    times: u32,
    until: Duration,
    told: String,
}

/// When what is tried.
#[derive(Debug, Default)]
pub struct Schedule {
    troubles: HashMap<Key, Trouble>,
    /// When what is only awaited is looked at next.
    looks: HashMap<Key, Duration>,
    going: HashMap<Id, Key>,
}

impl Schedule {
    /// Whether something may be tried for a Rollout now.
    pub fn may(&self, key: &Key, now: Duration) -> bool {
        let waits = self.troubles.get(key);
        waits.is_none_or(|trouble| trouble.until <= now)
            && !self.going.values().any(|going| going == key)
    }

    /// Whether it is time for a look at what is only awaited; if so, the next one comes after `wait`.
    pub fn look(&mut self, key: &Key, wait: Duration, now: Duration) -> bool {
        if self.looks.get(key).is_some_and(|next| now < *next) {
            return false;
        }
        self.looks.insert(key.clone(), now.saturating_add(wait));
        true
    }

    /// Something goes on in a task.
    pub fn begun(&mut self, task: Id, key: Key) {
        self.going.insert(task, key);
    }

    /// The task has ended, in whatever way.
    pub fn ended(&mut self, task: Id) -> Option<Key> {
        self.going.remove(&task)
    }

    /// What was tried is done.
    pub fn done(&mut self, key: &Key) {
        self.troubles.remove(key);
    }

    /// It failed for now, and is left alone for `least` if that is longer; whether that is news to people.
    pub fn failed(&mut self, key: Key, why: &str, least: Option<Duration>, now: Duration) -> bool {
        let trouble = self.troubles.entry(key).or_default();
        let wait = RETRY
            .after(trouble.times)
            .max(least.unwrap_or_default().min(LONGEST_WAIT));
        trouble.times = trouble.times.saturating_add(1);
        trouble.until = now.saturating_add(wait);
        let news = trouble.times > UNTOLD && trouble.told != why;
        if news {
            why.clone_into(&mut trouble.told);
        }
        news
    }

    /// Nothing is known of what others do meanwhile; what goes on goes on.
    pub fn forget(&mut self) {
        self.troubles.clear();
        self.looks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_failed_waits_ever_longer_and_is_told_once_it_lasts() {
        let (key, mut schedule) = (("shop".to_owned(), "a".to_owned()), Schedule::default());
        let mut now = at(0);
        let mut told = Vec::new();
        for _ in 0..12 {
            told.push(schedule.failed(key.clone(), "no answer", None, now));
            let wait = (0..9999).find(|more| schedule.may(&key, now + at(*more)));
            now += at(wait.unwrap());
        }
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert!(told[2], "{told:?}");
        // 2, 4, 8, ... 256, and then 300 s each.
        assert_eq!(now, at(510 + 4 * 300));
        schedule.failed(key.clone(), "429", Some(at(900)), now);
        assert!(!schedule.may(&key, now + at(899)) && schedule.may(&key, now + at(900)));
        schedule.done(&key);
        assert!(schedule.may(&key, now));
    }

    #[tokio::test]
    async fn what_goes_on_is_not_begun_again() {
        let (key, mut schedule) = (("shop".to_owned(), "a".to_owned()), Schedule::default());
        let task = tokio::task::JoinSet::new().spawn(async {});
        schedule.begun(task.id(), key.clone());
        schedule.forget();
        assert!(!schedule.may(&key, at(9)));
        assert_eq!(schedule.ended(task.id()), Some(key.clone()));
        assert!(schedule.may(&key, at(9)));
    }

    #[test]
    fn what_is_awaited_is_looked_at_when_its_time_has_come() {
        let (key, mut schedule) = (("shop".to_owned(), "a".to_owned()), Schedule::default());
        assert!(schedule.look(&key, at(20), at(0)));
        assert!(!schedule.look(&key, at(20), at(19)));
        assert!(schedule.look(&key, at(20), at(20)));
    }
}
