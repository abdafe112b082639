//! Timelines in which a person asks for something: to hold, promote, approve, abort or try again.

use super::model::{Health, Model, clean, ended, failed_and_held, names, revision};
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

#[test]
fn a_failed_revision_that_is_applied_again_stays_held_until_it_is_retried() {
    let mut model = failed_and_held();
    assert!(!model.until(60, |model| model.state.phase != Phase::Failed));
    model.canary_health = Health::Good;
    model.ask("retry");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn what_was_meant_for_another_revision_is_not_tried_again_or_restarted() {
    let mut model = Model::idle();
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    model.apply("v3");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    let asked = |model: &mut Model, act: &str, revision: &str| {
        model.ask(act);
        let last = model.requests.last_mut().unwrap();
        last.revision = Some(revision.to_owned());
        model.pass();
        let answer = model.state.answers.last().unwrap().clone();
        (answer.done, answer.message)
    };
    let refused = |message: &str| (false, message.to_owned());
    assert_eq!(
        asked(&mut model, "retry", "v2"),
        refused("it was meant for revision v2, but v3 failed")
    );
    assert_eq!(
        asked(&mut model, "restart", "v2"),
        refused("it was meant for revision v2, but v1 serves")
    );
    assert!(asked(&mut model, "restart", "v1").0);
    assert!(asked(&mut model, "retry", "v3").0);
}

#[test]
fn a_revision_may_be_meant_by_what_people_see_of_its_hash_if_no_other_begins_so() {
    let mut model = Model::idle();
    model.apply("91bc03aa17-one");
    assert!(model.until(30, |model| model.state.phase.run().is_some()));
    let asked = |model: &mut Model, act: &str, revision: &str| {
        model.ask(act);
        model.requests.last_mut().unwrap().revision = Some(revision.to_owned());
        model.pass();
        let answer = model.state.answers.last().unwrap().clone();
        (answer.done, answer.message)
    };
    let (done, message) = asked(&mut model, "hold", "91bc03aa1");
    assert!(!done && message.contains("was meant for"), "{message}");
    let (done, message) = asked(&mut model, "hold", "91bc03aa17");
    assert!(done, "{message}");
    model.apply("91bc03aa17-two");
    let (done, message) = asked(&mut model, "resume", "91bc03aa17");
    assert!(!done && message.contains("several"), "{message}");
    let (done, message) = asked(&mut model, "resume", "91bc03aa17-one");
    assert!(done, "{message}");
}

#[test]
fn many_requests_are_answered_a_few_at_a_time() {
    let mut model = Model::idle();
    for _ in 0..40 {
        model.ask("wave");
    }
    model.pass();
    let answers = model.state.answers.len();
    assert!((1..=16).contains(&answers), "{answers}");
    assert!(model.until(5, |model| model.requests.is_empty()));
    assert!(model.state.answers.len() <= 24);
}

#[test]
fn the_old_template_again_is_a_rollback_by_a_person() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.apply("v1");
    assert!(model.until(30, |model| ended(model, Outcome::Cancelled)));
    clean(&model);
}

#[test]
fn a_person_holds_resumes_and_aborts() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask("hold");
    assert!(model.until(3, |model| model.state.phase.name() == "Held"));
    assert!(!model.until(300, |model| model.state.phase.name() != "Held"));
    assert_eq!(model.weight(), 5);
    model.ask("resume");
    assert!(model.until(3, |model| model.state.phase.name() == "Stepping"));
    model.ask("abort");
    model.requests.last_mut().unwrap().by = Some("alice".to_owned());
    model.pass();
    assert_eq!(model.weight(), 0);
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    let last = model.state.last_run.unwrap();
    assert_eq!(
        (last.reason.as_str(), last.message.as_str()),
        ("Aborted", "alice asked for it")
    );
}

#[test]
fn a_newer_revision_waits_while_a_person_holds_the_run_and_is_tried_afterwards() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask("hold");
    assert!(model.until(3, |model| model.state.phase.name() == "Held"));
    model.apply("v3");
    assert!(!model.until(120, |model| model.state.phase.name() != "Held"));
    assert_eq!(names(&model).last(), Some(&"Waiting"));
    model.ask("resume");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v3"));
}

#[test]
fn a_person_who_promotes_has_the_last_word_but_the_canary_gets_nothing_more() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask("promote");
    assert!(model.until(3, |model| model.state.phase.name() == "Promoting"));
    model.canary_health = Health::Bad;
    assert!(model.until(90, |model| model.weight() == 0));
    assert_eq!(model.state.phase.name(), "Promoting");
    model.rolls = true;
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_request_for_another_revision_is_refused() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask("promote");
    model.requests[0].revision = Some("v1".to_owned());
    model.pass();
    let answer = model.state.answers.last().unwrap();
    assert!(!answer.done);
    assert!(
        answer.message.contains("v2 is under trial"),
        "{}",
        answer.message
    );
    assert_eq!(model.state.phase.name(), "Stepping");
}

#[test]
fn an_approval_is_waited_for_at_its_step() {
    let mut model = Model::idle();
    model.terms.plan.steps[0].approval = true;
    model.apply("v2");
    assert!(model.until(300, |model| model.state.phase.name() == "AwaitingApproval"));
    assert!(!model.until(120, |model| model.weight() != 5));
    model.ask("approve");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_person_who_holds_keeps_the_weight_that_is_in_force() {
    let mut model = Model::idle();
    model.target.replicas = 20;
    model.settle();
    model.apply("v2");
    let wanted = |model: &Model| model.state.phase.run().map(|run| run.weight);
    assert!(model.until(300, |model| wanted(model) == Some(25)));
    assert_eq!(model.weight(), 5, "its pods come first");
    model.ask("hold");
    assert!(!model.until(60, |model| model.weight() != 5));
    model.ask("resume");
    assert!(model.until(300, |model| model.weight() == 25));
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn many_requests_at_once_are_each_answered_once() {
    let mut model = Model::idle();
    for _ in 0..12 {
        model.ask("retry");
    }
    let decision = super::super::decide(&model.terms, &model.state, &model.look());
    model.execute(&decision, 1); // saved, and nothing cleared
    assert_eq!(model.requests.len(), 12);
    let again = model.pass();
    assert!(again.reasons.is_empty(), "{:?}", again.reasons);
    assert!(model.requests.is_empty());
}
