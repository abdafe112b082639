//! What people and their tools send, and what they are told.
//!
//! Of each the pure half: what was sent, read and checked; what is told, in words and in the wire forms of
//! Slack, Teams and webhooks. `sender` sends. Not here: which Rollout something concerns (`rollout::alert`), what
//! is done about it (`daemon::hooks`) and when people are told (`daemon::notices`).

pub mod alertmanager;
pub mod bearer;
pub mod message;
pub mod oidc;
pub mod person;
pub mod proxy;
pub mod sender;
pub mod signature;
pub mod slack;
pub mod teams;
pub mod webhook;
