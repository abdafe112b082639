//! Timelines of configuration: a ConfigMap or Secret that changes before, in and after a run, and a template that
//! comes into a configuration's run.

use std::time::Duration;

use super::model::{Model, config, ended, phase, revision, told};
use crate::rollout::action::Action;
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::Outcome;
use crate::rollout::state::{Phase, Promotion, Run, Trigger};

/// One that serves with `one.s`.
fn idle(changes: ConfigChanges) -> Model {
    let mut model = Model::idle();
    model.terms.plan.config_changes = changes;
    model.target.config = config("one.s");
    model.pass();
    assert_eq!(model.state.config, config("one.s"));
    model.told.clear();
    model
}

fn run(model: &Model) -> &Run {
    model.state.phase.run().expect("a run")
}

/// A configuration's run that has shown `two.s` not worse, in the moment of its promotion.
fn proven() -> Model {
    let mut model = idle(ConfigChanges::Run);
    model.target.config = config("two.s");
    assert!(model.until(600, phase("Stepping")));
    assert_eq!(run(&model).mark(), "v1-two.s");
    model.ask("promote");
    model
}

#[test]
fn what_comes_into_the_run_of_a_configuration_has_a_run_of_its_own() {
    let mut model = idle(ConfigChanges::Run);
    model.target.config = config("two.s");
    assert!(model.until(600, phase("Stepping")));
    model.target.config = config("three.s");
    model.pass();
    assert_eq!((phase("RollingBack")(&model), model.weight()), (true, 0));
    assert!(model.until(60, phase("Preparing")));
    assert_eq!(run(&model).mark(), "v1-three.s");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.state.config, config("three.s"));
}

#[test]
fn what_comes_between_a_proof_and_the_restart_stops_the_restart() {
    let mut model = proven();
    model.target.config = config("three.s");
    assert!(model.until(60, phase("Preparing")));
    assert_eq!(model.target.restarted_for, None);
    assert_eq!(run(&model).mark(), "v1-three.s");
}

#[test]
fn pods_of_before_the_restart_are_no_progress_of_it() {
    let mut model = proven();
    model.pass();
    let Phase::Promoting { stage, .. } = &model.state.phase else {
        panic!("{:?}", model.state.phase);
    };
    assert!(matches!(stage, Promotion::Rolling { ready: 0, .. }));
    assert!(model.target.restarted_for.is_some());
}

#[test]
fn what_comes_after_the_restart_is_tried_when_it_is_done() {
    let mut model = proven();
    assert!(model.until(60, |model| model.target.restarted_for.is_some()));
    model.target.config = config("three.s");
    assert!(model.until(60, |model| {
        let last = model.state.last_run.as_ref();
        last.is_some_and(|last| last.outcome == Outcome::Promoted)
    }));
    assert_eq!(run(&model).mark(), "v1-three.s");
}

#[test]
fn a_template_that_comes_before_the_restart_supersedes_the_configuration() {
    let mut model = proven();
    model.apply("v2");
    assert!(model.until(60, phase("Preparing")));
    assert_eq!(run(&model).revision, revision("v2"));
    assert_eq!(model.target.restarted_for, None);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.state.config, config("two.s"));
}

#[test]
fn a_template_that_comes_into_the_restart_waits_until_that_is_done() {
    let mut model = proven();
    assert!(model.until(60, |model| model.target.restarted_for.is_some()));
    let since = run(&model).since;
    model.tick();
    model.apply("v2");
    let actions = model.pass().actions;
    let wanted = [
        Action::KeepDesired {
            revision: revision("v2"),
        },
        Action::RestoreTemplate {
            to: revision("v1"),
            expect: revision("v2"),
            paused: false,
            restarted_at: Some(since),
        },
    ];
    assert!(actions.ends_with(&wanted), "{actions:?}");
    assert!(model.until(60, |model| {
        let last = model.state.last_run.as_ref();
        last.is_some_and(|last| last.outcome == Outcome::Promoted)
    }));
    assert_eq!(model.state.config, config("two.s"));
    assert!(model.until(60, phase("Stepping")));
    assert_eq!(run(&model).revision, revision("v2"));
}

#[test]
fn a_release_begins_anew_with_a_configuration_that_is_to_be_tried() {
    let mut model = idle(ConfigChanges::Run);
    model.apply("v2");
    assert!(model.until(600, phase("Stepping")));
    model.target.config = config("two.s");
    assert!(model.until(60, phase("Preparing")));
    assert_eq!(run(&model).trigger, Trigger::Template);
    assert!(told(&model).contains(&"Superseded"));
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
    assert_eq!(model.state.config, config("two.s"));
}

#[test]
fn a_configuration_that_is_only_reported_is_told_once_in_the_run() {
    for bake in [None, Some(Duration::from_secs(30))] {
        let mut model = idle(ConfigChanges::Report);
        model.terms.plan.bake = bake;
        model.apply("v2");
        assert!(model.until(600, phase("Stepping")));
        model.target.config = config("two.s");
        model.pass();
        assert_eq!(told(&model).last(), Some(&"ConfigChanged"));
        assert!(model.until(1200, |model| ended(model, Outcome::Promoted)));
        model.pass();
        let told = told(&model);
        let told = told.iter().filter(|name| **name == "ConfigChanged");
        assert_eq!(told.count(), 1, "{bake:?}");
        assert_eq!(model.state.config, config("two.s"));
    }
}

#[test]
fn a_configuration_that_comes_with_the_last_pods_is_reported_afterwards() {
    let mut model = idle(ConfigChanges::Report);
    model.apply("v2");
    assert!(model.until(600, phase("Promoting")));
    assert!(model.until(60, |model| model.state.stable == Some(revision("v2"))));
    model.target.config = config("two.s");
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    model.pass();
    assert_eq!(told(&model).last(), Some(&"ConfigChanged"));
}

#[test]
fn a_newer_configuration_waits_while_a_person_holds_the_run() {
    let mut model = idle(ConfigChanges::Run);
    model.target.config = config("two.s");
    assert!(model.until(600, phase("Stepping")));
    model.ask("hold");
    model.pass();
    model.target.config = config("three.s");
    assert!(!model.until(60, |model| !phase("Held")(model)));
    let told = told(&model);
    let told = told.iter().filter(|name| **name == "ConfigChanged");
    assert_eq!(told.count(), 1);
    model.ask("resume");
    assert!(model.until(60, phase("Preparing")));
    assert_eq!(run(&model).mark(), "v1-three.s");
}
