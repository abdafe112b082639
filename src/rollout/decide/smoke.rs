//! Smoke tests: a canary that fails them gets no traffic, and a promoted revision that fails them is
//! taken back as one that fails while it bakes.
//!
//! Not here: how they are made (`daemon::smoke`); a pass asks for them and sees what they came to.

use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::observation::Smoked;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::smoke::At;
use crate::rollout::state::{Phase, Run, Smoke};

/// What follows before the canary may get traffic; `None` when nothing stands in its way.
pub(super) fn before_traffic(pass: &mut Pass<'_>, run: &mut Run) -> Option<Phase> {
    match look(pass, At::Canary, &mut run.smoke) {
        Look::Passed => None,
        Look::Failed(cause) => Some(pass.roll_back(run.clone(), cause)),
        Look::Waits => Some(Phase::Preparing(run.clone())),
    }
}

/// How far the tests of a promoted revision are.
pub(super) fn after_promotion(pass: &mut Pass<'_>, run: &mut Run) -> Look {
    look(pass, At::Promoted, &mut run.smoke_after)
}

/// What tests come to.
pub(super) enum Look {
    /// All are good, or none is asked for.
    Passed,
    /// One is bad.
    Failed(Cause),
    /// They are being made, or one cannot be.
    Waits,
}

fn look(pass: &mut Pass<'_>, at: At, known: &mut Smoke) -> Look {
    let (tests, seen) = match at {
        At::Canary => (&pass.plan.smoke, &pass.seen.smoked),
        At::Promoted => (&pass.plan.smoke_after, &pass.seen.smoked_after),
    };
    if tests.is_empty() || *known == Smoke::Passed {
        return Look::Passed;
    }
    match seen.clone() {
        Some(Smoked::Passed { sentence }) => {
            *known = Smoke::Passed;
            pass.tell(Reason::SmokePassed { sentence });
            return Look::Passed;
        }
        Some(Smoked::Failed { sentence }) => return Look::Failed(Cause::Smoke { sentence }),
        Some(Smoked::Hindered { why }) => {
            let hindered = Smoke::Hindered { why: why.clone() };
            if *known != hindered {
                *known = hindered;
                pass.tell(Reason::SmokeHindered { why });
            }
        }
        None => {}
    }
    let tests = tests.clone();
    pass.act(Action::Smoke { tests, at });
    Look::Waits
}
