//! Why there is no pull request, in words for the person who has to open it instead.
//!
//! No text holds a token, and what a forge answered is cut to a line.

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong, by what was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Which API to speak cannot be told.
    #[error(
        "which forge serves {host} is not known: set git.forge.kind and git.forge.api in the settings"
    )]
    Unknown {
        /// The repository's host.
        host: String,
    },
    /// The settings speak of another forge.
    #[error("the repository is on {host}, git.forge in the settings is for {wanted}")]
    Elsewhere {
        /// The repository's host.
        host: String,
        /// The host that the token is for.
        wanted: String,
    },
    /// The repository's path is none that this forge has.
    #[error("{path} is no repository's path on this forge")]
    Path {
        /// As in the URL.
        path: String,
    },
    /// The token's file.
    #[error("reading the token {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The GitHub App gets no token.
    #[error("{0}")]
    App(String),
    /// Nobody answers, or not as a forge does for now.
    #[error("cannot reach the forge at {at}: {why}")]
    Unreachable {
        /// The API.
        at: String,
        /// The innermost cause.
        why: String,
    },
    /// The token is not accepted.
    #[error("the forge at {at} does not accept the token: {why}")]
    Unauthorized {
        /// The API.
        at: String,
        /// Its answer.
        why: String,
    },
    /// The repository is not there, or not for us.
    #[error("the forge at {at} shows no {what} to this token: {why}")]
    Hidden {
        /// The API.
        at: String,
        /// The repository or the pull request.
        what: String,
        /// Its answer.
        why: String,
    },
    /// Too many requests.
    #[error("the forge at {at} limits requests{}", after(*.wait))]
    Limited {
        /// The API.
        at: String,
        /// How long it wants to be left alone, if it says so.
        wait: Option<Duration>,
    },
    /// It says no.
    #[error("the forge at {at} refuses: {why}")]
    Refused {
        /// The API.
        at: String,
        /// Its answer.
        why: String,
    },
    /// Its answer has not the shape that is documented.
    #[error("the forge at {at} answers what is not understood: {why}")]
    Unreadable {
        /// The API.
        at: String,
        /// What is missing.
        why: String,
    },
}

fn after(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(" for {}", humantime::format_duration(wait))
    })
}

impl Error {
    /// Whether trying again later may help: all but what the settings or the address say.
    pub fn may_pass(&self) -> bool {
        !matches!(
            self,
            Self::Unknown { .. } | Self::Elsewhere { .. } | Self::Path { .. }
        )
    }

    /// How long the forge wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => *wait,
            _ => None,
        }
    }
}
