//! Are one arm's sampled numbers larger than the other's? The rank test of Mann and Whitney,
//! one-sided, looked at a few times only.
//!
//! Looks are taken when the smaller arm has 8, 16, 32, ... samples; the k-th look has the part
//! `2^-k` of alpha, so that all looks together have at most alpha. Exact where the smaller arm has at
//! most eight samples and there are no ties, else by the normal approximation with ties and
//! continuity correction (as scipy's `mannwhitneyu` chooses).
//!
//! Assumes that the samples are independent. Not here: where samples come from.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Samples that are kept for each arm.
pub const MOST: usize = 1000;
/// Samples of the smaller arm at the first look.
const FIRST: usize = 8;

/// The samples of both arms since the step began, and the looks taken in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranks {
    canary: Vec<f64>,
    stable: Vec<f64>,
    next: usize,
    looks: i32,
    last: Option<Look>,
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Samples of the smaller arm.
    pub size: usize,
    /// Probability of a difference at least as large, were there none.
    pub p: f64,
    /// The part of alpha that the look has, 1/2, 1/4, ...
    pub part: f64,
}

impl Look {
    /// Whether the canary's numbers are larger than chance would have them, at `alpha`.
    pub fn shows(&self, alpha: f64) -> bool {
        self.p <= alpha * self.part
    }
}

impl Default for Ranks {
    fn default() -> Self {
        Self {
            canary: Vec::new(),
            stable: Vec::new(),
            next: FIRST,
            looks: 0,
            last: None,
        }
    }
}

impl Ranks {
    /// Adds samples; what is no number, and what is beyond [`MOST`], is left out. Answers with
    /// the look that is due then, if one is.
    pub fn observe(&mut self, canary: &[f64], stable: &[f64]) -> Option<Look> {
        for (kept, new) in [(&mut self.canary, canary), (&mut self.stable, stable)] {
            let room = MOST.saturating_sub(kept.len());
            kept.extend(new.iter().filter(|x| !x.is_nan()).take(room));
        }
        let size = self.size();
        if size < self.next {
            return None;
        }
        while self.next <= size {
            self.next *= 2;
        }
        self.looks += 1;
        let look = Look {
            size,
            p: larger(&self.canary, &self.stable),
            part: 0.5f64.powi(self.looks),
        };
        self.last = Some(look);
        self.last
    }

    /// The samples of the step: the canary's, stable's.
    pub fn samples(&self) -> (&[f64], &[f64]) {
        (&self.canary, &self.stable)
    }

    /// Samples of the smaller arm.
    pub fn size(&self) -> usize {
        self.canary.len().min(self.stable.len())
    }

    /// The newest look of the step.
    pub fn last(&self) -> Option<Look> {
        self.last
    }

    /// A new step: samples are collected anew, looks go on being counted.
    pub fn restart(&mut self) {
        self.canary.clear();
        self.stable.clear();
        self.next = FIRST;
        self.last = None;
    }
}

/// One-sided p-value of `x` being larger than `y`; 1 where one of them is empty.
pub fn larger(x: &[f64], y: &[f64]) -> f64 {
    let sizes = (x.len(), y.len());
    if sizes.0 == 0 || sizes.1 == 0 {
        return 1.0;
    }
    let (u, ties) = u_and_ties(x, y);
    if ties <= 0.0 && sizes.0.min(sizes.1) <= FIRST {
        return exact(u, sizes.0, sizes.1);
    }
    let (all, pairs) = ((sizes.0 + sizes.1) as f64, (sizes.0 * sizes.1) as f64);
    let deviation = (pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt();
    if deviation <= 0.0 || deviation.is_nan() {
        return 1.0;
    }
    // The upper tail as the lower one of what is mirrored: no digits are lost far out.
    Normal::standard().cdf(-(u - pairs / 2.0 - 0.5) / deviation)
}

/// How many pairs have `x` above `y` (ties half), and the sum of `t^3 - t` over groups of ties.
fn u_and_ties(x: &[f64], y: &[f64]) -> (f64, f64) {
    let mut all: Vec<(f64, bool)> = x.iter().map(|v| (*v, true)).collect();
    all.extend(y.iter().map(|v| (*v, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut u, mut ties) = (0.0, 0.0, 0.0);
    #[allow(clippy::float_cmp)] // ties are equal values
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let ours = group.iter().filter(|(_, ours)| *ours).count() as f64;
        let size = group.len() as f64;
        u += ours * (below + 0.5 * (size - ours));
        below += size - ours;
        ties += size * size * size - size;
    }
    (u, ties)
}

/// P(U >= u) without ties: the share of all orders with so large a statistic, which is symmetric
/// in the arms. They are counted by the Gaussian binomial coefficient, its factors one by one.
fn exact(u: f64, n: usize, m: usize) -> f64 {
    let (few, many) = (n.min(m), n.max(m));
    let most = few * many;
    let mut shares = vec![0.0; most + 1];
    shares[0] = 1.0;
    for i in 1..=few {
        let (up, down) = (many + i, i);
        for s in (up..=most).rev() {
            shares[s] -= shares[s - up];
        }
        for s in down..=most {
            shares[s] += shares[s - down];
        }
        let scale = down as f64 / up as f64;
        for share in &mut shares {
            *share *= scale;
        }
    }
    let from = u.ceil().max(0.0) as usize;
    shares.iter().skip(from).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal)] // reference values stand as they were given
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-9, "got {got}, want {want}");
    }

    /// All values are scipy 1.17's: `mannwhitneyu(x, y, alternative="greater").pvalue`.
    #[test]
    fn p_values_agree_with_scipy() {
        let to = |n: i32| (1..=n).map(f64::from).collect::<Vec<f64>>();
        let from_zero = |n: i32| (0..n).map(f64::from).collect::<Vec<f64>>();
        let mixed = [1.5, 4.5, 6.5, 7.5, 9.5, 10.5, 12.5, 14.5];
        let few = [5.5, 9.5, 11.5];
        let above: Vec<f64> = (9..17).map(f64::from).collect();
        let waves: Vec<f64> = (0..30)
            .map(|x| f64::from(x) + 0.5 + f64::from(x % 7))
            .collect();
        let far: Vec<f64> = (0..60).map(|x| f64::from(x) + 1000.5).collect();
        near(larger(&above, &to(8)), 7.77000777000777e-5);
        near(larger(&mixed, &to(8)), 0.032478632478632474);
        near(larger(&few, &to(20)), 0.6826651609260306);
        near(larger(&to(20), &few), 0.34895539243365326);
        let (x, y) = (
            [1., 2., 2., 3., 3., 3., 4., 5., 5., 8.],
            [1., 1., 2., 2., 2., 3., 3., 4., 4., 4.],
        );
        near(larger(&x, &y), 0.1398739977918571);
        near(larger(&waves, &from_zero(30)), 0.08572502372985508);
        near(larger(&far, &from_zero(60)), 1.7782854874923613e-21);
    }

    #[test]
    fn equal_numbers_show_nothing() {
        near(larger(&[3.0; 20], &[3.0; 20]), 1.0);
        near(larger(&[], &[3.0]), 1.0);
    }

    #[test]
    fn looks_come_at_doubled_sizes_and_share_alpha() {
        let mut ranks = Ranks::default();
        let mut looks = Vec::new();
        for i in 0..1100 {
            let x = f64::from(i);
            looks.extend(ranks.observe(&[x + 0.5], &[x]).map(|l| (l.size, l.part)));
        }
        let sizes: Vec<usize> = looks.iter().map(|look| look.0).collect();
        assert_eq!(sizes, [8, 16, 32, 64, 128, 256, 512]);
        assert!(looks.iter().map(|look| look.1).sum::<f64>() < 1.0);
    }

    #[test]
    fn a_new_step_collects_anew_and_goes_on_with_alpha() {
        let mut ranks = Ranks::default();
        let first = ranks.observe(&[2.0; 8], &[1.0; 8]).unwrap();
        ranks.restart();
        assert_eq!((ranks.size(), ranks.last()), (0, None));
        assert_eq!(ranks.observe(&[2.0; 7], &[1.0; 9]), None);
        let second = ranks.observe(&[2.0], &[]).unwrap();
        assert!(first.part > 0.4 && second.part < 0.3);
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut ranks = Ranks::default();
        let x = [f64::NAN, 1., 2., 3., 4., 5., 6., 7., 8.];
        let look = ranks.observe(&x, &x[1..]).unwrap();
        assert_eq!(look.size, 8);
        assert!(!look.shows(0.01));
    }
}
