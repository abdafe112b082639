//! The daemon's HTTP side: health, readiness, metrics, a read-only API and pages for people.
//!
//! `GET /healthz` (the process is up), `/readyz` (a line a check), `/metrics` (`OpenMetrics`),
//! `/api/rollouts`, `/api/rollouts/{namespace}/{name}`, `/api/history`, `/api/runs/{run}`; `/`
//! and `/rollouts/{namespace}/{name}` for people, kept live by `/events`, past runs and reports. Nothing here changes anything, so nothing asks who one is; the default address is loopback.
//!
//! Not here: what the daemon knows; it fills the [`Board`] and the [`Readiness`].

mod archive;
mod board;
mod events;
mod pages;
mod readiness;
mod routes;
mod serve;
mod view;

pub use board::{Board, Entry};
pub use events::Streams;
pub use readiness::{Check, Readiness};
pub use routes::{Web, router};
pub use serve::serve;
pub use view::run::report;
