//! Boundaries that fall away: a release that writes other buckets than the one before.
//!
//! Two arms are compared at the boundaries that both have. From the first sample with fewer of them on,
//! all that was counted is brought to those, and what comes with more is brought to them too.
//!
//! Guarantee: nothing of alpha is spent on it. Which boundaries there are is written in the programs, and
//! says nothing of how long a request took: it may be known before a bet is made. The null hypothesis is
//! about every boundary, so it holds at those that stay. What bets and votes have gained at one that falls
//! away was gained fairly, and goes on as it is where, by what was known of stable before, the next bet is
//! made at another; as when tails are chosen anew at a change of weight. There are as many tails and bets as
//! before, so that their mean does not move.
//!
//! The promotion test is about one boundary: that of a boundary that stays goes on, that of another begins
//! anew, and the open block of a tail that moved is dropped.
//!
//! Caveat: what happens between two boundaries that stay is not seen any more; the latency that is told
//! says by which it is limited. Not here: samples without any of the boundaries (`Rule::takes`).

use super::{Tail, Times};
use crate::stats::latency::{probabilities, tail_boundaries};
use crate::stats::quantile::coarser;

impl Times {
    /// Whether counts with these boundaries can be compared with what is there.
    pub(in super::super) fn meets(&self, boundaries: &[f64]) -> bool {
        let known = |le: &f64| self.boundaries.contains(le);
        self.fits(boundaries) || boundaries.iter().any(known)
    }

    /// Gives up the boundaries that are not among these.
    pub(in super::super) fn meet(&mut self, boundaries: &[f64]) {
        let mut common = self.boundaries.clone();
        common.retain(|le| boundaries.contains(le));
        if common.len() == self.boundaries.len() {
            return;
        }
        let before = std::mem::replace(&mut self.boundaries, common);
        let Self {
            run, step, pending, ..
        } = self;
        let pairs = [run, step, pending].into_iter();
        let counts = pairs.flat_map(|pair| [&mut pair.canary, &mut pair.stable]);
        for counts in counts.chain([&mut self.known, &mut self.frozen]) {
            if !counts.is_empty() {
                *counts = coarser(counts, &before, &self.boundaries);
            }
        }
        self.move_tails(&before);
    }

    /// Tails at boundaries that stay stay; the others move to where they would be chosen now.
    fn move_tails(&mut self, before: &[f64]) {
        self.kernel = super::Cached::default();
        let chosen = tail_boundaries(&self.boundaries, &probabilities(&self.frozen));
        let tails = self.cuts.iter_mut().zip(&mut self.tails);
        for ((cut, tail), chosen) in tails.zip(chosen) {
            let le = before.get(*cut);
            let stays = self.boundaries.iter().position(|kept| Some(kept) == le);
            if stays.is_none() {
                tail.drop_block();
                Tail::restart_promotion(tail);
            }
            *cut = stays.unwrap_or(chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Terms, Times};
    use crate::stats::Margin;

    const MARGIN: Margin = Margin {
        ratio: 1.2,
        absolute: 0.001,
    };
    const TERMS: Terms = Terms {
        w: 0.1,
        worse: MARGIN,
        not_worse: MARGIN,
    };

    /// Some requests above each of 0.1, 0.25, 0.5 and 1 s, and the canary a little slower.
    fn seen() -> Times {
        let mut times = Times::begin();
        times.adopt(&[0.1, 0.25, 0.5, 1.0]);
        times.learn(&[600.0, 250.0, 100.0, 40.0, 10.0]);
        for _ in 0..20 {
            times.observe(
                &[5.0, 3.0, 1.0, 1.0, 0.0],
                &[60.0, 25.0, 10.0, 4.0, 1.0],
                &TERMS,
            );
            times.close_block(0.1, 1.2);
        }
        times
    }

    #[test]
    fn what_was_counted_is_brought_to_the_common_boundaries_and_no_witness_moves() {
        let mut times = seen();
        let before = times.clone();
        times.meet(&[0.05, 0.1, 0.3, 1.0]);
        assert_eq!(times.boundaries, [0.1, 1.0]);
        assert_eq!(times.run.canary, [100.0, 100.0, 0.0]);
        assert_eq!(times.step.stable, [1200.0, 780.0, 20.0]);
        assert!((times.log_exact() - before.log_exact()).abs() < 1e-12);
        assert!((times.log_block() - before.log_block()).abs() < 1e-12);
        let again = times.clone();
        times.meet(&[0.1, 0.2, 1.0, 2.0]);
        assert_eq!(times, again);
    }

    #[test]
    fn the_promotion_test_goes_on_at_a_boundary_that_stays_and_begins_anew_at_another() {
        let mut times = seen();
        let tails = |times: &Times| -> Vec<(f64, f64)> {
            let cuts = times.cuts.iter().map(|cut| times.boundaries[*cut]);
            let shown = times.tails.iter().map(super::Tail::log_not_worse_now);
            cuts.zip(shown).collect()
        };
        let before = tails(&times);
        let seconds: Vec<f64> = before.iter().map(|(cut, _)| *cut).collect();
        assert_eq!(seconds, [0.25, 0.5, 1.0]);
        assert!(before.iter().all(|(_, shown)| shown.abs() > 1e-3));
        times.meet(&[0.1, 0.5, 1.0]);
        let after = tails(&times);
        assert_eq!(after[1..], before[1..]);
        assert!(after[0].1.abs() < 1e-12, "{after:?}");
        assert!(after[0].0 > 0.0 && after[0].0 < 1.0, "{after:?}");
    }

    #[test]
    fn without_a_common_boundary_nothing_meets() {
        let times = seen();
        assert!(times.meets(&[0.1]) && times.meets(&[0.05, 1.0, 7.0]));
        assert!(!times.meets(&[0.2, 0.3]) && !times.meets(&[]));
        assert!(Times::begin().meets(&[0.2]));
    }
}
