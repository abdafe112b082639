//! The Kubernetes edge: the `Rollout` resource, and what Sluice reads and writes in a cluster.

pub mod argo;
pub mod ask;
mod backoff;
pub mod cache;
pub mod canary;
pub mod client;
pub mod conditions;
pub mod conversion;
pub mod crd;
pub mod entries;
pub mod events;
pub mod execute;
pub mod fate;
pub mod fence;
pub mod flux;
pub mod gate;
pub mod labels;
pub mod lease;
pub mod observe;
pub mod ownership;
pub mod preflight;
mod problem;
pub(crate) mod quantity;
pub mod scene;
pub mod shelf;
pub mod status;
pub mod template;
