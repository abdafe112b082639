//! Quantiles and tails of a histogram with fixed bucket boundaries.
//!
//! `boundaries` are the finite upper limits, rising; `counts` are per bucket (not cumulative), one
//! more than there are boundaries: the last bucket has no upper limit. Interpolation is linear
//! inside a bucket, as Prometheus' `histogram_quantile` does it, so people see the same number.
//!
//! Not here: tests on histograms (`latency`).

/// A quantile's estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The value, in the boundaries' unit.
    pub value: f64,
    /// The quantile lies above the last boundary; `value` is that boundary, the truth is larger.
    pub limited: bool,
}

/// The `q` quantile (0..1), or `None` without counts or boundaries.
pub fn quantile(boundaries: &[f64], counts: &[f64], q: f64) -> Option<Quantile> {
    let total: f64 = counts.iter().sum();
    let last = *boundaries.last()?;
    if total <= 0.0 {
        return None;
    }
    let (mut below, mut lower, rank) = (0.0, 0.0, q * total);
    for (&upper, &count) in boundaries.iter().zip(counts) {
        if below + count >= rank && count > 0.0 {
            let value = lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0);
            return Some(Quantile {
                value,
                limited: false,
            });
        }
        below += count;
        lower = upper;
    }
    Some(Quantile {
        value: last,
        limited: true,
    })
}

/// How many of `counts` lie above the boundary with this index.
pub fn above(counts: &[f64], boundary: usize) -> f64 {
    counts.iter().skip(boundary + 1).sum()
}

/// The counts of the buckets between `fewer` boundaries, all of which are among `boundaries`.
pub fn coarser(counts: &[f64], boundaries: &[f64], fewer: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; fewer.len() + 1];
    for (at, count) in counts.iter().enumerate() {
        let upper = boundaries.get(at).copied().unwrap_or(f64::INFINITY);
        sums[fewer.partition_point(|le| *le < upper)] += count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_inside_a_bucket() {
        let boundaries = [0.1, 0.5, 1.0];
        let counts = [50.0, 40.0, 8.0, 2.0];
        let rows = [
            (0.25, 0.05, false),
            (0.5, 0.1, false),
            (0.7, 0.3, false),
            (0.94, 0.75, false),
            (0.99, 1.0, true),
        ];
        for (q, value, limited) in rows {
            let got = quantile(&boundaries, &counts, q).unwrap();
            assert!((got.value - value).abs() < 1e-12, "{q}: {got:?}");
            assert_eq!(got.limited, limited);
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(quantile(&[0.1], &[0.0, 0.0], 0.5), None);
        assert_eq!(quantile(&[], &[5.0], 0.5), None);
    }

    #[test]
    fn fewer_boundaries_keep_every_count() {
        let counts = [50.0, 40.0, 8.0, 2.0];
        let coarser = |fewer: &[f64]| coarser(&counts, &[0.1, 0.5, 1.0], fewer);
        assert_eq!(coarser(&[0.1, 1.0]), [50.0, 48.0, 2.0]);
        assert_eq!(coarser(&[0.5]), [90.0, 10.0]);
        assert_eq!(coarser(&[]), [100.0]);
    }

    #[test]
    fn tails_count_the_buckets_above() {
        assert!((above(&[50.0, 40.0, 8.0, 2.0], 1) - 10.0).abs() < 1e-12);
        assert!((above(&[50.0, 40.0, 8.0, 2.0], 9)).abs() < 1e-12);
    }
}
