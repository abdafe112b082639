//! The Kubernetes edge: the `Rollout` resource, and what Sluice reads and writes in a cluster.

pub mod conversion;
pub mod cache;
pub mod crd;
mod problem;
mod quantity;
pub mod template;
pub mod shelf;
