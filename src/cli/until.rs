//! Whether a Rollout is where one waits for it to be. Pure.
//!
//! Caveat: right after an apply the daemon may not have seen the new template yet. The gate marks
//! the Deployment in the same request, so an idle Rollout whose Deployment is held is not at rest.
//!
//! Not here: the waiting (`watch`).

use clap::ValueEnum;

use crate::kubernetes::crd::RolloutStatus;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The revision is promoted; anything else is a failure.
    Promoted,
    /// The revision is rolled back; a promotion is a failure.
    Failed,
    /// No run goes on, however the last one ended.
    Idle,
}

/// None while one has to wait; else whether it ended as wanted, and why not.
///
/// `held` says whether the Deployment is held by the gate.
pub fn reached(until: Until, status: &RolloutStatus, held: bool) -> Option<Result<(), String>> {
    let phase = status.phase.as_deref().unwrap_or_default();
    let at_rest = match phase {
        "Idle" => !held,
        "Failed" => true,
        _ => false,
    };
    if status.run.is_some() || !at_rest {
        return None;
    }
    if until == Until::Idle {
        return Some(Ok(()));
    }
    let Some(last) = &status.last_run else {
        // Never run: one that is to come is waited for.
        return None;
    };
    let promoted = phase != "Failed" && last.outcome == "Promoted";
    if promoted == (until == Until::Promoted) {
        Some(Ok(()))
    } else {
        Some(Err(format!("it ended {}: {}", last.outcome, last.message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::explain::tests::stepping;

    fn status(phase: &str, outcome: Option<&str>, running: bool) -> RolloutStatus {
        let mut status = stepping().status.unwrap();
        status.phase = Some(phase.to_owned());
        status.run = status.run.filter(|_| running);
        status.last_run = outcome.map(|outcome| {
            let mut last = status.last_run.clone().unwrap();
            outcome.clone_into(&mut last.outcome);
            last
        });
        status
    }

    #[test]
    fn it_waits_for_the_end_of_the_run_that_is_meant() {
        use Until::{Failed, Idle, Promoted};
        // until, phase, last outcome, running, held: None is wait, Some(true) is as wanted
        let cases = [
            (Promoted, "Stepping", Some("Promoted"), true, true, None),
            (Promoted, "Idle", Some("Promoted"), false, true, None),
            (Promoted, "Idle", Some("Promoted"), false, false, Some(true)),
            (
                Promoted,
                "Idle",
                Some("RolledBack"),
                false,
                false,
                Some(false),
            ),
            (
                Promoted,
                "Failed",
                Some("RolledBack"),
                false,
                true,
                Some(false),
            ),
            (Promoted, "Idle", None, false, false, None),
            (Promoted, "Held", Some("Promoted"), false, true, None),
            (Promoted, "", None, false, false, None),
            (
                Failed,
                "Failed",
                Some("RolledBack"),
                false,
                true,
                Some(true),
            ),
            (Failed, "Idle", Some("Promoted"), false, false, Some(false)),
            (Idle, "Idle", None, false, false, Some(true)),
            (Idle, "Idle", None, false, true, None),
            (Idle, "RollingBack", None, true, true, None),
        ];
        for (until, phase, outcome, running, held, wanted) in cases {
            let status = status(phase, outcome, running);
            let found = reached(until, &status, held).map(|result| result.is_ok());
            assert_eq!(
                found, wanted,
                "{until:?} {phase} {outcome:?} {running} {held}"
            );
        }
    }
}
