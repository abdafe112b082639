//! What the `ConfigMaps` and the Secrets that a template names hold, by one digest of each kind.
//!
//! A kind may be unread: a role without Secrets, or an API server that has just started. What was not read says
//! nothing, least of all that it changed. As text it is `CONFIGMAPS.SECRETS`, so that it can stand in a label.
//!
//! Not here: reading and digesting (the edge).

use std::fmt;

use serde::{Deserialize, Serialize};

/// In the place of a digest.
const UNREAD: &str = "unread";

/// The configuration of a template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Config {
    /// Digest of the `ConfigMaps`, if they were read.
    pub maps: Option<String>,
    /// Digest of the Secrets, if they were read.
    pub secrets: Option<String>,
}

impl Config {
    /// Whether nothing was read.
    pub fn is_unread(&self) -> bool {
        self.maps.is_none() && self.secrets.is_none()
    }

    /// Whether something that was read both times is another now.
    pub fn differs(&self, now: &Self) -> bool {
        let differs = |one: &Option<String>, other: &Option<String>| {
            one.is_some() && other.is_some() && one != other
        };
        differs(&self.maps, &now.maps) || differs(&self.secrets, &now.secrets)
    }

    /// This, and `older` of what was not read now.
    #[must_use]
    pub fn or(&self, older: &Self) -> Self {
        let part = |one: &Option<String>, other: &Option<String>| one.clone().or(other.clone());
        Self {
            maps: part(&self.maps, &older.maps),
            secrets: part(&self.secrets, &older.secrets),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &'_ Option<String>| part.clone().unwrap_or_else(|| UNREAD.to_owned());
        write!(out, "{}.{}", part(&self.maps), part(&self.secrets))
    }
}

impl From<Config> for String {
    fn from(config: Config) -> Self {
        config.to_string()
    }
}

impl From<String> for Config {
    /// A text without a dot is of a version that had one digest for both: it cannot be compared.
    fn from(text: String) -> Self {
        let part = |part: &str| (part != UNREAD).then(|| part.to_owned());
        text.split_once('.')
            .map(|(maps, secrets)| Self {
                maps: part(maps),
                secrets: part(secrets),
            })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Config::from(text.to_owned())
    }

    #[test]
    fn only_what_was_read_both_times_can_differ() {
        let table = [
            ("a.b", "a.b", false),
            ("a.b", "c.b", true),
            ("a.b", "a.c", true),
            ("a.b", "a.unread", false),
            ("a.b", "c.unread", true),
            ("a.unread", "a.b", false),
            ("unread.unread", "a.b", false),
            ("9f2c41", "a.b", false),
        ];
        for (before, now, expected) in table {
            assert_eq!(read(before).differs(&read(now)), expected, "{before} {now}");
        }
    }

    #[test]
    fn what_is_not_read_now_is_as_it_was() {
        assert_eq!(read("unread.c").or(&read("a.b")), read("a.c"));
    }

    #[test]
    fn what_was_written_is_read_again() {
        for text in ["a.b", "unread.b", "a.unread", "unread.unread"] {
            let json = serde_json::to_string(&read(text)).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), read(text));
        }
    }
}
