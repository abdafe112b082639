//! The daemon's HTTP side: health, readiness, metrics, a read-only API and pages for people.
//!
//! `GET /healthz` (the process is up), `/readyz` (a line a check), `/metrics` (`OpenMetrics`),
//! `/api/rollouts`, `/api/rollouts/{namespace}/{name}`, `/api/history`, `/api/runs/{run}`; `/`
//! and `/rollouts/{namespace}/{name}` for people, kept live by `/events`, past runs and reports, and the
//! pipeline with `/environments` where one is configured.
//! All of that only reads, so nothing asks who one is; the default address is loopback. What acts
//! is handed in by the daemon as services, which ask.
//!
//! * *Served*: `serve` takes connections (`patient` with slow readers, whose answers the `purse` bounds), `routes` has the endpoints; `hub` puts several environments behind one, each at its `place`.
//! * *Known*: `board` (Rollouts), `nearby` (what stands around one), `versions` (the pipeline), `readiness`.
//! * *Shown*: `pages` and `archive` by `view`, kept live by `events`.
//! * *Who it is*: `login`, `session`, and the `key` that both are sealed with.
//!
//! Not here: what the daemon knows; it fills the [`Board`] and the [`Readiness`].

mod archive;
mod board;
mod events;
mod hub;
mod key;
pub mod login;
mod nearby;
mod pages;
mod patient;
mod place;
mod purse;
mod readiness;
mod routes;
mod serve;
pub mod session;
mod versions;
mod view;

pub use board::{Board, Entry};
pub use events::Streams;
pub use hub::{Seat, Standing, router as hub};
pub use key::Key;
pub use nearby::{Around, Nearby, Pod};
pub use place::Place;
pub use readiness::{Check, Readiness};
pub use routes::{Web, router};
pub use serve::serve;
pub use versions::{Known, Versions};
pub use view::run::report;

/// Pages for those who act.
pub mod acts {
    pub use super::view::acts::{Ways, answered, login, passed};
    pub use super::view::frame::Page;
}
