//! How far back each Rollout must be read, and who may share a query for it.
//!
//! A query has one range for all its series, so one Rollout that is far behind would make the answer
//! for all of them large: one that begins and reads what was usual, one that goes on after a restart,
//! one whose series are gone. So those that are up to date share one query, and the others are asked
//! apart from them, each with those that reach about as far back: the number of queries grows with
//! the logarithm of the time, never with the Rollouts.
//!
//! Not here: what an answer that is too large comes to (`parts`).

/// Up to date is who has no more than this between two looks.
const BETWEEN_LOOKS_MS: i64 = 30_000;
/// Time between two looks at what is far back and brought nothing, or no answer.
pub(super) const PAUSE_MS: i64 = 15_000;
/// How late a scrape may be stored and still be a sample of its own.
const LATE_MS: i64 = 300_000;

/// How far one rule of one Rollout has been read, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Read {
    /// Its newest scrape.
    pub newest: i64,
    /// When the answer was had that brought it, or that brought nothing newer.
    pub looked: i64,
}

impl Read {
    /// From when on scrapes must be read now. What was looked at and was empty is not read again
    /// for ever: a counter that comes back goes on where it stood.
    pub fn start(self, lookback: i64) -> i64 {
        let from = self.newest.max(self.looked.saturating_sub(LATE_MS));
        from.saturating_sub(lookback)
    }

    /// Whether nothing came for longer than there is between two scrapes.
    pub fn is_quiet(self, lookback: i64) -> bool {
        self.looked.saturating_sub(self.newest) > lookback
    }
}

/// Which query a Rollout is part of that must be read for this time: 0 is that of all who are up to date.
pub(super) fn class(span: i64, lookback: i64) -> u32 {
    let near = lookback.saturating_mul(2).max(1);
    if lookback == 0 || span <= near.saturating_add(BETWEEN_LOOKS_MS) {
        return 0;
    }
    (span / near).max(1).ilog2() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_up_to_date_shares_one_query_and_who_is_not_a_few() {
        let lookback = 37_500;
        for span in [0, 39_000, 75_000, 105_000] {
            assert_eq!(class(span, lookback), 0, "{span}");
        }
        assert_eq!(class(i64::MAX, 0), 0, "a scraper reads nothing back");
        let hour: Vec<u32> = (0..3_600)
            .map(|second| class(second * 1_000, 2_500))
            .collect();
        assert!(hour.windows(2).all(|pair| pair[0] <= pair[1]));
        let mut classes = hour;
        classes.dedup();
        assert!(classes.len() <= 10, "{classes:?}");
    }

    #[test]
    fn a_target_that_is_gone_is_not_read_back_for_ever() {
        let read = |newest, looked| Read { newest, looked };
        assert_eq!(read(100_000, 114_000).start(37_500), 62_500);
        assert!(!read(100_000, 114_000).is_quiet(37_500));
        // Nobody asked for an hour: all of it is read.
        assert_eq!(read(100_000, 102_000).start(37_500), 62_500);
        // It was asked for an hour, and there was nothing.
        let gone = read(100_000, 3_700_000);
        assert!(gone.is_quiet(37_500));
        assert_eq!(gone.start(37_500), 3_700_000 - 300_000 - 37_500);
    }
}
