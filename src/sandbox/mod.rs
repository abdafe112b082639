//! The sandbox: a whole cluster in one process, for trying, rehearsing, testing, measuring.
//!
//! Its parts know each other only through the Kubernetes API's wire formats, so each can be
//! replaced by the real one: the API server here, the controllers, the node, the router.
//!
//! `cluster` is all of it behind one handle: the server (`api`) and its `controllers`, and the `world` that lives on it: `node`, `router`, `load`, with
//! `gateway` for routes of the Gateway API. Each of these is a loop (`drive`) over what it knows (`cache`), writes `events` as the real one does, and draws
//! from `random`. `scenario` plays timelines on it.

pub mod api;
mod cache;
pub mod cluster;
pub mod controllers;
mod drive;
mod events;
pub mod gateway;
pub mod load;
pub mod node;
pub mod random;
pub mod router;
pub mod scenario;
pub mod world;
