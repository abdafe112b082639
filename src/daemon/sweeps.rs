//! Namespaces in which something changed that may concern each of their Rollouts, and when they are looked at.
//!
//! Such a change (a Service of somebody, a Secret) matters to few, but which ones cannot be told before they are
//! looked at. Many come at once: a tool applies a whole namespace, a watch lists anew. So they are gathered, and a
//! namespace is looked at once for all that came within a moment.
//!
//! Not here: Rollouts that are known to be concerned (`conductor`).

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use tokio_util::time::DelayQueue;

/// What comes within this time after the first change is looked at together.
const GATHER: Duration = Duration::from_secs(1);

/// Namespaces that are to be looked at.
#[derive(Debug, Default)]
pub struct Sweeps {
    due: DelayQueue<String>,
    known: BTreeSet<String>,
}

impl Sweeps {
    /// Something changed in a namespace.
    pub fn add(&mut self, namespace: &str) {
        if self.known.insert(namespace.to_owned()) {
            self.due.insert(namespace.to_owned(), GATHER);
        }
    }

    /// Waits for the next namespace whose time has come; for ever if there is none.
    pub async fn next(&mut self) -> String {
        let Some(due) = self.due.next().await else {
            return futures::future::pending().await;
        };
        let namespace = due.into_inner();
        self.known.remove(&namespace);
        namespace
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_moment_is_looked_at_once() {
        let began = Instant::now();
        let mut sweeps = Sweeps::default();
        sweeps.add("a");
        tokio::time::sleep(GATHER / 2).await;
        for namespace in ["a", "b", "a", "b"] {
            sweeps.add(namespace);
        }
        assert_eq!(sweeps.next().await, "a");
        assert_eq!(began.elapsed().as_secs(), GATHER.as_secs());
        assert_eq!(sweeps.next().await, "b");
        assert!(timeout(GATHER * 9, sweeps.next()).await.is_err());
        sweeps.add("a");
        assert_eq!(sweeps.next().await, "a");
    }
}
