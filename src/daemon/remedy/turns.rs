//! Who works on repositories: one at a time on each, so that a server that accepts and says nothing holds up
//! only what is its own; and not too many in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Repositories that are worked on at a time.
const AT_ONCE: usize = 4;

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    each: Mutex<HashMap<String, Arc<Turn<()>>>>,
    all: Arc<Semaphore>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _one: OwnedMutexGuard<()>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            each: Mutex::default(),
            all: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Turns {
    /// Waits for one's turn at the repository of this URL.
    pub async fn at(&self, url: &str) -> Held {
        let turn = {
            let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
            each.retain(|_, turn| Arc::strong_count(turn) > 1);
            each.entry(url.to_owned()).or_default().clone()
        };
        // Who waits here takes nobody's place.
        let one = turn.lock_owned().await;
        let of_all = self.all.clone().acquire_owned().await.ok();
        Held {
            _one: one,
            _of_all: of_all,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_repository_has_one_turn_and_all_have_four() {
        let turns = Turns::default();
        let held = turns.at("a").await;
        // They wait for the one that hangs, and hold up nobody else.
        let mut hanging: Vec<_> = (0..30).map(|_| Box::pin(turns.at("a"))).collect();
        for one in &mut hanging {
            assert!(one.now_or_never().is_none());
        }
        let others = [
            turns.at("b").await,
            turns.at("c").await,
            turns.at("d").await,
        ];
        assert!(turns.at("e").now_or_never().is_none());
        drop(others);
        assert!(turns.at("e").now_or_never().is_some());
        drop(held);
        drop(hanging);
        assert!(turns.at("a").now_or_never().is_some());
        assert_eq!(turns.each.lock().unwrap().len(), 1);
    }
}
