//! Is the metrics server's clock the same as ours?
//!
//! Its samples are stamped by its clock, weight changes by ours: apart by more than the time to
//! settle, requests of one step would count for another. Every answer says the server's time in
//! its `Date`, to the second, so a difference of a few seconds can be told. Caveat: behind a
//! querier that asks other servers it is the querier's clock.
//!
//! Not here: what follows (`source`): the samples count, but nothing rises on them.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap};

/// The difference that is bearable, in milliseconds: as long as the usual time to settle.
const LIMIT_MS: i64 = 3_000;
/// `Date` leaves out the fraction of its second.
const FRACTION_MS: i64 = 1_000;

/// Says by how much the server's clock is apart from ours, if by too much. The request was sent
/// at `sent`; the answer began at `got`.
pub(super) fn doubt(headers: &HeaderMap, sent: Timestamp, got: Timestamp) -> Option<String> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = DateTimeParser::new().parse_timestamp(date).ok()?;
    let date = date.as_millisecond();
    // The answer was stamped between the two, in our time.
    let behind = sent
        .as_millisecond()
        .saturating_sub(date.saturating_add(FRACTION_MS));
    let ahead = date.saturating_sub(got.as_millisecond());
    let (by, how) = if behind > ahead {
        (behind, "behind")
    } else {
        (ahead, "ahead of")
    };
    (by > LIMIT_MS).then(|| {
        let seconds = by / 1000;
        format!("the server's clock is {seconds} s {how} ours, so its samples may belong to another weight: synchronise the clocks")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(date: &str, sent: i64, got: i64) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, date.parse().unwrap());
        let at = |ms| Timestamp::from_millisecond(784_111_777_000 + ms).unwrap();
        doubt(&headers, at(sent), at(got))
    }

    #[test]
    fn clocks_that_are_seconds_apart_are_told() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT"; // 784111777
        for (sent, got, want) in [
            (0, 100, None),
            (900, 5_000, None),
            (3_900, 3_950, None),
            (-3_000, -2_900, None),
            // A slow answer says little.
            (-9_000, 20, None),
            (11_000, 11_100, Some("10 s behind ours")),
            (-10_100, -10_000, Some("10 s ahead of ours")),
        ] {
            let got = said(DATE, sent, got);
            assert_eq!(got.is_some(), want.is_some(), "{sent}: {got:?}");
            assert!(got.unwrap_or_default().contains(want.unwrap_or_default()));
        }
        assert_eq!(said("yesterday", 0, 0), None);
        assert_eq!(
            doubt(
                &HeaderMap::new(),
                Timestamp::UNIX_EPOCH,
                Timestamp::UNIX_EPOCH
            ),
            None
        );
    }
}
