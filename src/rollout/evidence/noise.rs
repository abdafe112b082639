//! Noise that belongs to pods and lasts: what the block witness may be worth, and how large an
//! effect must be, where few pods stand for the canary.
//!
//! A pod's bad minute is no bad release. How long bad times last is learned from stable, before
//! the run and in it ([`Dispersion`]): where its counts vary F times as much over long times as
//! over a block, the block witness must reach F times its bound, or the effect must be larger than
//! pods come to in the time that it lasted. What both arms have in common does not count. And pods
//! may differ for good, by a factor that no time tells: the fewer canary pods, the larger the
//! ratio must be before it is called the release's.
//!
//! Guarantee: it only ever makes Worse harder to reach. In force once the pods are known.
//! Not here: the witnesses themselves (`stats`).

use serde::{Deserialize, Serialize};

use crate::stats::dispersion::Dispersion;
use crate::stats::{Arm, Arms};

/// Spread (of logarithms) by which pods of one release may differ for good.
const PODS_DIFFER: f64 = 0.3;
/// ... and the largest ratio that is asked for because of it.
const LARGEST_UNSEEN: f64 = 1.85;
/// The largest ratio that is asked for because of slow noise that was seen.
const LARGEST_SEEN: f64 = 3.5;
/// Noise is seen over too short a time: what lasts longer is taken as this much more.
const UNSEEN_EXCESS: f64 = 1.75;
/// Standard deviations that an effect must stand out by.
const DEVIATIONS: f64 = 2.2;
/// Standard deviations of the pods' noise beyond which an effect is not theirs ...
const BEYOND: f64 = 3.3;
/// ... once it was seen for so many blocks.
const LEAST_BEYOND: f64 = 5.0;
/// A harm is gross from this many times stable's rate, or this much above it; then the block witness
/// must reach at most so many times its bound.
const GROSS_RATIO: f64 = 8.0;
const GROSS_POINTS: f64 = 0.04;
const MOST_IF_GROSS: f64 = 3.0;
/// Noise is slow from this many seconds on, if so many blocks were seen.
const SLOW_SECONDS: f64 = 64.0;
const SLOW_BLOCKS: f64 = 5.0;

/// Ready pods of the arms, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pods {
    /// Of the canary.
    pub canary: u32,
    /// Of stable.
    pub stable: u32,
}

impl Pods {
    /// The canary's part of all pods.
    fn part(self) -> f64 {
        let (canary, stable) = (f64::from(self.canary), f64::from(self.stable));
        canary / (canary + stable)
    }

    /// Variance of the difference of the arms' means, in variances of one pod.
    fn spread(self) -> f64 {
        1.0 / f64::from(self.canary.max(1)) + 1.0 / f64::from(self.stable.max(1))
    }
}

/// What is known of the noise of one way to be bad.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Noise {
    /// Stable's bad requests of all, from before the run too.
    stable: Dispersion,
    /// The canary's bad requests of both arms' bad ones, in this step.
    split: Dispersion,
    /// The open block of `stable`: bad, total, seconds.
    open: (f64, f64, f64),
    /// Seconds and blocks of `stable` so far.
    seen: (f64, f64),
    /// Both arms since the block witness was lowest, and how low it was.
    since_low: Arms,
    low: f64,
    /// Blocks since then.
    blocks_since_low: f64,
    /// Both arms in the open block.
    block: Arms,
}

impl Noise {
    /// Stable's counts of an interval, whether it is tested or not.
    pub(super) fn note(&mut self, stable: Arm, seconds: f64, block: f64) {
        let (bad, total, before) = self.open;
        self.open = (bad + stable.bad, total + stable.total, before + seconds);
        if self.open.2 < block {
            return;
        }
        let (bad, total, seconds) = std::mem::take(&mut self.open);
        self.seen = (self.seen.0 + seconds, self.seen.1 + 1.0);
        self.stable.add(bad, total);
    }

    /// Both arms' counts of a tested interval.
    pub(super) fn observe(&mut self, arms: &Arms) {
        self.block += *arms;
    }

    /// A block has voted; `log` is the block witness now.
    pub(super) fn voted(&mut self, log: f64) {
        let block = std::mem::take(&mut self.block);
        self.since_low += block;
        self.blocks_since_low += 1.0;
        if log <= self.low {
            (self.low, self.since_low) = (log, Arms::default());
            self.blocks_since_low = 0.0;
        }
        let bad = block.canary.bad + block.stable.bad;
        self.split.add(block.canary.bad, bad);
    }

    pub(super) fn drop_block(&mut self) {
        self.block = Arms::default();
    }

    pub(super) fn weight_changed(&mut self) {
        self.drop_block();
        self.split = Dispersion::default();
    }

    /// How many times its bound the block witness must reach, at least 1; `w` is the canary's share
    /// of the traffic. A pod of the canary has `w / part` times the traffic of one of stable.
    ///
    /// A block has one vote whatever is in it, so what bad times add within a block is paid already.
    pub(super) fn inflation(&self, w: f64, pods: Pods) -> f64 {
        if self.is_beyond(pods) {
            return 1.0;
        }
        let scale = self.own() * w / pods.part();
        let lasting = 1.0 + UNSEEN_EXCESS * self.stable.excess() * scale;
        let most = if self.is_gross() {
            MOST_IF_GROSS
        } else {
            f64::INFINITY
        };
        (lasting / (1.0 + self.stable.first_excess() * scale)).clamp(1.0, most)
    }

    /// Whether so much harm is done that waiting costs more than a false rollback.
    fn is_gross(&self) -> bool {
        let (bad, usual) = (self.prudent_rate(), self.usual());
        bad >= GROSS_RATIO * usual || bad >= usual + GROSS_POINTS
    }

    /// The canary's rate since the witness was lowest, less its standard deviation.
    fn prudent_rate(&self) -> f64 {
        let canary = self.since_low.canary;
        canary.rate() * (1.0 - 1.0 / canary.bad.max(1.0).sqrt())
    }

    /// Whether the effect, over the time that it was there, is larger than pods come to in so much
    /// time: then it need not be waited for.
    fn is_beyond(&self, pods: Pods) -> bool {
        if self.blocks_since_low < LEAST_BEYOND {
            return false;
        }
        let relative = self.stable.relative_variance(self.blocks_since_low);
        let Some(relative) = relative else {
            return false;
        };
        let pod = relative * f64::from(pods.stable) * self.own();
        // Variance of the logarithm of a log-normal mean.
        let mean_of = |pods: u32| (pod / f64::from(pods.max(1))).ln_1p();
        let variance =
            mean_of(pods.canary) + mean_of(pods.stable) + PODS_DIFFER * PODS_DIFFER * pods.spread();
        let ratio = self.prudent_rate() / self.usual();
        ratio > 0.0 && ratio.ln() > BEYOND * variance.sqrt()
    }

    /// Stable's rate since the witness was lowest, not nothing.
    fn usual(&self) -> f64 {
        let stable = self.since_low.stable;
        (stable.bad + 0.5) / stable.total.max(1.0)
    }

    /// The part of stable's noise that is not common to both arms.
    fn own(&self) -> f64 {
        self.split.part_of(&self.stable)
    }

    /// Whether the canary is bad so much more often that it cannot be a pod's way.
    pub(super) fn stands_out(&self, pods: Pods) -> bool {
        // With few bad requests the ratio is no more than an estimate: in doubt it stands out.
        let canary = self.since_low.canary;
        let perhaps = canary.rate() * (1.0 + 1.0 / canary.bad.max(1.0).sqrt());
        perhaps > self.ratio(pods) * self.usual()
    }

    /// The ratio that the arms' rates must exceed.
    fn ratio(&self, pods: Pods) -> f64 {
        let spread = pods.spread();
        let unseen = (DEVIATIONS * PODS_DIFFER * spread.sqrt()).min(LARGEST_UNSEEN.ln());
        let one_pod = self.slow_variance() * f64::from(pods.stable) * self.own();
        let seen = 4.0 * one_pod * spread; // two standard deviations
        (unseen * unseen + seen).sqrt().exp().min(LARGEST_SEEN)
    }

    /// Relative variance of stable's rate over long times, beyond chance.
    fn slow_variance(&self) -> f64 {
        let seconds = self.seen.0 / self.seen.1.max(1.0);
        let slow = self.stable.factors().filter(|(length, fano)| {
            length * seconds >= SLOW_SECONDS && fano.blocks >= SLOW_BLOCKS
        });
        slow.map(|(_, fano)| (fano.prudent() - 1.0) / fano.mean)
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::chance::Chance;

    const TEN: Pods = Pods {
        canary: 1,
        stable: 9,
    };

    /// Blocks of 2 s: 2,000 requests, a tenth to the canary, 1% bad; every 32 s the factors of
    /// stable's and the canary's rates are drawn anew.
    fn seen(blocks: u32, factor: impl Fn(&mut Chance) -> (f64, f64)) -> Noise {
        let (mut chance, mut noise) = (Chance::seeded(11), Noise::default());
        let mut factors = (1.0, 1.0);
        for i in 0..blocks {
            if i % 16 == 0 {
                factors = factor(&mut chance);
            }
            let stable = Arm::new(1800.0, chance.poisson(18.0 * factors.0));
            let canary = Arm::new(200.0, chance.poisson(2.0 * factors.1));
            noise.note(stable, 2.0, 1.8);
            noise.observe(&Arms { canary, stable });
            noise.voted(-1.0 - f64::from(i));
        }
        noise
    }

    #[test]
    fn independent_requests_leave_the_block_witness_nearly_as_it_is() {
        let noise = seen(900, |_| (1.0, 1.0));
        assert!((1.0..2.2).contains(&noise.inflation(0.1, TEN)));
    }

    #[test]
    fn bad_times_of_pods_take_as_many_times_the_evidence_as_they_last() {
        let noise = seen(900, |chance| {
            (0.7 + 0.6 * chance.uniform(), 2.0 * chance.uniform())
        });
        let inflation = noise.inflation(0.1, TEN);
        assert!((4.0..50.0).contains(&inflation), "{inflation}");
        // A pod with a fifth of the traffic shows less of it.
        assert!((1.0..inflation).contains(&noise.inflation(0.02, TEN)));
    }

    #[test]
    fn noise_that_both_arms_have_in_common_counts_little() {
        let noise = seen(900, |chance| {
            let common = 0.3 + 1.4 * chance.uniform();
            (common, common)
        });
        assert!(noise.stable.excess() > 20.0);
        assert!(noise.inflation(0.1, TEN) < 0.5 * noise.stable.excess());
    }

    #[test]
    fn an_effect_beyond_what_pods_come_to_need_not_be_waited_for() {
        let noise = |canary_bad| {
            let noisy = seen(900, |chance| {
                (0.7 + 0.6 * chance.uniform(), 2.0 * chance.uniform())
            });
            Noise {
                since_low: Arms {
                    canary: Arm::new(10_000.0, canary_bad),
                    stable: Arm::new(90_000.0, 900.0),
                },
                blocks_since_low: 50.0,
                ..noisy
            }
        };
        assert!((noise(3000.0).inflation(0.1, TEN) - 1.0).abs() < 1e-12);
        assert!(noise(200.0).inflation(0.1, TEN) > 3.0);
    }

    #[test]
    fn few_pods_must_differ_by_more() {
        let noise = Noise::default();
        let ratio = |canary, stable| noise.ratio(Pods { canary, stable });
        let rows = [(1, 1, 1.85), (1, 9, 1.85), (2, 8, 1.685), (5, 5, 1.518)];
        for (canary, stable, want) in rows {
            let got = ratio(canary, stable);
            assert!((got - want).abs() < 0.01, "{canary} of {stable}: {got}");
        }
        let twice = |canary_bad| Noise {
            since_low: Arms {
                canary: Arm::new(10_000.0, canary_bad),
                stable: Arm::new(90_000.0, 900.0),
            },
            ..Noise::default()
        };
        assert!(twice(250.0).stands_out(TEN) && !twice(150.0).stands_out(TEN));
    }
}
