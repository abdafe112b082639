//! How single fields of a scenario are read, and their defaults.
//!
//! Durations are humantime, patterns regular expressions; both are refused with what was
//! found and what is wanted.

use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Deserializer, de::Error as _};

/// The default namespace of everything in a scenario.
pub(super) fn default_namespace() -> String {
    "default".to_owned()
}

/// The default kind of what is released.
pub(super) fn deployment() -> String {
    "Deployment".to_owned()
}

pub(super) fn admin() -> String {
    "kubernetes-admin".to_owned()
}

pub(super) fn slash() -> String {
    "/".to_owned()
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn fifteen() -> Duration {
    Duration::from_secs(15)
}

pub(super) fn thirty() -> Duration {
    Duration::from_secs(30)
}

fn read_duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text).map_err(|_| {
        E::custom(format!(
            "found {text:?}, wanted a duration such as 10s or 1m 30s"
        ))
    })
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read_duration(&String::deserialize(deserializer)?)
}

pub(super) fn maybe_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| read_duration(&text))
        .transpose()
}

pub(super) fn pattern<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Regex>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| Regex::new(&text).map_err(D::Error::custom))
        .transpose()
}
