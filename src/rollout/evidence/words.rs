//! Numbers in words: counts, shares, times and odds as people read and check them.
//!
//! Not here: sentences made of them.

/// A count with its thousands apart: `11,590`; what is no whole number keeps one digit.
pub(super) fn count(count: f64) -> String {
    let count = count.max(0.0);
    let whole = (count - count.round()).abs() < 0.05;
    let text = if whole {
        format!("{count:.0}")
    } else {
        format!("{count:.1}")
    };
    let (digits, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart + rest
}

/// A share in percent: two places, more where that would leave less than two digits.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 {
        return "0%".to_owned();
    }
    // 0.10% is fine, 0.01% is not: 0.012% is told with three places.
    let mut places = 2;
    while places < 9 && percent * 10f64.powi(places) < 9.5 {
        places += 1;
    }
    let places = usize::try_from(places).unwrap_or(2);
    format!("{percent:.places$}%")
}

/// A number for people: two digits below ten, whole above, a power of ten where it is large.
pub(super) fn number(value: f64) -> String {
    if value >= 1e5 {
        format!("{value:.1e}")
    } else if value >= 9.95 {
        count(value.round())
    } else {
        format!("{value:.1}")
    }
}

/// Odds from a natural logarithm: what stands before "to 1".
pub(super) fn odds(log: f64) -> String {
    // The exponential of what no f64 can hold is said by its logarithm.
    if log > 700.0 {
        format!("1e{:.0}", log / std::f64::consts::LN_10)
    } else if log < 0.0 {
        "under 1".to_owned()
    } else {
        number(log.exp())
    }
}

/// A time in seconds, three digits: `84 ms`, `1.25 s`.
pub(super) fn time(seconds: f64) -> String {
    if seconds < 0.001 {
        return format!("{seconds:.1e} s");
    }
    if seconds < 1.0 {
        let thousandths = seconds * 1000.0;
        let places = if thousandths < 10.0 {
            2
        } else {
            usize::from(thousandths < 100.0)
        };
        return format!("{thousandths:.places$} ms");
    }
    let places = if seconds < 10.0 {
        2
    } else {
        usize::from(seconds < 100.0)
    };
    format!("{seconds:.places$} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_short_at_every_size() {
        let rows = [
            (-3.0, "under 1"),
            (200f64.ln(), "200"),
            (12_345f64.ln(), "12,345"),
            (3.1e9f64.ln(), "3.1e9"),
            (2302.6, "1e1000"),
        ];
        for (log, want) in rows {
            assert_eq!(odds(log), want);
        }
    }

    #[test]
    fn shares_have_two_digits_at_least() {
        let rows = [
            (31.0 / 612.0, "5.07%"),
            (12.0 / 11_590.0, "0.10%"),
            (0.000_12, "0.012%"),
            (0.000_001_2, "0.00012%"),
            (0.0, "0%"),
            (1.0, "100.00%"),
        ];
        for (share, want) in rows {
            assert_eq!(percent(share), want);
        }
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let rows = [
            (0.0, "0"),
            (612.0, "612"),
            (11_590.0, "11,590"),
            (1234.5, "1,234.5"),
            (0.999_999_9, "1"),
        ];
        for (value, want) in rows {
            assert_eq!(count(value), want);
        }
    }

    #[test]
    fn times_have_three_digits() {
        let rows = [
            (0.0847, "84.7 ms"),
            (0.2471, "247 ms"),
            (1.25, "1.25 s"),
            (42.0, "42.0 s"),
            (0.0051, "5.10 ms"),
        ];
        for (seconds, want) in rows {
            assert_eq!(time(seconds), want);
        }
    }
}
