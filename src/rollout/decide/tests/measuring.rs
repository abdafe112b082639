//! Timelines of what is measured: late, missing, or by a clock that jumps.

use std::time::Duration;

use super::model::{Health, Model, ended};
use crate::rollout::describe;
use crate::rollout::evidence::{Kind, Max, Question};
use crate::rollout::plan::UndecidedThen;
use crate::rollout::reason::Outcome;
use crate::rollout::state::State;

#[test]
fn stale_metrics_hold_the_step_and_then_the_run_and_fresh_ones_let_it_go_on() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.metrics = false;
    assert!(!model.until(50, |model| model.weight() != 5));
    assert!(model.until(30, |model| model.state.phase.name() == "Held"));
    model.metrics = true;
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn that_there_are_no_metrics_is_said_long_before_it_has_consequences() {
    let mut model = Model::idle();
    model.terms.plan.analysis.no_data.0 = Duration::from_secs(300);
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    let says = |model: &Model| describe::message(&model.state).contains("there are no metrics");
    model.metrics = false;
    assert!(!model.until(50, says));
    assert!(model.until(30, says));
    assert_eq!(model.state.phase.name(), "Stepping");
    model.metrics = true;
    assert!(model.until(5, |model| !says(model)));
}

#[test]
fn a_step_that_waits_only_for_a_younger_sample_says_so() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.sampled_ago = 20;
    let late = |model: &Model| describe::message(&model.state).contains("is too old when it comes");
    assert!(model.until(200, late));
    assert_eq!(model.weight(), 5);
    let next = describe::next(&model.terms.plan, &model.state, &[]);
    assert!(next.starts_with("25%, by a younger sample of "), "{next}");
    model.sampled_ago = 0;
    assert!(model.until(60, |model| model.weight() == 25));
    assert!(!late(&model));
}

#[test]
fn a_daemon_that_was_away_looks_before_it_says_that_there_is_nothing() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.now += Duration::from_secs(3600);
    model.state.resumed = Some(model.now);
    let mut silent = model.clone();
    let held = |model: &Model| model.state.phase.name() == "Held";
    assert!(!model.until(60, held));
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    silent.metrics = false;
    assert!(!silent.until(10, held));
    assert!(silent.until(10, held));
}

#[test]
fn a_canary_that_gets_no_request_is_said_and_saved_at_once() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.leads = false;
    let misled = |model: &Model| describe::message(&model.state).contains("its share is wrong");
    let before = loop {
        let before = model.state.evidence.clone();
        assert!(!model.until(1, |model| model.weight() != 5));
        if misled(&model) {
            break before;
        }
    };
    let earlier = State {
        evidence: before,
        ..model.state.clone()
    };
    assert!(model.state.differs_durably(&earlier));
    let next = describe::next(&model.terms.plan, &model.state, &[]);
    assert!(
        next.starts_with("25%, when the canary gets its share again"),
        "{next}"
    );
}

/// A promotion that comes to nothing so far.
fn rolling() -> Model {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    let rolls =
        |model: &Model| model.target.updated_ready == 1 && model.state.phase.name() == "Promoting";
    assert!(model.until(600, rolls));
    model.pass();
    model
}

/// A step that shows nothing so far.
fn undecided() -> Model {
    let mut model = Model::idle();
    model.terms.plan.analysis.undecided = (Duration::from_secs(900), UndecidedThen::Rollback);
    model.leads = false;
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    assert!(!model.until(30, |model| model.weight() != 5));
    model
}

/// A canary whose pods are not ready so far.
fn short() -> Model {
    let mut model = Model::idle();
    model.comes_up = false;
    model.apply("v2");
    assert!(model.until(10, |model| model.state.phase.name() == "Preparing"));
    model
}

#[test]
fn what_nobody_watched_is_no_time_in_which_nothing_came() {
    let cases: [fn() -> Model; 3] = [rolling, undecided, short];
    for case in cases {
        let mut model = case();
        let phase = model.state.phase.name();
        model.now += Duration::from_secs(3600);
        let mut unaware = model.clone();
        unaware.pass();
        assert_eq!(
            unaware.state.phase.name(),
            "RollingBack",
            "{phase}: the case is one"
        );
        model.state.resumed = Some(model.now);
        model.pass();
        assert_eq!(model.state.phase.name(), phase);
        (model.rolls, model.comes_up, model.leads) = (true, true, true);
        assert!(
            model.until(2000, |model| ended(model, Outcome::Promoted)),
            "{phase}"
        );
    }
}

#[test]
fn metrics_that_are_asked_seldom_are_not_said_to_be_away() {
    let mut model = Model::idle();
    model.every = 60;
    model.sampled_ago = 15;
    model.apply("v2");
    let away = |model: &Model| describe::message(&model.state).contains("there are no metrics");
    let over = |model: &Model| away(model) || ended(model, Outcome::Promoted);
    // Until there are two of a source, it is not known how often it is asked.
    assert!(model.until(300, |model| model.weight() == 5));
    assert!(model.until(1800, over));
    assert!(!away(&model), "{}", describe::message(&model.state));
}

#[test]
fn without_a_baseline_nothing_rises_unless_a_rule_has_a_limit() {
    let idle = || {
        let mut model = Model::idle();
        model.baseline = false;
        model
    };
    let mut model = idle();
    model.apply("v2");
    assert!(!model.until(600, |model| model.weight() > 5));

    let limited = |health| {
        let mut model = idle();
        model.terms.evidence.questions[0].max = Some(Max {
            share: 0.01,
            seconds: None,
        });
        model.canary_health = health;
        model.apply("v2");
        model
    };
    let mut model = limited(Health::Good);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    let mut model = limited(Health::Bad);
    assert!(model.until(120, |model| ended(model, Outcome::RolledBack)));
}

#[test]
fn a_rule_that_is_added_during_a_run_is_asked_too() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model
        .terms
        .evidence
        .questions
        .push(Question::new("another", Kind::Proportion));
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn rules_that_are_read_each_minute_and_never_at_once_let_a_good_release_pass() {
    let mut model = Model::idle();
    let mut another = model.terms.evidence.questions[0].clone();
    another.name = "another".to_owned();
    model.terms.evidence.questions.push(another);
    model.terms.plan.analysis.no_data.0 = Duration::from_secs(300);
    model.every = 60;
    model.apply("v2");
    assert!(model.until(3600, |model| ended(model, Outcome::Promoted)));
    // What comes no more is stale all the same.
    model.apply("v3");
    assert!(model.until(600, |model| model.weight() == 5));
    model.metrics = false;
    assert!(model.until(600, |model| model.state.phase.name() == "Held"));
}

#[test]
fn samples_from_the_future_are_not_fresh() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.route = None;
    model.now -= Duration::from_secs(3600);
    model.tick();
    model.now -= Duration::from_secs(1);
    model.pass();
    assert_eq!(model.weight(), 0);
}

#[test]
fn a_clock_set_back_by_an_hour_neither_hides_a_silence_nor_what_is_bad() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.now -= Duration::from_secs(3600);
    let mut silent = model.clone();
    silent.metrics = false;
    assert!(silent.until(90, |model| model.state.phase.name() == "Held"));
    model.canary_health = Health::Bad;
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
}

#[test]
fn a_clock_set_back_by_an_hour_begins_a_hold_anew_and_no_more() {
    let mut model = Model::idle();
    model.terms.plan.steps[0].hold = Duration::from_secs(100);
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    assert!(!model.until(50, |model| model.weight() != 5));
    model.now -= Duration::from_secs(3600);
    assert!(!model.until(99, |model| model.weight() != 5));
    assert!(model.until(30, |model| model.weight() == 25));
}
