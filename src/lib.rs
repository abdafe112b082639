//! Sluice: progressive delivery for Kubernetes, gated in the API server and decided by
//! anytime-valid statistics.
//!
//! Arrows point down only: `cli` and `daemon` see several edges, edges never see each other,
//! and all of them may use `rollout`, which uses `stats`. The sandbox knows only wire formats.

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
