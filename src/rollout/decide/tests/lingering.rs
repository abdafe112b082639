//! Timelines of a revision that failed and has pods still when its run is over: nothing leaves them in service, and
//! nothing is compared with them.

use super::baking::baking;
use super::model::{Health, Model, config, ended, ended_as, promoted_half, revision, told};
use crate::rollout::describe;
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

/// A revision that was taken back while not all pods of what served before come up.
fn half_way_back() -> Model {
    let mut model = baking();
    model.stable_health = Health::Bad;
    model.rolls = false;
    assert!(model.until(300, |model| ended_as(model, "v2", Outcome::RolledBack)));
    model.stable_health = Health::Good;
    assert_eq!(
        told(&model),
        ["RollbackStarted", "RollbackHindered", "RolledBack"]
    );
    assert!(model.target.serving(&revision("v2")).is_some());
    model.told.clear();
    model
}

#[test]
fn a_template_that_comes_when_the_way_back_was_given_up_does_not_freeze_what_failed() {
    let mut model = half_way_back();
    model.apply("v3");
    assert!(!model.until(300, |model| model.state.phase != Phase::Idle));
    assert_eq!(told(&model), ["RollbackHindered"]);
    let target = &model.target;
    assert!(target.revision == revision("v1") && !target.paused);
    assert_eq!(model.kept.desired, Some(revision("v3")));
    let said = describe::message(&model.state);
    assert!(said.contains("pods of v2 (shop:v2) serve"), "{said}");
    assert!(
        said.contains("v3 (shop:v3) was applied meanwhile"),
        "{said}"
    );
    // Whoever applies it again and again changes nothing.
    model.apply("v3");
    assert!(model.until(3, |model| model.target.revision == revision("v1")));
    assert_eq!(told(&model), ["RollbackHindered"]);
    model.rolls = true;
    assert!(model.until(10, |model| model.state.phase.name() == "Preparing"));
    assert!(model.target.serving(&revision("v2")).is_none());
    assert!(model.until(900, |model| ended_as(model, "v3", Outcome::Promoted)));
}

#[test]
fn what_failed_is_tried_again_only_when_none_of_its_pods_serve() {
    let mut model = half_way_back();
    model.ask("retry");
    model.pass();
    model.apply("v2");
    assert!(!model.until(30, |model| model.state.phase != Phase::Idle));
    assert_eq!(model.target.revision, revision("v1"));
    assert!(!told(&model).contains(&"Bypassed"), "{:?}", told(&model));
    model.rolls = true;
    assert!(model.until(30, |model| model.state.phase.name() == "Preparing"));
    assert!(model.target.serving(&revision("v2")).is_none());
}

#[test]
fn what_was_kept_is_not_kept_any_more_once_it_is_tried() {
    let mut model = half_way_back();
    model.apply("v3");
    assert!(model.until(5, |model| model.kept.desired.is_some()
        && model.target.revision == revision("v1")));
    // The last pod goes, and it is applied again before the controller is seen to know of that.
    model
        .target
        .serving
        .retain(|serving| serving.revision == revision("v1"));
    model.apply("v3");
    model.target.behind = true;
    model.pass();
    assert_eq!(model.state.phase.name(), "Preparing");
    assert_eq!(model.state.desired, None);
}

#[test]
fn who_opens_the_gate_for_what_failed_is_told_of() {
    let mut model = half_way_back();
    model.target.revision = revision("v2");
    model.pass();
    assert_eq!(told(&model), ["Bypassed"]);
}

#[test]
fn a_failed_template_applied_again_before_its_pods_are_gone_does_not_keep_them() {
    let mut model = Model::idle();
    promoted_half(&mut model);
    model.ask("abort");
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    let said = describe::message(&model.state);
    assert!(said.contains("pods of v2 (shop:v2) serve"), "{said}");
    for _ in 0..3 {
        model.apply("v2");
        assert!(model.until(3, |model| model.target.revision == revision("v1")));
        assert!(!model.target.paused);
    }
    model.rolls = true;
    let alone = |model: &Model| model.target.serving(&revision("v2")).is_none();
    assert!(model.until(5, alone));
    model.pass();
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
    assert!(alone(&model) && !told(&model).contains(&"Bypassed"));
}

#[test]
fn a_configuration_is_not_tried_beside_what_failed() {
    let mut model = Model::idle();
    model.terms.plan.config_changes = ConfigChanges::Run;
    model.target.config = config("one.s");
    model.pass();
    promoted_half(&mut model);
    model.ask("abort");
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    model.target.config = config("two.s");
    assert!(!model.until(60, |model| model.state.phase != Phase::Idle));
    model.rolls = true;
    assert!(model.until(10, |model| model.state.phase.name() == "Preparing"));
}

#[test]
fn a_known_good_template_takes_the_place_of_what_failed_and_of_stable() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    model.rolls = false;
    model.apply("v3");
    assert!(model.until(600, |model| model.target.serving(&revision("v3")).is_some()));
    model.ask("abort");
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    model.apply("v1");
    model.pass();
    assert_eq!(model.state.phase.name(), "Promoting");
    model.rolls = true;
    assert!(model.until(10, |model| ended(model, Outcome::Promoted)));
    assert!(!told(&model).contains(&"Bypassed"));
}

#[test]
fn what_was_left_in_place_goes_before_a_newer_template_is_tried() {
    let mut model = Model::idle();
    model.terms.plan.restore_template = false;
    promoted_half(&mut model);
    model.ask("abort");
    assert!(model.until(120, |model| model.state.phase == Phase::Failed));
    assert!(!model.until(30, |model| model.target.revision != revision("v2")));
    model.apply("v3");
    assert!(model.until(5, |model| model.target.revision == revision("v1")));
    assert_eq!(model.kept.desired, Some(revision("v3")));
    model.rolls = true;
    assert!(model.until(10, |model| model.state.phase.name() == "Preparing"));
    assert!(model.target.serving(&revision("v2")).is_none());
}
