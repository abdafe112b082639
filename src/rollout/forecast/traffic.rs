//! What comes in when all is well, what a bad canary does to it, and samples drawn from both.
//!
//! Requests are taken as independent and their number as constant over the run: Poisson counts,
//! per arm, per bucket. Bursts and noise that belongs to pods are not in it; they make detection
//! slower and promotion later. Not here: where the numbers were read.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::chance::Chance;
use super::play::canary_pods;
use crate::rollout::evidence::{ArmCounts, Sample};
use crate::stats::latency::probabilities;

const HOUR: f64 = 3600.0;
/// The largest share of bad requests that is played.
const WORST: f64 = 0.95;

/// What one rule sees when all is well.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The rule's name.
    pub rule: String,
    /// Requests per second, both arms together; 0 for what counts none.
    pub rps: f64,
    /// How they go.
    pub usual: Usual,
}

/// How requests go.
#[derive(Debug, Clone, PartialEq)]
pub enum Usual {
    /// This share of them is bad.
    Errors(f64),
    /// These shares of them end in each bucket.
    Times {
        /// Finite upper limits in seconds, rising.
        boundaries: Arc<[f64]>,
        /// One more than there are boundaries; they add up to 1.
        shares: Vec<f64>,
    },
    /// Rare events of pods, whatever the requests are.
    Events {
        /// Events a second and pod.
        often: f64,
        /// Pods of stable.
        pods: u32,
    },
}

/// What a bad canary does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// This share of its requests is bad.
    Rate(f64),
    /// All its times are multiplied by this.
    Slower(f64),
    /// Each of its pods is hit so often an hour.
    Often(f64),
}

impl Usual {
    /// Times from counts by bucket, none of them impossible.
    pub fn times(boundaries: Arc<[f64]>, counts: &[f64]) -> Self {
        let shares = probabilities(counts);
        Self::Times { boundaries, shares }
    }

    /// The canary's, under a harm of its kind; one of another kind changes nothing.
    #[must_use]
    pub fn harmed(&self, harm: Harm) -> Self {
        match (self, harm) {
            (Self::Errors(_), Harm::Rate(rate)) => Self::Errors(rate.min(WORST)),
            (Self::Times { boundaries, shares }, Harm::Slower(factor)) => {
                let moved = moved(boundaries, factor);
                let mut slower = vec![0.0; shares.len()];
                for (share, to) in shares.iter().zip(&moved) {
                    for (slow, part) in slower.iter_mut().zip(to) {
                        *slow += share * part;
                    }
                }
                Self::Times {
                    boundaries: Arc::clone(boundaries),
                    shares: slower,
                }
            }
            (Self::Events { pods, .. }, Harm::Often(an_hour)) => Self::Events {
                often: an_hour / HOUR,
                pods: *pods,
            },
            (_, _) => self.clone(),
        }
    }

    /// No requests.
    fn none(&self) -> ArmCounts {
        match self {
            Self::Errors(_) => ArmCounts::Proportion {
                total: 0.0,
                bad: 0.0,
            },
            Self::Times { boundaries, shares } => ArmCounts::Buckets {
                boundaries: Arc::clone(boundaries),
                counts: vec![0.0; shares.len()],
            },
            Self::Events { .. } => ArmCounts::Events {
                seconds: 0.0,
                events: 0.0,
            },
        }
    }

    /// What both arms get in so many `seconds` at canary share `w` of so many requests a second:
    /// requests, or the seconds that pods live.
    fn exposure(&self, rps: f64, seconds: f64, w: f64) -> (f64, f64) {
        match self {
            Self::Events { pods, .. } => {
                let weight = (w * 100.0).round() as u8;
                let canary = if weight == 0 {
                    0
                } else {
                    canary_pods(*pods, weight)
                };
                (f64::from(canary) * seconds, f64::from(*pods) * seconds)
            }
            Self::Errors(_) | Self::Times { .. } => (rps * seconds * w, rps * seconds * (1.0 - w)),
        }
    }

    /// Draws an arm's counts, of so many requests in the mean, or of so many seconds of its pods.
    fn draw(&self, requests: f64, chance: &mut Chance, counts: &mut ArmCounts) {
        match (self, counts) {
            (Self::Errors(rate), ArmCounts::Proportion { total, bad }) => {
                *bad = chance.poisson(requests * rate);
                *total = *bad + chance.poisson(requests * (1.0 - rate));
            }
            (Self::Times { shares, .. }, ArmCounts::Buckets { counts, .. }) => {
                for (count, share) in counts.iter_mut().zip(shares) {
                    *count = chance.poisson(requests * share);
                }
            }
            (Self::Events { often, .. }, ArmCounts::Events { seconds, events }) => {
                *seconds = requests;
                *events = chance.poisson(requests * often);
            }
            (_, _) => {}
        }
    }
}

/// Where the requests of each bucket end when their times are multiplied by `factor` (1 or more):
/// a row of shares for each. Times are spread evenly by their logarithm within a bucket, within
/// the first one evenly.
pub fn moved(boundaries: &[f64], factor: f64) -> Vec<Vec<f64>> {
    let buckets = boundaries.len() + 1;
    let lower = |k: usize| k.checked_sub(1).and_then(|k| boundaries.get(k)).copied();
    let upper = |k: usize| boundaries.get(k).copied().unwrap_or(f64::INFINITY);
    let row = |k: usize| {
        let mut row = vec![0.0; buckets];
        let (from, to) = (lower(k).unwrap_or(0.0) * factor, upper(k) * factor);
        if to.is_infinite() {
            row[k] = 1.0;
            return row;
        }
        let place = |x: f64| match x.clamp(from, to) {
            x if from > 0.0 => (x / from).ln() / (to / from).ln(),
            x => x / to,
        };
        for (j, share) in row.iter_mut().enumerate() {
            *share = place(upper(j)) - place(lower(j).unwrap_or(0.0));
        }
        row
    };
    (0..buckets).map(row).collect()
}

/// The samples of a tick, drawn anew each time.
#[derive(Debug, Clone)]
pub struct Stage {
    streams: Vec<(Stream, Usual)>,
    samples: Vec<Sample>,
    /// Seconds between two ticks.
    every: f64,
    now: Timestamp,
}

impl Stage {
    /// Streams in which the canary is as good as stable, from the epoch on.
    pub fn healthy(streams: &[Stream], every: f64) -> Self {
        let both = |stream: &Stream| (stream.clone(), stream.usual.clone());
        let sample = |stream: &Stream| Sample {
            rule: stream.rule.clone(),
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            canary: stream.usual.none(),
            stable: stream.usual.none(),
        };
        Self {
            streams: streams.iter().map(both).collect(),
            samples: streams.iter().map(sample).collect(),
            every,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// The same with a canary that does harm in the stream at this position.
    #[must_use]
    pub fn harmed(mut self, at: usize, harm: Harm) -> Self {
        if let Some((stream, canary)) = self.streams.get_mut(at) {
            *canary = stream.usual.harmed(harm);
        }
        self
    }

    /// The end of the newest tick.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The next tick's samples at canary share `w`.
    pub fn tick(&mut self, w: f64, chance: &mut Chance) -> &[Sample] {
        self.stretch(self.every, w, chance)
    }

    /// The samples of the next `seconds` as if they were one tick.
    pub fn stretch(&mut self, seconds: f64, w: f64, chance: &mut Chance) -> &[Sample] {
        let from = self.now;
        self.now = later(from, seconds);
        for (sample, (stream, canary)) in self.samples.iter_mut().zip(&self.streams) {
            (sample.from, sample.to) = (from, self.now);
            let (own, rest) = stream.usual.exposure(stream.rps, seconds, w);
            canary.draw(own, chance, &mut sample.canary);
            stream.usual.draw(rest, chance, &mut sample.stable);
        }
        &self.samples
    }

    /// Bad canary requests in a tick beyond the usual ones, in the mean; slow ones are none.
    pub fn excess(&self, w: f64) -> f64 {
        let of = |(stream, canary): &(Stream, Usual)| match (&stream.usual, canary) {
            (Usual::Errors(usual), Usual::Errors(rate)) => {
                stream.rps * self.every * w * (rate - usual)
            }
            (_, _) => 0.0,
        };
        self.streams.iter().map(of).sum()
    }
}

/// All counts together; those with other boundaries than the first are left out.
pub fn sum<'a>(all: impl Iterator<Item = &'a ArmCounts>) -> Option<ArmCounts> {
    all.fold(None, |sum, counts| match (sum, counts) {
        (None, counts) => Some(counts.clone()),
        (
            Some(ArmCounts::Proportion { total, bad }),
            ArmCounts::Proportion { total: n, bad: x },
        ) => Some(ArmCounts::Proportion {
            total: total + n,
            bad: bad + x,
        }),
        (
            Some(ArmCounts::Buckets { boundaries, counts }),
            ArmCounts::Buckets {
                boundaries: own,
                counts: more,
            },
        ) if boundaries == *own => Some(ArmCounts::Buckets {
            counts: counts.iter().zip(more).map(|(a, b)| a + b).collect(),
            boundaries,
        }),
        (
            Some(ArmCounts::Events { seconds, events }),
            ArmCounts::Events {
                seconds: more,
                events: other,
            },
        ) => Some(ArmCounts::Events {
            seconds: seconds + more,
            events: events + other,
        }),
        (sum, _) => sum,
    })
}

/// So many seconds later, to the millisecond.
pub fn later(at: Timestamp, seconds: f64) -> Timestamp {
    let millis = SignedDuration::from_millis((seconds * 1000.0).round() as i64);
    at.checked_add(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_requests_end_in_later_buckets_and_none_is_lost() {
        let rows = moved(&[0.1, 0.2, 0.4], 2.0);
        let wanted = [
            [0.5, 0.5, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        for (row, wanted) in rows.iter().zip(wanted) {
            for (got, want) in row.iter().zip(wanted) {
                assert!((got - want).abs() < 1e-12, "{rows:?}");
            }
        }
    }

    #[test]
    fn a_factor_of_one_moves_nothing() {
        for (k, row) in moved(&[0.1, 0.3], 1.0).iter().enumerate() {
            assert!((row[k] - 1.0).abs() < 1e-12, "{row:?}");
        }
    }

    #[test]
    fn the_arms_get_their_share_and_their_rate() {
        let stream = Stream {
            rule: "errors".to_owned(),
            rps: 100.0,
            usual: Usual::Errors(0.01),
        };
        let mut stage = Stage::healthy(&[stream], 2.0).harmed(0, Harm::Rate(0.1));
        let mut chance = Chance::of(1, 1);
        let (mut canary, mut stable) = ((0.0, 0.0), (0.0, 0.0));
        for _ in 0..500 {
            let sample = &stage.tick(0.2, &mut chance)[0];
            for (sum, arm) in [(&mut canary, &sample.canary), (&mut stable, &sample.stable)] {
                if let ArmCounts::Proportion { total, bad } = arm {
                    sum.0 += total;
                    sum.1 += bad;
                }
            }
        }
        let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.1, "{got} {want}");
        near(canary.0, 20_000.0);
        near(canary.1, 2_000.0);
        near(stable.0, 80_000.0);
        near(stable.1, 800.0);
        near(stage.excess(0.2), 40.0 * 0.09);
        assert_eq!(stage.now(), Timestamp::from_second(1000).unwrap());
    }

    #[test]
    fn pods_of_both_arms_live_side_by_side_whatever_the_weight() {
        let stream = Stream {
            rule: "restarts".to_owned(),
            rps: 0.0,
            usual: Usual::Events {
                often: 0.0,
                pods: 10,
            },
        };
        let mut stage = Stage::healthy(&[stream], 10.0).harmed(0, Harm::Often(360.0));
        let mut chance = Chance::of(1, 1);
        let (mut canary, mut stable) = ((0.0, 0.0), (0.0, 0.0));
        for _ in 0..100 {
            let sample = &stage.tick(0.15, &mut chance)[0];
            for (sum, arm) in [(&mut canary, &sample.canary), (&mut stable, &sample.stable)] {
                if let ArmCounts::Events { seconds, events } = arm {
                    sum.0 += seconds;
                    sum.1 += events;
                }
            }
        }
        assert_eq!((canary.0, stable), (2000.0, (10_000.0, 0.0)));
        assert!((150.0..250.0).contains(&canary.1), "{canary:?}");
        let none = &stage.tick(0.0, &mut chance)[0].canary;
        assert!(matches!(none, ArmCounts::Events { seconds, .. } if *seconds < 0.5));
    }
}
