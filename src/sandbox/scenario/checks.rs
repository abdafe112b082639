//! What a scenario can expect, as types; the reference is `docs/scenarios.md`.
//!
//! The parts of a check that are given must all hold at one moment. Not here: looking
//! (`look`) and comparing (`compare`).

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::bound::Bound;
use super::fields::{default_namespace, duration, maybe_duration, pattern, slash, thirty};

/// What must be seen, and by when.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// All must hold at one time, at the latest after this. Default 30 s.
    #[serde(default = "thirty", deserialize_with = "duration")]
    pub within: Duration,
    /// And then go on to hold for this time. Default 0.
    #[serde(default, rename = "for", deserialize_with = "duration")]
    pub held: Duration,
    /// What.
    pub that: Vec<Check>,
}

/// One question about the cluster; the parts that are given must all hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// A Rollout's status.
    Rollout(RolloutCheck),
    /// A Deployment.
    Deployment(DeploymentCheck),
    /// Any object: the fields of `like` are found in it.
    Object(ObjectCheck),
    /// No such object.
    Absent(Named),
    /// How many objects of a kind there are.
    Count(CountCheck),
    /// A canary Ingress's weight in percent; absent counts as 0.
    Weight(WeightCheck),
    /// Answers that users got.
    Traffic(TrafficCheck),
    /// An Event.
    Event(EventCheck),
    /// One request through the router.
    Answer(AnswerCheck),
}

/// What a Rollout's status must say.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutCheck {
    /// The Rollout's name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The state, e.g. `Stepping`; several are separated by `|`.
    pub phase: Option<String>,
    /// The weight wanted, in percent.
    pub weight: Option<Bound>,
    /// The step, e.g. `1/3`.
    pub step: Option<String>,
    /// The worst verdict of all rules.
    pub verdict: Option<String>,
    /// The status message.
    #[serde(default, deserialize_with = "pattern")]
    pub message: Option<Regex>,
    /// How the last run ended, e.g. `RolledBack`.
    pub outcome: Option<String>,
    /// Why, e.g. `Worse`; several are separated by `|`.
    pub reason: Option<String>,
    /// An image of the revision under trial, else of the last run.
    pub image: Option<String>,
    /// An image of what serves.
    pub stable: Option<String>,
    /// Whether a run is going on.
    pub running: Option<bool>,
    /// Conditions by type: `True`, `False` or `Unknown`.
    #[serde(default)]
    pub conditions: BTreeMap<String, String>,
}

/// What a Deployment must look like.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentCheck {
    /// The Deployment's name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The image of its first container.
    pub image: Option<String>,
    /// `spec.paused`.
    pub paused: Option<bool>,
    /// Whether it is behind the gate.
    pub guarded: Option<bool>,
    /// `spec.replicas`.
    pub replicas: Option<Bound>,
    /// `status.readyReplicas`.
    pub ready: Option<Bound>,
    /// `status.updatedReplicas`.
    pub updated: Option<Bound>,
    /// Images of its ReplicaSets that have pods, sorted.
    pub serving: Option<Vec<String>>,
}

/// Names one object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

/// Any object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectCheck {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Fields that it must have. A text `/.../` is a pattern, `null` means absent, and each
    /// element of a list must be found somewhere in the object's list.
    #[serde(default)]
    pub like: Value,
}

/// How many objects of a kind there are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountCheck {
    /// Their kind.
    pub kind: String,
    /// Their namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Only those with fields like these.
    #[serde(default)]
    pub like: Value,
    /// How many.
    pub number: Bound,
}

/// A canary Ingress's weight.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightCheck {
    /// The canary Ingress's name.
    pub ingress: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// In percent.
    pub percent: Bound,
}

/// Answers that users got.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficCheck {
    /// Only of pods with this image; `none` for answers that the router made itself.
    pub image: Option<String>,
    /// Only of this Ingress.
    pub ingress: Option<String>,
    /// Only the last seconds. Default: since the scenario began.
    #[serde(default, deserialize_with = "maybe_duration")]
    pub over: Option<Duration>,
    /// How many answers.
    pub requests: Option<Bound>,
    /// How many of them 5xx.
    pub bad: Option<Bound>,
    /// Their share of all answers.
    pub share: Option<Bound>,
}

/// An Event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventCheck {
    /// Its reason.
    pub reason: Option<String>,
    /// The name of the object it speaks of.
    pub about: Option<String>,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Its message.
    #[serde(default, deserialize_with = "pattern")]
    pub message: Option<Regex>,
    /// How many there are. Default at least one.
    pub number: Option<Bound>,
}

/// One request through the router.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnswerCheck {
    /// The Host header.
    pub host: String,
    /// The path. Default `/`.
    #[serde(default = "slash")]
    pub path: String,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The status.
    pub status: Option<u16>,
    /// The image that answered.
    pub image: Option<String>,
}
