//! What a scenario can break: the daemon, its metrics, the router, the API server, watches.
//!
//! Not here: how. A stage that cannot break something says so, and the scenario fails.

use serde::Deserialize;

use super::fields::one;
use crate::sandbox::api::{self, Matching};

/// Something that breaks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Break {
    /// `kill` ends the daemon at once, `stop` lets it finish, `start` starts it again.
    Daemon(DaemonFault),
    /// What the daemon's source of metrics answers from now on.
    Metrics(MetricsFault),
    /// A router pod restarts: its counters begin at zero.
    Router(RouterFault),
    /// What the API server answers to the next requests.
    Api(Fault),
    /// All watches are closed, or told that they are too old (410).
    Watches(WatchFault),
}

/// What happens to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DaemonFault {
    /// Ended at once, between any two effects.
    Kill,
    /// Asked to end.
    Stop,
    /// Started (again).
    Start,
}

/// What the source of metrics answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MetricsFault {
    /// No connection.
    Down,
    /// Status 500.
    Fails,
    /// An HTML page.
    Html,
    /// Nothing, until the client gives up.
    Hangs,
    /// Answers without one arm's series.
    Partial,
    /// Values that are not numbers.
    Nan,
    /// As it should.
    Fine,
}

/// What happens to a router pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouterFault {
    /// Its counters begin at zero.
    Restart,
}

/// What happens to watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchFault {
    /// Closed without a word.
    Close,
    /// Too old: 410.
    Expire,
}

/// What the API server answers to the next requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// HTTP status: 409, 429 or 500; or `hang`, `lost` (done, but the answer is lost) or `cut`
    /// (not done, the connection breaks).
    pub answer: String,
    /// Only this verb, e.g. `patch`.
    pub verb: Option<String>,
    /// Only this resource, e.g. `deployments`.
    pub resource: Option<String>,
    /// Only this object.
    pub name: Option<String>,
    /// Only this account. Default: the daemon's.
    pub user: Option<String>,
    /// How many requests. Default 1.
    #[serde(default = "one")]
    pub times: u32,
    /// `Retry-After` in seconds, for 429.
    pub retry_after: Option<u64>,
}

impl Fault {
    /// The same as an API server or a client arms it: for whose requests, and what is answered.
    /// Without a user those of `daemon` are meant.
    ///
    /// # Errors
    /// If there is no such answer.
    pub fn armed(&self, daemon: &str) -> Result<(Matching, api::Fault), String> {
        let matching = Matching {
            verb: self.verb.clone(),
            resource: self.resource.clone(),
            name: self.name.clone(),
            user: Some(self.user.clone().unwrap_or_else(|| daemon.to_owned())),
        };
        let what = match self.answer.as_str() {
            "409" => api::Fault::Conflict,
            "429" => api::Fault::TooManyRequests(self.retry_after.unwrap_or(1)),
            "hang" => api::Fault::Hang,
            "lost" => api::Fault::LostAfterEffect,
            "cut" => api::Fault::LostBefore,
            status => api::Fault::Status(
                status
                    .parse()
                    .map_err(|_| format!("the API server cannot answer {status:?}"))?,
            ),
        };
        Ok((matching, what))
    }
}
