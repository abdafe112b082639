//! The closed vocabulary of what Sluice tells: one `Reason` yields the log line, the Event, the
//! metric label and the text in the status.
//!
//! Not here: how it is told. The edges do that.

use std::fmt;

pub use super::cause::{Cause, ENDS, HeldWhy, Outcome};
use super::revision::Revision;

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
            | Self::CheckpointUnreadable { .. }
            | Self::LabelRestored
            | Self::Bypassed { .. }
            | Self::Opened { .. }
            | Self::WeightMended { .. }
            | Self::CanaryMended
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

impl fmt::Display for Reason {
    #[allow(clippy::too_many_lines)] // one line a word of the vocabulary
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopted { stable, warnings } => {
                write!(out, "guards the Deployment; stable is {stable}")?;
                warnings.iter().try_for_each(|w| write!(out, "; note: {w}"))
            }
            Self::Unguarded { why } => write!(out, "not guarded yet: {why}"),
            Self::GateBroken { problem } => write!(out, "the gate does not stand: {problem}"),
            Self::GateMended => write!(out, "the gate stands again"),
            Self::CheckpointUnreadable { why } => write!(out, "stands still: {why}"),
            Self::LabelRestored => {
                write!(
                    out,
                    "the gate's label was taken from the Deployment and is put back"
                )
            }
            Self::Bypassed { revision } => write!(
                out,
                "{revision} has pods without having been proven: it went past the gate"
            ),
            Self::Opened { revision, why } => {
                write!(out, "{revision} goes out by break-glass: {why}")
            }
            Self::Accepted { revision } => write!(out, "{revision} is the stable revision now"),
            Self::Healed { what } => write!(out, "{what}"),
            Self::ConfigChanged => write!(
                out,
                "a ConfigMap or Secret of the template changed: pods that start now get it"
            ),
            Self::RunStarted { revision, stable } => {
                write!(out, "holds {revision} and tries it against {stable}")
            }
            Self::KnownGood { revision, stable } => write!(
                out,
                "{revision} was promoted here before: it takes the place of {stable} at once, without a canary"
            ),
            Self::GoesBack { from, to } => write!(
                out,
                "goes back from {from} to {to}, without a canary; whatever applied {from} (Git, Helm) must follow: applied again, it stays held"
            ),
            Self::PatienceSaid { sentence } => write!(out, "{sentence}"),
            Self::SmokePassed { sentence } => write!(out, "smoke tests passed: {sentence}"),
            Self::SmokeHindered { why } => write!(out, "waits for its smoke tests: {why}"),
            Self::CanaryReady { replicas } => {
                write!(out, "the canary is ready, {replicas} replicas")
            }
            Self::WeightRaised {
                from,
                to,
                step,
                steps,
            } => {
                write!(out, "weight {from}% to {to}%, step {step} of {steps}")
            }
            Self::WeightMended {
                seen: Some(seen),
                wanted,
            } => {
                write!(
                    out,
                    "somebody set the weight to {seen}%; it is {wanted}% again"
                )
            }
            Self::WeightMended { seen: None, wanted } => {
                write!(
                    out,
                    "the canary's route was removed or mangled; it is at {wanted}% again"
                )
            }
            Self::CanaryMended => {
                write!(
                    out,
                    "the canary's objects were removed or changed and are put back"
                )
            }
            Self::Suspected {
                rule,
                sentence,
                from,
                to,
            } => write!(
                out,
                "{rule} looks worse: {sentence}; weight {from}% to {to}% until both witnesses agree"
            ),
            Self::ShareWrong { sentence } => {
                write!(out, "the step waits, its share is wrong: {sentence}")
            }
            Self::ShareRight { sentence } => {
                write!(
                    out,
                    "the share is right again, the step goes on: {sentence}"
                )
            }
            Self::SuspicionOver { sentence } => {
                write!(
                    out,
                    "the suspicion is over, the steps begin anew: {sentence}"
                )
            }
            Self::ApprovalAwaited { step: 0, next } => write!(
                out,
                "all of its pods are ready; `sluice approve` gives them {next}% of the traffic"
            ),
            Self::ApprovalAwaited { step, next } => write!(
                out,
                "step {step} is passed; `sluice approve` lets it go on to {next}%"
            ),
            Self::RollAwaited => write!(
                out,
                "it is known what stable is like; `sluice approve` lets Kubernetes roll it"
            ),
            Self::ApprovalExpired { by, after } => write!(
                out,
                "the approval of {by} has expired: the others did not come within {after}"
            ),
            Self::Held { why } => write!(out, "held: {why}"),
            Self::Waiting { revision } => write!(
                out,
                "{revision} was applied while a person holds the run: it waits, held, until that is resumed, promoted or aborted"
            ),
            Self::Resumed => write!(out, "goes on"),
            Self::PromotionStarted { sentence } => write!(out, "promotes: {sentence}"),
            Self::BakeStarted { revision, sentence } => {
                write!(out, "{revision} serves and is watched on: {sentence}")
            }
            Self::BakeAwaited { revision } => write!(
                out,
                "{revision} was applied while the one before is still watched: it waits, held; `sluice promote` ends the watch"
            ),
            Self::DesiredKept { kept, finished } => write!(
                out,
                "{kept} was applied during the promotion of {finished}: it is kept, and tried when that is finished"
            ),
            Self::DesiredGiven { revision } => write!(out, "{revision} is given back, held"),
            Self::Promoted { revision } => write!(out, "{revision} is promoted"),
            Self::RollbackStarted { cause } => write!(out, "rolls back: {cause}"),
            Self::RolledBack { revision, cause } => {
                write!(out, "{revision} is rolled back: {cause}")
            }
            Self::Superseded { revision } => {
                write!(
                    out,
                    "the run of {revision} is superseded by a newer template"
                )
            }
            Self::Cancelled { revision, cause } => {
                write!(out, "the run of {revision} is cancelled: {cause}")
            }
            Self::StillFailed { revision } => write!(
                out,
                "{revision} failed before and is applied again: it stays held; a new template or `sluice retry` starts a run"
            ),
            Self::GitReverted { sentence } | Self::GitProposed { sentence } => {
                write!(out, "in Git: {sentence}")
            }
            Self::GitNotReverted { why } => {
                write!(
                    out,
                    "the commit stays in Git, and so does the failed template: {why}"
                )
            }
            Self::GitMerged { url } => write!(out, "{url} is merged: Flux is asked to apply it"),
            Self::GitClosed { url } => write!(
                out,
                "{url} was closed without merging: the commit stays in Git, and so does the failed template"
            ),
            Self::GitWaits { why } => {
                write!(out, "the remedy in Git waits, and is tried again: {why}")
            }
            Self::AutomationResumed { why, names } => write!(
                out,
                "{why}: nothing is suspended or excluded for this Rollout any more in {names}"
            ),
            Self::GitApplied { took } => write!(out, "the revert is applied, {took} after it"),
            Self::Restarted => write!(out, "the queued restart is done natively"),
            Self::Suspended => write!(out, "suspended: the gate is open, nothing is guarded"),
            Self::SetAside { revision, how } => {
                write!(out, "{revision} was held and is not proven: {how}")
            }
            Self::Released => write!(out, "the Deployment is released"),
            Self::Answered {
                act,
                by,
                done,
                message,
            } => {
                write!(out, "{act}")?;
                if let Some(by) = by {
                    write!(out, " by {by}")?;
                }
                let refused = if *done { "" } else { " refused" };
                write!(out, "{refused}: {message}")
            }
        }
    }
}
