//! The plan: a Rollout's spec parsed at the border, in plain types.
//!
//! Guarantees: weights rise and lie in 1..=100, there is at least one step and at most 32, shares
//! are fractions in (0, 1], durations are bounded, every rule is known. Whoever holds a `Plan`
//! need not doubt it again.
//!
//! Not here: how a plan is made from the wire form (`crate::kubernetes::conversion`) and what
//! follows from it (`decide`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::approval::{Approvals, Environment};
use super::state::{Phase, Run};

/// How one workload is guarded and how its releases are brought through.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Namespace of the Rollout and of everything it names.
    pub namespace: String,
    /// Name of the Rollout.
    pub name: String,
    /// The Rollout's uid; empty for a plan that was read from a file.
    pub uid: String,
    /// Generation of the spec that this plan was made from.
    pub generation: i64,
    /// Kind of the guarded workload.
    pub kind: WorkloadKind,
    /// Its name.
    pub target: String,
    /// How traffic reaches it.
    pub route: Route,
    /// Shares of the traffic, weights rising; never empty. One of 100% where there are no shares.
    pub steps: Vec<Step>,
    /// How a new revision comes to its traffic.
    pub strategy: Strategy,
    /// Requests that reach the canary whatever its weight.
    pub matching: Option<Match>,
    /// What is asked of a canary.
    pub analysis: Analysis,
    /// Time in which canary pods must become ready.
    pub progress_deadline: Duration,
    /// How long a promoted revision is watched on, able to be taken back.
    pub bake: Option<Duration>,
    /// Whether the template goes back to stable after a failure.
    pub restore_template: bool,
    /// What a changed `ConfigMap` or Secret leads to.
    pub config_changes: ConfigChanges,
    /// What a revision that was promoted here before leads to.
    pub known_good: KnownGood,
    /// Names of the smoke tests that a canary must pass before it gets traffic.
    pub smoke: Vec<String>,
    /// Names of those that a promoted revision must pass before its run is over.
    pub smoke_after: Vec<String>,
    /// By whom approvals must be where people must approve.
    pub approvals: Approvals,
    /// Whether guarding is stopped.
    pub suspended: bool,
    /// The workload that the spec names by now; `target` is still to be let go for it.
    pub moved_to: Option<String>,
}

impl Plan {
    /// Who must approve where this run is now.
    pub fn asked_at(&self, run: &Run) -> &Approvals {
        let shares = self.strategy.approval().is_none();
        let step = self.step_of(run).filter(|_| shares);
        let own = step.and_then(|step| step.approvers.as_ref());
        own.unwrap_or(&self.approvals)
    }

    /// The step that a run is at: the last one, where the steps were edited and there are fewer now, so that
    /// nothing which it asks is passed by.
    pub fn step_of(&self, run: &Run) -> Option<&Step> {
        self.steps.get(self.step_number(run))
    }

    fn step_number(&self, run: &Run) -> usize {
        run.step.min(self.steps.len().saturating_sub(1))
    }

    /// Whether a step of a run in progress asks for an approval: its own, or that of a strategy that asks before it
    /// begins, where the plan had another one then.
    pub fn asks_after(&self, run: &Run) -> bool {
        match self.strategy.approval() {
            Some(asks) => asks && !run.approved,
            None => self.step_of(run).is_some_and(|step| step.approval),
        }
    }

    /// Whether an approval is still to come that depends on who gives it, so that nobody may promote past it.
    pub fn approvals_to_come(&self, phase: &Phase) -> bool {
        let (Phase::Preparing(run)
        | Phase::Stepping(run)
        | Phase::AwaitingApproval(run)
        | Phase::Held { run, .. }) = phase
        else {
            return false;
        };
        if let Some(asks) = self.strategy.approval() {
            return asks && !run.approved && self.approvals.is_about_people();
        }
        let at = self.step_number(run);
        let mut rest = self.steps.iter().skip(at).filter(|step| step.approval);
        rest.any(|step| {
            let approvers = step.approvers.as_ref();
            approvers.unwrap_or(&self.approvals).is_about_people()
        })
    }

    /// Asks for what the environment asks for too.
    pub fn take_place_in(&mut self, environment: &Environment) {
        self.approvals.and(&environment.approvals);
        for step in &mut self.steps {
            if let Some(own) = &mut step.approvers {
                own.and(&environment.approvals);
            }
        }
        if !environment.every_run {
            return;
        }
        match &mut self.strategy {
            Strategy::Canary => {
                if let Some(last) = self.steps.last_mut() {
                    last.approval = true;
                }
            }
            Strategy::BlueGreen { approval } | Strategy::Rolling { approval } => *approval = true,
        }
    }
}

/// What kind of workload is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Held by `spec.paused`.
    #[default]
    Deployment,
    /// Held by a partition above all its pods.
    StatefulSet,
    /// Held by the update strategy `OnDelete`.
    DaemonSet,
}

impl WorkloadKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// Its name, as manifests have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a canary can be made of it, and not only a roll of its own.
    pub fn is_deployment(&self) -> bool {
        *self == Self::Deployment
    }
}

impl std::fmt::Display for WorkloadKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// How traffic reaches the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// Weighted by the canary annotations of ingress-nginx.
    IngressNginx {
        /// Name of the main Ingress.
        ingress: String,
        /// Name of the stable Service, if it was said.
        service: Option<String>,
        /// Prefix of the annotations, without a slash.
        prefix: String,
    },
    /// Weighted by the backends of a Gateway API route.
    GatewayApi {
        /// Name of the `HTTPRoute`.
        http_route: String,
        /// Name of the stable Service, if it was said.
        service: Option<String>,
    },
}

impl Route {
    /// Kind and name of what leads the traffic, as sentences have it: "Ingress web".
    pub fn title(&self) -> String {
        match self {
            Self::IngressNginx { ingress, .. } => format!("Ingress {ingress}"),
            Self::GatewayApi { http_route, .. } => format!("HTTPRoute {http_route}"),
        }
    }

    /// Its name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::IngressNginx { ingress, .. } => ingress,
            Self::GatewayApi { http_route, .. } => http_route,
        }
    }

    /// Where a Rollout says the stable Service's name.
    pub fn service_field(&self) -> &'static str {
        match self {
            Self::IngressNginx { .. } => "spec.route.ingressNginx.service",
            Self::GatewayApi { .. } => "spec.route.gatewayApi.service",
        }
    }

    /// Name of the stable Service, if it was said.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::IngressNginx { service, .. } | Self::GatewayApi { service, .. } => {
                service.as_deref()
            }
        }
    }
}

/// One share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Share of the requests in percent, 1 to 100.
    pub weight: u8,
    /// The least time at this weight.
    pub hold: Duration,
    /// Whether a person must approve before the next step.
    pub approval: bool,
    /// Who, if others than with the plan's other approvals.
    pub approvers: Option<Approvals>,
}

/// How a new revision comes to its traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// In the shares of the steps, beside stable.
    Canary,
    /// All of it is switched at once, to as many pods as stable has.
    BlueGreen {
        /// Whether a person must approve the switch.
        approval: bool,
    },
    /// As its pods take the place of stable's: there is no canary.
    Rolling {
        /// Whether a person must approve the roll.
        approval: bool,
    },
}

impl Strategy {
    /// Whether a person must approve that all of the traffic goes over; `None` where it goes in shares.
    pub fn approval(self) -> Option<bool> {
        match self {
            Self::Canary => None,
            Self::BlueGreen { approval } | Self::Rolling { approval } => Some(approval),
        }
    }

    /// Whether there is no canary.
    pub fn is_rolling(self) -> bool {
        matches!(self, Self::Rolling { .. })
    }
}

/// Requests that reach the canary whatever its weight: by header, by cookie, or by either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// By a header.
    pub header: Option<HeaderMatch>,
    /// By a cookie of this name; its values `always` and `never` decide.
    pub cookie: Option<String>,
}

/// A header that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// What its value must be.
    pub value: HeaderValue,
}

/// What a header's value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// `always` leads to the canary, `never` away from it.
    Switch,
    /// Exactly this.
    Exactly(String),
    /// Anything that this regular expression finds.
    Pattern(String),
}

/// What is asked of a canary, and how sure the answer must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Rules by name, each once, in the order given; never empty.
    pub rules: Vec<String>,
    /// Bound on the probability that a healthy release is rolled back, over the whole run; in (0, 0.5].
    pub false_rollback_rate: f64,
    /// Time in which a healthy release should be through.
    pub within: Duration,
    /// Finest harm that a promotion must exclude, as a fraction of all requests (0.002 is 0.2%).
    pub blast: f64,
    /// Coarsest; at least `blast`.
    pub blast_max: f64,
    /// What follows when the evidence of one step stays undecided this long.
    pub undecided: (Duration, UndecidedThen),
    /// What follows when no fresh sample came for this long.
    pub no_data: (Duration, NoDataThen),
}

/// What follows undecided evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndecidedThen {
    /// Keep the weight and wait for a person.
    Hold,
    /// Go to the next step all the same.
    Promote,
    /// Put everything back.
    Rollback,
}

/// What follows absent metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDataThen {
    /// Keep the weight and wait for a person.
    Hold,
    /// Put everything back.
    Rollback,
}

/// What a changed `ConfigMap` or Secret leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigChanges {
    /// An Event and a note in the status.
    Report,
    /// A run, whose promotion is a native restart.
    Run,
}

/// What a revision that was promoted here before leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownGood {
    /// It goes through at once, without a canary.
    Promote,
    /// A canary, as with any other revision.
    Canary,
}
