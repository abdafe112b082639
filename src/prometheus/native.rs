//! Native histograms, as Prometheus' API tells them: only the buckets that hold something, each with
//! its own limits, whose widths are powers of two and halve or double with the resolution.
//!
//! Whatever the resolution is, and whether it is the same in both arms and from one scrape to the
//! next (a client halves it when there are too many buckets), all counts are brought to the same
//! boundaries: the powers of two from 2^-14 to 2^14. Every resolution from "one bucket a doubling"
//! on has them, so nothing is apportioned. A coarser one, or buckets of one's own choice that
//! reach across a power of two, is refused. Below the limit of the bucket about zero there are no
//! boundaries: a client may widen it, and what was counted below them then would be gone.
//!
//! Not here: which series they belong to (`sorting`), and increments (`counters`).

use std::borrow::Cow;

use serde::Deserialize;

/// Exponents of the boundaries: from 61 microseconds to four and a half hours, if these are seconds.
const EXPONENTS: std::ops::RangeInclusive<i32> = -14..=14;
/// Limits are written in decimals; this much is no difference.
const NEAR: f64 = 1e-9;

/// A histogram in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Native<'a> {
    /// By limits, not cumulative.
    #[serde(borrow, default)]
    buckets: Vec<Bucket<'a>>,
}

/// How the limits are meant, then lower and upper limit and the count.
type Bucket<'a> = (u8, Cow<'a, str>, Cow<'a, str>, Cow<'a, str>);

impl Native<'_> {
    /// Observations up to each boundary, the infinite one last.
    pub fn up_to(&self) -> Result<Vec<(f64, f64)>, &'static str> {
        let boundaries: Vec<f64> = EXPONENTS.map(|exponent| 2f64.powi(exponent)).collect();
        let mut counts = vec![0.0; boundaries.len() + 1];
        let mut about_zero: f64 = 0.0;
        for (_, lower, upper, count) in &self.buckets {
            let [lower, upper, count] = [lower, upper, count].map(|text| text.parse::<f64>());
            let (Ok(lower), Ok(upper), Ok(count)) = (lower, upper, count) else {
                return Err("a native histogram has a bucket that is none");
            };
            if !(count.is_finite() && count >= 0.0) {
                return Err("a native histogram has a count that can be none");
            }
            if lower < 0.0 && upper > 0.0 {
                about_zero = upper;
            }
            let at = boundaries.partition_point(|boundary| *boundary < upper * (1.0 - NEAR));
            let below = at.checked_sub(1).and_then(|below| boundaries.get(below));
            // The bucket about zero may be wide: what is in it counts as just below its limit.
            let across = below.is_some_and(|below| lower >= 0.0 && lower < below * (1.0 - NEAR));
            if across {
                return Err(
                    "the buckets of a native histogram reach across powers of two: too coarse, or chosen by hand",
                );
            }
            counts[at] += count;
        }
        let limits = boundaries.into_iter().chain(std::iter::once(f64::INFINITY));
        let mut sum = 0.0;
        let cumulative = limits.zip(counts).map(|(limit, count)| {
            sum += count;
            (limit, sum)
        });
        let known = cumulative.filter(|(limit, _)| *limit >= about_zero * (1.0 - NEAR));
        Ok(known.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets of `2^-schema` doublings each: index and count.
    fn histogram(schema: i32, buckets: &[(i32, u32)]) -> String {
        let limit = |index: i32| (f64::from(index) * 2f64.powi(-schema)).exp2();
        let bucket = |(index, count): &(i32, u32)| {
            let (lower, upper) = (limit(index - 1), limit(*index));
            format!(r#"[0,"{lower}","{upper}","{count}"]"#)
        };
        let buckets: Vec<String> = buckets.iter().map(bucket).collect();
        let buckets = buckets.join(",");
        format!(r#"{{"count":"9","sum":"1.5","buckets":[{buckets}]}}"#)
    }

    fn up_to(json: &str) -> Result<Vec<(f64, f64)>, &'static str> {
        serde_json::from_str::<Native<'_>>(json).unwrap().up_to()
    }

    /// What lies in (1/4, 1/2], (1/2, 1], (1, 2] and above.
    fn around_one(json: &str) -> Vec<f64> {
        let all = up_to(json).unwrap();
        let at = |limit: f64| all.iter().find(|(le, _)| *le >= limit).unwrap().1;
        let limits = [0.25, 0.5, 1.0, 2.0, f64::INFINITY];
        limits
            .windows(2)
            .map(|two| at(two[1]) - at(two[0]))
            .collect()
    }

    #[test]
    fn all_resolutions_come_to_the_same_boundaries() {
        // The same twelve observations, while the resolution halves again and again.
        let fine = histogram(3, &[(-7, 1), (0, 2), (1, 1), (3, 2), (8, 4), (9, 2)]);
        let coarser = histogram(2, &[(-3, 1), (0, 2), (1, 1), (2, 2), (4, 4), (5, 2)]);
        let coarse = histogram(0, &[(0, 3), (1, 7), (2, 2)]);
        for json in [fine, coarser, coarse] {
            assert_eq!(around_one(&json), [0.0, 3.0, 7.0, 2.0], "{json}");
            assert_eq!(up_to(&json).unwrap().len(), 30);
        }
    }

    #[test]
    fn zero_negative_and_far_observations_have_their_place() {
        let zero =
            r#"{"buckets":[[3,"-0.001","0.001","5"],[1,"-2","-1","1"],[0,"65536","131072","2"]]}"#;
        let all = up_to(zero).unwrap();
        assert_eq!(all.first(), Some(&(2f64.powi(-9), 6.0)));
        let at = |limit: f64| all.iter().find(|(le, _)| *le >= limit).unwrap().1;
        assert_eq!((at(0.001), at(16384.0), at(f64::INFINITY)), (6.0, 6.0, 8.0));
        assert_eq!(
            up_to(r#"{"count":"0","sum":"0"}"#).unwrap()[29].1.to_bits(),
            0
        );
    }

    #[test]
    fn a_wider_bucket_about_zero_makes_no_boundary_fall() {
        let narrow =
            r#"{"buckets":[[3,"-1e-10","1e-10","5"],[0,"0.0001220703125","0.000244140625","7"]]}"#;
        let wide = r#"{"buckets":[[3,"-0.001","0.001","12"]]}"#;
        let (before, after) = (up_to(narrow).unwrap(), up_to(wide).unwrap());
        for (limit, count) in &after {
            let known = before
                .iter()
                .find(|(known, _)| known.to_bits() == limit.to_bits());
            assert_eq!(known, Some(&(*limit, *count)));
        }
        assert_eq!((before.len(), after.len()), (30, 25));
    }

    #[test]
    fn what_reaches_across_a_power_of_two_is_refused() {
        let quarters = histogram(-1, &[(0, 1)]);
        let chosen = r#"{"buckets":[[0,"0.1","0.3","1"]]}"#;
        for json in [&quarters, chosen] {
            assert!(
                up_to(json).unwrap_err().contains("across powers of two"),
                "{json}"
            );
        }
        for bad in ["NaN", "-1", "x"] {
            let json = format!(r#"{{"buckets":[[0,"0.5","1","{bad}"]]}}"#);
            assert!(up_to(&json).is_err(), "{bad}");
        }
    }
}
