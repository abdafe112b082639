//! Timelines of a promotion: what hinders it, what takes it back, and who stops it.

use std::time::Duration;

use super::model::{Health, Model, ended, names, promoted_half, revision, told};
use crate::rollout::decide::needs_pods;
use crate::rollout::describe;
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

#[test]
fn damage_that_is_proven_during_the_promotion_takes_it_back() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.state.phase.name() == "Promoting"));
    model.canary_health = Health::Bad;
    assert!(model.until(90, |model| model.state.phase.name() == "RollingBack"));
    assert_eq!(model.weight(), 0);
    model.rolls = true;
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(model.target.revision, revision("v1"));
}

#[test]
fn a_promotion_that_the_cluster_hinders_waits() {
    let quota: fn(&mut Model) = |model| {
        model.rolls = false;
        model.target.refused = Some("exceeded quota".to_owned());
    };
    let webhook: fn(&mut Model) = |model| model.refuses = Some("exceeded quota".to_owned());
    for hinder in [quota, webhook] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(600, |model| model.weight() == 50));
        hinder(&mut model);
        assert!(model.until(600, |model| model.state.phase.name() == "Promoting"));
        assert!(!model.until(900, |model| model.state.phase.name() != "Promoting"));
        let told = model
            .told
            .iter()
            .filter(|told| told.name() == "PromotionHindered");
        assert_eq!(told.count(), 1);
        (model.rolls, model.refuses, model.target.refused) = (true, None, None);
        assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    }
}

#[test]
fn a_promotion_that_makes_no_progress_asks_whether_its_pods_find_nodes() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    let asks = |model: &Model| needs_pods(&model.terms, &model.state, model.now);
    assert!(model.until(600, |model| model.state.phase.name() == "Promoting"));
    assert!(!asks(&model));
    let half = model.terms.plan.progress_deadline.as_secs() as u32 / 2;
    assert!(model.until(half + 5, asks));
    // No node has room: it waits, and that is told once.
    model.nodeless = Some("pod shop-1 finds no node".to_owned());
    assert!(!model.until(9 * half, |model| model.state.phase.name() != "Promoting"));
    let hindered = |model: &Model| {
        told(model)
            .iter()
            .filter(|it| **it == "PromotionHindered")
            .count()
    };
    assert_eq!(hindered(&model), 1);
    // A daemon that takes it up has not looked yet.
    model.state.resumed = Some(model.now);
    let nodeless = model.nodeless.take();
    model.pass();
    model.nodeless = nodeless;
    assert!(!model.until(half, |model| hindered(model) != 1));
    model.rolls = true;
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn what_was_refused_before_a_promotion_is_no_hindrance_of_it() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 5));
    model.refuses = Some("exceeded quota".to_owned());
    model.ask("promote");
    model.pass();
    model.refuses = None;
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    assert!(!told(&model).contains(&"PromotionHindered"));
}

#[test]
fn a_clock_that_steps_back_does_not_count_what_nobody_watched() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.state.phase.name() == "Promoting"));
    assert!(!model.until(5, |model| model.state.phase.name() != "Promoting"));
    let away = 2 * model.terms.plan.progress_deadline;
    model.now += away;
    model.state.resumed = Some(model.now);
    model.now -= Duration::from_secs(3);
    assert!(!model.until(60, |model| model.state.phase.name() != "Promoting"));
    assert!(model.until(120, |model| model.state.phase.name() == "RollingBack"));
}

#[test]
fn who_pauses_a_promotion_is_told_once_how_to_take_it_back() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| {
        model.target.updated_ready == 1 && model.state.phase.name() == "Promoting"
    }));
    let told = |model: &Model| names(model).contains(&"PauseUndone");
    model.pass();
    assert!(!told(&model));
    model.target.paused = true;
    model.refuses = Some("a webhook hangs".to_owned());
    for _ in 0..3 {
        model.pass();
    }
    let times = names(&model);
    let times = times.iter().filter(|name| **name == "PauseUndone");
    assert_eq!(times.count(), 1);
    (model.rolls, model.refuses) = (true, None);
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    assert!(!model.target.paused);
}

#[test]
fn a_return_to_stable_during_the_promotion_forgets_what_was_wanted_before() {
    let mut model = Model::idle();
    promoted_half(&mut model);
    model.apply("v3");
    assert!(model.until(5, |model| model.target.revision == revision("v2")));
    assert_eq!(model.state.desired, Some(revision("v3")));
    model.apply("v1");
    assert!(model.until(60, |model| model.state.phase == Phase::Idle));
    model.rolls = true;
    assert!(!model.until(60, |model| model.target.revision != revision("v1")));
    assert_eq!(model.kept.desired, None);
}

#[test]
fn pods_of_an_aborted_promotion_are_no_bypass() {
    let mut model = Model::idle();
    promoted_half(&mut model);
    model.ask("abort");
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    assert!(!model.until(30, |model| names(model).contains(&"Bypassed")));
}

#[test]
fn a_promotion_that_is_aborted_stops_where_it_is_if_the_template_is_to_stay() {
    let mut model = Model::idle();
    model.terms.plan.restore_template = false;
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(900, |model| model.target.serving(&revision("v2")).is_some()));
    model.apply("v3");
    assert!(model.until(5, |model| model.target.revision == revision("v2")));
    model.ask("abort");
    assert!(model.until(120, |model| model.state.phase.name() == "Failed"));
    assert!(model.target.paused);
    assert_eq!(model.target.revision, revision("v2"));
    assert_eq!(model.kept.desired, Some(revision("v3")));
    for wrong in ["DesiredGiven", "Bypassed", "Accepted"] {
        assert!(!names(&model).contains(&wrong), "{wrong}");
    }
    let said = describe::message(&model.state);
    assert!(said.contains("of its pods serve on"), "{said}");
    assert!(
        said.contains("v3 (shop:v3) was applied meanwhile"),
        "{said}"
    );
    model.rolls = true;
    model.apply("v1");
    assert!(model.until(60, |model| model.target.revision == revision("v3")));
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}
