//! `Retry-After`: how long a server wants to be left alone, in seconds or until a date (RFC 9110, 10.2.3).
//!
//! Not here: what other headers say of it (`git::forge`), and how long one obeys.

use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;

/// What the header says; a date that has passed, and what cannot be read, say nothing.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).ok()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now: Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
        let cases = [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60)),
            ("Fri, 15 Jan 2027 07:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
        ];
        for (text, wanted) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(text));
            let wanted = wanted.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), wanted, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
