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
pub struct Watchlist(Mutex<BTreeMap<Key, Watched>>);

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
        match list.get_mut(&subject.key()) {
            Some(watched) => {
                let cursor = watched.subject.cursor.take();
                watched.subject = Subject { cursor, ..subject };
            }
            None => {
                list.insert(
                    subject.key(),
                    Watched {
                        subject,
                        epoch: 0,
                        unread: Vec::new(),
                        absent: None,
                    },
                );
            }
        }
    }

    /// Takes a Rollout off the list.
    pub fn leave(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Takes everybody off the list.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Forgets what was read for a Rollout: it begins at `cursor` again.
    pub fn rewind(&self, key: &Key, cursor: Option<Cursor>) {
        if let Some(watched) = self.lock().get_mut(key) {
            watched.epoch += 1;
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
        list.values().map(wanted).collect()
    }

    /// Hands in a reading. Whether it was of use.
    pub fn hand_in(&self, key: &Key, epoch: u64, reading: Reading) -> bool {
        match self.lock().get_mut(key) {
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
        list.get_mut(key)
            .map(|watched| std::mem::take(&mut watched.unread))
            .unwrap_or_default()
    }

    /// Why the last reading was not whole, also for passes that have nothing new to read.
    pub fn absent(&self, key: &Key) -> Option<String> {
        self.lock().get(key)?.absent.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_absent_is_so_until_the_next_reading() {
        let list = Watchlist::default();
        let subject = Subject {
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
        };
        let key = subject.key();
        list.enter(subject.clone());
        let reading = |absent: Option<&str>| Reading {
            absent: absent.map(str::to_owned),
            ..Reading::default()
        };
        assert!(list.hand_in(&key, 0, reading(Some("no answer"))));
        assert_eq!(list.take(&key).len(), 1);
        list.enter(subject);
        assert_eq!(
            (list.take(&key), list.absent(&key)),
            (vec![], Some("no answer".into()))
        );
        assert!(list.hand_in(&key, 0, reading(None)));
        assert_eq!(list.absent(&key), None);
    }
}
