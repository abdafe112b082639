//! Timelines of baking: a promoted revision is watched on, and what served before can come back.

use std::time::Duration;

use super::model::{Health, Model, ended_as, reason, revision, told};
use crate::rollout::decide::decide;
use crate::rollout::evidence::{Kind, Max, Question};
use crate::rollout::observation::{GateMode, Smoked};
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

/// A revision `v2` that serves and is watched for two minutes.
pub(super) fn baking() -> Model {
    let mut model = Model::idle();
    model.terms.plan.bake = Some(Duration::from_secs(120));
    model.apply("v2");
    assert!(model.until(600, bakes));
    assert_eq!(model.target.revision, revision("v2"));
    assert!(model.canary.is_none() && model.route.is_none());
    model.told.clear();
    model
}

/// A revision `v2` in mode `paused` that has rolled, whose pods crash, and whose pause was lost.
fn crashing(bake: Option<Duration>) -> Model {
    let mut model = Model::idle();
    model.gate.mode = GateMode::Paused;
    model.terms.plan.bake = bake;
    model.apply("v2");
    let drains = |model: &Model| match &model.state.phase {
        Phase::Promoting { run, .. } => run.weight == 0,
        _ => false,
    };
    assert!(model.until(600, drains));
    model.target.paused = false;
    model.crashing = true;
    model.settle();
    model
}

#[test]
fn in_mode_paused_a_bake_does_not_wait_for_pods_that_crash() {
    let mut model = crashing(Some(Duration::from_secs(120)));
    assert!(model.until(30, bakes));
    model.ask("abort");
    model.crashing = false;
    assert!(model.until(60, |model| ended_as(model, "v2", Outcome::RolledBack)));
    assert_eq!(model.state.stable, Some(revision("v1")));
    assert_eq!(model.target.revision, revision("v1"));
}

#[test]
fn in_mode_paused_pods_that_crash_are_not_waited_for_without_end() {
    let mut model = crashing(None);
    assert!(!model.until(60, |model| ended_as(model, "v2", Outcome::Promoted)));
    assert!(model.until(120, |model| ended_as(model, "v2", Outcome::Promoted)));
    model.crashing = false;
    model.settle();
    model.pass();
    assert!(model.target.paused);
}

fn bakes(model: &Model) -> bool {
    matches!(model.state.phase, Phase::Baking(_))
}

/// What served before the run serves again, alone.
pub(super) fn back_on_v1(model: &Model) {
    assert_eq!(model.state.stable, Some(revision("v1")));
    assert_eq!(model.target.revision, revision("v1"));
    assert!(model.target.serving(&revision("v2")).is_none());
    assert!(!model.target.paused);
}

#[test]
fn in_mode_paused_a_bake_begins_when_the_deployment_is_paused_again() {
    let mut model = Model::idle();
    model.gate.mode = GateMode::Paused;
    model.terms.plan.bake = Some(Duration::from_secs(120));
    model.apply("v2");
    assert!(model.until(600, bakes));
    assert!(model.target.paused);
}

#[test]
fn a_revision_that_bakes_is_promoted_when_its_time_is_over() {
    let mut model = baking();
    assert_eq!(model.state.stable, Some(revision("v1")), "not yet");
    assert!(!model.until(115, |model| !bakes(model)));
    assert!(model.until(10, |model| ended_as(model, "v2", Outcome::Promoted)));
    assert_eq!(told(&model), ["Promoted"]);
    assert_eq!(model.state.stable, Some(revision("v2")));
    assert_eq!(model.kept.stable, Some(revision("v2")));
}

#[test]
fn damage_while_it_bakes_brings_back_what_served_before() {
    let mut model = baking();
    model.stable_health = Health::Bad;
    assert!(model.until(30, |model| ended_as(model, "v2", Outcome::RolledBack)));
    assert_eq!(reason(&model), "BakeFailed");
    assert_eq!(told(&model), ["RollbackStarted", "RolledBack"]);
    back_on_v1(&model);
    // It failed, whatever was shown before.
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
}

#[test]
fn a_newer_template_waits_until_the_watch_is_over() {
    let mut model = baking();
    model.apply("v3");
    assert!(!model.until(60, |model| !bakes(model)));
    assert_eq!(told(&model), ["BakeAwaited"]);
    assert!(model.target.paused);
    assert!(model.until(90, |model| model.state.phase.name() == "Preparing"));
    assert_eq!(model.state.stable, Some(revision("v2")));
}

#[test]
fn a_newer_template_that_waits_is_tried_after_a_watch_that_failed() {
    let mut model = baking();
    model.apply("v3");
    model.stable_health = Health::Bad;
    assert!(model.until(40, |model| model.target.revision == revision("v1")));
    assert_eq!(model.kept.desired, Some(revision("v3")));
    assert!(model.until(5, |model| model.target.revision == revision("v3")));
    assert_eq!(reason(&model), "BakeFailed");
    assert!(model.target.paused && model.target.serving(&revision("v1")).is_some());
    model.stable_health = Health::Good;
    assert!(
        model.until(600, |model| model.target.revision == revision("v3")
            && bakes(model))
    );
}

#[test]
fn people_end_the_watch_in_either_direction() {
    for (act, outcome, wanted) in [
        ("promote", Outcome::Promoted, "Promoted"),
        ("abort", Outcome::RolledBack, "Aborted"),
        ("rollback", Outcome::RolledBack, "Aborted"),
        ("alert", Outcome::RolledBack, "Alert"),
    ] {
        let mut model = baking();
        model.ask(act);
        assert!(
            model.until(5, |model| ended_as(model, "v2", outcome)),
            "{act}"
        );
        assert_eq!(reason(&model), wanted);
        if outcome == Outcome::RolledBack {
            back_on_v1(&model);
        }
    }
    let mut model = baking();
    model.ask("hold");
    model.pass();
    assert!(bakes(&model) && !model.state.answers.last().unwrap().done);
}

#[test]
fn the_old_template_again_ends_the_watch_at_once() {
    let mut model = baking();
    model.apply("v1");
    assert!(model.until(5, |model| ended_as(model, "v2", Outcome::Cancelled)));
    assert_eq!(reason(&model), "ReturnedToStable");
    back_on_v1(&model);
}

#[test]
fn suspended_while_it_bakes_it_stays_promoted() {
    let mut model = baking();
    model.terms.plan.suspended = true;
    assert!(
        model.until(10, |model| model.state.phase == Phase::Suspended
            && !model.target.guarded)
    );
    assert_eq!(
        (reason(&model), model.target.revision.clone()),
        ("Promoted", revision("v2"))
    );
}

#[test]
fn without_metrics_the_watch_is_not_over_and_what_was_not_seen_is_made_up_for() {
    let mut model = baking();
    model.metrics = false;
    assert!(!model.until(600, |model| !bakes(model)));
    model.metrics = true;
    assert!(!model.until(60, |model| !bakes(model)));
    assert!(model.until(60, |model| ended_as(model, "v2", Outcome::Promoted)));
}

#[test]
fn what_goes_back_or_is_forced_is_not_watched() {
    let mut model = baking();
    assert!(model.until(130, |model| ended_as(model, "v2", Outcome::Promoted)));
    model.apply("v1");
    assert!(model.until(5, |model| ended_as(model, "v1", Outcome::Promoted)));
    model.apply("v3");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask("promote");
    assert!(model.until(30, |model| ended_as(model, "v3", Outcome::Promoted)));
}

#[test]
fn the_failed_template_applied_again_does_not_stop_the_way_back() {
    let mut model = baking();
    model.stable_health = Health::Bad;
    model.rolls = false;
    assert!(model.until(30, |model| model.target.revision == revision("v1")));
    for _ in 0..3 {
        model.apply("v2");
        model.tick();
        model.pass();
        model.pass();
        assert_eq!(
            (model.target.revision.clone(), model.target.paused),
            (revision("v1"), false)
        );
    }
    assert_eq!(model.kept.desired, None);
    model.rolls = true;
    assert!(model.until(10, |model| ended_as(model, "v2", Outcome::RolledBack)));
    back_on_v1(&model);
}

#[test]
fn the_way_back_survives_a_crash_at_each_effect() {
    for effects in 0..5 {
        let mut model = baking();
        model.stable_health = Health::Bad;
        for _ in 0..40 {
            model.tick();
            let decision = decide(&model.terms, &model.state, &model.look());
            let back = matches!(decision.next.phase, Phase::RollingBack { .. });
            model.execute(&decision, if back { effects } else { usize::MAX });
            if back {
                break;
            }
        }
        let done = model.until(60, |model| ended_as(model, "v2", Outcome::RolledBack));
        assert!(done, "after {effects} effects: {:?}", model.state.phase);
        back_on_v1(&model);
    }
}

#[test]
fn in_mode_paused_the_deployment_is_shut_while_it_bakes_and_opened_to_go_back() {
    let mut model = baking();
    model.gate.mode = GateMode::Paused;
    model.pass();
    assert!(model.target.paused);
    model.stable_health = Health::Bad;
    assert!(model.until(30, |model| ended_as(model, "v2", Outcome::RolledBack)));
    assert_eq!(model.target.revision, revision("v1"));
    assert!(model.target.serving(&revision("v2")).is_none());
}

/// A question with a limit of its own.
fn limited(name: &str, kind: Kind) -> Question {
    let max = Max {
        share: 0.5,
        seconds: None,
    };
    Question {
        max: Some(max),
        ..Question::new(name, kind)
    }
}

#[test]
fn a_rule_that_cannot_be_asked_after_the_promotion_does_not_keep_the_watch_from_its_end() {
    let mut model = Model::idle();
    model.terms.plan.bake = Some(Duration::from_secs(120));
    let every = Duration::from_secs(1);
    let questions = &mut model.terms.evidence.questions;
    questions.push(limited("probe", Kind::Load { every }));
    model.apply("v2");
    assert!(model.until(900, bakes));
    assert!(model.until(130, |model| ended_as(model, "v2", Outcome::Promoted)));
}

#[test]
fn rules_that_come_or_go_while_it_bakes_do_not_keep_the_watch_from_its_end() {
    let mut model = baking();
    let questions = &mut model.terms.evidence.questions;
    questions.push(limited("late", Kind::Proportion));
    assert!(model.until(130, |model| ended_as(model, "v2", Outcome::Promoted)));

    let mut model = Model::idle();
    model.terms.plan.bake = Some(Duration::from_secs(120));
    let questions = &mut model.terms.evidence.questions;
    questions.push(limited("early", Kind::Proportion));
    model.apply("v2");
    assert!(model.until(900, bakes));
    assert!(!model.until(30, |model| !bakes(model)));
    model.terms.evidence.questions.truncate(1);
    assert!(model.until(100, |model| ended_as(model, "v2", Outcome::Promoted)));
}

/// A revision `v2` that serves and whose smoke tests after the promotion are being made.
fn tested(bake: Option<u64>) -> Model {
    let mut model = Model::idle();
    model.terms.plan.bake = bake.map(Duration::from_secs);
    model.terms.plan.smoke = vec!["before".to_owned()];
    model.terms.plan.smoke_after = vec!["login".to_owned()];
    model.smoked = Some(good("before"));
    model.apply("v2");
    assert!(model.until(600, bakes));
    assert!(model.until(3, |model| model.smoke_asked == ["login"]));
    model
}

fn good(test: &str) -> Smoked {
    let sentence = format!("{test}: 1 of 1 good");
    Smoked::Passed { sentence }
}

#[test]
fn a_promoted_revision_waits_for_its_smoke_tests_with_and_without_a_watch() {
    for bake in [None, Some(60)] {
        let mut model = tested(bake);
        assert!(!model.until(120, |model| !bakes(model)), "{bake:?}");
        assert_eq!(model.state.stable, Some(revision("v1")));
        model.smoked_after = Some(good("login"));
        assert!(model.until(5, |model| ended_as(model, "v2", Outcome::Promoted)));
        assert_eq!(model.state.stable, Some(revision("v2")));
    }
    let mut quick = tested(Some(60));
    quick.smoked_after = Some(good("login"));
    assert!(!quick.until(50, |model| !bakes(model)), "the watch goes on");
}

#[test]
fn a_promoted_revision_that_fails_its_smoke_tests_is_taken_back() {
    let mut model = tested(None);
    model.smoked_after = Some(Smoked::Failed {
        sentence: "login: 0 of 3 good".to_owned(),
    });
    assert!(model.until(60, |model| ended_as(model, "v2", Outcome::RolledBack)));
    assert_eq!(reason(&model), "Smoke");
    back_on_v1(&model);
}

#[test]
fn smoke_tests_that_cannot_be_made_wait_for_somebody() {
    let mut model = tested(None);
    let why = "there is no smoke test \"login\"".to_owned();
    model.smoked_after = Some(Smoked::Hindered { why });
    assert!(!model.until(100, |model| !bakes(model)));
    let hindered = told(&model).into_iter().filter(|it| *it == "SmokeHindered");
    assert_eq!(hindered.count(), 1);
    model.ask("promote");
    assert!(model.until(3, |model| ended_as(model, "v2", Outcome::Promoted)));
}
