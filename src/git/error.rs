//! Why a Git remedy did not come about, in words for the person who has to do it instead.
//!
//! No text holds a credential: URLs are printed without their user part, and what a server
//! answered is cut to a line.

use std::fmt;

use super::history::Change;
use super::remote::Address;
use crate::causes;
use crate::http_client::Unusable;

/// What went wrong, by what was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the credentials cannot be used.
    #[error("credentials: {key}: {why}")]
    Credentials {
        /// The Secret's key.
        key: &'static str,
        /// What was found and what would be right.
        why: String,
    },
    /// The address is none that is understood.
    #[error("{url}: {why}")]
    Address {
        /// As given, without credentials.
        url: String,
        /// What would be right.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error("cannot reach {at}: {why}")]
    Unreachable {
        /// The repository.
        at: Address,
        /// The innermost cause.
        why: String,
    },
    /// The server answers, but not to us.
    #[error("{at} refuses: {why}")]
    Refused {
        /// The repository.
        at: Address,
        /// Its answer.
        why: String,
    },
    /// A GitHub App has no token for us.
    #[error("the GitHub App {app} is given no token by {at}: {why}")]
    NoToken {
        /// The App's ID.
        app: String,
        /// The API.
        at: String,
        /// Its answer, or why there is none.
        why: String,
    },
    /// The branch is not there.
    #[error("{at} has no branch {branch}")]
    NoBranch {
        /// The repository.
        at: Address,
        /// Its missing branch.
        branch: String,
    },
    /// More than the daemon is willing to hold.
    #[error("{at} sent more than {limit} MiB; raise git.maxDownload, or revert by hand")]
    TooLarge {
        /// The repository.
        at: Address,
        /// MiB.
        limit: u64,
    },
    /// A pack that would take too much memory: the daemon's is everybody's.
    #[error("{at} sends {found}, and no more than {most} are unpacked; revert by hand")]
    Unpacks {
        /// The repository.
        at: Address,
        /// What is in it.
        found: String,
        /// What may be.
        most: String,
    },
    /// The last good commit is not behind the branch: it was rewritten, or is another branch's.
    #[error("{good} is not an ancestor of {branch} within {depth} commits")]
    NoPath {
        /// The last good commit.
        good: Commit,
        /// The branch.
        branch: String,
        /// How many commits were looked through.
        depth: usize,
    },
    /// Later changes touch the same lines.
    #[error("reverting {commit} conflicts with later changes of {}", paths.join(", "))]
    Conflict {
        /// The commit that cannot be undone by itself.
        commit: Commit,
        /// The files.
        paths: Vec<String>,
        /// All that is to be taken back, newest first.
        found: Vec<Change>,
    },
    /// The commits brought more than what failed.
    #[error("taking {} back takes back what others run too: {}", commits(found), others.join(", "))]
    Others {
        /// What else, by name.
        others: Vec<String>,
        /// All that is to be taken back, newest first.
        found: Vec<Change>,
    },
    /// The server keeps the branch from being pushed to.
    #[error("{at} protects {branch}: {why}")]
    Protected {
        /// The repository.
        at: Address,
        /// The branch.
        branch: String,
        /// Its answer.
        why: String,
        /// What was to be taken back, newest first.
        found: Vec<Change>,
    },
    /// Others pushed each time.
    #[error("{branch} moved in each of {tries} tries to push")]
    Moved {
        /// The branch.
        branch: String,
        /// How often.
        tries: usize,
    },
    /// The time for all of it is over.
    #[error("{at}: not done within {seconds} s")]
    TimedOut {
        /// The repository.
        at: Address,
        /// The time that was given.
        seconds: u64,
    },
    /// What a commit deploys cannot be seen.
    #[error("what is deployed cannot be seen: {0}")]
    View(String),
    /// The commit cannot be signed.
    #[error("signing the commit: {0}")]
    Sign(String),
    /// Somebody else may have written what is in the folder of copies.
    #[error(
        "{} belongs to user {owner}, and we are {us}: what is in it is not trusted; delete it, or name another folder",
        folder.display()
    )]
    NotOurs {
        /// The folder.
        folder: std::path::PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Ours.
        us: u32,
    },
    /// Another process has the copy.
    #[error("another process works on {} since more than {seconds} s", folder.display())]
    InUse {
        /// The copy.
        folder: std::path::PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// Files of the local copy.
    #[error("{doing}")]
    Local {
        /// What with.
        doing: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The forge opens no pull request.
    #[error(transparent)]
    Forge(#[from] super::forge::Error),
    /// libgit2 says no.
    #[error("{doing}: {}", source.message())]
    Git {
        /// What with.
        doing: &'static str,
        /// Its words.
        source: git2::Error,
    },
}

impl Error {
    /// The authorities of the credentials cannot be used.
    pub(super) fn authority(error: Unusable) -> Self {
        Self::Credentials {
            key: "ca.crt",
            why: causes::told(&error),
        }
    }

    /// Whether trying again later may help. A refusal may: credentials are mended and rotated.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::NoToken { .. }
            | Self::Moved { .. }
            | Self::InUse { .. }
            | Self::TimedOut { .. } => true,
            Self::Forge(error) => error.may_pass(),
            _ => false,
        }
    }

    /// How long the server wants to be left alone, if it says so.
    pub fn wait(&self) -> Option<std::time::Duration> {
        match self {
            Self::Forge(error) => error.wait(),
            _ => None,
        }
    }

    /// What was to be taken back by hand now, newest first.
    pub fn found(&self) -> &[Change] {
        match self {
            Self::Conflict { found, .. }
            | Self::Others { found, .. }
            | Self::Protected { found, .. } => found,
            _ => &[],
        }
    }

    /// With what was to be taken back.
    pub(super) fn about(mut self, changes: &[Change]) -> Self {
        if let Self::Protected { found, .. } = &mut self {
            *found = changes.to_vec();
        }
        self
    }
}

fn commits(changes: &[Change]) -> String {
    let names: Vec<String> = changes.iter().map(|it| it.commit.to_string()).collect();
    names.join(", ")
}

/// Names what was being done when libgit2 failed.
pub(super) trait Doing<T> {
    /// The error with what was being done.
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, git2::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Git { doing, source })
    }
}

/// A commit's name, printed short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(pub git2::Oid);

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.12}", self.0.to_string())
    }
}
