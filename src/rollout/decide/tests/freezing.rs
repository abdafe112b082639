//! Freeze windows: what they hold back, what they let through, and who may override them.

use super::model::{Health, Model, ended, revision};
use crate::rollout::freeze::Frozen;
use crate::rollout::reason::{Outcome, Reason};

fn frozen() -> Model {
    let mut model = Model::idle();
    freeze(&mut model, 3600);
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase.name() == "Held"));
    model
}

fn freeze(model: &mut Model, seconds: u64) {
    model.gate.frozen = Some(Frozen {
        window: "weekend".to_owned(),
        until: model.now + std::time::Duration::from_secs(seconds),
    });
}

fn starts(model: &Model) -> usize {
    let started = |reason: &&Reason| matches!(reason, Reason::RunStarted { .. });
    model.told.iter().filter(started).count()
}

#[test]
fn a_new_template_is_held_without_a_canary_until_the_freeze_is_over() {
    let mut model = frozen();
    assert!(!model.until(600, |model| model.state.phase.name() != "Held"));
    assert!(model.canary.is_none() && model.route.is_none() && model.target.paused);
    assert_eq!((starts(&model), &model.state.evidence), (0, &None));
    let decision = model.pass();
    let until = model.gate.frozen.as_ref().map(|frozen| frozen.until);
    assert_eq!(decision.wake_at, until);
    let message = crate::rollout::describe::message(&model.state);
    assert!(
        message.contains("the freeze weekend lasts until 1970-01-12T14:46"),
        "{message}"
    );
    model.gate.frozen = None;
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(
        (starts(&model), model.target.revision.clone()),
        (1, revision("v2"))
    );
}

#[test]
fn a_person_overrides_a_freeze_with_a_canary_or_without() {
    let mut model = frozen();
    model.ask("resume");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(starts(&model), 1);
    let mut model = frozen();
    model.ask("promote");
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    let answered = |reason: &Reason| matches!(reason, Reason::Answered { done: true, .. });
    assert!(model.told.iter().any(answered));
}

#[test]
fn going_back_is_let_through_in_a_freeze() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    freeze(&mut model, 3600);
    model.apply("v1");
    let back =
        |model: &Model| ended(model, Outcome::Promoted) && model.target.revision == revision("v1");
    assert!(model.until(60, back));
}

#[test]
fn a_run_that_goes_on_when_a_freeze_begins_is_finished() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 25));
    freeze(&mut model, 36000);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn what_is_held_by_a_freeze_is_superseded_aborted_and_not_ended_by_an_alert() {
    let mut model = frozen();
    model.ask("alert");
    assert!(!model.until(5, |model| model.state.phase.name() != "Held"));
    model.apply("v3");
    let newer = |model: &Model| {
        model
            .state
            .phase
            .run()
            .is_some_and(|run| run.revision == revision("v3"))
    };
    assert!(model.until(10, |model| model.state.phase.name() == "Held"
        && newer(model)));
    model.ask("abort");
    assert!(model.until(10, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(model.target.revision, revision("v1"));
}

#[test]
fn a_bad_release_is_found_when_its_freeze_is_over() {
    let mut model = frozen();
    model.canary_health = Health::Bad;
    model.gate.frozen = None;
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
}
