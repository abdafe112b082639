//! The counters of one process (a router pod), for one rule and subject.
//!
//! Scrapes are folded in one by one, oldest first. What comes out is what was added since the
//! scrape before. A counter that fell from one scrape to the next says that the process began anew:
//! then all of its counters count from zero. One that was away in between, and is lower, was removed
//! and made again by a process that lives on, as routers do with a Service's: then it alone counts
//! from zero, unless nothing is left of what was there at the scrape before. A series that is new in a
//! known process counts from zero too, since it did not exist at the scrape before; in an unknown one
//! its first value is where counting starts, and so it is where all known series are gone and only new
//! ones are there.
//!
//! Not here: several processes together and samples (`counters`).

use std::collections::HashMap;

use super::cursor::ProcessCursor;
use super::tally::{Arm, Class, Tally};

/// A scrape this soon after another one, or a quarter of the usual time after it, is another server's of the
/// same moment: replicas behind one address answer in turns, and their clocks are not quite the same.
const ONE_MOMENT_MS: i64 = 3_000;

/// One value of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The series, by a hash of its labels.
    pub series: u64,
    /// The process it came from, by a hash of its name.
    pub process: u64,
    /// Which arm it counts.
    pub arm: Arm,
    /// What it counts.
    pub class: Class,
    /// When it was scraped, in milliseconds.
    pub at: i64,
    /// The counter, not negative and finite.
    pub value: f64,
}

/// What one scrape added.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Added {
    pub process: u64,
    /// The scrape before, in milliseconds.
    pub from: i64,
    /// This scrape.
    pub to: i64,
    pub tally: Tally,
}

/// What a scrape came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scraped {
    /// Nothing new: it was counted before, or only says where counting starts.
    Known,
    /// The process answered, without a series that counts.
    Quiet,
    /// It added something.
    Added(Added),
}

/// Why a scrape was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Uncounted {
    /// Only this one; the next goes on from it.
    #[error("has no scrape from before the restart; what came in between is not counted")]
    Gap,
    /// And so it will be with the next one.
    #[error("{0}")]
    Unfit(&'static str),
}

impl From<&'static str> for Uncounted {
    fn from(why: &'static str) -> Self {
        Self::Unfit(why)
    }
}

/// The counters of one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    /// Its newest scrape that was folded in.
    seen: Option<i64>,
    /// How far apart its newest two scrapes were, in milliseconds.
    pace: Option<i64>,
    /// How far was given out, while what came since is held back.
    given: Option<ProcessCursor>,
    /// Where counting goes on after a restart: earlier scrapes are counted already.
    floor: Option<ProcessCursor>,
    series: HashMap<u64, Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at: i64,
    value: f64,
    arm: Arm,
    class: Class,
}

impl Process {
    /// A process that has been counted up to `floor` before.
    pub fn resumed(floor: ProcessCursor) -> Self {
        Self {
            floor: Some(floor),
            ..Self::default()
        }
    }

    /// How far apart its newest two scrapes were, in milliseconds.
    pub fn pace(&self) -> Option<i64> {
        self.pace
    }

    /// What was just added is held back: a cursor stays at `given`, until it is released.
    pub fn hold(&mut self, given: Option<ProcessCursor>) {
        self.given = self.given.take().or(given);
    }

    /// All that was added is given out.
    pub fn release(&mut self) {
        self.given = None;
    }

    /// The newest scrape that has been counted.
    pub fn at(&self) -> Option<i64> {
        self.seen.max(self.floor.as_ref().map(|floor| floor.at))
    }

    /// Whether any series has been seen.
    pub fn has_series(&self) -> bool {
        !self.series.is_empty()
    }

    /// Where to go on; `sums` for a source that cannot look back.
    pub fn cursor(&self, sums: bool) -> Option<ProcessCursor> {
        if self.given.is_some() {
            return self.given.clone();
        }
        let Some(seen) = self.seen else {
            return self.floor.clone();
        };
        if let Some(floor) = self.floor.as_ref().filter(|floor| floor.at > seen) {
            return Some(floor.clone());
        }
        Some(ProcessCursor {
            at: seen,
            sum: if sums { self.sum(seen) } else { None },
        })
    }

    fn sum(&self, at: i64) -> Option<Tally> {
        let present = self.series.values().filter(|last| last.at == at);
        let counts: Vec<_> = present
            .map(|last| (last.arm, last.class, last.value))
            .collect();
        Tally::of(&counts).ok().flatten()
    }

    /// Folds in the scrape at `at` of process `id`. Scrapes must come oldest first; older ones
    /// than the last are left out.
    pub fn fold(&mut self, id: u64, at: i64, points: &[Point]) -> Result<Scraped, Uncounted> {
        if self.seen.is_some_and(|seen| at <= seen) {
            return Ok(Scraped::Known);
        }
        let before = self.seen;
        let counts = self.advance(at, points);
        self.pace = before.map(|before| at.saturating_sub(before)).or(self.pace);
        let floor = self.floor.take_if(|floor| at > floor.at);
        if self.floor.is_some() {
            return Ok(Scraped::Known); // counted before the restart
        }
        if floor
            .as_ref()
            .is_some_and(|floor| before.is_some_and(|before| before < floor.at))
        {
            return Ok(Scraped::Known); // the scrape that was counted last is gone: go on from this one
        }
        let (from, tally) = match (before, floor) {
            (
                None,
                Some(ProcessCursor {
                    at: from,
                    sum: Some(sum),
                }),
            ) => (from, self.added_since(at, sum)?),
            (None, Some(ProcessCursor { sum: None, .. })) => {
                return Err(Uncounted::Gap);
            }
            (None, None) => return Ok(Scraped::Known),
            (Some(before), _) => (before, Tally::of(&counts)?),
        };
        let seconds = at.saturating_sub(from) as f64 / 1000.0;
        Ok(tally.map_or(Scraped::Quiet, |tally| {
            Scraped::Added(Added {
                process: id,
                from,
                to: at,
                tally: tally.over(seconds),
            })
        }))
    }

    /// Whether the scrape is of the moment of the one before, by another server: much sooner than is usual,
    /// or lower, before a process could have begun anew.
    pub fn is_of_the_same_moment(&self, at: i64, points: &[Point]) -> bool {
        let Some(since) = self.seen.map(|seen| at.saturating_sub(seen)) else {
            return false;
        };
        let soon = self
            .pace
            .is_some_and(|pace| since < (pace / 4).min(ONE_MOMENT_MS));
        soon || (since < ONE_MOMENT_MS && self.began_anew(points))
    }

    /// What was added since a saved sum; all of it, when the process began anew meanwhile.
    fn added_since(&self, at: i64, sum: Tally) -> Result<Option<Tally>, Uncounted> {
        let Some(now) = self.sum(at) else {
            return Ok(None);
        };
        let added = now.clone().since(sum)?;
        Ok(added.or(Some(now)))
    }

    /// Takes over the scrape's values and says what each series added.
    fn advance(&mut self, at: i64, points: &[Point]) -> Vec<(Arm, Class, f64)> {
        if self.began_anew(points) {
            self.series.clear();
        }
        // Nothing of what was there, and other series instead: another process, or another
        // reader of the same one, whose counters need not have begun at zero just now.
        let known = |point: &Point| self.series.contains_key(&point.series);
        let replaced = !self.series.is_empty() && !points.is_empty() && !points.iter().any(known);
        let known = self.seen.is_some() && !replaced;
        let added = points.iter().map(|point| {
            let last = Last {
                at,
                value: point.value,
                arm: point.arm,
                class: point.class,
            };
            let before = self.series.insert(point.series, last);
            let start = before.map_or(if known { 0.0 } else { point.value }, |last| last.value);
            let removed = point.value < start;
            let start = if removed { 0.0 } else { start };
            (point.arm, point.class, point.value - start)
        });
        let added = added.collect();
        self.seen = Some(at);
        added
    }

    /// Whether the whole process counts from zero since the scrape before.
    fn began_anew(&self, points: &[Point]) -> bool {
        let known = points
            .iter()
            .filter_map(|point| Some((point.value, self.series.get(&point.series)?)));
        let (mut fell, mut fell_at_once, mut lives_on) = (false, false, false);
        for (value, last) in known {
            let was_there = Some(last.at) == self.seen;
            lives_on |= was_there;
            fell |= value < last.value;
            fell_at_once |= was_there && value < last.value;
        }
        fell_at_once || (fell && !lives_on)
    }
}
