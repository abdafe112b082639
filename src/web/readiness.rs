//! Whether the daemon can do its work, as a line a check.
//!
//! Ready means that nothing is still being waited for. A check that failed and says why does not
//! keep the daemon from being ready: with Prometheus down it holds every release, which is its
//! work; restarting it would not help.
//!
//! Not here: the checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::clock::elapsed;

/// How a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Not known yet, and for what one waits. The daemon is not ready.
    Waiting(String),
    /// Good, in words.
    Good(String),
    /// Bad, and why. The daemon is ready all the same, and does what is safe.
    Bad(String),
}

/// All checks, by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Looked>>>);

/// A check, and when it was looked at where that may be long ago.
#[derive(Debug, Clone)]
struct Looked(Check, Option<Timestamp>);

impl Readiness {
    /// These checks, all waited for.
    pub fn waiting_for(checks: &[&'static str]) -> Self {
        let waiting = || Looked(Check::Waiting("not known yet".to_owned()), None);
        let checks = checks.iter().map(|name| (*name, waiting()));
        Self(Arc::new(Mutex::new(checks.collect())))
    }

    /// Records how a check stands until it is told otherwise.
    pub fn set(&self, name: &'static str, check: Check) {
        self.insert(name, Looked(check, None));
    }

    /// Records what a look brought: it holds for that moment, and its age is told.
    pub fn looked(&self, name: &'static str, check: Check, at: Timestamp) {
        self.insert(name, Looked(check, Some(at)));
    }

    fn insert(&self, name: &'static str, looked: Looked) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.insert(name, looked);
    }

    /// Whether nothing is waited for, and a line a check.
    pub fn report(&self, now: Timestamp) -> (bool, String) {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = true;
        let mut text = String::new();
        for (name, Looked(check, at)) in checks.iter() {
            let (mark, words) = match check {
                Check::Waiting(words) => ("wait", words),
                Check::Good(words) => ("good", words),
                Check::Bad(words) => ("bad ", words),
            };
            ready &= !matches!(check, Check::Waiting(_));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{mark} {name}: {words}{}",
                at.map_or_else(String::new, |at| age(at, now))
            );
        }
        (ready, text)
    }
}

fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = elapsed(at, now).as_secs();
    let ago = humantime::format_duration(std::time::Duration::from_secs(seconds));
    format!(" ({ago} ago)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_long_ago_says_so() {
        let readiness = Readiness::waiting_for(&[]);
        let at = Timestamp::UNIX_EPOCH;
        readiness.looked("metrics", Check::Good("were read".to_owned()), at);
        let now = at + std::time::Duration::from_millis(840_900);
        let text = "good metrics: were read (14m ago)\n".to_owned();
        assert_eq!(readiness.report(now), (true, text));
    }

    #[test]
    fn only_waiting_keeps_from_being_ready() {
        let readiness = Readiness::waiting_for(&["caches", "gate", "source"]);
        assert!(!readiness.report(Timestamp::UNIX_EPOCH).0);
        readiness.set("caches", Check::Good("synced".to_owned()));
        readiness.set("gate", Check::Good("policy".to_owned()));
        assert!(!readiness.report(Timestamp::UNIX_EPOCH).0);
        readiness.set("source", Check::Bad("connection refused".to_owned()));
        let text = "good caches: synced\ngood gate: policy\nbad  source: connection refused\n";
        assert_eq!(
            readiness.report(Timestamp::UNIX_EPOCH),
            (true, text.to_owned())
        );
    }
}
