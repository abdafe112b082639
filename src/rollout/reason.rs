//! The closed vocabulary of what Sluice tells: one `Reason` yields the log line, the Event, the
//! metric label and the text in the status.
//!
//! Not here: its words (`words`), what is counted of it (`counted`), and how it is told. The edges do that.

mod counted;
mod words;

pub use super::cause::{Cause, ENDS, HeldWhy, Outcome, Promoted};
use super::remedy::RemedyOutcome;
use super::revision::Revision;
pub use counted::Counted;

/// Something that happened and that people may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    Adopted {
        stable: Revision,
        warnings: Vec<String>,
    },
    Unguarded {
        why: String,
    },
    GateBroken {
        problem: String,
    },
    GateMended,
    GateOpened {
        why: String,
    },
    GateShut,
    CheckpointUnreadable {
        why: String,
    },
    LabelRestored,
    Bypassed {
        revision: Revision,
    },
    Opened {
        revision: Revision,
        why: String,
    },
    Accepted {
        revision: Revision,
    },
    Healed {
        what: String,
    },
    ConfigChanged,
    RunStarted {
        revision: Revision,
        stable: Revision,
    },
    KnownGood {
        revision: Revision,
        stable: Revision,
    },
    GoesBack {
        from: Revision,
        to: Revision,
    },
    PatienceSaid {
        sentence: String,
    },
    CanaryReady {
        replicas: i32,
    },
    SmokePassed {
        sentence: String,
    },
    SmokeHindered {
        why: String,
    },
    WeightRaised {
        from: u8,
        to: u8,
        step: usize,
        steps: usize,
    },
    WeightMended {
        seen: Option<u8>,
        wanted: u8,
    },
    CanaryMended,
    ShareWrong {
        sentence: String,
    },
    ShareRight {
        sentence: String,
    },
    Suspected {
        rule: String,
        sentence: String,
        from: u8,
        to: u8,
    },
    SuspicionOver {
        sentence: String,
    },
    ApprovalAwaited {
        step: usize,
        next: u8,
    },
    RollAwaited,
    ApprovalExpired {
        by: String,
        after: String,
    },
    Held {
        why: HeldWhy,
    },
    Waiting {
        revision: Revision,
    },
    Resumed,
    PromotionStarted {
        sentence: String,
    },
    PromotionHindered {
        why: String,
    },
    RollbackHindered {
        why: String,
        /// Whether the failed revision still gets requests.
        serves: bool,
    },
    CanaryUnready,
    StableLacks {
        stable: Revision,
        what: String,
    },
    PauseUndone,
    BakeStarted {
        revision: Revision,
        sentence: String,
    },
    BakeAwaited {
        revision: Revision,
    },
    DesiredKept {
        kept: Revision,
        finished: Revision,
    },
    DesiredGiven {
        revision: Revision,
    },
    Promoted {
        revision: Revision,
        by: Promoted,
    },
    RollbackStarted {
        cause: Cause,
    },
    RolledBack {
        revision: Revision,
        cause: Cause,
    },
    Superseded {
        revision: Revision,
    },
    Cancelled {
        revision: Revision,
        cause: Cause,
    },
    StillFailed {
        revision: Revision,
    },
    GitReverted {
        outcome: RemedyOutcome,
        sentence: String,
    },
    GitNotReverted {
        why: String,
    },
    GitProposed {
        sentence: String,
    },
    GitMerged {
        url: String,
    },
    GitClosed {
        url: String,
    },
    GitWaits {
        why: String,
    },
    GitApplied {
        took: String,
    },
    AutomationResumed {
        why: String,
        names: String,
    },
    Restarted,
    Suspended,
    SetAside {
        revision: Revision,
        how: String,
    },
    Released,
    Answered {
        act: String,
        by: Option<String>,
        done: bool,
        message: String,
    },
}

impl Reason {
    /// Its name in `CamelCase`, as Events and metrics use it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Adopted { .. } => "Adopted",
            Self::Unguarded { .. } => "Unguarded",
            Self::GateBroken { .. } => "GateBroken",
            Self::GateMended => "GateMended",
            Self::GateOpened { .. } => "GateOpened",
            Self::GateShut => "GateShut",
            Self::CheckpointUnreadable { .. } => "CheckpointUnreadable",
            Self::LabelRestored => "LabelRestored",
            Self::Bypassed { .. } => "Bypassed",
            Self::Opened { .. } => "Opened",
            Self::Accepted { .. } => "Accepted",
            Self::Healed { .. } => "Healed",
            Self::ConfigChanged => "ConfigChanged",
            Self::RunStarted { .. } => "RunStarted",
            Self::KnownGood { .. } => "KnownGood",
            Self::GoesBack { .. } => "GoesBack",
            Self::PatienceSaid { .. } => "Patience",
            Self::CanaryReady { .. } => "CanaryReady",
            Self::SmokePassed { .. } => "SmokePassed",
            Self::SmokeHindered { .. } => "SmokeHindered",
            Self::WeightRaised { .. } => "WeightRaised",
            Self::WeightMended { .. } => "WeightMended",
            Self::CanaryMended => "CanaryMended",
            Self::ShareWrong { .. } => "ShareWrong",
            Self::ShareRight { .. } => "ShareRight",
            Self::Suspected { .. } => "Suspected",
            Self::SuspicionOver { .. } => "SuspicionOver",
            Self::ApprovalAwaited { .. } | Self::RollAwaited => "ApprovalAwaited",
            Self::ApprovalExpired { .. } => "ApprovalExpired",
            Self::Held { .. } => "Held",
            Self::Waiting { .. } => "Waiting",
            Self::Resumed => "Resumed",
            Self::PromotionStarted { .. } => "PromotionStarted",
            Self::PromotionHindered { .. } => "PromotionHindered",
            Self::RollbackHindered { .. } => "RollbackHindered",
            Self::CanaryUnready => "CanaryUnready",
            Self::StableLacks { .. } => "StableLacks",
            Self::PauseUndone => "PauseUndone",
            Self::BakeStarted { .. } => "BakeStarted",
            Self::BakeAwaited { .. } => "BakeAwaited",
            Self::DesiredKept { .. } => "DesiredKept",
            Self::DesiredGiven { .. } => "DesiredGiven",
            Self::Promoted { .. } => "Promoted",
            Self::RollbackStarted { .. } => "RollbackStarted",
            Self::RolledBack { .. } => "RolledBack",
            Self::Superseded { .. } => "Superseded",
            Self::Cancelled { .. } => "Cancelled",
            Self::StillFailed { .. } => "StillFailed",
            Self::GitReverted { .. } => "GitReverted",
            Self::GitNotReverted { .. } => "GitNotReverted",
            Self::GitProposed { .. } => "GitProposed",
            Self::GitMerged { .. } => "GitMerged",
            Self::GitClosed { .. } => "GitClosed",
            Self::GitWaits { .. } => "GitWaits",
            Self::GitApplied { .. } => "GitApplied",
            Self::AutomationResumed { .. } => "AutomationResumed",
            Self::Restarted => "Restarted",
            Self::Suspended => "Suspended",
            Self::SetAside { .. } => "SetAside",
            Self::Released => "Released",
            Self::Answered { .. } => "Answered",
        }
    }

    /// Whether it is bad news.
    pub fn warns(&self) -> bool {
        match self {
            Self::Unguarded { .. }
            | Self::GateBroken { .. }
            | Self::GateOpened { .. }
            | Self::CheckpointUnreadable { .. }
            | Self::LabelRestored
            | Self::Bypassed { .. }
            | Self::Opened { .. }
            | Self::WeightMended { .. }
            | Self::CanaryMended
            | Self::PromotionHindered { .. }
            | Self::RollbackHindered { .. }
            | Self::CanaryUnready
            | Self::StableLacks { .. }
            | Self::PauseUndone
            | Self::ShareWrong { .. }
            | Self::Suspected { .. }
            | Self::Held { .. }
            | Self::RollbackStarted { .. }
            | Self::RolledBack { .. }
            | Self::GitNotReverted { .. }
            | Self::GitClosed { .. }
            | Self::GitWaits { .. }
            | Self::StillFailed { .. }
            | Self::SmokeHindered { .. }
            | Self::SetAside { .. } => true,
            Self::Answered { done, .. } => !done,
            Self::Adopted { .. }
            | Self::GateMended
            | Self::GateShut
            | Self::Accepted { .. }
            | Self::Healed { .. }
            | Self::ConfigChanged
            | Self::RunStarted { .. }
            | Self::KnownGood { .. }
            | Self::GoesBack { .. }
            | Self::PatienceSaid { .. }
            | Self::CanaryReady { .. }
            | Self::SmokePassed { .. }
            | Self::WeightRaised { .. }
            | Self::ShareRight { .. }
            | Self::SuspicionOver { .. }
            | Self::ApprovalAwaited { .. }
            | Self::RollAwaited
            | Self::ApprovalExpired { .. }
            | Self::Waiting { .. }
            | Self::Resumed
            | Self::PromotionStarted { .. }
            | Self::BakeStarted { .. }
            | Self::BakeAwaited { .. }
            | Self::DesiredKept { .. }
            | Self::DesiredGiven { .. }
            | Self::Promoted { .. }
            | Self::Superseded { .. }
            | Self::Cancelled { .. }
            | Self::GitReverted { .. }
            | Self::GitProposed { .. }
            | Self::GitMerged { .. }
            | Self::GitApplied { .. }
            | Self::AutomationResumed { .. }
            | Self::Restarted
            | Self::Suspended
            | Self::Released => false,
        }
    }
}
