//! What people and their tools ask of the daemon: from the real tools, and at its page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

mod alertmanager;
mod approve;
#[path = "../servers/apps.rs"]
#[allow(dead_code)] // other tests use more of it
mod apps;
#[path = "../servers/child.rs"]
#[allow(dead_code)] // other tests use more of it
mod child;
mod encrypted;
mod login;
#[path = "../servers/needs.rs"]
mod needs;
mod notices;
mod open;
mod page;
mod postgres;
#[path = "../servers/process.rs"]
#[allow(dead_code)] // other tests use more of it
mod process;
mod slack;
mod smoke;
mod traces;
#[path = "../servers/way.rs"]
mod way;
#[path = "../servers/world.rs"]
#[allow(dead_code)] // other tests use more of it
mod world;
