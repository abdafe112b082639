//! Why a remedy's step was not done for now.

use std::time::Duration;

use crate::kubernetes::flux;

/// Why a step was not done for now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Flux(#[from] flux::Error),
    #[error("{0} says no commit yet")]
    NoRevision(String),
    #[error(transparent)]
    Git(#[from] crate::git::Error),
    #[error("the work on the repository ended abnormally")]
    Lost(#[from] tokio::task::JoinError),
    #[error("another daemon leads now")]
    Deposed,
    #[error("writing status.git as JSON")]
    Encode(#[source] serde_json::Error),
    #[error("writing status.git")]
    Write(#[source] kube::Error),
    #[error("writing status.git: no answer within 5 s")]
    Silent,
    #[error("status.git.remedy.outcome: {0:?} is none")]
    NoOutcome(String),
}

impl Error {
    /// How long the server wants to be left alone, if it says so.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Git(error) => error.wait(),
            Self::Flux(_)
            | Self::NoRevision(_)
            | Self::Lost(_)
            | Self::Deposed
            | Self::Encode(_)
            | Self::Write(_)
            | Self::Silent
            | Self::NoOutcome(_) => None,
        }
    }
}
