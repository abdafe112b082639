//! The Kubernetes edge: the `Rollout` resource, and what Sluice reads and writes in a cluster.

pub mod canary;
pub mod conditions;
pub mod conversion;
pub mod cache;
pub mod crd;
pub mod fate;
pub mod gate;
pub mod labels;
pub mod preflight;
mod problem;
mod quantity;
pub mod template;
pub mod shelf;
