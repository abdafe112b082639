//! What a database of runs is asked for: a closed set, so that another one can take its place.
//!
//! Not here: SQL (`sqlite`).

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::ErrorCode;

use super::{Curve, Filter, Record, Summary, Which};
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
    /// In a `PostgreSQL` database.
    Postgres(Server),
}

/// A `PostgreSQL` database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its URL, without a password.
    pub url: String,
    /// The file with the password, if one is needed.
    pub password_file: Option<PathBuf>,
    /// The authorities by which its certificate is checked (PEM), in the place of the system's.
    pub ca_file: Option<PathBuf>,
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
            Self::Postgres(server) => format!("in {}", server.url),
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
        let [_, namespace, name, _] = self.key();
        (namespace, name)
    }

    /// Whether it is of a run that goes on: of use after a crash only.
    pub fn is_draft(&self) -> bool {
        match self {
            Self::Run(record) => record.summary.ended.is_none(),
            Self::Git { .. } => false,
        }
    }

    /// Environment, namespace, Rollout and run.
    pub fn key(&self) -> [&str; 4] {
        match self {
            Self::Run(record) => {
                let summary = &record.summary;
                [
                    &summary.environment,
                    &summary.namespace,
                    &summary.name,
                    &summary.run,
                ]
            }
            Self::Git {
                environment,
                namespace,
                name,
                run,
                git: _,
            } => [environment, namespace, name, run],
        }
    }

    /// What the run's row becomes, if it changes: `kept` is what it is, if it can be read, and
    /// whether that has ended.
    pub(super) fn joined(&self, kept: Option<(Option<Record>, bool)>) -> Option<Record> {
        match (self, kept) {
            (Self::Run(_), Some((_, true))) | (Self::Git { .. }, None | Some((None, _))) => None,
            (Self::Run(record), Some((Some(earlier), false))) => {
                let mut record = (**record).clone();
                record.absorb(&earlier);
                Some(record)
            }
            (Self::Run(record), None | Some((None, false))) => Some((**record).clone()),
            (Self::Git { git, .. }, Some((Some(mut record), _))) => {
                record.git = Some((**git).clone());
                Some(record)
            }
        }
    }
}

/// Milliseconds, as the tables have them.
pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Each makes the tables one version newer, in either database. Steps are added, never changed.
const STEPS: [&str; 1] = ["
CREATE TABLE sluice_runs (
    environment TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    run TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT,
    outcome TEXT,
    summary TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (environment, namespace, name, run)
);
CREATE INDEX sluice_runs_ended ON sluice_runs (ended);
CREATE INDEX sluice_runs_rollout ON sluice_runs (namespace, name, ended);
CREATE INDEX sluice_runs_run ON sluice_runs (run);
"];

/// The steps that tables of this version lack, with the versions that they lead to.
pub(super) fn steps(found: i64) -> Result<impl Iterator<Item = (&'static str, i64)>, Error> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::Newer { found, known });
    }
    let taken = usize::try_from(found).unwrap_or(0);
    Ok(STEPS.into_iter().zip(1..).skip(taken))
}

/// A run as it was written; a curve that is broken is left out.
pub(super) fn decode(text: &str) -> Result<Record, Error> {
    let mut record: Record = serde_json::from_str(text).map_err(Error::Decode)?;
    if !record.curve.is_whole() {
        record.curve = Curve::default();
    }
    Ok(record)
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
    /// Forget the runs of this environment that are older than this, and of what is left all but the newest
    /// so many. A run's age is reckoned at its newest run: a clock that is ahead makes nothing old.
    Forget {
        /// The environment.
        environment: String,
        /// The time, unless the newest run is before it.
        now: Timestamp,
        /// The age.
        keep: Duration,
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

/// What a database says.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// `SQLite`.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// `PostgreSQL`.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// A file that is needed.
    #[error("its password file cannot be read")]
    File(#[from] std::io::Error),
    /// No certificate can be checked.
    #[error(
        "the system has no certificate authorities: name them by historyCaFile, or say sslmode=disable"
    )]
    Authorities,
    /// Those that are named cannot be used.
    #[error("the certificate authorities in {}: {why}", path.display())]
    Authority {
        /// Their file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("opening the history {}", place.display())]
    Open {
        /// The file, or the URL.
        place: PathBuf,
        /// Why.
        source: Cause,
    },
    /// Its tables cannot be made or changed.
    #[error("preparing the history's tables")]
    Migrate(#[source] Cause),
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
    Write(#[source] Cause),
    /// It cannot be read.
    #[error("reading the history")]
    Read(#[source] Cause),
    /// A run is not what this version writes.
    #[error("a run in the history cannot be read")]
    Decode(#[source] serde_json::Error),
    /// A run cannot be written as JSON.
    #[error("a run cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// Too much is waiting, or the database hangs.
    #[error("the history does not answer")]
    Silent,
    /// The thread that asked it is lost.
    #[error("the history was asked in vain: its thread ended abnormally")]
    Lost,
    /// There is none.
    #[error("no history is kept (settings: history)")]
    Off,
}

impl Error {
    /// Whether the database is well, and does not take what is to be written: another time it will not either.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Encode(_) | Self::Lost => true,
            Self::Write(Cause::Postgres(error)) => error.code().is_some_and(|state| {
                // Data, constraints, limits, and what a trigger says.
                let classes = ["22", "23", "54", "P0"];
                classes.iter().any(|class| state.code().starts_with(class))
            }),
            Self::Write(Cause::Sqlite(error)) => {
                let refuses = [ErrorCode::TooBig, ErrorCode::ConstraintViolation];
                error
                    .sqlite_error_code()
                    .is_some_and(|code| refuses.contains(&code))
            }
            Self::Open { .. }
            | Self::Migrate(_)
            | Self::Newer { .. }
            | Self::Write(_)
            | Self::Read(_)
            | Self::Decode(_)
            | Self::Silent
            | Self::Off => false,
        }
    }
}
