//! Requests by arm and bucket.
//!
//! One shape serves all kinds of rules: a proportion is two buckets (good, bad), a latency
//! has one more bucket than it has boundaries, events are pods (then their time) and a count. Two tallies whose boundaries differ are
//! brought to the boundaries that both have.
//!
//! Not here: which series feed which bucket (`sorting`), and increments (`counters`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::stats::quantile::coarser;

/// Requests by arm and bucket, not cumulative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Upper boundaries, rising, without the infinite one; empty for a proportion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub le: Vec<f64>,
    /// The canary's requests.
    pub canary: Vec<f64>,
    /// Stable's requests.
    pub stable: Vec<f64>,
    /// These are events: first the pods, or the seconds that they lived, then the events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub events: bool,
}

/// Which arm a series counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    Canary,
    Stable,
}

/// What a series counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Class {
    Good,
    /// Good, since the series lacks a label by which bad ones are told.
    Untold,
    Bad,
    /// Requests up to `le`, cumulative, of the histogram `of`.
    UpTo {
        le: f64,
        of: u64,
    },
    /// Events of this pod.
    Event {
        pod: u64,
    },
}

impl Tally {
    /// No requests, good or bad.
    fn requests() -> Self {
        Self {
            le: Vec::new(),
            canary: vec![0.0; 2],
            stable: vec![0.0; 2],
            events: false,
        }
    }

    fn buckets(le: Vec<f64>) -> Self {
        let len = le.len() + 1;
        Self {
            le,
            canary: vec![0.0; len],
            stable: vec![0.0; len],
            events: false,
        }
    }

    fn arm(&mut self, arm: Arm) -> &mut Vec<f64> {
        match arm {
            Arm::Canary => &mut self.canary,
            Arm::Stable => &mut self.stable,
        }
    }

    /// Sums counts. `Ok(None)` when there are none; an error when a histogram makes no sense.
    pub fn of(counts: &[(Arm, Class, f64)]) -> Result<Option<Self>, &'static str> {
        let mut requests: Option<Self> = None;
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut pods = BTreeSet::new();
        for (arm, class, count) in counts {
            match *class {
                Class::Good | Class::Untold => {
                    requests.get_or_insert_with(Self::requests).arm(*arm)[0] += count;
                }
                Class::Bad => requests.get_or_insert_with(Self::requests).arm(*arm)[1] += count,
                Class::UpTo { le, of } => Histogram::add(&mut histograms, *arm, of, le, *count),
                Class::Event { pod } => {
                    let tally = requests.get_or_insert_with(Self::requests);
                    tally.events = true;
                    let arm = tally.arm(*arm);
                    arm[0] += f64::from(u8::from(pods.insert(pod)));
                    arm[1] += count;
                }
            }
        }
        if histograms.is_empty() {
            Ok(requests)
        } else {
            Self::of_histograms(histograms).map(Some)
        }
    }

    fn of_histograms(histograms: Vec<Histogram>) -> Result<Self, &'static str> {
        let mut sum: Option<Self> = None;
        for histogram in histograms {
            let next = histogram.tally()?;
            sum = Some(match sum {
                None => next,
                Some(sum) => sum.plus(next)?,
            });
        }
        sum.ok_or("no histogram")
    }

    /// Both together, at the boundaries that both have.
    pub fn plus(mut self, mut other: Self) -> Result<Self, &'static str> {
        self.agree(&mut other)?;
        add(&mut self.canary, &other.canary);
        add(&mut self.stable, &other.stable);
        Ok(self)
    }

    /// Events of pods that were there for so many seconds; anything else stays as it is.
    #[must_use]
    pub fn over(mut self, seconds: f64) -> Self {
        if self.events {
            self.canary[0] *= seconds;
            self.stable[0] *= seconds;
        }
        self
    }

    /// What was added since `earlier`; `None` when one of stable's counts fell, so that the process began
    /// anew. Where the canary's alone fell, they were removed and made again, as with each run: they count
    /// from zero, while stable's go on.
    pub fn since(mut self, mut earlier: Self) -> Result<Option<Self>, &'static str> {
        self.agree(&mut earlier)?;
        if self.events {
            return Ok(Some(self.events_since(&earlier)));
        }
        let fell = |now: &[f64], then: &[f64]| now.iter().zip(then).any(|(now, then)| now < then);
        if fell(&self.stable, &earlier.stable) {
            return Ok(None);
        }
        if fell(&self.canary, &earlier.canary) {
            earlier.canary.fill(0.0);
        }
        let negated = |counts: &[f64]| counts.iter().map(|count| -count).collect::<Vec<_>>();
        add(&mut self.canary, &negated(&earlier.canary));
        add(&mut self.stable, &negated(&earlier.stable));
        Ok(Some(self))
    }

    /// The pods that are there now, and what was added to all counts. A pod that is gone took its
    /// count with it, so fewer events may be seen than there were, and never more.
    fn events_since(mut self, earlier: &Self) -> Self {
        self.canary[1] = (self.canary[1] - earlier.canary[1]).max(0.0);
        self.stable[1] = (self.stable[1] - earlier.stable[1]).max(0.0);
        self
    }

    fn agree(&mut self, other: &mut Self) -> Result<(), &'static str> {
        if self.le == other.le && self.canary.len() == other.canary.len() {
            return Ok(());
        }
        let common: Vec<f64> = self
            .le
            .iter()
            .copied()
            .filter(|le| other.le.contains(le))
            .collect();
        self.coarsen(&common)?;
        other.coarsen(&common)
    }

    /// Brings the buckets to fewer boundaries, all of which it must have.
    pub fn coarsen(&mut self, le: &[f64]) -> Result<(), &'static str> {
        if le.is_empty() || self.le.is_empty() {
            return Err("histograms without a boundary in common");
        }
        self.canary = coarser(&self.canary, &self.le, le);
        self.stable = coarser(&self.stable, &self.le, le);
        self.le = le.to_vec();
        Ok(())
    }
}

fn add(to: &mut [f64], what: &[f64]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += what;
    }
}

/// The cumulative buckets of one histogram (one set of labels).
struct Histogram {
    arm: Arm,
    of: u64,
    up_to: Vec<(f64, f64)>,
}

impl Histogram {
    fn add(all: &mut Vec<Self>, arm: Arm, of: u64, le: f64, count: f64) {
        // Counts come grouped, so the last one is nearly always the one.
        let at = all.iter().rposition(|histogram| histogram.of == of);
        match at {
            Some(at) => all[at].up_to.push((le, count)),
            None => all.push(Self {
                arm,
                of,
                up_to: vec![(le, count)],
            }),
        }
    }

    fn tally(mut self) -> Result<Tally, &'static str> {
        self.up_to.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.up_to.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        let Some((last, finite)) = self.up_to.split_last() else {
            return Err("an empty histogram");
        };
        if last.0 != f64::INFINITY || finite.is_empty() {
            return Err("a histogram without its bucket le=\"+Inf\", or without another");
        }
        let mut tally = Tally::buckets(finite.iter().map(|(le, _)| *le).collect());
        let mut below = 0.0;
        for (bucket, (_, up_to)) in tally.arm(self.arm).iter_mut().zip(&self.up_to) {
            // A histogram that is read while it is written may be off by one: never negative.
            *bucket = (up_to - below).max(0.0);
            below = below.max(*up_to);
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(arm: Arm, of: u64, buckets: &[(f64, f64)]) -> Vec<(Arm, Class, f64)> {
        buckets
            .iter()
            .map(|(le, count)| (arm, Class::UpTo { le: *le, of }, *count))
            .collect()
    }

    #[test]
    fn proportions_are_good_and_bad() {
        let counts = [
            (Arm::Canary, Class::Good, 5.0),
            (Arm::Stable, Class::Bad, 2.0),
            (Arm::Stable, Class::Good, 3.0),
            (Arm::Canary, Class::Good, 1.0),
        ];
        let tally = Tally::of(&counts).unwrap().unwrap();
        assert_eq!(
            (tally.canary, tally.stable),
            (vec![6.0, 0.0], vec![3.0, 2.0])
        );
        assert_eq!(Tally::of(&[]), Ok(None));
    }

    #[test]
    fn events_are_counted_with_the_time_of_each_pod_once() {
        let event = |arm, pod, count| (arm, Class::Event { pod }, count);
        let counts = [
            event(Arm::Canary, 1, 1.0),
            event(Arm::Canary, 1, 2.0), // another container of the same pod
            event(Arm::Stable, 2, 0.0),
            event(Arm::Stable, 3, 0.0),
        ];
        let now = Tally::of(&counts).unwrap().unwrap();
        let tally = now.clone().over(15.0);
        assert_eq!(
            (tally.canary, tally.stable),
            (vec![15.0, 3.0], vec![30.0, 0.0])
        );
        // After a restart of the daemon: a pod less is no reason to count all events anew.
        let earlier = Tally::of(&[counts[0], counts[1], event(Arm::Stable, 4, 7.0)]);
        let added = now.since(earlier.unwrap().unwrap()).unwrap().unwrap();
        assert_eq!(
            (added.canary, added.stable),
            (vec![1.0, 0.0], vec![2.0, 0.0])
        );
    }

    #[test]
    fn cumulative_buckets_become_single_ones() {
        let inf = f64::INFINITY;
        let counts = histogram(Arm::Canary, 1, &[(inf, 9.0), (0.1, 4.0), (1.0, 8.0)]);
        let tally = Tally::of(&counts).unwrap().unwrap();
        assert_eq!(tally.le, [0.1, 1.0]);
        assert_eq!(tally.canary, [4.0, 4.0, 1.0]);
        assert_eq!(tally.stable, [0.0; 3]);
    }

    #[test]
    fn histograms_with_other_boundaries_meet_at_the_common_ones() {
        let inf = f64::INFINITY;
        let mut counts = histogram(
            Arm::Canary,
            1,
            &[(0.1, 1.0), (0.5, 3.0), (1.0, 6.0), (inf, 10.0)],
        );
        counts.extend(histogram(
            Arm::Stable,
            2,
            &[(0.1, 1.0), (0.7, 2.0), (1.0, 3.0), (inf, 4.0)],
        ));
        let tally = Tally::of(&counts).unwrap().unwrap();
        assert_eq!(tally.le, [0.1, 1.0]);
        assert_eq!(tally.canary, [1.0, 5.0, 4.0]);
        assert_eq!(tally.stable, [1.0, 2.0, 1.0]);
    }

    #[test]
    fn histograms_that_make_no_sense_are_refused() {
        let inf = f64::INFINITY;
        let mut apart = histogram(Arm::Canary, 1, &[(0.1, 1.0), (inf, 2.0)]);
        apart.extend(histogram(Arm::Canary, 2, &[(0.2, 1.0), (inf, 2.0)]));
        for counts in [
            histogram(Arm::Canary, 1, &[(0.1, 1.0)]),
            histogram(Arm::Canary, 1, &[(inf, 1.0)]),
            apart,
        ] {
            assert!(Tally::of(&counts).is_err());
        }
    }

    #[test]
    fn a_count_that_fell_says_that_the_process_began_anew() {
        let tally = |good, bad| Tally {
            le: vec![],
            canary: vec![7.0, 2.0],
            stable: vec![good, bad],
            events: false,
        };
        assert_eq!(tally(5.0, 3.0).since(tally(4.0, 4.0)), Ok(None));
        let added = tally(5.0, 3.0).since(tally(4.0, 1.0)).unwrap().unwrap();
        assert_eq!(
            (added.canary, added.stable),
            (vec![0.0, 0.0], vec![1.0, 2.0])
        );
        let mut before = tally(4.0, 1.0);
        before.canary = vec![40.0, 0.0];
        let added = tally(5.0, 3.0).since(before).unwrap().unwrap();
        assert_eq!(
            (added.canary, added.stable),
            (vec![7.0, 2.0], vec![1.0, 2.0]),
            "the canary's series were made anew"
        );
    }
}
