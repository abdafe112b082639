//! The applications that run on the sandbox's node, found by their pod's address.
//!
//! The node registers a pod's application while its process runs; the router asks for answers.
//! A request takes as long, on the sandbox's clock, as the pod's behaviour says. Not here:
//! which pod gets a request (the router), and when a pod runs (`life.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;

use super::behaviour::{Behaviour, Share};
use crate::clock::{Clock, elapsed};
use crate::sandbox::random::Random;

/// All running applications. Clones share them.
#[derive(Debug, Clone)]
pub struct Apps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    random: Mutex<Random>,
    running: RwLock<HashMap<String, Arc<App>>>,
}

/// One pod's application.
#[derive(Debug)]
pub struct App {
    pod: Arc<str>,
    image: Arc<str>,
    behaviour: Behaviour,
    started: Timestamp,
    /// The greatest share of the traffic so far, as the bits of an f64.
    most: AtomicU64,
    in_flight: AtomicUsize,
    killed: AtomicBool,
}

/// What an application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The pod's name.
    pub pod: Arc<str>,
    pub image: Arc<str>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("nothing listens there")]
    Refused,
    #[error("the process ended while it worked on the request")]
    BrokenOff,
}

impl Apps {
    /// No applications yet. The same seed gives the same errors and times.
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self(Arc::new(Inner {
            clock,
            random: Mutex::new(Random::new(seed)),
            running: RwLock::default(),
        }))
    }

    /// Sends a request to the pod at `ip` and waits for its answer. `share` is the part (0 to 1)
    /// of its ingress' traffic that the pod's arm gets.
    ///
    /// # Errors
    /// If no process runs there, or it ends before it has answered.
    pub async fn answer(&self, ip: &str, share: f64) -> Result<Answer, Unanswered> {
        let app = self.find(ip).ok_or(Unanswered::Refused)?;
        let _busy = Busy::new(&app.in_flight);
        let age = elapsed(app.started, self.0.clock.now());
        let (status, takes) = {
            let mut random = self.0.random.lock().unwrap_or_else(PoisonError::into_inner);
            app.behaviour.draw(app.share(share), age, &mut random)
        };
        self.0.clock.sleep(takes).await;
        if app.killed.load(Ordering::Relaxed) {
            return Err(Unanswered::BrokenOff);
        }
        Ok(Answer {
            status,
            pod: app.pod.clone(),
            image: app.image.clone(),
        })
    }

    fn find(&self, ip: &str) -> Option<Arc<App>> {
        let running = self
            .0
            .running
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        running.get(ip).cloned()
    }

    /// Starts the application of a pod; `started` is when its behaviour's time begins.
    pub(super) fn start(
        &self,
        ip: &str,
        pod: &str,
        image: &str,
        behaviour: Behaviour,
        started: Timestamp,
    ) {
        let app = App {
            pod: pod.into(),
            image: image.into(),
            behaviour,
            started,
            most: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            killed: AtomicBool::new(false),
        };
        let mut running = self
            .0
            .running
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        running.insert(ip.to_owned(), Arc::new(app));
    }

    /// Ends the application at `ip`; requests in flight are lost if it was `killed`.
    pub(super) fn end(&self, ip: &str, killed: bool) {
        let mut running = self
            .0
            .running
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(app) = running.remove(ip) {
            app.killed.store(killed, Ordering::Relaxed);
        }
    }

    /// How many requests the application at `ip` works on.
    pub(super) fn in_flight(&self, ip: &str) -> usize {
        self.find(ip)
            .map_or(0, |app| app.in_flight.load(Ordering::Relaxed))
    }
}

impl App {
    /// Notes the present share. The bits of floats that are not negative are in their order.
    fn share(&self, now: f64) -> Share {
        let before = self
            .most
            .fetch_max(now.max(0.0).to_bits(), Ordering::Relaxed);
        let most = f64::from_bits(before).max(now);
        Share { now, most }
    }
}

/// Counts a request in flight as long as it lives, even if the caller gives up.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn an_application_answers_until_it_ends() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        let apps = Apps::new(clock, 1);
        assert_eq!(apps.answer("10.1.0.1", 1.0).await, Err(Unanswered::Refused));
        apps.start(
            "10.1.0.1",
            "shop-1",
            "shop:1",
            Behaviour::default(),
            clock.now(),
        );
        let answer = apps.answer("10.1.0.1", 1.0).await.unwrap();
        assert_eq!((answer.status, &*answer.pod), (200, "shop-1"));
        assert!(clock.now() > Timestamp::UNIX_EPOCH);
        apps.end("10.1.0.1", false);
        assert_eq!(apps.answer("10.1.0.1", 1.0).await, Err(Unanswered::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_process_loses_what_it_worked_on_a_stopped_one_does_not() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1.0);
        for (killed, lost) in [(true, true), (false, false)] {
            let apps = Apps::new(clock, 1);
            apps.start(
                "10.1.0.1",
                "shop-1",
                "shop:1",
                Behaviour::default(),
                clock.now(),
            );
            let kill = async {
                clock.sleep(Duration::from_millis(1)).await;
                assert_eq!(apps.in_flight("10.1.0.1"), 1);
                apps.end("10.1.0.1", killed);
            };
            let (answer, ()) = tokio::join!(apps.answer("10.1.0.1", 1.0), kill);
            assert_eq!(answer.is_err(), lost);
        }
    }
}
