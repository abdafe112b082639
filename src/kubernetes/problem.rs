//! What is wrong with a spec: one [`Problem`] each, and the readers of single values that note them.
//!
//! A problem says the field, what was found and what is wanted, so that its text alone tells
//! a person what to write instead.
//!
//! Not here: which fields there are and how they belong together (`conversion`).

use std::fmt;
use std::time::Duration;

const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// One thing in a spec that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, e.g. `spec.analysis.blast`.
    pub field: String,
    /// What is there, quoted and shortened; `nothing` when it is missing.
    pub found: String,
    /// What should be there.
    pub wanted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: found {}, wanted {}",
            self.field, self.found, self.wanted
        )
    }
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn note(
        &mut self,
        field: &str,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) {
        self.0.push(Problem {
            field: field.to_owned(),
            found: found.into(),
            wanted: wanted.into(),
        });
    }

    pub(super) fn duration(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= DURATION_MAX => duration,
            Ok(_) => {
                self.note(field, quoted(text), "at most 366 days");
                default
            }
            Err(_) => {
                self.note(field, quoted(text), "a duration such as 90s, 5m or 1h 30m");
                default
            }
        }
    }

    pub(super) fn positive(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: Duration,
    ) -> Duration {
        let duration = self.duration(field, text, default);
        if duration.is_zero() {
            self.note(
                field,
                quoted(text.unwrap_or_default()),
                "a duration above 0",
            );
        }
        duration
    }

    /// A percentage as a fraction in (0, 1]; None when it was refused.
    pub(super) fn percentage(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: f64,
    ) -> Option<f64> {
        let Some(text) = text else {
            return Some(default);
        };
        let fraction = text
            .trim()
            .strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .map(|percent| percent / 100.0)
            .filter(|fraction| *fraction > 0.0 && *fraction <= 1.0);
        if fraction.is_none() {
            self.note(field, quoted(text), "a percentage such as 0.2%");
        }
        fraction
    }

    /// Notes a name that no object can have, and gives it back.
    pub(super) fn object_name(&mut self, field: &str, name: &str) -> String {
        if name.is_empty() {
            self.note(field, "nothing", "a name");
        } else if !is_dns_subdomain(name) {
            let wanted = "a name of lower case letters, digits, - and ., at most 253 characters";
            self.note(field, quoted(name), wanted);
        }
        name.to_owned()
    }

    pub(super) fn http_name(&mut self, field: &str, name: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            self.note(
                field,
                quoted(name),
                "a name of letters, digits, - and _, at most 128 characters",
            );
        }
    }
}

fn is_dns_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A text in quotes, shortened.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
