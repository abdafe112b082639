//! A number that an expectation allows: `3`, `">= 3"`, `"<= 5%"`, `"15%..25%"`.
//!
//! Written as one short string so that every numeric expectation reads alike; percentages
//! are fractions of one. Not here: what is counted.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The least and the most that is allowed, both inclusive.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    least: f64,
    most: f64,
    text: String,
}

impl Bound {
    /// Whether `value` is allowed. Comparison tolerates rounding in the ninth digit.
    pub fn allows(&self, value: f64) -> bool {
        let slack = 1e-9 * value.abs().max(1.0);
        value >= self.least - slack && value <= self.most + slack
    }

    /// Reads a bound; the error says what is wanted.
    pub fn read(text: &str) -> Result<Self, String> {
        let short = text.trim();
        let range = if let Some(rest) = short.strip_prefix(">=") {
            number(rest).map(|n| (n, f64::INFINITY))
        } else if let Some(rest) = short.strip_prefix("<=") {
            number(rest).map(|n| (f64::NEG_INFINITY, n))
        } else if let Some((low, high)) = short.split_once("..") {
            number(low).zip(number(high))
        } else {
            number(short).map(|n| (n, n))
        };
        let (least, most) = range.filter(|(low, high)| low <= high).ok_or_else(|| {
            format!("found {text:?}, wanted a bound such as 3, \">= 3\", \"<= 5%\" or \"15%..25%\"")
        })?;
        let text = short.to_owned();
        Ok(Self { least, most, text })
    }
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, scale) = text.strip_suffix('%').map_or((text, 1.0), |d| (d, 0.01));
    let value: f64 = digits.trim().parse().ok()?;
    value.is_finite().then_some(value * scale)
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Self::read(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn bounds_allow_what_they_say() {
        for (text, inside, outside) in [
            ("3", 3.0, 4.0),
            (">= 3", 1e9, 2.0),
            ("<= 5%", 0.05, 0.051),
            ("15%..25%", 0.2, 0.26),
            ("0", 0.0, 1.0),
        ] {
            let bound = Bound::read(text).unwrap();
            assert!(bound.allows(inside), "{text} allows {inside}");
            assert!(!bound.allows(outside), "{text} refuses {outside}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "three", "> 3", "5..1", "nan"] {
            assert!(Bound::read(text).unwrap_err().contains("wanted"), "{text}");
        }
    }
}
