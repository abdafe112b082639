//! Evidence of a latency rule: requests per bucket of duration.
//!
//! The stable's bucket probabilities are estimated from all that was seen of it *earlier*, frozen,
//! and renewed when a quarter more has been seen; the kernel's bets are computed from the frozen
//! ones. The block witness and the promotion test look at the tails above three boundaries,
//! chosen when a step begins. While too little of stable is known nothing is tested. What follows where
//! boundaries fall away is in `fewer`.

mod fewer;

use serde::{Deserialize, Serialize};

use crate::stats::latency::{
    BETS, Kernel, ln_priors, nearest_boundary, probabilities, tail_boundaries,
};
use crate::stats::mixture::{Mixture, log_mean_exp};
use crate::stats::quantile::above;
use crate::stats::{Arm, Arms, Margin};

use super::tail::Tail;

/// Requests of stable that must be known before its histogram is an estimate.
const LEAST_KNOWN: f64 = 50.0;
/// The estimate is renewed when this many times as much is known.
const RENEWAL: f64 = 1.25;
/// Part of each bet that is dealt out again when the weight changes.
const SHARE: f64 = 0.2;

/// State of a latency rule. Buckets as in `Sample`: not cumulative, the last without limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Times {
    /// Finite upper limits in seconds; empty before the first sample.
    pub(super) boundaries: Vec<f64>,
    pub(super) run: Pair,
    pub(super) step: Pair,
    /// Intervals in which an arm had no request, until both have; empty in older checkpoints.
    #[serde(default)]
    pending: Pair,
    /// All that is known of stable, from before the run too.
    known: Vec<f64>,
    /// The part of `known` that the bets are made from.
    frozen: Vec<f64>,
    /// Boundaries (indices) whose tails are tested.
    cuts: Vec<usize>,
    exact: Mixture<BETS>,
    tails: Vec<Tail>,
    #[serde(skip)]
    kernel: Cached<Kernel>,
}

/// Buckets of both arms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) canary: Vec<f64>,
    pub(super) stable: Vec<f64>,
}

impl Pair {
    fn add(&mut self, canary: &[f64], stable: &[f64]) {
        add(&mut self.canary, canary);
        add(&mut self.stable, stable);
    }

    fn is_of_both(&self) -> bool {
        let some = |counts: &[f64]| counts.iter().any(|count| *count > 0.0);
        some(&self.canary) && some(&self.stable)
    }
}

/// A value that can always be computed again from the state: it is not stored and makes no
/// difference between two states.
#[derive(Debug, Clone)]
struct Cached<T>(Option<T>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> PartialEq for Cached<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What an interval is judged by.
pub(super) struct Terms {
    /// Configured canary share.
    pub(super) w: f64,
    pub(super) worse: Margin,
    pub(super) not_worse: Margin,
}

impl Times {
    pub(super) fn begin() -> Self {
        Self {
            boundaries: Vec::new(),
            run: Pair::default(),
            step: Pair::default(),
            pending: Pair::default(),
            known: Vec::new(),
            frozen: Vec::new(),
            cuts: Vec::new(),
            exact: Mixture::begin(&ln_priors()),
            tails: Vec::new(),
            kernel: Cached(None),
        }
    }

    /// Whether counts with these boundaries can be added to what is there as they are.
    pub(super) fn fits(&self, boundaries: &[f64]) -> bool {
        self.boundaries.is_empty() || self.boundaries == boundaries
    }

    /// The first counts bring the boundaries.
    pub(super) fn adopt(&mut self, boundaries: &[f64]) {
        if self.boundaries.is_empty() {
            self.boundaries = boundaries.to_vec();
        }
    }

    /// Adds stable's counts to the estimate.
    pub(super) fn learn(&mut self, stable: &[f64]) {
        add(&mut self.known, stable);
    }

    /// Tests an interval as it is: one with an empty arm brings nothing.
    pub(super) fn observe(&mut self, canary: &[f64], stable: &[f64], terms: &Terms) {
        if self.count(canary, stable) {
            self.test(canary, stable, terms);
        }
    }

    /// Tests intervals of one weight together until both arms have requests. The estimate is that
    /// from before the first of them.
    pub(super) fn pool(&mut self, canary: &[f64], stable: &[f64], terms: &Terms) {
        if !self.count(canary, stable) {
            return;
        }
        self.pending.add(canary, stable);
        if self.pending.is_of_both() {
            let pooled = std::mem::take(&mut self.pending);
            self.test(&pooled.canary, &pooled.stable, terms);
        }
    }

    /// Adds an interval up; whether enough of stable is known for a test.
    fn count(&mut self, canary: &[f64], stable: &[f64]) -> bool {
        self.run.add(canary, stable);
        self.step.add(canary, stable);
        if self.known.iter().sum::<f64>() < LEAST_KNOWN {
            return false;
        }
        if self.pending == Pair::default() {
            self.renew();
        }
        for (cut, tail) in self.cuts.iter().zip(&mut self.tails) {
            tail.count(&arms(canary, stable, *cut));
        }
        true
    }

    fn test(&mut self, canary: &[f64], stable: &[f64], terms: &Terms) {
        self.bet(canary, stable, terms);
        for (cut, tail) in self.cuts.iter().zip(&mut self.tails) {
            tail.test(&arms(canary, stable, *cut), &terms.not_worse);
        }
    }

    fn bet(&mut self, canary: &[f64], stable: &[f64], terms: &Terms) {
        if terms.w <= 0.0 || terms.w >= 1.0 {
            return;
        }
        let (boundaries, frozen, cuts) = (&self.boundaries, &self.frozen, &self.cuts);
        let kernel = self.kernel.0.get_or_insert_with(|| {
            let p = probabilities(frozen);
            Kernel::new(boundaries, &p, cuts, terms.w, terms.worse.ratio)
        });
        if let Some(growth) = kernel.growth(canary, stable, &terms.worse) {
            self.exact.gain(growth);
        }
    }

    /// Freezes what is known of stable if it has grown enough; chooses tails if there are none.
    fn renew(&mut self) {
        let (known, frozen): (f64, f64) = (self.known.iter().sum(), self.frozen.iter().sum());
        if known >= RENEWAL * frozen {
            self.frozen.clone_from(&self.known);
            self.kernel = Cached(None);
        }
        if self.cuts.is_empty() {
            self.choose_tails();
        }
    }

    fn choose_tails(&mut self) {
        self.cuts = tail_boundaries(&self.boundaries, &probabilities(&self.frozen));
        self.tails.resize_with(self.cuts.len(), Tail::begin);
        self.kernel = Cached(None);
    }

    pub(super) fn weight_changed(&mut self) {
        self.step = Pair::default();
        self.pending = Pair::default();
        self.exact.share(SHARE, &ln_priors());
        for tail in &mut self.tails {
            tail.weight_changed();
        }
        self.kernel = Cached(None);
        if self.known.iter().sum::<f64>() >= LEAST_KNOWN {
            self.frozen.clone_from(&self.known);
            self.choose_tails();
        }
    }

    pub(super) fn restart_promotion(&mut self) {
        self.tails.iter_mut().for_each(Tail::restart_promotion);
    }

    pub(super) fn forgive(&mut self) {
        if self.exact.log() > 0.0 {
            self.exact = Mixture::begin(&ln_priors());
        }
    }

    pub(super) fn close_block(&mut self, w: f64, ratio: f64) {
        for tail in &mut self.tails {
            tail.close_block(w, ratio);
        }
    }

    pub(super) fn drop_block(&mut self) {
        for tail in &mut self.tails {
            tail.drop_block();
        }
    }

    /// Whether the exact witness is at `bound`.
    pub(super) fn exact_reaches(&self, bound: f64) -> bool {
        self.exact.reaches(bound)
    }

    pub(super) fn log_exact(&self) -> f64 {
        self.exact.log()
    }

    /// The tails' block witnesses, averaged.
    pub(super) fn log_block(&self) -> f64 {
        let logs: Vec<f64> = self.tails.iter().map(Tail::log_block).collect();
        log_mean_exp(&logs)
    }

    /// Whether both witnesses are at `bound`.
    pub(super) fn is_worse(&self, bound: f64) -> bool {
        self.exact.reaches(bound) && self.log_block() >= bound
    }

    /// What [`Times::log_block`] were if the open block voted now.
    pub(super) fn log_block_if_closed(&self, w: f64, ratio: f64) -> f64 {
        let tails = self.tails.iter();
        let logs: Vec<f64> = tails
            .map(|tail| tail.log_block_if_closed(w, ratio))
            .collect();
        log_mean_exp(&logs)
    }

    /// The promotion test of the tail that shows least now; 0 before any tail is tested.
    pub(super) fn log_not_worse_now(&self) -> f64 {
        let logs = self.tails.iter().map(Tail::log_not_worse_now);
        logs.reduce(f64::min).unwrap_or(0.0)
    }

    /// The promotion test of the tail that has shown least; 0 before any tail is tested.
    pub(super) fn log_not_worse(&self) -> f64 {
        let logs = self.tails.iter().map(Tail::log_not_worse);
        logs.reduce(f64::min).unwrap_or(0.0)
    }

    /// Whether a request of stable was ever seen.
    pub(super) fn has_stable(&self) -> bool {
        self.known.iter().sum::<f64>() > 0.0
    }

    /// Stable's shares above the tested boundaries, for planning; empty while too little is known.
    pub(super) fn tail_rates(&self) -> Vec<f64> {
        if self.known.iter().sum::<f64>() < LEAST_KNOWN {
            return Vec::new();
        }
        let p = probabilities(&self.known);
        let cuts = tail_boundaries(&self.boundaries, &p);
        cuts.into_iter().map(|cut| above(&p, cut)).collect()
    }

    /// What is known of stable above a boundary, and its seconds: that of `seconds`, else the first
    /// above the quantile `q`. It is what was seen beside the canary, if that were `least` requests.
    pub(super) fn known_tail(
        &self,
        q: f64,
        seconds: Option<f64>,
        least: f64,
    ) -> Option<(Arm, f64)> {
        let run: f64 = self.run.stable.iter().sum();
        let counts = if run < least {
            &self.known
        } else {
            &self.run.stable
        };
        let total: f64 = counts.iter().sum();
        let tail = |cut: usize| above(counts, cut);
        let cut = match seconds {
            Some(seconds) => self
                .boundaries
                .iter()
                .position(|le| *le >= seconds - 1e-9)?,
            None => (0..self.boundaries.len()).find(|cut| tail(*cut) <= (1.0 - q) * total)?,
        };
        Some((Arm::new(total, tail(cut)), *self.boundaries.get(cut)?))
    }

    /// The boundary (index) above which the noise of pods is learned: stable's p95, once enough
    /// of its slow requests are known.
    pub(super) fn noise_boundary(&self) -> Option<usize> {
        let known: f64 = self.known.iter().sum();
        (known >= 4.0 * LEAST_KNOWN).then(|| self.told_boundary(0.95))?
    }

    /// The boundary (index) that is nearest to stable's quantile `q`.
    pub(super) fn told_boundary(&self, q: f64) -> Option<usize> {
        let counts = if self.known.is_empty() {
            &self.run.stable
        } else {
            &self.known
        };
        nearest_boundary(&self.boundaries, &probabilities(counts), q)
    }
}

fn arms(canary: &[f64], stable: &[f64], cut: usize) -> Arms {
    let arm = |counts: &[f64]| Arm::new(counts.iter().sum(), above(counts, cut));
    Arms {
        canary: arm(canary),
        stable: arm(stable),
    }
}

fn add(sums: &mut Vec<f64>, counts: &[f64]) {
    sums.resize(sums.len().max(counts.len()), 0.0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}
