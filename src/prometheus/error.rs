//! What can go wrong when metrics are asked for.
//!
//! Every bad day has its own variant and a sentence that quotes what the other side said, cut
//! to a readable length. [`Error::category`] is the bounded word for metrics.
//!
//! Not here: what follows. An error makes the subjects' rules absent, never zero.

use std::path::PathBuf;
use std::sync::Arc;

/// Why no answer, or no usable answer, was had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The HTTP client could not be made.
    #[error("could not set up the HTTP client: {0}")]
    Client(String),
    /// The address is no URL.
    #[error("`{url}` is no usable URL: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token file could not be read.
    #[error("could not read the token file {path}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// No connection, or it broke.
    #[error("could not reach the server: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than what is read, or would be once it was.
    #[error("the answer is larger than {limit} MiB; it was not read to its end")]
    TooLarge {
        /// The limit in MiB.
        limit: usize,
    },
    /// An HTTP status that is not success, with a body that is not Prometheus' own.
    #[error("the server answered {code}: {said}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// The beginning of the body.
        said: String,
    },
    /// Prometheus says that the query failed.
    #[error("the query failed ({kind}): {said}")]
    Refused {
        /// Its `errorType`, whatever it is.
        kind: String,
        /// Its `error`.
        said: String,
    },
    /// The body is not what the API promises.
    #[error("the answer is not a Prometheus reply ({why}): {said}")]
    Malformed {
        /// What is wrong with it.
        why: String,
        /// The beginning of the body.
        said: String,
    },
    /// No target of the scraper answered, or there is none.
    #[error("{0}")]
    Targets(String),
    /// Two servers read the same target, and nobody merged what they read.
    #[error(
        "the same series come twice, with {one} and with {other}, so each request would be counted twice: ask a server that removes duplicates, or choose one with evidence.prometheus.match"
    )]
    Twice {
        /// Labels that only the one has.
        one: String,
        /// Those that stand there in the other.
        other: String,
    },
    /// The reply is incomplete by its own words.
    #[error("the answer is incomplete: {0}")]
    Partial(String),
}

impl Error {
    /// A bounded word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Client(_) | Self::Url { .. } | Self::Token { .. } => "settings",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Status { .. } => "status",
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
            Self::Targets(_) => "targets",
            Self::Partial(_) => "partial",
            Self::Twice { .. } => "twice",
        }
    }

    /// Names what a failed request failed of.
    pub(super) fn sending(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        Self::Unreachable(innermost(error))
    }
}

/// The last cause of a chain: reqwest's own texts say little ("error sending request").
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The beginning of a body in one line, fit for a sentence.
pub(super) fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect();
    if line.is_empty() {
        "nothing".to_owned()
    } else {
        format!("`{line}`")
    }
}
