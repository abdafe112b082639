//! Parting what was counted into a pseudo-canary and the rest, and adding harm to the former.
//!
//! Each request is the canary's with the probability of its weight, good, bad, fast and slow alike.
//! Harm turns good ones bad, or moves them to later buckets; it never takes any away.

use std::sync::Arc;

use crate::rollout::evidence::{ArmCounts, Sample};
use crate::rollout::forecast::chance::Chance;
use crate::rollout::forecast::traffic::moved;
use crate::rollout::forecast::{Harm, Usual};

/// How requests are parted.
#[derive(Debug)]
pub struct Thinning {
    harm: Option<(String, Effect)>,
}

#[derive(Debug)]
enum Effect {
    /// A good request becomes bad with this probability.
    Bad(f64),
    /// Where the requests of each bucket end.
    Moved(Vec<Vec<f64>>),
    /// So many more events a second and pod.
    Often(f64),
}

impl Thinning {
    /// Both arms alike.
    pub fn fair() -> Self {
        Self { harm: None }
    }

    /// The canary's part of `rule` is harmed, to what is `usual`.
    pub fn harmful(rule: &str, usual: &Usual, harm: Harm) -> Self {
        let effect = match (usual, harm) {
            (Usual::Errors(usual), Harm::Rate(rate)) => {
                let rate = rate.min(0.95);
                Some(Effect::Bad(((rate - usual) / (1.0 - usual)).max(0.0)))
            }
            (Usual::Times { boundaries, .. }, Harm::Slower(factor)) => {
                Some(Effect::Moved(moved(boundaries, factor)))
            }
            (Usual::Events { often, .. }, Harm::Often(an_hour)) => {
                Some(Effect::Often((an_hour / 3600.0 - often).max(0.0)))
            }
            (_, _) => None,
        };
        Self {
            harm: effect.map(|effect| (rule.to_owned(), effect)),
        }
    }

    /// Both arms' samples at the canary share `w`, and how many bad requests were added.
    pub fn split(&self, tick: &[Sample], w: f64, chance: &mut Chance) -> (Vec<Sample>, f64) {
        let mut extra = 0.0;
        let parted = tick.iter().map(|sample| {
            let mut canary = part(sample, w, chance);
            let stable = rest(&sample.stable, &canary);
            if let Some((rule, effect)) = &self.harm
                && *rule == sample.rule
            {
                extra += effect.apply(&mut canary, chance);
            }
            Sample {
                canary,
                stable,
                ..sample.clone()
            }
        });
        (parted.collect(), extra)
    }
}

impl Effect {
    /// Harms the canary's counts; tells how many requests became bad.
    fn apply(&self, canary: &mut ArmCounts, chance: &mut Chance) -> f64 {
        match (self, canary) {
            (Self::Bad(p), ArmCounts::Proportion { total, bad }) => {
                let added = chance.binomial(*total - *bad, *p);
                *bad += added;
                added
            }
            (Self::Moved(rows), ArmCounts::Buckets { counts, .. })
                if rows.len() == counts.len() =>
            {
                *counts = spread(counts, rows, chance);
                0.0
            }
            (Self::Often(often), ArmCounts::Events { seconds, events }) => {
                *events += chance.poisson(*seconds * often);
                0.0
            }
            (_, _) => 0.0,
        }
    }
}

/// Deals each bucket's requests out by its row of shares.
fn spread(counts: &[f64], rows: &[Vec<f64>], chance: &mut Chance) -> Vec<f64> {
    let mut spread = vec![0.0; counts.len()];
    for (count, row) in counts.iter().zip(rows) {
        let (mut left, mut share_left) = (*count, 1.0);
        for (to, share) in spread.iter_mut().zip(row) {
            let p = if share_left > 1e-12 {
                (share / share_left).min(1.0)
            } else {
                0.0
            };
            let here = chance.binomial(left, p);
            *to += here;
            left -= here;
            share_left -= share;
        }
        if let Some(last) = spread.last_mut() {
            *last += left;
        }
    }
    spread
}

/// The canary's part of an arm. Counts are whole numbers but for what a server interpolated.
fn part(sample: &Sample, w: f64, chance: &mut Chance) -> ArmCounts {
    let all = &sample.stable;
    let share = match all {
        ArmCounts::Events { seconds, .. } => part_of_pods(sample, *seconds, w),
        ArmCounts::Proportion { .. } | ArmCounts::Buckets { .. } | ArmCounts::Numbers(_) => w,
    };
    let mut drawn = |count: f64| chance.binomial(count.floor(), share);
    match all {
        ArmCounts::Proportion { total, bad } => {
            let (good, bad) = (drawn(total - bad), drawn(*bad));
            ArmCounts::Proportion {
                total: good + bad,
                bad,
            }
        }
        ArmCounts::Buckets { boundaries, counts } => ArmCounts::Buckets {
            boundaries: Arc::clone(boundaries),
            counts: counts.iter().map(|count| drawn(*count)).collect(),
        },
        ArmCounts::Events { seconds, events } => ArmCounts::Events {
            seconds: seconds * share,
            events: drawn(*events),
        },
        // These are not requests: both arms would show the same.
        ArmCounts::Numbers(_) => all.clone(),
    }
}

/// The canary's part of the pods that were there: as many as the weight gives, one at least, not all.
fn part_of_pods(sample: &Sample, seconds: f64, w: f64) -> f64 {
    let length = sample.to.duration_since(sample.from).as_secs_f64();
    let pods = (seconds / length.max(1e-3)).round().max(1.0);
    let canary = (pods * w).ceil().max(1.0).min(pods - 1.0);
    (canary / pods).max(0.0)
}

fn rest(all: &ArmCounts, part: &ArmCounts) -> ArmCounts {
    match (all, part) {
        (ArmCounts::Proportion { total, bad }, ArmCounts::Proportion { total: n, bad: x }) => {
            ArmCounts::Proportion {
                total: total - n,
                bad: bad - x,
            }
        }
        (ArmCounts::Buckets { boundaries, counts }, ArmCounts::Buckets { counts: part, .. }) => {
            let left = counts.iter().zip(part).map(|(all, part)| all - part);
            ArmCounts::Buckets {
                boundaries: Arc::clone(boundaries),
                counts: left.collect(),
            }
        }
        (
            ArmCounts::Events { seconds, events },
            ArmCounts::Events {
                seconds: own,
                events: x,
            },
        ) => ArmCounts::Events {
            seconds: seconds - own,
            events: events - x,
        },
        (_, _) => all.clone(),
    }
}

/// The sample without what was the canary's.
pub fn stable_only(sample: &Sample) -> Sample {
    let mut canary = sample.stable.clone();
    match &mut canary {
        ArmCounts::Proportion { total, bad } => (*total, *bad) = (0.0, 0.0),
        ArmCounts::Buckets { counts, .. } => counts.fill(0.0),
        ArmCounts::Events { seconds, events } => (*seconds, *events) = (0.0, 0.0),
        ArmCounts::Numbers(_) => {}
    }
    Sample {
        canary,
        ..sample.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(total: f64, bad: f64) -> ArmCounts {
        ArmCounts::Proportion { total, bad }
    }

    fn sample(stable: ArmCounts) -> Sample {
        Sample {
            rule: "r".to_owned(),
            from: jiff::Timestamp::from_second(0).unwrap(),
            to: jiff::Timestamp::from_second(15).unwrap(),
            canary: arm(7.0, 7.0),
            stable,
        }
    }

    #[test]
    fn no_request_is_lost_and_the_share_is_the_weight() {
        let (tick, mut chance) = (vec![sample(arm(1000.0, 40.0))], Chance::of(1, 1));
        let mut sums = (0.0, 0.0);
        for _ in 0..200 {
            let (parted, extra) = Thinning::fair().split(&tick, 0.2, &mut chance);
            let (ArmCounts::Proportion { total, bad }, ArmCounts::Proportion { total: n, bad: x }) =
                (&parted[0].canary, &parted[0].stable)
            else {
                panic!("no proportion")
            };
            assert_eq!((total + n, bad + x, extra), (1000.0, 40.0, 0.0));
            sums = (sums.0 + total, sums.1 + bad);
        }
        assert!(
            (sums.0 / 40_000.0 - 1.0).abs() < 0.02 && (sums.1 / 1600.0 - 1.0).abs() < 0.1,
            "{sums:?}"
        );
    }

    #[test]
    fn harm_brings_the_canary_to_its_rate_and_is_counted() {
        let usual = Usual::Errors(0.01);
        let (tick, mut chance) = (vec![sample(arm(100_000.0, 1000.0))], Chance::of(1, 1));
        let harmful = Thinning::harmful("r", &usual, Harm::Rate(0.05));
        let (parted, extra) = harmful.split(&tick, 0.5, &mut chance);
        let ArmCounts::Proportion { total, bad } = parted[0].canary else {
            panic!("no proportion")
        };
        assert!(
            (bad / total - 0.05).abs() < 0.004 && (extra - 2000.0).abs() < 200.0,
            "{bad} {total} {extra}"
        );
        let other = Thinning::harmful("s", &usual, Harm::Rate(0.05));
        assert!(other.split(&tick, 0.5, &mut chance).1.abs() < 0.5);
    }

    #[test]
    fn slower_requests_are_moved_and_none_is_lost() {
        let boundaries: Arc<[f64]> = [0.1, 0.2, 0.4].into();
        let counts = vec![0.0, 1000.0, 0.0, 10.0];
        let usual = Usual::times(Arc::clone(&boundaries), &counts);
        let tick = vec![sample(ArmCounts::Buckets { boundaries, counts })];
        let slower = Thinning::harmful("r", &usual, Harm::Slower(2.0));
        let (parted, _) = slower.split(&tick, 1.0, &mut Chance::of(1, 1));
        let ArmCounts::Buckets { counts, .. } = &parted[0].canary else {
            panic!("no buckets")
        };
        assert_eq!(*counts, [0.0, 0.0, 1000.0, 10.0]);
    }

    #[test]
    fn events_go_with_their_pods_and_harm_is_added_to_the_canarys() {
        let (seconds, events) = (150.0, 4.0); // ten pods for fifteen seconds
        let tick = vec![sample(ArmCounts::Events { seconds, events })];
        let usual = Usual::Events {
            often: 0.0,
            pods: 10,
        };
        let often = Thinning::harmful("r", &usual, Harm::Often(360.0));
        let fair = Thinning::fair();
        let mut chance = Chance::of(1, 1);
        let mut sums = [0.0; 3];
        for _ in 0..1000 {
            for (at, thinning) in [&fair, &often].into_iter().enumerate() {
                let (parted, _) = thinning.split(&tick, 0.15, &mut chance);
                let (
                    ArmCounts::Events { seconds, events },
                    ArmCounts::Events {
                        seconds: rest,
                        events: others,
                    },
                ) = (&parted[0].canary, &parted[0].stable)
                else {
                    panic!("no events")
                };
                assert_eq!((*seconds, *rest), (30.0, 120.0));
                sums[at] += events;
                sums[2] += others;
            }
        }
        // A fifth of four, and three more in thirty seconds of pods.
        assert!((sums[0] / 1000.0 - 0.8).abs() < 0.1, "{sums:?}");
        assert!((sums[1] / 1000.0 - 3.8).abs() < 0.25, "{sums:?}");
        assert!((sums[2] / 2000.0 - 3.2).abs() < 0.1, "{sums:?}");
    }
}
