//! What a database of runs is asked for: a closed set, so that another one can take its place.
//!
//! Not here: SQL (`sqlite`).

use std::path::PathBuf;

use jiff::Timestamp;

use super::{Filter, Record, Summary, Which};
use crate::kubernetes::crd::GitStatus;

/// Where runs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the page shows what goes on now.
    Off,
    /// In memory, until the process ends: the newest [`Place::NEWEST`].
    Memory,
    /// In a file.
    Sqlite(PathBuf),
}

impl Place {
    /// How many runs are kept in memory.
    pub const NEWEST: usize = 100;

    /// In words.
    pub fn told(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Memory => format!("in memory, the newest {} runs", Self::NEWEST),
            Self::Sqlite(path) => format!("in {}", path.display()),
        }
    }
}

/// Something to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A run, ended or not. One that is kept as ended already stays as it is.
    Run(Box<Record>),
    /// What was done in Git after a run that ended.
    Git {
        /// The environment.
        environment: String,
        /// The Rollout's namespace.
        namespace: String,
        /// The Rollout's name.
        name: String,
        /// The run.
        run: String,
        /// Commits and remedy.
        git: Box<GitStatus>,
    },
}

impl Write {
    /// The Rollout that it speaks of.
    pub fn rollout(&self) -> (&str, &str) {
        match self {
            Self::Run(record) => (&record.summary.namespace, &record.summary.name),
            Self::Git {
                namespace, name, ..
            } => (namespace, name),
        }
    }
}

/// One thing that a database does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Write these, all or none.
    Put(Vec<Write>),
    /// The runs that ended, newest first.
    List(Filter),
    /// One run.
    One(Which),
    /// Forget the runs of this environment that ended before this time, and of what is left all
    /// but the newest so many.
    Forget {
        /// The environment.
        environment: String,
        /// The time.
        before: Timestamp,
        /// How many stay at most.
        newest: Option<usize>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is done.
    Done,
    /// Runs in a line each.
    Runs(Vec<Summary>),
    /// One run, if it is known.
    One(Option<Box<Record>>),
}

/// Why a database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("opening the history {}", place.display())]
    Open {
        /// The file.
        place: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its tables cannot be made or changed.
    #[error("preparing the history's tables")]
    Migrate(#[source] rusqlite::Error),
    /// It was written by a newer version.
    #[error("the history has version {found} of its tables; this daemon knows up to {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It cannot be written.
    #[error("writing the history")]
    Write(#[source] rusqlite::Error),
    /// It cannot be read.
    #[error("reading the history")]
    Read(#[source] rusqlite::Error),
    /// A run is not what this version writes.
    #[error("a run in the history cannot be read")]
    Decode(#[source] serde_json::Error),
    /// A run cannot be written as JSON.
    #[error("a run cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// Too much is waiting, or the database hangs.
    #[error("the history does not answer")]
    Silent,
    /// There is none.
    #[error("no history is kept (settings: history)")]
    Off,
}
