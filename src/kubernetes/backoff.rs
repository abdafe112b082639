//! How long a watch that failed waits before it is tried again: longer each time, and each kind
//! a little differently, so that their lists do not all come at once.
//!
//! Why not kube's own: its spread is drawn from the machine's randomness, and the fault simulation
//! must play the same each time.
//!
//! Not here: when a failure is a failure (`cache`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};

use crate::backoff::Doubling;

/// The waits before the spread.
const RETRY: Doubling = Doubling::new(Duration::from_millis(800), Duration::from_secs(30));
/// A watch that held for so long begins with the first wait again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// Waits of one kind of object.
#[derive(Debug, Clone)]
pub struct Waits {
    kind: String,
    failures: u32,
}

/// The waits of the watch of `kind`.
pub fn backoff(kind: &str) -> ResetTimerBackoff<Waits> {
    let waits = Waits {
        kind: kind.to_owned(),
        failures: 0,
    };
    ResetTimerBackoff::new(waits, FORGOTTEN_AFTER)
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = RETRY.after(self.failures);
        let mut hasher = DefaultHasher::new();
        (&self.kind, self.failures).hash(&mut hasher);
        let spread = (hasher.finish() % 1000) as f64 / 1000.0;
        self.failures = self.failures.saturating_add(1);
        Some(wait.mul_f64(1.0 + spread))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread_the_same_way_each_time() {
        let waits: Vec<Duration> = backoff("Pod").take(9).collect();
        for (n, wait) in (0..).zip(&waits) {
            let least = RETRY.after(n);
            assert!(*wait >= least && *wait < least * 2, "{n}: {wait:?}");
        }
        assert_eq!(waits, backoff("Pod").take(9).collect::<Vec<_>>());
        assert_ne!(waits, backoff("Service").take(9).collect::<Vec<_>>());
    }
}
