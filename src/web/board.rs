//! What the daemon knows of each Rollout at this moment, for those who look.
//!
//! Guarantees: an entry is replaced as a whole; a reader never waits for a decision, since the
//! lock is held for a copy only. Caveat: the board is newer than the status in the API, which is
//! written at changes only.
//!
//! Not here: history.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::kubernetes::crd::{GitStatus, LastRun, RevisionStatus, RunStatus};

/// One Rollout as it is now. What most do not have is apart: there may be thousands at rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The guarded Deployment's name.
    pub target: String,
    /// The state's name, e.g. `Stepping`.
    pub phase: String,
    /// Why it is there, in a sentence.
    pub message: String,
    /// What serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The run that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<RunStatus>>,
    /// The run that ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Box<LastRun>>,
    /// The commits behind the templates, and the last remedy in Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<Box<GitStatus>>,
    /// When this was known.
    pub updated: Timestamp,
}

type Key = (String, String);

/// Entries with the change that brought each, counted from 1.
type Entries = BTreeMap<Key, (Arc<Entry>, u64)>;

/// All Rollouts, by namespace and name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board {
    entries: Arc<RwLock<Entries>>,
    changes: watch::Sender<u64>,
}

impl Board {
    /// Replaces what is known of a Rollout. Nobody is told where nothing is new.
    pub fn set(&self, entry: Entry) {
        let key = (entry.namespace.clone(), entry.name.clone());
        let mut entries = self.write();
        let change = match entries.get(&key) {
            Some((before, change)) if before.shows(&entry) => *change,
            _ => self.change(),
        };
        entries.insert(key, (Arc::new(entry), change));
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if self.write().remove(&key).is_some() {
            self.change();
        }
    }

    /// One Rollout.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let key = (namespace.to_owned(), name.to_owned());
        let entries = self.read();
        entries.get(&key).map(|(entry, _)| Arc::clone(entry))
    }

    /// All, by namespace and name.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        let entries = self.read();
        entries
            .values()
            .map(|(entry, _)| Arc::clone(entry))
            .collect()
    }

    /// Says when something changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The newest change of one Rollout, 0 where it is not known; or of all.
    pub fn version(&self, one: Option<&Key>) -> u64 {
        match one {
            Some(key) => self.read().get(key).map_or(0, |(_, change)| *change),
            None => *self.changes.borrow(),
        }
    }

    fn change(&self) -> u64 {
        self.changes.send_modify(|change| *change += 1);
        *self.changes.borrow()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether another entry says the same, whenever that was known.
    fn shows(&self, other: &Self) -> bool {
        let Self {
            namespace,
            name,
            target,
            phase,
            message,
            stable,
            run,
            last_run,
            git,
            updated: _,
        } = other;
        let names = (&self.namespace, &self.name, &self.target) == (namespace, name, target);
        let words = (&self.phase, &self.message) == (phase, message);
        let rest = (&self.stable, &self.run, &self.last_run, &self.git);
        names && words && rest == (stable, run, last_run, git)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            namespace: "shop".to_owned(),
            name: "backend".to_owned(),
            target: "backend".to_owned(),
            phase: "Idle".to_owned(),
            message: String::new(),
            stable: None,
            run: None,
            last_run: None,
            git: None,
            updated: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_entry_is_replaced_and_forgotten() {
        let board = Board::default();
        let mut entry = entry();
        board.set(entry.clone());
        entry.phase = "Stepping".to_owned();
        board.clone().set(entry.clone());
        assert_eq!(board.all(), [Arc::new(entry.clone())]);
        assert_eq!(board.get("shop", "backend").as_deref(), Some(&entry));
        board.forget("shop", "backend");
        assert_eq!(board.get("shop", "backend"), None);
    }

    #[test]
    fn only_what_is_new_is_a_change() {
        let board = Board::default();
        let mut entry = entry();
        let key = (entry.namespace.clone(), entry.name.clone());
        board.set(entry.clone());
        let first = board.version(Some(&key));
        entry.updated += std::time::Duration::from_secs(1);
        board.set(entry.clone());
        assert_eq!(board.version(Some(&key)), first);
        entry.phase = "Stepping".to_owned();
        board.set(entry);
        assert_ne!(board.version(Some(&key)), first);
        let all = board.version(None);
        board.forget("shop", "backend");
        assert_ne!(board.version(None), all);
    }
}
