//! The sandbox: a whole cluster in one process, for trying, rehearsing, testing, measuring.
//!
//! Its parts know each other only through the Kubernetes API's wire formats, so each can be
//! replaced by the real one: the API server here, the controllers, the node, the router.

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
