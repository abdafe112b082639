//! Ends the tests when a simulation turns in circles: virtual time stands still while something is
//! always ready to run, so that nothing inside the simulation would ever notice.
//!
//! The bound is on real time, far beyond what a loaded machine needs for a quarter of a virtual
//! second. What asks the API server too often is noticed by `net`, in virtual time.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Real time within which virtual time must pass.
const BOUND: Duration = Duration::from_secs(120);

/// Watches one simulation until it is dropped.
pub struct Watchdog {
    looks: Arc<AtomicU64>,
    _watched: Sender<()>,
}

impl Watchdog {
    pub fn of(seed: u64) -> Self {
        let (watched, over) = mpsc::channel();
        let looks = Arc::new(AtomicU64::new(0));
        let seen = looks.clone();
        thread::spawn(move || {
            let mut last = u64::MAX;
            while over.recv_timeout(BOUND) == Err(RecvTimeoutError::Timeout) {
                let now = seen.load(Ordering::Relaxed);
                if now == last {
                    eprintln!(
                        "seed {seed} turns in circles: virtual time stands still\nagain: make soak SEED={seed}"
                    );
                    process::abort();
                }
                last = now;
            }
        });
        Self {
            looks,
            _watched: watched,
        }
    }

    /// Virtual time has passed.
    pub fn looked(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }
}
