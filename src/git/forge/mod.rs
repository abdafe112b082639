//! Pull requests on the forges that people keep their repositories on, by their REST APIs.
//!
//! A request is known by its branch: it is looked for before it is opened, so that doing it again
//! after a crash finds it. GitHub, GitLab, Gitea (and Forgejo) and Azure DevOps differ in their
//! paths, names and tokens, and in nothing else that matters here.
//!
//! From the outside in: `client` sends; `place` says which forge and which API an address leads
//! to; `ask` builds requests and `answer` reads replies, both without a server.
//!
//! Not here: the branch that is asked for (`crate::git::undo`), and what a request says.

mod answer;
mod ask;
mod client;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod place;

use std::path::PathBuf;

pub use client::Forge;
pub use error::Error;
pub use place::Place;

/// Which forge's API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// github.com and GitHub Enterprise.
    GitHub,
    /// gitlab.com and one's own GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Azure DevOps, Services and Server.
    AzureDevOps,
}

impl Kind {
    /// Each by its name in the settings.
    pub const ALL: [(&'static str, Self); 4] = [
        ("github", Self::GitHub),
        ("gitlab", Self::GitLab),
        ("gitea", Self::Gitea),
        ("azureDevOps", Self::AzureDevOps),
    ];
}

/// Where pull requests are opened, and as whom; from the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The forge, where its host does not tell.
    pub kind: Option<Kind>,
    /// The base URL of its API, where its host does not tell.
    pub api: Option<String>,
    /// The host of its repositories, where it is not that of the API.
    pub host: Option<String>,
    /// By which token.
    pub token: Token,
}

/// Where the token for a forge comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A file, read again each time.
    File(PathBuf),
    /// An installation of a GitHub App.
    App {
        /// The App's ID, or its client ID.
        id: String,
        /// The installation's ID.
        installation: String,
        /// A file with the App's private key, read again each time.
        key_file: PathBuf,
    },
}

/// A pull request to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The branch with our commit.
    pub branch: String,
    /// The branch that it shall be merged into.
    pub onto: String,
    /// One line.
    pub title: String,
    /// Markdown.
    pub text: String,
}

/// A pull request on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Its number in the repository.
    pub number: u64,
    /// Where people read it.
    pub url: String,
    /// What became of it.
    pub state: State,
}

/// What became of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody decided yet.
    Open,
    /// It is on the branch, as this commit where the forge says it.
    Merged(Option<String>),
    /// Somebody closed it without merging.
    Closed,
}
