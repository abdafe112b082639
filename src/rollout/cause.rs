//! Why a run ends before its promotion, why it stands still, and how it ended: in words.
//!
//! Not here: everything else that is told (`reason`).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::observation::{Fate, FateKind};

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The revision serves.
    Promoted,
    /// It was put back.
    RolledBack,
    /// A newer revision took its place.
    Superseded,
    /// The run ended without a judgement.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 4] = [
        Self::Promoted,
        Self::RolledBack,
        Self::Superseded,
        Self::Cancelled,
    ];

    /// The outcome of this name; none where a daemon of another version has written it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Its name, as status, history and metrics use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// By what a revision was promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promoted {
    /// The evidence, or a person's word.
    Proven,
    /// It was promoted here before.
    KnownGood,
    /// A person went back to it.
    WentBack,
}

impl Promoted {
    const ALL: [Self; 3] = [Self::Proven, Self::KnownGood, Self::WentBack];

    /// The way of this name; none if it is the name of something else.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    /// Its name, bounded, for metrics and the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proven => "Promoted",
            Self::KnownGood => "KnownGood",
            Self::WentBack => "WentBack",
        }
    }
}

/// Every way in which a run ends: the outcome, and the reason that it is told by.
pub const ENDS: [(Outcome, &str); 21] = [
    (Outcome::Promoted, "Promoted"),
    (Outcome::Promoted, "KnownGood"),
    (Outcome::Promoted, "WentBack"),
    (Outcome::RolledBack, "Worse"),
    (Outcome::RolledBack, "BakeFailed"),
    (Outcome::RolledBack, "CrashLoop"),
    (Outcome::RolledBack, "ImagePull"),
    (Outcome::RolledBack, "CreateContainer"),
    (Outcome::RolledBack, "OutOfMemory"),
    (Outcome::RolledBack, "ProgressDeadline"),
    (Outcome::RolledBack, "PromotionStuck"),
    (Outcome::RolledBack, "Undecided"),
    (Outcome::RolledBack, "NoData"),
    (Outcome::RolledBack, "Alert"),
    (Outcome::RolledBack, "Smoke"),
    (Outcome::RolledBack, "Aborted"),
    (Outcome::Superseded, "Superseded"),
    (Outcome::Cancelled, "ReturnedToStable"),
    (Outcome::Cancelled, "WentOut"),
    (Outcome::Cancelled, "TargetGone"),
    (Outcome::Cancelled, "Detached"),
];

/// Why a run is ended before its promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Cause {
    /// A rule found the canary worse.
    Worse {
        rule: String,
        sentence: String,
        /// Bad answers that the step down saved, if there was one.
        saved: Option<u64>,
    },
    /// After its promotion it did worse than what served before.
    Baked { rule: String, sentence: String },
    /// The canary's pods fail for good.
    Pods(Fate),
    /// The canary's pods were not ready in time.
    Deadline { after: String },
    /// The native roll did not come through.
    PromotionStuck {
        after: String,
        /// The Deployment was paused still: somebody, or a gate not ours, pauses it again.
        #[serde(default)]
        paused: bool,
    },
    /// The evidence stayed undecided.
    Undecided { after: String },
    /// The metrics stayed away.
    NoData { why: String },
    /// A person ended it who is not named.
    Aborted,
    /// A person ended it.
    AbortedBy { who: String },
    /// An alert began to fire.
    Alert { alert: String },
    /// A smoke test failed.
    Smoke { sentence: String },
    /// A newer template is there.
    Superseded,
    /// The template is the stable one again.
    Returned,
    /// It went out past the gate.
    WentOut,
    /// The Deployment is gone or another one.
    TargetGone,
    /// The Rollout was suspended, deleted or given another target.
    Detached,
}

impl Cause {
    /// Bad answers that an early step down saved.
    pub fn saved(&self) -> Option<u64> {
        match self {
            Self::Worse { saved, .. } => *saved,
            Self::Baked { .. }
            | Self::Pods(_)
            | Self::Deadline { .. }
            | Self::PromotionStuck { .. }
            | Self::Undecided { .. }
            | Self::NoData { .. }
            | Self::Aborted
            | Self::AbortedBy { .. }
            | Self::Alert { .. }
            | Self::Smoke { .. }
            | Self::Superseded
            | Self::Returned
            | Self::WentOut
            | Self::TargetGone
            | Self::Detached => None,
        }
    }

    /// How a run ends by it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Superseded => Outcome::Superseded,
            Self::Returned | Self::WentOut | Self::TargetGone | Self::Detached => {
                Outcome::Cancelled
            }
            Self::Worse { .. }
            | Self::Baked { .. }
            | Self::Pods(_)
            | Self::Deadline { .. }
            | Self::PromotionStuck { .. }
            | Self::Undecided { .. }
            | Self::NoData { .. }
            | Self::Aborted
            | Self::AbortedBy { .. }
            | Self::Alert { .. }
            | Self::Smoke { .. } => Outcome::RolledBack,
        }
    }

    /// Its name, bounded, for metrics and the status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Worse { .. } => "Worse",
            Self::Baked { .. } => "BakeFailed",
            Self::Pods(fate) => match fate.kind {
                FateKind::CrashLoop => "CrashLoop",
                FateKind::ImagePull => "ImagePull",
                FateKind::CreateContainer => "CreateContainer",
                FateKind::OutOfMemory => "OutOfMemory",
            },
            Self::Deadline { .. } => "ProgressDeadline",
            Self::PromotionStuck { .. } => "PromotionStuck",
            Self::Undecided { .. } => "Undecided",
            Self::NoData { .. } => "NoData",
            Self::Aborted | Self::AbortedBy { .. } => "Aborted",
            Self::Alert { .. } => "Alert",
            Self::Smoke { .. } => "Smoke",
            Self::Superseded => "Superseded",
            Self::Returned => "ReturnedToStable",
            Self::WentOut => "WentOut",
            Self::TargetGone => "TargetGone",
            Self::Detached => "Detached",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worse {
                rule,
                sentence,
                saved,
            } => {
                write!(out, "{rule} is worse: {sentence}")?;
                match saved {
                    Some(saved) => {
                        write!(out, "; the early step down saved some {saved} bad answers")
                    }
                    None => Ok(()),
                }
            }
            Self::Baked { rule, sentence } => {
                write!(out, "{rule} is worse than before the promotion: {sentence}")
            }
            Self::Pods(fate) => write!(out, "{}", fate.detail),
            Self::Deadline { after } => {
                write!(out, "the canary's pods were not ready within {after}")
            }
            Self::PromotionStuck { after, paused } => {
                write!(out, "the promotion made no progress for {after}")?;
                if *paused {
                    write!(
                        out,
                        "; the Deployment is paused again each time: does the gate let the daemon's account pass?"
                    )?;
                }
                Ok(())
            }
            Self::Undecided { after } => write!(out, "the evidence stayed undecided for {after}"),
            Self::NoData { why } => write!(out, "no metrics: {why}"),
            Self::Aborted => write!(out, "a person asked for it"),
            Self::AbortedBy { who } => write!(out, "{who} asked for it"),
            Self::Alert { alert } => write!(out, "alert {alert}"),
            Self::Smoke { sentence } => write!(out, "smoke test {sentence}"),
            Self::Superseded => write!(out, "a newer template or configuration was applied"),
            Self::Returned => write!(out, "the template is the stable one again"),
            Self::WentOut => write!(out, "the revision went out past the gate"),
            Self::TargetGone => write!(out, "the Deployment was deleted or made anew"),
            Self::Detached => write!(
                out,
                "the Rollout was suspended, deleted or given another target"
            ),
        }
    }
}

/// Why a run stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldWhy {
    /// A person asked for it who is not named.
    Person,
    /// A person asked for it.
    PersonNamed { who: String },
    /// The route or the workload does not allow a canary.
    Refused { why: String },
    /// The gate was made for another account: a promotion could not open it.
    GateHoldsUs { why: String },
    /// The cluster refuses the canary's pods.
    PodsRefused { why: String },
    /// The canary's own objects cannot be made.
    NotMade { why: String },
    /// The canary's weight cannot be raised.
    NotRouted { why: String },
    /// The Deployment has no replicas: nothing serves that could be compared.
    NoReplicas,
    /// No stable pod is ready.
    StableGone,
    /// The daemon may not see the namespace any more.
    Unseen { why: String },
    /// The metrics stayed away.
    NoData { why: String },
    /// The evidence stayed undecided.
    Undecided,
    /// Suspected for the third time.
    Suspicions,
    /// It was applied in a freeze window.
    Frozen { window: String, until: Timestamp },
}

impl HeldWhy {
    /// Whether a person holds it.
    pub fn is_by_person(&self) -> bool {
        matches!(self, Self::Person | Self::PersonNamed { .. })
    }

    /// Whether only a person lets the run go on.
    pub fn needs_person(&self) -> bool {
        match self {
            Self::Person | Self::PersonNamed { .. } | Self::Suspicions => true,
            Self::Refused { .. }
            | Self::GateHoldsUs { .. }
            | Self::PodsRefused { .. }
            | Self::NotMade { .. }
            | Self::NotRouted { .. }
            | Self::Unseen { .. }
            | Self::NoReplicas
            | Self::StableGone
            | Self::NoData { .. }
            | Self::Undecided
            | Self::Frozen { .. } => false,
        }
    }
}

impl fmt::Display for HeldWhy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person => write!(out, "a person holds it; `sluice resume` lets it go on"),
            Self::PersonNamed { who } => {
                write!(out, "{who} holds it; `sluice resume` lets it go on")
            }
            Self::Refused { why } => write!(out, "no canary can be routed: {why}"),
            Self::GateHoldsUs { why } => {
                write!(out, "no promotion could open the gate: {why}")
            }
            Self::PodsRefused { why } => {
                write!(out, "the cluster refuses the canary's pods: {why}")
            }
            Self::NotMade { why } => write!(out, "no canary can be made: {why}"),
            Self::NotRouted { why } => write!(out, "the canary's weight cannot be raised: {why}"),
            Self::NoReplicas => {
                write!(
                    out,
                    "the Deployment has 0 replicas, so nothing can be compared"
                )
            }
            Self::StableGone => write!(out, "no stable pod is ready"),
            Self::Unseen { why } => write!(out, "{why}"),
            Self::NoData { why } => write!(out, "no metrics: {why}"),
            Self::Undecided => write!(out, "the evidence stayed undecided"),
            Self::Frozen { window, until } => {
                write!(out, "the freeze {window} lasts until {until}")
            }
            Self::Suspicions => write!(out, "suspected three times without proof"),
        }
    }
}
