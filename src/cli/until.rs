//! Whether a Rollout is where one waits for it to be. Pure.
//!
//! Caveat: right after an apply the daemon may not have seen the new template yet. The gate marks
//! the Deployment in the same request, so an idle Rollout whose Deployment is held is not at rest.
//! In the gate's mode `paused` a Deployment is paused all the time: there its template tells.
//!
//! Not here: the waiting (`watch`).

use clap::ValueEnum;
use k8s_openapi::api::apps::v1::Deployment;

use crate::kubernetes::crd::RolloutStatus;
use crate::kubernetes::template;
use crate::rollout::reason::Outcome;

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

impl Until {
    /// What did not come, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Promoted => "a promotion",
            Self::Failed => "a failure",
            Self::Idle => "the end of the run",
        }
    }
}

/// Whether the Deployment is paused with another template than the one that serves.
pub fn is_held(deployment: &Deployment, status: &RolloutStatus) -> bool {
    let spec = &deployment.spec;
    let revision = template::revision(&spec.template);
    let serves = status.stable.as_ref();
    spec.paused.unwrap_or_default() && serves.is_none_or(|stable| stable.hash != revision.as_str())
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
        // Never run: what serves is what came first, and nothing is held.
        let serves = status.stable.is_some();
        return (until == Until::Promoted && serves).then_some(Ok(()));
    };
    let promoted = phase != "Failed" && last.outcome() == Some(Outcome::Promoted);
    if promoted == (until == Until::Promoted) {
        Some(Ok(()))
    } else {
        Some(Err(format!("it ended {}: {}", last.outcome, last.message)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::explain::tests::stepping;
    use crate::kubernetes::crd::RevisionStatus;

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
    fn a_paused_deployment_with_the_stable_template_is_not_held() {
        let deployment = |paused: bool, image: &str| -> Deployment {
            let template = json!({"spec": {"containers": [{"name": "shop", "image": image}]}});
            let spec = json!({"selector": {}, "paused": paused, "template": template});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let mut status = status("Idle", None, false);
        let stable = deployment(false, "shop:v1").spec.template;
        status.stable = Some(RevisionStatus {
            hash: template::revision(&stable).as_str().to_owned(),
            images: vec!["shop:v1".to_owned()],
        });
        let cases = [
            (true, "shop:v1", false),
            (true, "shop:v2", true),
            (false, "shop:v2", false),
        ];
        for (paused, image, held) in cases {
            assert_eq!(
                is_held(&deployment(paused, image), &status),
                held,
                "{paused} {image}"
            );
        }
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
            (Promoted, "Idle", None, false, false, Some(true)),
            (Promoted, "Idle", None, false, true, None),
            (Failed, "Idle", None, false, false, None),
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
        let mut adopting = status("Idle", None, false);
        adopting.stable = None;
        assert_eq!(reached(Promoted, &adopting, false), None);
    }
}
