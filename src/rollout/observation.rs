//! What a pass sees: the cluster's state and the newest samples, as plain facts.
//!
//! The edges fill this in; `decide` reads it. Everything that could be missing is an `Option`,
//! and nothing is assumed about what is absent.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::approval::Vouched;
use super::bookmark::Bookmark;
use super::config::Config;
use super::evidence::Sample;
use super::freeze::Frozen;
use super::request::Request;
use super::revision::Revision;

/// One look at everything that a decision depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The time of this look.
    pub now: Timestamp,
    /// The Rollout itself.
    pub rollout: Custody,
    /// The guarded workload, if there is one.
    pub target: Option<Target>,
    /// The canary's Deployment, Service and policy copies, if there are any.
    pub canary: Option<Canary>,
    /// The canary's way to requests.
    pub route: Route,
    /// What the metrics say.
    pub metrics: Metrics,
    /// What the smoke tests of this run came to, once they have.
    pub smoked: Option<Smoked>,
    /// The same of those after its promotion.
    pub smoked_after: Option<Smoked>,
    /// The gate.
    pub gate: Gate,
    /// Templates that Sluice keeps, by hash.
    pub kept: Kept,
    /// Why what was decided could not be done, several times.
    pub trouble: Option<String>,
    /// Why the namespace cannot be seen any more: what is said here of it is old.
    pub unseen: Option<String>,
}

/// What the Rollout object says beside its spec.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Custody {
    /// It is being deleted.
    pub deleting: bool,
    /// Our finalizer is on it.
    pub finalizer: bool,
    /// Another Rollout guards the same Deployment and was there first.
    pub rival: Option<String>,
    /// Requests of people that are still annotated.
    pub requests: Vec<Request>,
    /// Who has approved a revision in Git.
    pub vouched: Option<Vouched>,
    /// Who has made the change that is on trial, as users of the cluster, as far as that is known.
    pub authors: Vec<String>,
    /// Who has made the workload's newest change, as it says itself.
    pub said: Vec<String>,
}

/// The guarded workload.
#[allow(clippy::struct_excessive_bools)] // each is something that is seen by itself
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// Its uid: a Deployment made again under the same name is another one.
    pub uid: String,
    /// The revision of its template.
    pub revision: Revision,
    /// Its controller starts no pod of its template (`spec.paused` of a Deployment).
    pub paused: bool,
    /// It carries the gate's label.
    pub guarded: bool,
    /// The Rollout that it says to be held by.
    pub held_by: Option<String>,
    /// The break-glass annotation's reason.
    pub open: Option<String>,
    /// Replicas that are wanted.
    pub replicas: i32,
    /// The template is rolled out completely and available.
    pub complete: bool,
    /// Its controller has not acted upon its newest spec yet, so `serving` may be of the one before.
    pub behind: bool,
    /// Pods of the template's own revision that are ready.
    pub updated_ready: i32,
    /// How long a pod must have been ready until it counts (`minReadySeconds`).
    pub settles: Duration,
    /// Pods of an older revision that never become ready stand in the way of its controller.
    pub stuck: bool,
    /// The cluster refuses its pods (quota, admission).
    pub refused: Option<String>,
    /// Its `ReplicaSets` that have or want pods.
    pub serving: Vec<Serving>,
    /// What its `ReplicaSets` hold, those without pods too; only looked up when a person asks to go back.
    pub past: Vec<Past>,
    /// What the `ConfigMaps` and Secrets that the template names hold.
    pub config: Config,
    /// `ConfigMaps` and Secrets without which stable starts no pod, and that are not there.
    pub lacks: Vec<String>,
    /// What the last restart by Sluice was for.
    pub restarted_for: Option<String>,
}

impl Target {
    /// What serves of `revision`.
    pub fn serving(&self, revision: &Revision) -> Option<&Serving> {
        self.serving.iter().find(|s| s.revision.same(revision))
    }
}

/// A `ReplicaSet` with pods.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Serving {
    /// Its revision.
    pub revision: Revision,
    /// Replicas that it wants.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
}

/// A revision that a `ReplicaSet` of the Deployment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// Its revision.
    pub revision: Revision,
    /// Its number, as `kubectl rollout history` shows it.
    pub number: u64,
}

/// The canary's objects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Canary {
    /// The revision that its Deployment was made for.
    pub revision: String,
    /// Replicas that its Deployment wants.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// A pod state that cannot mend itself.
    pub fate: Option<Fate>,
    /// The cluster refuses its pods (quota, admission), or has no node for one.
    pub refused: Option<String>,
    /// Its objects differ from what we would make, or one is missing.
    pub differs: bool,
    /// Since when its Deployment is going away; it is gone when its pods are.
    pub leaving: Option<Timestamp>,
}

/// How a pod fails for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// What happened.
    pub kind: FateKind,
    /// Pod, container and message, in a sentence.
    pub detail: String,
}

/// What happens to a pod that fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FateKind {
    /// It ends again and again.
    CrashLoop,
    /// Its image cannot be pulled.
    ImagePull,
    /// Its container cannot be made.
    CreateContainer,
    /// It used more memory than it may.
    OutOfMemory,
}

/// The canary's way to requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Route {
    /// Why no canary can be routed, each in a sentence.
    pub refusals: Vec<String>,
    /// What people should know, each in a sentence.
    pub warnings: Vec<String>,
    /// The canary's share, if there is one.
    pub canary: Option<CanaryRoute>,
}

/// The canary Ingress, or the split of an `HTTPRoute`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CanaryRoute {
    /// The weight it says; `None` if that is no weight.
    pub weight: Option<u8>,
    /// Anything else in it differs from what we would make.
    pub differs: bool,
    /// Its controller says that it has not acted upon this yet.
    pub behind: bool,
}

/// What smoke tests came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Smoked {
    /// All are good.
    Passed {
        /// How each went.
        sentence: String,
    },
    /// One is bad.
    Failed {
        /// How it went.
        sentence: String,
    },
    /// One cannot be made.
    Hindered {
        /// Why.
        why: String,
    },
}

/// What the metrics say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    /// New samples, oldest first.
    pub samples: Vec<Sample>,
    /// Where to go on reading after a restart; opaque.
    pub bookmark: Option<Bookmark>,
    /// Why nothing could be read.
    pub absent: Option<String>,
}

/// The gate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gate {
    /// How it stands.
    pub mode: GateMode,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// It is the webhook, and the API server does not trust it yet: what is guarded now would be refused.
    pub refuses: bool,
    /// It was made for another account: what we open, it pauses again.
    pub holds_us: bool,
    /// No new run begins now.
    pub frozen: Option<Frozen>,
}

/// How the gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateMode {
    /// An admission policy pauses in the request that changes the template.
    #[default]
    Policy,
    /// The daemons' webhook does the same.
    Webhook,
    /// The Deployment is paused all the time.
    Paused,
}

impl GateMode {
    /// Its name, as settings and `/readyz` use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Webhook => "webhook",
            Self::Paused => "paused",
        }
    }
}

/// Templates that Sluice keeps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// The stable one.
    pub stable: Option<Revision>,
    /// The newest one that a person wants, while an older one is finished.
    pub desired: Option<Revision>,
}

impl Kept {
    /// Whether `revision` is the stable one that is kept.
    pub fn is_stable(&self, revision: &Revision) -> bool {
        self.stable.as_ref().is_some_and(|kept| kept.same(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_one_name() {
        for mode in [GateMode::Policy, GateMode::Webhook, GateMode::Paused] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
    }
}
