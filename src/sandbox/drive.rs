//! The loop that every part of the sandbox's world runs in, and its agenda.
//!
//! A part takes in watch events, then works off what they made necessary, then sleeps until the
//! next event or its next appointment. Events that wait already are taken in together, so a
//! burst costs one pass. Not here: what a part does.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{Stream, StreamExt};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, elapsed};

/// Something that reacts to events and to the passing of time.
pub trait Part: Send {
    type Seen: Send;

    /// Takes in an event. Cheap, no I/O.
    fn take_in(&mut self, seen: Self::Seen);

    /// Does what is due now.
    fn work(&mut self) -> impl Future<Output = ()> + Send;

    /// When there will be work without a further event.
    fn wakes_at(&self) -> Option<Timestamp>;
}

/// Runs a part until `shutdown` or the end of its events.
pub async fn drive<P: Part>(
    mut part: P,
    mut events: impl Stream<Item = P::Seen> + Unpin + Send,
    clock: Clock,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            seen = events.next() => match seen {
                Some(seen) => part.take_in(seen),
                None => return,
            },
            () = wait_until(clock, part.wakes_at()) => {}
        }
        while let Some(Some(seen)) = events.next().now_or_never() {
            part.take_in(seen);
        }
        part.work().await;
    }
}

/// Waits until `when` on `clock`; for ever if there is no such time.
pub async fn wait_until(clock: Clock, when: Option<Timestamp>) {
    match when {
        Some(when) => clock.sleep(elapsed(clock.now(), when)).await,
        None => std::future::pending().await,
    }
}

/// `span` after `start`.
pub fn after(start: Timestamp, span: Duration) -> Timestamp {
    start.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// What is to be looked at: now in the order of asking, or later at a time.
#[derive(Debug)]
pub struct Agenda<K> {
    queue: VecDeque<K>,
    queued: HashSet<K>,
    later: BTreeSet<(Timestamp, K)>,
    times: HashMap<K, Timestamp>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            queued: HashSet::new(),
            later: BTreeSet::new(),
            times: HashMap::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> Agenda<K> {
    /// Puts `item` at the end of the queue, once.
    pub fn add(&mut self, item: K) {
        if self.queued.insert(item.clone()) {
            self.queue.push_back(item);
        }
    }

    /// Notes `item` for `when`; an earlier appointment of the same item stays.
    pub fn add_at(&mut self, item: K, when: Timestamp) {
        match self.times.get(&item) {
            Some(&known) if known <= when => return,
            Some(&known) => {
                self.later.remove(&(known, item.clone()));
            }
            None => {}
        }
        self.times.insert(item.clone(), when);
        self.later.insert((when, item));
    }

    /// The next item that is due.
    pub fn pop(&mut self, now: Timestamp) -> Option<K> {
        while let Some((when, _)) = self.later.first()
            && *when <= now
        {
            let Some((_, item)) = self.later.pop_first() else {
                break;
            };
            self.times.remove(&item);
            self.add(item);
        }
        let item = self.queue.pop_front()?;
        self.queued.remove(&item);
        Some(item)
    }

    /// When something is due: at once (the earliest time) if something waits.
    pub fn next(&self) -> Option<Timestamp> {
        if self.queue.is_empty() {
            return self.later.first().map(|(when, _)| *when);
        }
        Some(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_item_is_queued_once_and_in_order() {
        let mut agenda = Agenda::default();
        for item in ["a", "b", "a"] {
            agenda.add(item);
        }
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop(at(0))).collect();
        assert_eq!(order, ["a", "b"]);
    }

    #[test]
    fn the_earliest_appointment_of_an_item_counts() {
        let mut agenda = Agenda::default();
        agenda.add_at("a", at(9));
        agenda.add_at("a", at(5));
        agenda.add_at("a", at(7));
        assert_eq!(agenda.next(), Some(at(5)));
        assert_eq!(agenda.pop(at(4)), None);
        assert_eq!(agenda.pop(at(5)), Some("a"));
        assert_eq!(agenda.next(), None);
    }
}
