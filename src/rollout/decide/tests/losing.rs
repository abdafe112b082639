//! Timelines in which something is taken away: what stable needs, the gate's marks, the target, the Rollout.

use super::model::{Model, clean, ended, failed_and_held, names, revision};
use crate::rollout::describe;
use crate::rollout::reason::Outcome;
use crate::rollout::state::{Phase, State};

#[test]
fn what_stable_needs_and_does_not_find_is_told_once() {
    let mut model = Model::idle();
    model.target.lacks = vec!["ConfigMap settings-1".to_owned()];
    let told = |model: &Model| {
        let told = names(model).into_iter();
        told.filter(|name| *name == "StableLacks").count()
    };
    for times in 1..3 {
        assert!(!model.until(50, |_| false));
        assert_eq!(told(&model), times - 1, "it may come in a moment");
        assert!(!model.until(20, |_| false));
        assert_eq!(told(&model), times);
        model.target.lacks.clear();
        model.pass();
        model.target.lacks = vec!["ConfigMap settings-1".to_owned()];
    }
}

#[test]
fn a_rollout_that_is_deleted_puts_everything_back_and_lets_go() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.deleting = true;
    assert!(model.until(60, |model| !model.guarded_by_rollout));
    clean(&model);
    assert_eq!(model.target.revision, revision("v1"));
    assert!(!model.target.guarded);
}

#[test]
fn no_replicas_need_an_explicit_decision() {
    let mut model = Model::idle();
    model.target.replicas = 0;
    model.settle();
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase.name() == "Held"));
    assert!(!model.until(60, |model| model.state.phase.name() != "Held"));
    model.ask("promote");
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
}

#[test]
fn a_stripped_label_is_put_back_and_said() {
    let mut model = Model::idle();
    model.target.guarded = false;
    model.pass();
    assert!(model.target.guarded);
    assert!(names(&model).contains(&"LabelRestored"));
}

#[test]
fn a_template_that_went_past_the_gate_is_said_and_taken_as_stable() {
    let mut model = Model::idle();
    model.target.revision = revision("v2");
    model.settle();
    model.pass();
    assert!(names(&model).contains(&"Bypassed"));
    assert_eq!(model.state.stable, Some(revision("v2")));
}

#[test]
fn a_revision_that_is_let_out_in_its_run_is_said_once() {
    for (open, wanted) in [(Some("a fire"), "Opened"), (None, "Bypassed")] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(60, |model| model.weight() == 5));
        model.target.open = open.map(str::to_owned);
        model.target.paused = false;
        assert!(model.until(60, |model| model.state.stable == Some(revision("v2"))));
        let told = names(&model);
        let said = told.iter().filter(|name| **name == wanted);
        assert_eq!(said.count(), 1, "{told:?}");
        assert_eq!(told.contains(&"GateOpened"), open.is_some());
    }
}

#[test]
fn a_gate_that_somebody_opened_is_said_until_it_is_shut() {
    let mut model = Model::idle();
    model.target.open = Some("a fire".to_owned());
    model.pass();
    model.pass();
    assert_eq!(names(&model), ["Adopted", "GateOpened"]);
    assert!(describe::message(&model.state).contains("its gate is open (a fire)"));
    model.target.open = None;
    model.pass();
    assert_eq!(names(&model), ["Adopted", "GateOpened", "GateShut"]);
    assert!(!describe::message(&model.state).contains("open"));
}

#[test]
fn a_gate_that_is_open_is_not_said_to_be_shut_by_who_suspends_the_rollout() {
    let mut model = Model::idle();
    model.target.open = Some("a fire".to_owned());
    model.pass();
    for suspended in [true, false] {
        model.terms.plan.suspended = suspended;
        assert!(!model.until(30, |model| names(model).contains(&"GateShut")));
    }
    let opened = names(&model)
        .iter()
        .filter(|name| **name == "GateOpened")
        .count();
    assert_eq!(opened, 1);
    model.target.open = None;
    assert!(model.until(2, |model| names(model).contains(&"GateShut")));
}

#[test]
fn a_rollout_that_never_guarded_opens_nothing_when_it_is_suspended() {
    let mut model = Model::new();
    model.terms.plan.suspended = true;
    model.target.guarded = true;
    model.target.held_by = Some("another".to_owned());
    model.apply("v2");
    assert!(!model.until(10, |model| !model.target.paused));
    assert_eq!(model.target.held_by.as_deref(), Some("another"));
    assert_eq!(model.target.revision, revision("v2"));
}

#[test]
fn a_canary_whose_run_was_forgotten_is_removed() {
    for template in ["v1", "v2"] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(60, |model| model.weight() == 5));
        (model.state, model.saved) = (State::default(), State::default());
        model.apply(template);
        model.pass();
        assert_eq!(model.weight(), 0, "with {template}");
        let gone = |model: &Model| model.canary.is_none() && model.route.is_none();
        assert!(model.until(30, gone), "with {template}");
        let wanted = revision(template);
        assert!(model.until(600, |model| model.state.stable.as_ref() == Some(&wanted)));
        assert!(model.until(30, |model| model.state.phase == Phase::Idle));
        clean(&model);
    }
}

#[test]
fn a_held_template_is_given_back_after_stable_had_to_be_brought_up_again() {
    let mut model = Model::idle();
    model.apply("v2");
    model.target.serving.clear();
    assert!(model.until(5, |model| model.target.serving(&revision("v1")).is_some()));
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
}

#[test]
fn stable_pods_that_vanish_during_a_run_are_brought_up_again() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.target.serving.clear();
    assert!(model.until(10, |model| model.target.serving(&revision("v1")).is_some()));
    assert_eq!(model.weight(), 0);
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
}

#[test]
fn stable_pods_that_vanish_beside_a_failed_revision_are_brought_up_again() {
    let mut model = failed_and_held();
    model.target.serving.clear();
    assert!(model.until(10, |model| model.target.serving(&revision("v1")).is_some()));
    assert!(!model.until(30, |model| model.target.revision == revision("v2")));
}

#[test]
fn a_deployment_that_is_not_named_any_more_is_put_back_and_let_go() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.terms.plan.target = "another".to_owned();
    model.pass();
    assert_eq!(model.weight(), 0);
    assert!(model.until(60, |model| model.state.target.is_none()));
    clean(&model);
    assert_eq!(model.target.revision, revision("v1"));
    assert!(!model.target.guarded);
    assert_eq!(model.state.bound, None, "free to adopt the other one");
}

#[test]
fn a_template_that_was_held_when_the_rollout_was_suspended_is_given_back_when_it_goes_on() {
    for deep in [1, 60] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(60, |model| deep == 1 || model.weight() == 5));
        model.terms.plan.suspended = true;
        assert!(model.until(60, |model| !model.target.guarded));
        assert!(!model.until(10, |model| model.target.revision != revision("v1")));
        assert_eq!(model.kept.desired, Some(revision("v2")));
        let said = model.told.iter().map(ToString::to_string);
        let said: Vec<String> = said.filter(|said| said.contains("is not proven")).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("kubectl -n shop patch"), "{said:?}");
        model.terms.plan.suspended = false;
        assert!(model.until(60, |model| model.target.revision == revision("v2")));
        assert!(model.target.paused && model.target.guarded);
        assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
        assert_eq!(model.kept.desired, None);
    }
}

#[test]
fn what_was_applied_while_the_rollout_was_suspended_is_newer_than_what_was_kept() {
    let mut model = Model::idle();
    model.apply("v2");
    model.terms.plan.suspended = true;
    assert!(model.until(60, |model| !model.target.guarded));
    model.pass();
    model.apply("v3");
    model.pass();
    model.terms.plan.suspended = false;
    assert!(!model.until(60, |model| model.target.revision != revision("v3")));
    assert_eq!(model.kept.desired, None);
    assert_eq!(model.state.stable, Some(revision("v3")));
}

#[test]
fn a_template_that_was_held_when_the_target_was_edited_is_named_and_not_kept() {
    let mut model = Model::idle();
    model.apply("v2");
    model.terms.plan.target = "another".to_owned();
    assert!(model.until(60, |model| !model.target.guarded));
    model.pass();
    assert_eq!(model.kept.desired, None);
    let said = model.told.iter().map(ToString::to_string);
    let said: Vec<String> = said.filter(|said| said.contains("is not proven")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("guards another from now on"), "{said:?}");
}

#[test]
fn a_template_that_was_held_when_the_rollout_was_deleted_is_named() {
    let mut model = Model::idle();
    model.apply("v2");
    model.deleting = true;
    assert!(model.until(60, |model| !model.guarded_by_rollout));
    assert_eq!(model.target.revision, revision("v1"));
    assert!(names(&model).contains(&"SetAside"));
}
