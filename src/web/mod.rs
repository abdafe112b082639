//! The daemon's HTTP side: health, readiness, metrics, a read-only API and a table for people.
//!
//! `GET /healthz` (the process is up), `/readyz` (a line a check), `/metrics` (`OpenMetrics`),
//! `/api/rollouts`, `/api/rollouts/{namespace}/{name}`, `/` (the table). Nothing here changes
//! anything, so nothing asks who one is; the default address is loopback.
//!
//! Not here: what the daemon knows; it fills the [`Board`] and the [`Readiness`].

mod board;
mod page;
mod readiness;
mod routes;
mod serve;

pub use board::{Board, Entry};
pub use readiness::{Check, Readiness};
pub use routes::{Web, router};
pub use serve::serve;
