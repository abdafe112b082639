//! The smoke tests before traffic: a canary that fails them gets none.
//!
//! Not here: how they are made (`daemon::smoke`); a pass asks for them and sees what they came to.

use super::pass::Pass;
use crate::rollout::action::Action;
use crate::rollout::observation::Smoked;
use crate::rollout::reason::{Cause, Reason};
use crate::rollout::state::{Phase, Run, Smoke};

/// What follows before the canary may get traffic; `None` when nothing stands in its way.
pub(super) fn before_traffic(pass: &mut Pass<'_>, run: &mut Run) -> Option<Phase> {
    if pass.plan.smoke.is_empty() || run.smoke == Smoke::Passed {
        return None;
    }
    match pass.seen.smoked.clone() {
        Some(Smoked::Passed { sentence }) => {
            run.smoke = Smoke::Passed;
            pass.tell(Reason::SmokePassed { sentence });
            None
        }
        Some(Smoked::Failed { sentence }) => {
            let cause = Cause::Smoke { sentence };
            Some(pass.roll_back(run.clone(), cause))
        }
        Some(Smoked::Hindered { why }) => {
            let hindered = Smoke::Hindered { why: why.clone() };
            if run.smoke != hindered {
                run.smoke = hindered;
                pass.tell(Reason::SmokeHindered { why });
            }
            Some(ask(pass, run))
        }
        None => Some(ask(pass, run)),
    }
}

fn ask(pass: &mut Pass<'_>, run: &Run) -> Phase {
    pass.act(Action::Smoke {
        tests: pass.plan.smoke.clone(),
    });
    Phase::Preparing(run.clone())
}
