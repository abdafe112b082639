//! The Kubernetes edge: the `Rollout` resource, and what Sluice reads and writes in a cluster.

pub mod crd;
