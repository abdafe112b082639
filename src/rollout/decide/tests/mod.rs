//! Tests of the decision: a model of the cluster that executes what is decided.
//!
//! `model` is the door for all. `invariants` are properties under random events, faults and crashes; the rest are
//! timelines, by subject: `stories` are whole runs, `weighing` and `promoting` their parts, `asked` what people want,
//! `measuring` what is known, `losing` what is taken away, `hindering` and `lingering` ways back that do not come to their
//! end. `between_runs` are single decisions.

#![allow(clippy::wildcard_enum_match_arm)] // tests look at what concerns them

mod approving;
mod asked;
mod baking;
mod between_runs;
mod configuring;
mod freezing;
mod going_back;
mod hindering;
mod invariants;
mod lingering;
mod losing;
mod measuring;
mod model;
mod native;
mod offering;
mod promoting;
mod smoking;
mod stories;
mod switching;
mod unseen;
mod weighing;
