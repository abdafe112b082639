//! What people are offered in a phase, against what the decision does when they ask for it.

use std::cell::RefCell;
use std::time::Duration;

use super::model::{Health, Model, ended, phase, revision};
use crate::rollout::approval::Approvals;
use crate::rollout::describe;
use crate::rollout::reason::Outcome;
use crate::rollout::request::{Act, offered};
use crate::rollout::state::PhaseName;

/// The offers in the phase that the model is in.
fn offers(model: &Model) -> Vec<Act> {
    let phase = &model.state.phase;
    let to_come = model.terms.plan.approvals_to_come(phase);
    offered(phase.kind(), to_come).collect()
}

/// Whether it is done for somebody who asks now, and what is answered.
fn answer(model: &Model, act: Act) -> (bool, String) {
    let mut asked = model.clone();
    asked.ask(act.name());
    asked.pass();
    let answer = asked.state.answers.last().unwrap().clone();
    (answer.done, answer.message)
}

/// One Rollout through all phases: a release with an approval, a suspicion, a hold and a bake, then one that fails
/// twice.
fn timeline(each: impl Fn(&Model)) {
    let mut model = Model::idle();
    model.terms.plan.bake = Some(Duration::from_secs(60));
    model.terms.plan.steps[0].approval = true;
    let until = |model: &mut Model, seconds: u32, done: &dyn Fn(&Model) -> bool| {
        let met = model.until(seconds, |model| {
            each(model);
            done(model)
        });
        assert!(met, "it is {}", model.state.phase.name());
    };
    model.apply("v2");
    until(&mut model, 300, &phase("AwaitingApproval"));
    model.ask("approve");
    until(&mut model, 300, &|model| model.weight() == 50);
    model.canary_health = Health::Bad;
    until(&mut model, 10, &phase("Suspect"));
    model.canary_health = Health::Good;
    model.ask("hold");
    until(&mut model, 5, &phase("Held"));
    model.ask("resume");
    until(&mut model, 300, &phase("AwaitingApproval"));
    model.ask("approve");
    until(&mut model, 600, &|model| ended(model, Outcome::Promoted));
    model.canary_health = Health::Bad;
    model.terms.plan.steps[0].approval = false;
    model.apply("v3");
    until(&mut model, 90, &|model| ended(model, Outcome::RolledBack));
    model.apply("v3");
    until(&mut model, 5, &phase("Failed"));
}

#[test]
fn what_is_offered_in_a_phase_is_done() {
    let seen: RefCell<Vec<PhaseName>> = RefCell::default();
    timeline(|model| {
        let phase = model.state.phase.kind();
        // Before the first promotion there is nothing to go back to.
        if seen.borrow().contains(&phase)
            || model.state.known_good == [revision("v1")] && phase == PhaseName::Idle
        {
            return;
        }
        seen.borrow_mut().push(phase);
        for act in offers(model) {
            let (done, message) = answer(model, act);
            assert!(done, "{act} in phase {}: {message}", phase.name());
        }
    });
    let some = |phase: &PhaseName| offered(*phase, false).next().is_some();
    let missed: Vec<PhaseName> = PhaseName::ALL
        .into_iter()
        .filter(some)
        .filter(|phase| !seen.borrow().contains(phase))
        .collect();
    assert_eq!(missed, []);
}

#[test]
fn nobody_is_offered_to_promote_past_approvals_that_are_to_come() {
    let mut model = Model::idle();
    model.terms.plan.steps[1].approval = true;
    model.terms.plan.approvals = Approvals {
        required: 2,
        ..Approvals::default()
    };
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 5));
    assert_eq!(offers(&model), [Act::Hold, Act::Abort]);
    assert!(!answer(&model, Act::Promote).0);
    model.ask("hold");
    model.requests.last_mut().unwrap().by = Some("alice".to_owned());
    assert!(model.until(5, phase("Held")));
    assert_eq!(offers(&model), [Act::Resume, Act::Abort]);
    assert_eq!(
        describe::message(&model.state),
        "v2 (shop:v2) stands still: alice holds it; `sluice resume` lets it go on"
    );
    let next = describe::next(&model.terms.plan, &model.state, &[]);
    assert_eq!(next, "a person decides: `sluice resume` or `sluice abort`");
}
