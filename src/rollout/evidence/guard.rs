//! The share guard over time: since when do the arms get what the weight says?
//!
//! A header, a cookie or a router that has not applied the weight makes the shares differ from the
//! configured ones; then the block witness says nothing and the step waits. The test itself is
//! `stats::share`; here is when it begins, and when a wrong share is right again: after a fresh
//! window of ten seconds that agrees.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stats::share::Split;

use super::sample::Sample;
use super::words::{odds, percent};

/// `ln(1/0.001)`: above it the share is wrong.
const BOUND: f64 = 6.907_755_278_982_137;
/// Length of the window that a corrected share must agree for, in seconds.
const WINDOW: f64 = 10.0;
/// ... and how well, in standard deviations.
const AGREEMENT: f64 = 3.0;

/// State of the guard in the present step; times are of type `T`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Guard<T = Timestamp> {
    split: Split,
    wrong: bool,
    since: Option<T>,
    last: Option<f64>,
}

impl<T: Copy> Guard<T> {
    pub(super) fn is_wrong(&self) -> bool {
        self.wrong
    }

    /// Folds an interval's requests in, which begins at `from`; `w` is the configured canary
    /// share, and `seconds` those from a time to the interval's end.
    pub(super) fn fold(&mut self, w: f64, split: Split, from: T, seconds: impl Fn(T) -> f64) {
        if w <= 0.0 || w >= 1.0 {
            return;
        }
        let since = *self.since.get_or_insert(from);
        self.split.add(split.canary, split.stable);
        self.last = self.split.observed();
        if self.split.reaches(w, BOUND) {
            self.wrong = true;
            self.restart();
        } else if self.wrong && seconds(since) >= WINDOW {
            if self.split.deviations(w) <= AGREEMENT {
                self.wrong = false;
            } else {
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        self.split = Split::default();
        self.since = None;
    }

    /// Natural logarithm of the e-value against the configured share `w`.
    pub(super) fn log(&self, w: f64) -> f64 {
        self.split.log(w)
    }
}

impl Guard {
    /// The clock was set back to `now`.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.since = self.since.map(|since| since.min(now));
    }

    /// Folds a sample in; `w` is the configured canary share.
    pub(super) fn observe(&mut self, w: f64, sample: &Sample) {
        let split = Split {
            canary: sample.canary.total(),
            stable: sample.stable.total(),
        };
        let seconds = |since| sample.to.duration_since(since).as_secs_f64();
        self.fold(w, split, sample.from, seconds);
    }

    pub(super) fn report(&self, w: f64) -> ShareReport {
        ShareReport {
            ok: !self.wrong,
            expected: w,
            observed: self.last,
            requests: self.split.total(),
            log: self.split.log(w),
            bound: BOUND,
            agreed_since: self.since.filter(|_| !self.wrong),
        }
    }
}

/// How the observed canary share compares with the configured one in this step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareReport {
    /// The share agrees, as far as can be seen.
    pub ok: bool,
    /// The configured canary share, 0..1.
    pub expected: f64,
    /// The observed canary share, if there was a request.
    pub observed: Option<f64>,
    /// Requests that it was observed on.
    pub requests: f64,
    /// Natural logarithm of the e-value against the configured share.
    pub log: f64,
    /// What `log` must reach to call the share wrong.
    pub bound: f64,
    /// The start of the time counted in this step for which the share has agreed.
    pub agreed_since: Option<Timestamp>,
}

impl ShareReport {
    /// Seconds for which the share has agreed at `now`; 0 while it is wrong or unseen.
    #[cfg(test)]
    pub fn agreed_seconds(&self, now: Timestamp) -> f64 {
        self.agreed_since.map_or(0.0, |since| {
            now.duration_since(since).as_secs_f64().max(0.0)
        })
    }

    /// Both shares in words, with the odds where they differ.
    pub fn sentence(&self) -> String {
        let expected = percent(self.expected);
        let Some(observed) = self.observed else {
            return format!("no request yet; {expected} should reach the canary");
        };
        let told = format!(
            "{} of the requests reach the canary, {expected} should",
            percent(observed)
        );
        if self.ok {
            return told;
        }
        let needed = odds(self.bound);
        format!("{told}: the odds against chance were above {needed} to 1")
    }
}
