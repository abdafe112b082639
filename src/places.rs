//! The places of connections: so many at a time, and whose is taken when there is none.
//!
//! Guarantees: whoever comes gets a place as soon as on any connection nothing is asked: that one gives way on which
//! nothing was asked for the longest time. A connection on which a request is being answered is never cut off.
//!
//! Caveat: a request that comes in the very moment in which its connection gives way is not answered; clients
//! send it again on another one. Not here: connections themselves (`web::serve`, `webhook::listener`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// With less than one in so many free, they are scarce.
const SCARCE: usize = 4;

/// Connections on which nothing is asked, the longest idle first.
#[derive(Debug, Default)]
struct Idle {
    last: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

/// All places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places {
    all: usize,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Idle>>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    /// Its number among those that idle.
    number: Mutex<Option<u64>>,
    needed: CancellationToken,
    // None only if the semaphore were closed, which it never is.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many.
    pub fn new(all: usize) -> Self {
        Self {
            all,
            free: Arc::new(Semaphore::new(all)),
            idle: Arc::default(),
        }
    }

    /// A place; if none is free, the one that idles longest gives way.
    pub async fn take(&self) -> Place {
        let permit = if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            Some(permit)
        } else {
            self.end_longest();
            Arc::clone(&self.free).acquire_owned().await.ok()
        };
        Place {
            places: self.clone(),
            number: Mutex::default(),
            needed: CancellationToken::new(),
            _permit: permit,
        }
    }

    fn end_longest(&self) {
        if let Some((_, needed)) = self.idle().waiting.pop_first() {
            needed.cancel();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn enter(&mut self, needed: CancellationToken) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, needed);
        self.last
    }
}

impl Place {
    /// Nothing is asked on it from now on.
    pub fn idles(&self) {
        self.is_busy();
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        *number = Some(self.places.idle().enter(self.needed.clone()));
    }

    /// A request is being answered.
    pub fn is_busy(&self) {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = number.take() {
            self.places.idle().waiting.remove(&number);
        }
    }

    /// Ends when somebody else needs it.
    pub async fn is_needed(&self) {
        self.needed.cancelled().await;
    }

    /// Whether few are left.
    pub fn are_scarce(&self) -> bool {
        self.places.free.available_permits() < self.places.all / SCARCE
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_busy();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_never_one_that_is_busy() {
        let places = Places::new(3);
        let (one, two, three) = (
            places.take().await,
            places.take().await,
            places.take().await,
        );
        for place in [&one, &two, &three] {
            place.idles();
        }
        let is_needed = |place: &Place| place.is_needed().now_or_never().is_some();
        one.is_busy();
        assert!(places.take().now_or_never().is_none());
        assert!(!is_needed(&one) && is_needed(&two) && !is_needed(&three));
        drop(two);
        let four = places.take().await;
        four.idles();
        one.idles();
        assert!(places.take().now_or_never().is_none());
        assert!(!is_needed(&one) && is_needed(&three) && !is_needed(&four));
        drop((one, three, four));
        assert_eq!(places.idle().waiting.len(), 0);
        assert!(!places.take().await.are_scarce());
    }
}
