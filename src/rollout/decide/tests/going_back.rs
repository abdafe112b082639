//! Timelines of going back: to a revision that was promoted before, by its template or at a
//! person's request between runs.

use super::model::{Health, Model, ended_as, revision, told};
use crate::rollout::action::Action;
use crate::rollout::decide::decide;
use crate::rollout::plan::KnownGood;
use crate::rollout::reason::{Outcome, Reason};
use crate::rollout::state::Phase;

/// Guarded, with each of these promoted in turn.
fn promoted(names: &[&str]) -> Model {
    let mut model = Model::idle();
    for name in names {
        model.apply(name);
        assert!(model.until(600, |model| ended_as(model, name, Outcome::Promoted)));
    }
    model.told.clear();
    model
}

fn answer(model: &Model) -> (bool, &str) {
    let answer = model.state.answers.last().unwrap();
    (answer.done, answer.message.as_str())
}

/// The last run's reason; of a promotion it is the one that is told and counted.
fn last_reason(model: &Model) -> &str {
    let last = model.state.last_run.as_ref().unwrap();
    let told = model.told.iter().rev().find_map(|reason| match reason {
        Reason::Promoted { by, .. } => Some(by.name()),
        _ => None,
    });
    if last.outcome == Outcome::Promoted {
        assert_eq!(told, Some(last.reason.as_str()));
    }
    &last.reason
}

#[test]
fn what_was_promoted_before_goes_through_at_once() {
    let mut model = promoted(&["v2"]);
    for name in ["v1", "v2"] {
        model.told.clear();
        model.apply(name);
        model.pass();
        assert!(matches!(model.state.phase, Phase::Promoting { .. }));
        assert!(model.until(5, |model| ended_as(model, name, Outcome::Promoted)));
        assert_eq!(told(&model), ["KnownGood", "PromotionStarted", "Promoted"]);
        assert_eq!(last_reason(&model), "KnownGood");
        assert!(model.canary.is_none() && model.route.is_none());
        assert_eq!(model.kept.stable, Some(revision(name)));
    }
}

#[test]
fn with_known_good_canary_it_is_tried_like_any_other() {
    let mut model = promoted(&["v2"]);
    model.terms.plan.known_good = KnownGood::Canary;
    model.apply("v1");
    assert!(model.until(600, |model| ended_as(model, "v1", Outcome::Promoted)));
    assert!(told(&model).contains(&"RunStarted"));
    assert_eq!(last_reason(&model), "Promoted");
}

#[test]
fn what_failed_since_is_not_known_to_be_good() {
    let mut model = promoted(&["v2", "v3"]);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(200, |model| ended_as(model, "v2", Outcome::RolledBack)));
    model.rolls = true;
    model.settle();
    model.pass();
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
    model.told.clear();
    model.ask("retry");
    assert!(model.until(600, |model| ended_as(model, "v2", Outcome::Promoted)));
    assert!(told(&model).contains(&"RunStarted"), "a canary first");
}

#[test]
fn what_a_person_promoted_against_the_evidence_is_not_known_to_be_good() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 25));
    model.canary_health = Health::Bad;
    assert!(model.until(60, |model| {
        model
            .state
            .phase
            .run()
            .is_some_and(|run| run.suspect.is_some())
    }));
    model.ask("promote");
    assert!(model.until(60, |model| ended_as(model, "v2", Outcome::Promoted)));
    assert_eq!(model.state.known_good, [revision("v1")]);
}

#[test]
fn a_revision_that_was_never_promoted_here_is_not_known_and_a_lost_checkpoint_knows_none() {
    let mut model = promoted(&["v2"]);
    model.state.known_good.clear();
    model.apply("v1");
    model.pass();
    assert!(told(&model).contains(&"RunStarted"));
}

#[test]
fn between_runs_a_person_goes_back_to_the_last_good_revision() {
    let mut model = promoted(&["v2", "v3"]);
    model.ask("rollback");
    assert!(model.until(5, |model| ended_as(model, "v2", Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
    assert_eq!(told(&model)[..2], ["GoesBack", "PromotionStarted"]);
    assert_eq!(last_reason(&model), "WentBack");
    // Whoever applies v3 again finds it held.
    model.apply("v3");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
    assert!(model.target.paused && model.target.serving(&revision("v2")).is_some());
    // And once more, with v3 applied again all the while.
    model.ask("rollback");
    assert!(model.until(5, |model| ended_as(model, "v1", Outcome::Promoted)));
    model.ask("rollback");
    model.pass();
    let (done, message) = answer(&model);
    assert!(
        !done && message.contains("`--to` names one: kept are 1 ("),
        "{message}"
    );
}

#[test]
fn a_person_names_what_to_go_back_to() {
    for goal in ["1", "v1", "shop:v1"] {
        let mut model = promoted(&["v2", "v3"]);
        model.ask_for(goal);
        assert!(
            model.until(5, |model| ended_as(model, "v1", Outcome::Promoted)),
            "{goal}"
        );
    }
    let cases = [
        ("v3", "v3 (shop:v3) serves already"),
        (
            "v9",
            "no revision v9 is kept; kept are 1 (shop:v1), 2 (shop:v2), 3 (shop:v3, serves)",
        ),
    ];
    for (goal, wanted) in cases {
        let mut model = promoted(&["v2", "v3"]);
        model.ask_for(goal);
        let decision = model.pass();
        assert_eq!(answer(&model), (false, wanted));
        assert!(
            !decision
                .actions
                .iter()
                .any(|action| matches!(action, Action::RestoreTemplate { .. }))
        );
    }
}

#[test]
fn during_a_run_going_back_ends_the_run() {
    let mut model = promoted(&["v2"]);
    model.apply("v3");
    assert!(model.until(60, |model| model.weight() == 5));
    model.ask_for("v1");
    model.pass();
    assert!(!answer(&model).0);
    model.ask("rollback");
    assert!(model.until(60, |model| ended_as(model, "v3", Outcome::RolledBack)));
    assert_eq!(model.target.revision, revision("v2"));
}

#[test]
fn what_is_applied_on_the_way_back_does_not_stop_it() {
    let mut model = promoted(&["v2", "v3"]);
    model.rolls = false;
    model.ask("rollback");
    model.pass();
    model.pass();
    model.apply("v3");
    model.pass();
    assert_eq!(
        (model.target.revision.clone(), model.target.paused),
        (revision("v2"), false)
    );
    assert_eq!(model.kept.desired, None, "what was left is not kept");
    model.apply("v4");
    model.pass();
    assert_eq!(model.target.revision, revision("v2"));
    assert_eq!(model.kept.desired, Some(revision("v4")));
    model.rolls = true;
    assert!(model.until(900, |model| ended_as(model, "v4", Outcome::Promoted)));
}

#[test]
fn a_way_back_that_comes_to_nothing_ends_where_it_began() {
    let mut model = promoted(&["v2", "v3"]);
    model.rolls = false;
    model.ask("rollback");
    assert!(model.until(200, |model| ended_as(model, "v2", Outcome::RolledBack)));
    assert_eq!(last_reason(&model), "PromotionStuck");
    assert_eq!(
        (model.target.revision.clone(), model.state.stable.clone()),
        (revision("v3"), Some(revision("v3")))
    );
}

#[test]
fn the_way_back_survives_a_crash_at_each_effect() {
    for effects in 0..6 {
        let mut model = promoted(&["v2", "v3"]);
        model.ask("rollback");
        let seen = model.look();
        let decision = decide(&model.terms, &model.state, &seen);
        model.execute(&decision, effects);
        assert!(
            model.until(10, |model| ended_as(model, "v2", Outcome::Promoted)),
            "after {effects} effects"
        );
        model.pass();
        assert!(model.requests.is_empty());
    }
}

#[test]
fn nothing_goes_back_through_a_gate_that_holds_us() {
    let mut model = promoted(&["v2"]);
    model.ask("rollback");
    let mut seen = model.look();
    seen.gate.holds_us = true;
    let decision = decide(&model.terms, &model.state, &seen);
    assert_eq!(decision.next.phase, Phase::Idle);
    assert!(!decision.next.answers.last().unwrap().done);
}
