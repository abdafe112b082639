//! Waits between attempts that fail: each twice as long as the one before, up to a longest one.
//!
//! Pure: the number of failures is the caller's, and so are what a server asks for and any spread.

use std::time::Duration;

/// Past so many failures a wait no longer grows; every longest wait is reached before.
const DOUBLINGS: u32 = 16;

/// How the waits grow.
#[derive(Debug, Clone, Copy)]
pub struct Doubling {
    first: Duration,
    longest: Duration,
}

impl Doubling {
    /// Waits from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after one more failure than `failures`.
    pub fn after(self, failures: u32) -> Duration {
        self.first
            .saturating_mul(1 << failures.min(DOUBLINGS))
            .min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_however_often_it_failed() {
        let waits = Doubling::new(Duration::from_secs(2), Duration::from_secs(300));
        let seconds = [0, 1, 2, 7, 8, 16, 31, 32, u32::MAX].map(|n| waits.after(n).as_secs());
        assert_eq!(seconds, [2, 4, 8, 256, 300, 300, 300, 300, 300]);
    }
}
