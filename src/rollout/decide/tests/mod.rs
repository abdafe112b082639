//! Tests of the decision: a model of the cluster that executes what is decided.
//!
//! `model` is the door for both: `stories` are timelines with their traces, `invariants` are
//! properties under random events, faults and crashes.

#![allow(clippy::wildcard_enum_match_arm)] // tests look at what concerns them

mod approving;
mod baking;
mod between_runs;
mod configuring;
mod freezing;
mod going_back;
mod invariants;
mod model;
mod native;
mod offering;
mod stories;
mod switching;
mod unseen;
