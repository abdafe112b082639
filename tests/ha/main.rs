//! Several daemons on one cluster, and API servers that answer late, never, or not to everybody.
//!
//! Mostly in virtual time on the embedded cluster; `processes` runs the real binary in real time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

mod blocked;
mod daemons;
mod election;
mod kills;
mod line;
mod process;
mod processes;
mod unreadable;
mod world;
