//! Where a Rollout stands: enum variants that carry their own data.
//!
//! The state is what must outlive a restart. It is saved as a checkpoint in the Rollout's
//! status before anything that raises the canary's share; the evidence in it may lag, since
//! samples after its bookmark are read again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::approval::Meant;
use super::bookmark::Bookmark;
use super::bound::Bound;
use super::config::Config;
use super::evidence::Evidence;
use super::reason::{HeldWhy, Outcome};
use super::revision::Revision;
pub use super::run::{Promotion, Rollback, Run, Smoke, Suspicion, Trigger};

/// Everything that Sluice knows of one Rollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// The uid of the Deployment that was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The names that its objects are found by, once adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The revision that serves, once adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Revision>,
    /// The configuration that stable serves with, as far as it was read.
    #[serde(default, skip_serializing_if = "Config::is_unread")]
    pub config: Config,
    /// Revisions that were promoted here, or served when the Deployment was adopted, and have not
    /// failed since; newest last, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_good: Vec<Revision>,
    /// The revision that failed and is not tried again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// A revision that failed, and has pods beside stable's since its run is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lingering: Option<Revision>,
    /// The newest template that a person wants, kept while an older one is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Revision>,
    /// Since when what `desired` is kept in is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_gone: Option<Timestamp>,
    /// A revision that went out without us, already told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypassed: Option<String>,
    /// What is being mended and was already told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mending: Vec<Mending>,
    /// A native restart that waits to be done, by its request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// The gate's problem that was already told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_problem: Option<String>,
    /// Why the gate of this workload is open, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<String>,
    /// The template that the approvals in Git are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Meant>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Ended>,
    /// Answers to requests, newest last, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// The run's evidence; advances with each sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// When it was taken up by a daemon that had not watched it before, or could not for a while; it has to look
    /// before it can say that there is nothing to be seen, or that nothing came of something.
    #[serde(skip)]
    pub resumed: Option<Timestamp>,
    /// Since when a revision has pods of a Deployment that is paused, as far as is seen.
    #[serde(skip)]
    pub strange_since: Option<Timestamp>,
    /// Since when something is not there that stable needs.
    #[serde(skip)]
    pub lacks_since: Option<Timestamp>,
    /// Where the evidence goes on reading after a restart; opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmark: Option<Bookmark>,
}

impl State {
    /// Whether two states differ in anything but how far the evidence has come; whether stable had
    /// pods meanwhile, and whether the canary gets its share, is no part of that.
    pub fn differs_durably(&self, other: &State) -> bool {
        let Self {
            phase,
            target,
            bound,
            stable,
            config,
            known_good,
            failed,
            lingering,
            desired,
            desired_gone,
            bypassed,
            mending,
            restart,
            gate_problem,
            opened,
            meant,
            last_run,
            answers,
            evidence: _,
            resumed: _,
            strange_since: _,
            lacks_since: _,
            bookmark: _,
        } = other;
        let absence = |state: &State| state.evidence.as_ref().and_then(Evidence::absence);
        let is_led = |state: &State| state.evidence.as_ref().is_none_or(|of| of.share().ok);
        let stands = (&self.phase, &self.target, &self.bound) == (phase, target, bound);
        let serves = (&self.stable, &self.config, &self.known_good) == (stable, config, known_good);
        let undone = (&self.failed, &self.lingering) == (failed, lingering);
        let wanted = (&self.desired, &self.desired_gone) == (desired, desired_gone);
        let told = (&self.bypassed, &self.mending) == (bypassed, mending);
        let gate = (&self.gate_problem, &self.opened) == (gate_problem, opened);
        let vouched = &self.meant == meant;
        let asked = (&self.restart, &self.last_run, &self.answers) == (restart, last_run, answers);
        !(stands && serves && undone && wanted && told && gate && vouched && asked)
            || absence(self) != absence(other)
            || is_led(self) != is_led(other)
    }
}

/// Where a Rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// Waits until the Deployment can be guarded.
    Adopting { why: String },
    /// Guards; nothing is new.
    Idle,
    /// The canary comes up and the metrics are awaited.
    Preparing(Run),
    /// The canary has its share of the traffic.
    Stepping(Run),
    /// A step is passed and a person must approve the next.
    AwaitingApproval(Run),
    /// The run stands still until something or somebody lets it go on.
    Held { run: Run, why: HeldWhy },
    /// The revision is proven; the Deployment rolls natively.
    Promoting { run: Run, stage: Promotion },
    /// The revision serves alone and is watched; what served before is still stable.
    Baking(Run),
    /// Traffic, canary and template are put back.
    RollingBack { run: Run, rollback: Rollback },
    /// The Deployment is held with a revision that failed.
    Failed,
    /// The spec says not to guard; everything is put back.
    Suspended,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Adopting {
            why: "not looked at yet".to_owned(),
        }
    }
}

impl Phase {
    /// No wait can have begun after `now`: one that did, by a clock that was set back since,
    /// begins now. So it lasts longer than it should, but not until the clock has caught up.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        match self {
            Self::Preparing(run)
            | Self::Stepping(run)
            | Self::AwaitingApproval(run)
            | Self::Baking(run)
            | Self::Held { run, .. } => run.set_back(now),
            Self::Promoting { run, stage } => {
                run.set_back(now);
                if let Promotion::Rolling { since, .. } | Promotion::Draining { since } = stage {
                    *since = now.min(*since);
                }
            }
            Self::RollingBack { run, rollback } => {
                run.set_back(now);
                rollback.since = rollback.since.min(now);
                rollback.off_since = rollback.off_since.map(|since| since.min(now));
            }
            Self::Adopting { .. } | Self::Idle | Self::Failed | Self::Suspended => {}
        }
    }

    /// The run that is going on, if any.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Preparing(run)
            | Self::Stepping(run)
            | Self::AwaitingApproval(run)
            | Self::Baking(run)
            | Self::Held { run, .. }
            | Self::Promoting { run, .. }
            | Self::RollingBack { run, .. } => Some(run),
            Self::Adopting { .. } | Self::Idle | Self::Failed | Self::Suspended => None,
        }
    }

    /// Which it is, as people tell phases apart.
    pub fn kind(&self) -> PhaseName {
        match self {
            Self::Adopting { .. } => PhaseName::Adopting,
            Self::Idle => PhaseName::Idle,
            Self::Preparing(_) => PhaseName::Preparing,
            Self::Stepping(run) if run.suspect.is_some() => PhaseName::Suspect,
            Self::Stepping(_) => PhaseName::Stepping,
            Self::AwaitingApproval(_) => PhaseName::AwaitingApproval,
            Self::Held { .. } => PhaseName::Held,
            Self::Promoting { .. } => PhaseName::Promoting,
            Self::Baking(_) => PhaseName::Baking,
            Self::RollingBack { .. } => PhaseName::RollingBack,
            Self::Failed => PhaseName::Failed,
            Self::Suspended => PhaseName::Suspended,
        }
    }

    /// Its name, as status, metrics and people use it.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// A phase without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseName {
    Adopting,
    Idle,
    Preparing,
    Stepping,
    /// A step whose canary is suspected.
    Suspect,
    AwaitingApproval,
    Held,
    Promoting,
    Baking,
    RollingBack,
    Failed,
    Suspended,
}

impl PhaseName {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Adopting,
        Self::Idle,
        Self::Preparing,
        Self::Stepping,
        Self::Suspect,
        Self::AwaitingApproval,
        Self::Held,
        Self::Promoting,
        Self::Baking,
        Self::RollingBack,
        Self::Failed,
        Self::Suspended,
    ];

    /// The phase of this name; none where a daemon of another version has written it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Its name, as status, metrics and people use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adopting => "Adopting",
            Self::Idle => "Idle",
            Self::Preparing => "Preparing",
            Self::Stepping => "Stepping",
            Self::Suspect => "Suspect",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Held => "Held",
            Self::Promoting => "Promoting",
            Self::Baking => "Baking",
            Self::RollingBack => "RollingBack",
            Self::Failed => "Failed",
            Self::Suspended => "Suspended",
        }
    }
}

/// Something of ours that others changed and that is being put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mending {
    /// The gate's label.
    Label,
    /// The canary's objects.
    Canary,
    /// The canary's weight.
    Weight,
    /// The canary's pods, none of which is ready.
    Unready,
    /// The stable pods.
    Serving,
    /// The gate, which somebody shut while a promotion rolls.
    Pause,
    /// A promotion that the cluster hinders; nobody but the cluster's owners can mend it.
    Promotion,
    /// A rollback that the cluster refuses.
    Rollback,
    /// What stable's template names and is not there.
    Lacks,
    /// Stable's pods, which do not all come back within a rollback's deadline.
    Late,
}

/// A revision that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub revision: Revision,
    /// Why, in a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// Its revision.
    pub revision: Revision,
    /// Who has made the change, as the workload said when the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason's name.
    pub reason: String,
    /// The reason in a sentence.
    pub message: String,
    /// Bad answers that an early step down saved, if there was one and they were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<u64>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's id.
    pub id: String,
    /// What was asked.
    pub act: String,
    /// Who asked, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why not.
    pub message: String,
    /// When.
    pub at: Timestamp,
}
