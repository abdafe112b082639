//! Several daemons on one cluster, and API servers that answer late, never, or not to everybody.
//!
//! Mostly in virtual time on the embedded cluster; `processes` runs the real binary in real time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "../servers/apps.rs"]
mod apps;
mod blocked;
#[path = "../servers/child.rs"]
#[allow(dead_code)] // other tests use more of it
mod child;
mod daemons;
mod election;
mod hub;
mod kills;
#[allow(dead_code)] // tests/remedy counts effects
mod line;
#[path = "../servers/ordeal.rs"]
mod ordeal;
#[path = "../servers/process.rs"]
#[allow(dead_code)] // other tests use more of it
mod process;
mod processes;
#[path = "../servers/trip.rs"]
#[allow(dead_code)] // tests/remedy trips
mod trip;
mod unreadable;
#[path = "../servers/way.rs"]
mod way;
#[path = "../servers/world.rs"]
mod world;
