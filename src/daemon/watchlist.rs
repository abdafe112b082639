//! Which Rollouts need metrics, and the readings that wait for their next pass.
//!
//! Passes enter and leave the list; the metrics task reads for everybody on it. A Rollout that
//! lost its state (a restart, a conflict) asks to be read from its bookmark again; readings
//! that were under way for the lost state are then dropped by their epoch.
//!
//! Not here: how metrics are read (`prometheus`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::prometheus::{Cursor, Key, Reading, Subject};

/// The list. Locked for copies only.
#[derive(Debug, Default)]
pub struct Watchlist(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    all: BTreeMap<Key, Watched>,
    /// Counts lives of all Rollouts together: a reading of one that left the list and came back is not of its new life.
    epochs: u64,
}

impl List {
    fn next_epoch(&mut self) -> u64 {
        self.epochs += 1;
        self.epochs
    }
}

#[derive(Debug)]
struct Watched {
    subject: Subject,
    epoch: u64,
    unread: Vec<Reading>,
    /// Why the last reading was not whole.
    absent: Option<String>,
}

/// What to read for one Rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What to read.
    pub subject: Subject,
    /// Hand it in again with the reading.
    pub epoch: u64,
}

impl Watchlist {
    /// Puts a Rollout on the list. One that is there goes on where the source stands; one that is
    /// not begins at the subject's cursor.
    pub fn enter(&self, subject: Subject) {
        let mut list = self.lock();
        if let Some(watched) = list.all.get_mut(&subject.key()) {
            let cursor = watched.subject.cursor.take();
            watched.subject = Subject { cursor, ..subject };
            return;
        }
        let watched = Watched {
            epoch: list.next_epoch(),
            unread: Vec::new(),
            absent: None,
            subject,
        };
        list.all.insert(watched.subject.key(), watched);
    }

    /// Takes a Rollout off the list.
    pub fn leave(&self, key: &Key) {
        self.lock().all.remove(key);
    }

    /// Takes everybody off the list.
    pub fn clear(&self) {
        self.lock().all.clear();
    }

    /// Forgets what was read for a Rollout: it begins at `cursor` again.
    pub fn rewind(&self, key: &Key, cursor: Option<Cursor>) {
        let mut list = self.lock();
        let epoch = list.next_epoch();
        if let Some(watched) = list.all.get_mut(key) {
            watched.epoch = epoch;
            watched.unread.clear();
            watched.subject.cursor = cursor;
        }
    }

    /// What to read now.
    pub fn wanted(&self) -> Vec<Wanted> {
        let list = self.lock();
        let wanted = |watched: &Watched| Wanted {
            subject: watched.subject.clone(),
            epoch: watched.epoch,
        };
        list.all.values().map(wanted).collect()
    }

    /// Hands in a reading. Whether it was of use.
    pub fn hand_in(&self, key: &Key, epoch: u64, reading: Reading) -> bool {
        match self.lock().all.get_mut(key) {
            Some(watched) if watched.epoch == epoch => {
                watched.subject.cursor = Some(reading.cursor.clone());
                watched.absent.clone_from(&reading.absent);
                watched.unread.push(reading);
                true
            }
            _ => false,
        }
    }

    /// The readings that a pass has not seen yet.
    pub fn take(&self, key: &Key) -> Vec<Reading> {
        let mut list = self.lock();
        list.all
            .get_mut(key)
            .map(|watched| std::mem::take(&mut watched.unread))
            .unwrap_or_default()
    }

    /// Why the last reading was not whole, also for passes that have nothing new to read.
    pub fn absent(&self, key: &Key) -> Option<String> {
        self.lock().all.get(key)?.absent.clone()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            namespace: "shop".into(),
            name: "api".into(),
            ingress: "api".into(),
            service: "api".into(),
            canary_service: "api-canary".into(),
            other_ingresses: Vec::new(),
            port: "80".into(),
            other_ports: Vec::new(),
            workload: "api".into(),
            canary_workload: "api-canary".into(),
            canary_pods: "api-canary-.*".into(),
            stable_pods: "api-.*".into(),
            rules: Vec::new(),
            cursor: None,
            since: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_reading_for_the_life_before_is_of_no_use() {
        let list = Watchlist::default();
        let subject = subject();
        let key = subject.key();
        list.enter(subject.clone());
        let before = list.wanted().remove(0).epoch;
        // The lease was lost and won again.
        list.clear();
        list.enter(subject);
        assert!(!list.hand_in(&key, before, Reading::default()));
        let now = list.wanted().remove(0).epoch;
        assert!(list.hand_in(&key, now, Reading::default()));
    }

    #[test]
    fn what_was_absent_is_so_until_the_next_reading() {
        let list = Watchlist::default();
        let subject = subject();
        let key = subject.key();
        list.enter(subject.clone());
        let epoch = list.wanted().remove(0).epoch;
        let reading = |absent: Option<&str>| Reading {
            absent: absent.map(str::to_owned),
            ..Reading::default()
        };
        assert!(list.hand_in(&key, epoch, reading(Some("no answer"))));
        assert_eq!(list.take(&key).len(), 1);
        list.enter(subject);
        assert_eq!(
            (list.take(&key), list.absent(&key)),
            (vec![], Some("no answer".into()))
        );
        assert!(list.hand_in(&key, epoch, reading(None)));
        assert_eq!(list.absent(&key), None);
    }
}
