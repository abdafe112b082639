//! The domain: what a rollout is and what is decided about it. Pure: no async, no log, no
//! kube type; time and randomness are arguments.
//!
//! `decide` is the one function that decides; the other modules are what goes in and comes out.
//! * *In*: `plan`, `rule` and `terms` (what is wanted), `observation` (what is seen), `request` (what is asked), `words` (that are sent along).
//! * *State*: `state`, with `run`, `bound`, `bookmark`, `revision`, `config` and `approval` in it.
//! * *Decision*: `decide`, by what `evidence` says.
//! * *Out*: `action` (to the cluster), `reason` and `cause` (told), `describe` (in words), `tone` (how urgent), `remedy` (in Git).
//! * *Before a release*: `forecast`, `backtest`.
//! * *Small worlds of their own*: `alert`, `freeze`, `smoke`, `load`.
//!
//! Not here: how anything is read or written. Those are the edges (`kubernetes`, ...).

#![deny(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod alert;
pub mod approval;
pub mod backtest;
pub mod bookmark;
pub mod bound;
mod cause;
pub mod config;
pub mod decide;
pub mod describe;
pub mod evidence;
pub mod forecast;
pub mod freeze;
pub mod load;
pub mod observation;
pub mod plan;
pub mod reason;
pub mod remedy;
pub mod request;
pub mod revision;
pub mod rule;
mod run;
pub mod smoke;
pub mod state;
pub mod terms;
pub mod tone;
pub mod words;

use std::time::Duration;

/// The share of requests must agree with the weight for so long before a step ends.
pub const LEAST_STEP: Duration = Duration::from_secs(10);
