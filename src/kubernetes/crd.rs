//! The `Rollout` resource as it crosses the wire: its spec with schema, CEL rules and printer columns; its
//! status (`status`), and the names of labels and annotations (`names`).
//!
//! Validation that the API server can do is said here as schema and CEL; the rest, all problems
//! at once, is in `conversion`, which turns a spec into a plan. Percentages and durations are
//! strings (`0.2%`, `5m`), as people write them.
//!
//! Not here: what a field leads to. That is the plan's business (`crate::rollout::plan`).

mod names;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use names::{
    ACCOUNT, APPROVED, AUTHOR, FINALIZER, GUARDED, HELD_BY, MANAGER, OPEN, PROMOTION_PREFIX,
    REQUEST_PREFIX,
};
pub use status::{
    Answer, ApprovalStatus, GitAuthor, GitPoint, GitPull, GitRemedy, GitStatus, LastRun,
    RevisionStatus, RolloutStatus, RuleStatus, RunStatus, Told, besides,
};

/// How a workload is guarded and how its releases are brought through.
#[allow(clippy::duplicated_attributes)] // each column has its type
#[derive(CustomResource, KubeSchema, Deserialize, Serialize, Clone, Debug, PartialEq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    shortname = "slr",
    category = "sluice",
    namespaced,
    status = "RolloutStatus",
    derive = "PartialEq",
    doc = "A Rollout guards one workload: each new revision is held, tried as a canary, and promoted or rolled back.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.run.weight"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.run.step"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.run.verdict"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.target.kind == 'Deployment' || has(self.strategy) && has(self.strategy.rolling)").message("a StatefulSet or DaemonSet needs strategy.rolling: there is no canary of it"))]
pub struct RolloutSpec {
    /// The workload that is guarded.
    pub target: Target,
    /// How traffic reaches it; exactly one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How a new revision is brought through; exactly one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// What is asked of a canary, and how sure the answer must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// Canary pods that are not ready by then fail the run. Default `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<String>,
    /// How long a promoted revision is watched on, and taken back if it does worse than what served
    /// before, e.g. `10m`. Default: not at all; with `strategy.rolling` `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<String>,
    /// What is put back after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Smoke tests, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<Smoke>,
    /// Alerts that end a run at once when they begin to fire in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub alerts: Vec<AlertMatch>,
    /// By whom approvals must be, where the strategy asks for some. Default: by one who may patch the Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Who is told of its runs, by the names in the daemon's settings. Default: all of them; an empty
    /// list: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub notify: Option<Vec<String>>,
    /// Whether a changed `ConfigMap` or Secret is only reported or starts a run. Default `report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_changes: Option<ConfigChanges>,
    /// Whether a template that was promoted here before goes through at once or is tried as a
    /// canary again. Default `promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_good: Option<KnownGood>,
    /// Stops guarding: traffic and template go back to stable, the gate opens. Default `false`.
    #[serde(default)]
    pub suspended: bool,
}

impl Rollout {
    /// The run that can still be ended: one goes on, and is not put back already.
    pub fn on_trial(&self) -> Option<&RunStatus> {
        let status = self.status.as_ref()?;
        let ending = status.phase.as_deref() == Some("RollingBack");
        status.run.as_ref().filter(|_| !ending)
    }
}

/// The guarded workload.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// `Deployment`; with `strategy.rolling` also `StatefulSet` or `DaemonSet`.
    #[serde(default = "deployment")]
    #[x_kube(validation = Rule::new("self in ['Deployment', 'StatefulSet', 'DaemonSet']").message("target.kind must be Deployment, StatefulSet or DaemonSet"))]
    pub kind: String,
    /// Its name, in the Rollout's namespace.
    #[x_kube(validation = Rule::new("self.size() >= 1 && self.size() <= 253").message("target.name must be the name of a workload"))]
    pub name: String,
}

fn deployment() -> String {
    "Deployment".to_owned()
}

/// How traffic reaches the workload.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.ingressNginx) != has(self.gatewayApi)").message("route needs exactly one of: ingressNginx, gatewayApi"))]
pub struct Route {
    /// Weighted by ingress-nginx's canary annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_nginx: Option<IngressNginx>,
    /// Weighted by the backends of a Gateway API route, whatever implements its Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<GatewayApi>,
}

/// The `HTTPRoute` through which the Service of the target is reached. It is split for a run and is afterwards
/// as it was.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayApi {
    /// Name of the `HTTPRoute`, in the Rollout's namespace.
    pub http_route: String,
    /// Name of the stable Service. Default: the one Service of the `HTTPRoute` that selects the target's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// The Ingress through which the Service of the target is reached.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IngressNginx {
    /// Name of the Ingress, in the Rollout's namespace.
    pub ingress: String,
    /// Name of the stable Service. Default: the one Service of the Ingress that selects the target's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Prefix of the annotations. Default `nginx.ingress.kubernetes.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation_prefix: Option<String>,
}

/// How a new revision is brought through.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.canary), has(self.blueGreen), has(self.rolling)].filter(one, one).size() == 1").message("strategy needs exactly one of: canary, blueGreen, rolling"))]
pub struct Strategy {
    /// Rising shares of the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// As many new pods as stable has, then all of the traffic at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
    /// No canary: the workload's own roll, watched and taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,
}

/// The workload rolls by its own strategy, held to what stable was like before: meanwhile, and for
/// `bake` afterwards (default `10m` here).
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rolling {
    /// Whether a person must approve the roll. Default `false`.
    #[serde(default)]
    pub approval: bool,
}

/// As many new pods as stable has, tested without traffic, then all of the traffic at once; what
/// served before keeps running until the promotion.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    /// The least time with all of the traffic before the promotion. Default `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether a person must approve the switch. Default `false`.
    #[serde(default)]
    pub approval: bool,
}

/// Rising shares of the traffic, each kept until the evidence suffices.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// The steps, weights rising. Default 5, 25, 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.map(s, s.weight).isSorted() && self.all(a, self.exists_one(b, b.weight == a.weight))").message("the weights of the steps must rise"))]
    pub steps: Vec<Step>,
    /// Requests that reach the canary at any weight above 0 or while it is prepared.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<Match>,
}

/// One share of the traffic.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Share of the requests in percent, 1 to 100.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 100").message("weight must be 1 to 100"))]
    pub weight: i32,
    /// The least time at this weight, e.g. `2m`. Default: none beyond what the evidence needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether a person must approve before the next step. Default `false`.
    #[serde(default)]
    pub approval: bool,
    /// Who must, if not as in `spec.approvals`; the step then needs approval even without `approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// By whom approvals must be, where people must approve.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approvals {
    /// How many people, each of whom counts once: 1 to 20. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 20").message("required must be 1 to 20"))]
    pub required: Option<i32>,
    /// Users and groups of the cluster; nobody else counts. Default: whoever may patch the Rollout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub from: Vec<String>,
    /// How long an approval waits for the others, e.g. `4h`. Default: as long as the step does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Whether those do not count who made the change: whom the commit that brought it names, and the Deployment's
    /// annotation `sluice.dev/author`. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_author: bool,
}

/// Requests that reach the canary whatever its weight.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.header) || has(self.cookie)").message("match needs a header or a cookie"))]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.pattern))").message("match takes value or pattern, not both"))]
#[x_kube(validation = Rule::new("has(self.header) || !(has(self.value) || has(self.pattern))").message("match.value and match.pattern need match.header"))]
pub struct Match {
    /// Header name. Without value and pattern: `always` and `never` decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The header's exact value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A regular expression on the header's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub pattern: Option<String>,
    /// Cookie name; its values `always` and `never` decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// What is asked of a canary.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Rules by name. Default `error-rate` and `latency-p99`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Bound on the probability that a healthy release is rolled back, over the whole run. Default 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_rollback_rate: Option<f64>,
    /// Time in which a healthy release should be through; sets the blast radius. Default `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Finest harm, in percent of all requests, that a promotion must exclude. Default `0.2%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast: Option<String>,
    /// Coarsest. Default `2%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_max: Option<String>,
    /// What follows when the evidence stays undecided. Default after `30m`: `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<Undecided>,
    /// What follows when the metrics stay away. Default after `5m`: `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<NoData>,
}

/// When evidence stays undecided.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undecided {
    /// Time in one step, e.g. `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `hold`, `promote` or `rollback`.
    pub then: UndecidedThen,
}

/// What follows undecided evidence.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UndecidedThen {
    /// Keep the weight and wait for a person.
    Hold,
    /// Go to the next step all the same.
    Promote,
    /// Put everything back.
    Rollback,
}

/// When metrics stay away.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoData {
    /// Time without a fresh sample, e.g. `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `hold` or `rollback`.
    pub then: NoDataThen,
}

/// What follows absent metrics.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NoDataThen {
    /// Keep the weight and wait for a person.
    Hold,
    /// Put everything back.
    Rollback,
}

/// Smoke tests, by the names that they have in the daemon's files.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smoke {
    /// Those that a canary must pass, in this order, before it gets any traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub before_traffic: Vec<String>,
    /// Those that a promoted revision must pass, in this order; else what served before comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub after_promotion: Vec<String>,
}

/// Alerts that count, as Alertmanager's `matchers` say them.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertMatch {
    /// All of them must fit, e.g. `alertname="CheckoutErrors"`, `severity=~"critical|page"`.
    #[schemars(length(min = 1, max = 32), inner(length(max = 512)))]
    pub matchers: Vec<String>,
}

/// What is put back after a failure.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnFailure {
    /// Whether the Deployment's template goes back to stable; else it stays held. Default `true`.
    #[serde(default = "yes")]
    pub restore_template: bool,
    /// Whether the commit that brought a failed template is undone in Git too. Default: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitOnFailure>,
}

/// How a failed template is undone in Git.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.kustomization), has(self.application), has(self.inputProvider)].exists_one(one, one)").message("onFailure.git needs exactly one of: kustomization, application, inputProvider"))]
#[x_kube(validation = Rule::new("!has(self.inputProvider) || self.mode == 'revert'").message("onFailure.git.inputProvider has no commits, so mode must be revert"))]
pub struct GitOnFailure {
    /// `revert` commits to the branch that is deployed; `pullRequest` asks people to merge that.
    pub mode: GitMode,
    /// The Flux Kustomization that applies the Deployment: `namespace/name`, or a name in the
    /// Rollout's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.size() >= 1 && self.size() <= 507 && self.split('/').size() <= 2").message("onFailure.git.kustomization must be a name or namespace/name"))]
    pub kustomization: Option<String>,
    /// Or the Argo CD Application: `namespace/name`, or a name in the Rollout's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.size() >= 1 && self.size() <= 507 && self.split('/').size() <= 2").message("onFailure.git.application must be a name or namespace/name"))]
    pub application: Option<String>,
    /// Or, without any commit, the Flux Operator's `ResourceSetInputProvider` that the image's tag comes from:
    /// a failed tag is excluded there. `namespace/name`, or a name in the Rollout's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.size() >= 1 && self.size() <= 507 && self.split('/').size() <= 2").message("onFailure.git.inputProvider must be a name or namespace/name"))]
    pub input_provider: Option<String>,
}

/// What is done in Git after a failure.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GitMode {
    /// One commit that takes back those that led to the failed template, pushed to the branch.
    Revert,
    /// The same commit on a branch of its own, and a pull request for it.
    PullRequest,
}

fn yes() -> bool {
    true
}

/// What a changed `ConfigMap` or Secret leads to.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConfigChanges {
    /// An Event and a note in the status.
    Report,
    /// A run, whose promotion is a native restart.
    Run,
}

/// What a template that was promoted here before leads to.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KnownGood {
    /// It goes through at once, without a canary.
    Promote,
    /// A canary, as with any other template.
    Canary,
}
