//! The daemon on a real Prometheus: raw samples as a server gives them, in real time.
//!
//! Clusters of the sandbox run side by side in this process, each with its daemon; one Prometheus
//! scrapes their routers and tells them apart by the label `cluster`. Stories that break the
//! server have one of their own. All mostly sleep, so they take as long as the longest. Without
//! `prometheus` on the PATH they are left out (`needs`).
//!
//! `every_scenario` plays all shipped scenarios so; it is not part of `cargo test`, but of
//! `make test-prometheus`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

mod backtest;
#[path = "../servers/child.rs"]
#[allow(dead_code)] // other tests use more of it
mod child;
mod command;
mod dashboards;
mod every_scenario;
mod kinds;
mod large;
mod live;
mod native;
#[path = "../servers/needs.rs"]
mod needs;
mod play;
mod server;
mod stage;
mod stories;
