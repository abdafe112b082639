//! What is counted of the things that are told.
//!
//! A new reason must be put somewhere before it compiles. Not here: the counters.

use super::{Cause, Outcome, Reason};
use crate::rollout::remedy::RemedyOutcome;

/// What a counter is raised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A revision reached pods past the gate.
    Bypass,
    /// A run ended so, by the reason of this name.
    End(Outcome, &'static str),
    /// What a remedy in Git came to, or that it does not come through yet.
    Remedy(&'static str),
}

impl Reason {
    /// What is counted of it, if anything is.
    pub fn counted(&self) -> Option<Counted> {
        match self {
            Self::Bypassed { .. } => Some(Counted::Bypass),
            Self::Promoted { by, .. } => Some(Counted::End(Outcome::Promoted, by.name())),
            Self::RolledBack { cause, .. } | Self::Cancelled { cause, .. } => {
                Some(Counted::End(cause.outcome(), cause.name()))
            }
            Self::Superseded { .. } => {
                let cause = Cause::Superseded;
                Some(Counted::End(cause.outcome(), cause.name()))
            }
            Self::GitReverted { outcome, .. } => Some(Counted::Remedy(counted(*outcome))),
            Self::GitProposed { .. } => {
                Some(Counted::Remedy(counted(RemedyOutcome::PullRequested)))
            }
            Self::GitNotReverted { .. } => {
                Some(Counted::Remedy(counted(RemedyOutcome::NotReverted)))
            }
            Self::GitWaits { .. } => Some(Counted::Remedy("waits")),
            Self::Adopted { .. }
            | Self::Unguarded { .. }
            | Self::GateBroken { .. }
            | Self::GateMended
            | Self::GateOpened { .. }
            | Self::GateShut
            | Self::CheckpointUnreadable { .. }
            | Self::LabelRestored
            | Self::Opened { .. }
            | Self::Accepted { .. }
            | Self::Healed { .. }
            | Self::ConfigChanged
            | Self::RunStarted { .. }
            | Self::KnownGood { .. }
            | Self::GoesBack { .. }
            | Self::PatienceSaid { .. }
            | Self::CanaryReady { .. }
            | Self::SmokePassed { .. }
            | Self::SmokeHindered { .. }
            | Self::WeightRaised { .. }
            | Self::WeightMended { .. }
            | Self::CanaryMended
            | Self::CanaryUnready
            | Self::StableLacks { .. }
            | Self::ShareWrong { .. }
            | Self::ShareRight { .. }
            | Self::Suspected { .. }
            | Self::SuspicionOver { .. }
            | Self::ApprovalAwaited { .. }
            | Self::RollAwaited
            | Self::ApprovalExpired { .. }
            | Self::Held { .. }
            | Self::Waiting { .. }
            | Self::Resumed
            | Self::PromotionStarted { .. }
            | Self::PromotionHindered { .. }
            | Self::PauseUndone
            | Self::BakeStarted { .. }
            | Self::BakeAwaited { .. }
            | Self::DesiredKept { .. }
            | Self::DesiredGiven { .. }
            | Self::RollbackStarted { .. }
            | Self::RollbackHindered { .. }
            | Self::StillFailed { .. }
            | Self::GitMerged { .. }
            | Self::GitClosed { .. }
            | Self::GitApplied { .. }
            | Self::AutomationResumed { .. }
            | Self::Restarted
            | Self::Suspended
            | Self::SetAside { .. }
            | Self::Released
            | Self::Answered { .. } => None,
        }
    }
}

/// The word of the metric for an outcome in Git.
fn counted(outcome: RemedyOutcome) -> &'static str {
    match outcome {
        RemedyOutcome::Reverted => "reverted",
        RemedyOutcome::PullRequested => "proposed",
        RemedyOutcome::Excluded => "excluded",
        RemedyOutcome::Restored => "restored",
        RemedyOutcome::Superseded => "superseded",
        RemedyOutcome::NotReverted => "failed",
        RemedyOutcome::Suspended => "suspended",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ENDS, Promoted};
    use super::*;
    use crate::rollout::revision::Revision;

    #[test]
    fn a_run_is_counted_by_an_end_that_it_can_have() {
        let revision = Revision::default;
        let ends = [
            Reason::Promoted {
                revision: revision(),
                by: Promoted::KnownGood,
            },
            Reason::Superseded {
                revision: revision(),
            },
            Reason::Cancelled {
                revision: revision(),
                cause: Cause::Superseded,
            },
        ];
        for reason in ends {
            let Some(Counted::End(outcome, name)) = reason.counted() else {
                panic!("{reason} is no end");
            };
            assert!(ENDS.contains(&(outcome, name)), "{outcome} {name}");
        }
    }

    #[test]
    fn what_is_not_reverted_is_not_counted_as_reverted() {
        let sentence = String::new;
        let cases = [
            (RemedyOutcome::Reverted, "reverted"),
            (RemedyOutcome::Excluded, "excluded"),
            (RemedyOutcome::Restored, "restored"),
            (RemedyOutcome::Superseded, "superseded"),
        ];
        for (outcome, word) in cases {
            let reason = Reason::GitReverted {
                outcome,
                sentence: sentence(),
            };
            assert_eq!(reason.counted(), Some(Counted::Remedy(word)));
        }
        let failed = Reason::GitNotReverted { why: sentence() };
        assert_eq!(failed.counted(), Some(Counted::Remedy("failed")));
    }
}
