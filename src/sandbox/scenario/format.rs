//! The scenario format as types. The reference with examples is `docs/scenarios.md`.
//!
//! Every step and every check is a map with one key that names it; unknown keys are refused.
//! Durations are humantime (`10s`, `1m 30s`), numbers in checks are [`Bound`]s.
//!
//! Not here: reading a file with all its problems (`parse`), playing it (`player`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::bound::Bound;
use super::breaks::Break;
use super::checks::{Check, Expect};
use super::fields::{admin, default_namespace, deployment, duration, fifteen, pattern};
use super::mode::Mode;

/// A timeline with expectations.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// How many times faster than the wall clock it is played for people.
    pub speed: f64,
    /// Seed of everything random: applications, router, load.
    pub seed: u64,
    /// Settings of the sandbox's cluster.
    pub cluster: ClusterSettings,
    /// Overrides of the daemon's settings, as in its file; `null` for none.
    pub daemon: Value,
    /// Whether the daemon is started with the cluster.
    pub with_daemon: bool,
    /// The timeline, each step with its line.
    pub steps: Vec<(u64, Step)>,
    /// Where its Rollouts are followed; empty: in all namespaces.
    pub namespace: String,
    /// Where its Git repository is made, if it has one.
    pub git: Option<PathBuf>,
    /// The folder that `file` in `apply` is relative to.
    pub folder: PathBuf,
    /// In which modes of the gate it cannot hold, and why.
    pub not_with: BTreeMap<Mode, String>,
}

/// Settings of the sandbox's cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterSettings {
    /// How long the router takes to apply a change. Default 300 ms.
    #[serde(deserialize_with = "duration")]
    pub reload: Duration,
    /// How many router pods, each with its own counters. Default 1.
    pub routers: usize,
    /// Whether the gate's admission policies are applied. Default true.
    pub gate: bool,
    /// Whether the gate is the daemon's webhook in place of its policies. Default false.
    pub webhook: bool,
    /// Whether there are `HTTPRoutes`, and the router serves them. Default false.
    pub gateway_api: bool,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            reload: Duration::from_millis(300),
            routers: 1,
            gate: true,
            webhook: false,
            gateway_api: false,
        }
    }
}

/// One thing that is done or expected.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// A line for the reader.
    Say(String),
    /// Manifests are applied.
    Apply(Apply),
    /// A manifest applied earlier is applied again with another image or behaviour.
    Release(Release),
    /// An object is patched.
    Patch(Patch),
    /// An object is deleted.
    Delete(Delete),
    /// A Deployment is scaled through its scale subresource.
    Scale(Scale),
    /// `kubectl rollout restart`.
    Restart(Verb),
    /// `kubectl rollout undo`.
    Undo(Verb),
    /// `kubectl rollout resume`.
    Resume(Verb),
    /// The load on an Ingress.
    Load(Load),
    /// A person's request to the daemon.
    Ask(Ask),
    /// Something breaks.
    Break(Break),
    /// Time passes.
    #[serde(deserialize_with = "duration")]
    Wait(Duration),
    /// What must be seen.
    Expect(Expect),
    /// What must hold from here to the end.
    Always(Vec<Check>),
    /// A release that is watched and measured from change to outcome.
    Run(Box<Run>),
}

/// How a manifest reaches the API server: account, field manager and verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Forced server-side apply by Flux's kustomize-controller.
    #[default]
    Flux,
    /// Forced server-side apply by Argo CD.
    ArgoCd,
    /// Client-side apply: a three-way strategic merge patch.
    Kubectl,
    /// `kubectl apply --server-side`: not forced.
    ServerSide,
    /// A three-way patch without the last-applied annotation.
    Helm,
    /// The whole object is replaced.
    Replace,
    /// The object is created; it must not exist.
    Create,
}

/// Manifests to apply.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Apply {
    /// A file with one or more documents, beside the scenario.
    pub file: Option<PathBuf>,
    /// Or the objects themselves.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// Only the objects of these kinds. Default: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// How. Default `flux`.
    #[serde(default)]
    pub by: Way,
    /// A merge patch upon each object first, so that a file can be applied with a change.
    #[serde(default)]
    pub with: Option<Value>,
    /// The API server must refuse it with a message like this.
    #[serde(default, deserialize_with = "pattern")]
    pub refused: Option<Regex>,
}

/// A new revision of a workload that was applied earlier.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The workload's name.
    pub deployment: String,
    /// Its kind. Default `Deployment`.
    #[serde(default = "deployment")]
    pub kind: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The image of its first container. Default: unchanged.
    pub image: Option<String>,
    /// The application's behaviour: the `sandbox.sluice.dev/*` annotations of the template,
    /// without the prefix. They replace the earlier ones. Default: unchanged.
    pub behaves: Option<BTreeMap<String, String>>,
    /// How. Default: as it was applied before.
    pub by: Option<Way>,
    /// A merge patch upon the manifest.
    pub with: Option<Value>,
}

/// Names one object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// `merge` (default), `json` or `strategic`.
    #[serde(default)]
    pub r#type: PatchType,
    /// The patch.
    #[serde(rename = "patch")]
    pub body: Value,
    /// The account. Default `kubernetes-admin`.
    #[serde(default = "admin")]
    pub r#as: String,
    /// The API server must refuse it with a message like this.
    #[serde(default, deserialize_with = "pattern")]
    pub refused: Option<Regex>,
}

/// Kinds of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum PatchType {
    /// RFC 7386.
    #[default]
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own.
    Strategic,
}

/// An object to delete.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delete {
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The account. Default `kubernetes-admin`.
    #[serde(default = "admin")]
    pub r#as: String,
}

/// A Deployment to scale.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// The Deployment's name.
    pub deployment: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many replicas.
    pub replicas: u32,
}

/// A `kubectl rollout` command upon a Deployment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verb {
    /// The Deployment's name.
    pub deployment: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// kubectl must refuse it with a message like this.
    #[serde(default, deserialize_with = "pattern")]
    pub refused: Option<Regex>,
}

/// The load on an Ingress.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// The Ingress's name.
    pub ingress: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Requests a second.
    pub rps: f64,
}

/// What a person asks of the daemon, as the CLI does.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ask {
    /// The Rollout's name.
    pub rollout: String,
    /// Its namespace. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// `promote`, `hold`, `resume`, `abort`, `rollback`, `retry`, `restart` or `approve`.
    pub act: String,
    /// The revision meant. Default: the one under trial now.
    pub revision: Option<String>,
    /// With `rollback` between runs: what to go back to. Default: the last good revision.
    pub to: Option<String>,
    /// The daemon must refuse, with a message like this. Default: it must do it.
    #[serde(default, deserialize_with = "pattern")]
    pub refused: Option<Regex>,
    /// Time for the answer. Default 15 s.
    #[serde(default = "fifteen", deserialize_with = "duration")]
    pub within: Duration,
    /// Ask without waiting for an answer. Default false.
    #[serde(default)]
    pub unanswered: bool,
}

/// A release that is watched and measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// Its name in the table.
    pub name: String,
    /// What it shows.
    #[serde(default)]
    pub about: String,
    /// The change.
    pub release: Release,
    /// The Rollout. Default: named as the Deployment.
    pub rollout: Option<String>,
    /// How it must end.
    pub outcome: String,
    /// Why; several are separated by `|`.
    pub reason: Option<String>,
    /// The longest time from change to outcome.
    #[serde(deserialize_with = "duration")]
    pub within: Duration,
    /// Answers that users may get of the new image.
    pub requests: Option<Bound>,
    /// Bad answers that users may get of the new image.
    pub bad: Option<Bound>,
    /// Whether the run must be suspect on its way.
    pub suspect: Option<bool>,
    /// What must be seen once it has ended, within 30 s more.
    #[serde(default)]
    pub then: Vec<Check>,
}
