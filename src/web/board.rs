//! What the daemon knows of each Rollout at this moment, for those who look.
//!
//! Guarantees: an entry is replaced as a whole; a reader never waits for a decision, since the
//! lock is held for a copy only. Caveat: the board is newer than the status in the API, which is
//! written at changes only.
//!
//! Not here: history.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::Serialize;

use crate::kubernetes::crd::{LastRun, RevisionStatus, RunStatus};

/// One Rollout as it is now.
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
    pub run: Option<RunStatus>,
    /// The run that ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When this was known.
    pub updated: Timestamp,
}

type Entries = BTreeMap<(String, String), Arc<Entry>>;

/// All Rollouts, by namespace and name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Entries>>);

impl Board {
    /// Replaces what is known of a Rollout.
    pub fn set(&self, entry: Entry) {
        let key = (entry.namespace.clone(), entry.name.clone());
        let entry = Arc::new(entry);
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(key, entry);
    }

    /// Forgets a Rollout that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&key);
    }

    /// One Rollout.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let key = (namespace.to_owned(), name.to_owned());
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&key).cloned()
    }

    /// All, by namespace and name.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_replaced_and_forgotten() {
        let board = Board::default();
        let mut entry = Entry {
            namespace: "shop".to_owned(),
            name: "backend".to_owned(),
            target: "backend".to_owned(),
            phase: "Idle".to_owned(),
            message: String::new(),
            stable: None,
            run: None,
            last_run: None,
            updated: Timestamp::UNIX_EPOCH,
        };
        board.set(entry.clone());
        entry.phase = "Stepping".to_owned();
        board.clone().set(entry.clone());
        assert_eq!(board.all(), [Arc::new(entry.clone())]);
        assert_eq!(board.get("shop", "backend").as_deref(), Some(&entry));
        board.forget("shop", "backend");
        assert_eq!(board.get("shop", "backend"), None);
    }
}
