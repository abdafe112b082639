//! Sluice: progressive delivery for Kubernetes, gated in the API server and decided by
//! anytime-valid statistics.
//!
//! `stats` holds the mathematics, `rollout` decides; both are pure. Edges (`kubernetes`, `prometheus`, `git`,
//! `people`, `web`, `history`, ...) use `rollout` and see no other edge, but for the resource's types in
//! `kubernetes::crd` and what `tests/docs/layers.rs` names, which checks all of this. `cli` and `daemon` tie
//! them together. The sandbox knows only wire formats.
//!
//! A library for its own binary, tests and benchmarks: nothing of it is a promise to other crates.

pub mod backoff;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod environments;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod git;
pub mod history;
pub mod http_client;
pub mod import;
pub mod kubernetes;
pub mod kustomize;
pub mod migrate;
pub mod people;
pub mod places;
pub mod prometheus;
pub mod registry;
pub mod retry_after;
pub mod rollout;
pub mod sandbox;
pub mod smoke;
pub mod stats;
pub mod telemetry;
pub mod web;
pub mod yaml;
