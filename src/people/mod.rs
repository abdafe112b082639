//! What people and their tools send: Alertmanager's alerts, and how a sender is known.
//!
//! The pure half of each: what was sent, read and checked. Not here: which Rollout it concerns
//! (`rollout::alert`) and what is done about it (`daemon::hooks`).

pub mod alertmanager;
pub mod bearer;
pub mod signature;
