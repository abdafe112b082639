//! Finished runs with their evidence over time, what was decided, and the remedies.
//!
//! Guarantees: a run is kept once, by environment, Rollout and run id, whatever crashes: what ended
//! last is in the Rollout's status and is handed in again after a restart. Nobody waits for the
//! database: where it is full, locked, broken or gone, that is said, and what could not be written
//! is tried again; no release depends on it.
//!
//! Not here: how a run looks (`web`), where the database is (settings).

mod curve;
mod keeper;
mod postgres;
mod record;
mod recorder;
mod sqlite;
mod store;
pub(crate) mod tls;

pub use curve::{Curve, POINTS, Values};
pub use keeper::{History, Keeper, Telling};
pub use postgres::Postgres;
#[cfg(test)]
pub(crate) use record::samples;
pub use record::{Filter, Record, Summary, Told, Which};
pub use recorder::Seen;
pub use sqlite::Sqlite;
pub use store::{Cause, Error, Found, Place, Server, Work, Write};
