//! How many requests were made, by user, verb and resource: for tests and benchmarks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The resource, with `/subresource` where there is one; empty for other paths.
    pub resource: String,
}

/// Counts of requests since the start.
#[derive(Debug, Default)]
pub struct Requests(Mutex<BTreeMap<Counted, u64>>);

impl Requests {
    pub(super) fn count(&self, user: &str, verb: &str, resource: &str) {
        let key = Counted {
            user: user.into(),
            verb: verb.into(),
            resource: resource.into(),
        };
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default() += 1;
    }

    /// All counts.
    pub fn all(&self) -> BTreeMap<Counted, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The number of requests for which `wanted` holds.
    pub fn total(&self, wanted: impl Fn(&Counted) -> bool) -> u64 {
        self.all()
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(_, n)| n)
            .sum()
    }

    /// The number of writes by a user.
    pub fn writes(&self, user: &str) -> u64 {
        self.total(|c| c.user == user && !matches!(c.verb.as_str(), "get" | "list" | "watch"))
    }
}
