//! Each `Reason` as people read it: in the log, in Events, in the status, in messages and at the page.
//!
//! Not here: who tells it to whom.

use std::fmt;

use super::Reason;

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
            Self::GateOpened { why } => write!(
                out,
                "the gate of this workload is open: {why}; each new template goes out unproven, until `sluice open --close`"
            ),
            Self::GateShut => write!(out, "the gate of this workload is shut again"),
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
                let pods = if *replicas == 1 { "pod" } else { "pods" };
                write!(out, "the canary is ready, {replicas} {pods}")
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
            Self::PromotionHindered { why } => {
                write!(
                    out,
                    "the cluster lets nothing come of the promotion, which waits: {why}"
                )
            }
            Self::RollbackHindered { why, serves: true } => {
                write!(
                    out,
                    "the way back is hindered, so that the failed revision still gets requests: {why}"
                )
            }
            Self::RollbackHindered { why, serves: false } => {
                write!(
                    out,
                    "the way back is hindered; the failed revision gets no requests any more: {why}"
                )
            }
            Self::StableLacks { stable, what } => write!(
                out,
                "{stable} is stable and needs what is not there: {what}; no new pod of it starts, and a rollback brings none up; keep it from being pruned while it is stable"
            ),
            Self::CanaryUnready => write!(
                out,
                "no pod of the canary is ready, and a Gateway would answer its share with errors: weight 0 until one is"
            ),
            Self::PauseUndone => write!(
                out,
                "somebody paused the Deployment while it rolls: it goes on; `sluice abort` takes the release back"
            ),
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
            Self::Promoted { revision, .. } => write!(out, "{revision} is promoted"),
            Self::RollbackStarted { cause } => write!(out, "rolls back: {cause}"),
            Self::RolledBack { revision, cause } => {
                write!(out, "{revision} is rolled back: {cause}")
            }
            Self::Superseded { revision } => {
                write!(
                    out,
                    "the run of {revision} is superseded by a newer template or configuration"
                )
            }
            Self::Cancelled { revision, cause } => {
                write!(out, "the run of {revision} is cancelled: {cause}")
            }
            Self::StillFailed { revision } => write!(
                out,
                "{revision} failed before and is applied again: it stays held; a new template or `sluice retry` starts a run"
            ),
            Self::GitReverted { sentence, .. } | Self::GitProposed { sentence } => {
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
