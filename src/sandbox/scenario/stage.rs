//! What a scenario is played on.
//!
//! Two sorts exist: the embedded cluster, and a real control plane with the sandbox's node
//! and router. Guarantees: clients act as the named account; tallies only grow. A stage
//! that cannot break something says so in its error.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use super::breaks::Break;
use crate::clock::Clock;
use crate::sandbox::world::World;

/// A cluster with a router that a scenario is played on.
pub trait Stage: Send + Sync {
    /// The time that the cluster lives in.
    fn clock(&self) -> Clock;

    /// How often the player looks at the cluster, on its clock. Default ten times a second.
    fn look_every(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// A client that acts as this account.
    fn client(&self, user: &str) -> kube::Client;

    /// What lives on the cluster: it counts the answers, and takes requests.
    fn world(&self) -> &World;

    /// Breaks something, or says why it cannot.
    fn broken<'a>(&'a self, what: &'a Break) -> BoxFuture<'a, Result<(), String>>;

    /// The run of a Rollout as the daemon sees it this moment, shaped like `status` of the
    /// resource; `None` where only the resource tells.
    fn live(&self, namespace: &str, rollout: &str) -> Option<Value>;
}

/// Answers of one image through one Ingress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The Ingress's name.
    pub ingress: String,
    /// The image that answered; empty for answers that the router made itself.
    pub image: String,
    /// All answers.
    pub total: u64,
    /// Answers of 500 and above.
    pub bad: u64,
    /// When the first of the latter was given.
    pub first_bad: Option<Timestamp>,
}

/// One answer of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The image that answered, if an application did.
    pub image: Option<String>,
}
