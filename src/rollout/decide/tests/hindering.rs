//! Timelines of a way back that is hindered: what is told of it, and how long it is waited for.

use std::time::Duration;

use super::baking::{back_on_v1, baking};
use super::model::{Health, Model, ended, ended_as, names, reason, revision, told};
use crate::rollout::reason::Outcome;

#[test]
fn what_was_refused_before_a_rollback_is_no_hindrance_of_it() {
    let mut model = Model::idle();
    model.refuses = Some("exceeded quota".to_owned());
    model.apply("v2");
    assert!(model.until(300, |model| model.state.phase.name() == "Held"));
    model.ask("abort");
    model.pass();
    model.refuses = None;
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    assert!(!names(&model).contains(&"RollbackHindered"));
}

#[test]
fn a_rollback_that_only_tidies_away_is_not_said_to_serve() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.stays = true;
    model.ask("abort");
    assert!(model.until(60, |model| model.route.is_none()
        && model.target.revision == revision("v1")));
    model.refuses = Some("deleting Services is denied".to_owned());
    model.pass();
    let told = model
        .told
        .iter()
        .find(|told| told.name() == "RollbackHindered");
    let told = told.map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("gets no requests any more"), "{told:?}");
}

#[test]
fn a_way_back_that_the_cluster_refuses_is_not_given_up() {
    let mut model = baking();
    model.stable_health = Health::Bad;
    model.refuses = Some("denied by a policy".to_owned());
    assert!(!model.until(2000, |model| model.state.phase.name() == "Idle"));
    assert_eq!(told(&model), ["RollbackStarted", "RollbackHindered"]);
    assert_eq!(model.state.stable, Some(revision("v1")));
    model.refuses = None;
    assert!(model.until(30, |model| ended_as(model, "v2", Outcome::RolledBack)));
    back_on_v1(&model);
}

#[test]
fn a_rollout_that_is_given_up_does_not_wait_for_a_template_that_is_refused() {
    for deleted in [true, false] {
        let mut model = baking();
        model.stable_health = Health::Bad;
        model.refuses = Some("denied by a policy".to_owned());
        assert!(model.until(60, |model| told(model).contains(&"RollbackHindered")));
        (model.deleting, model.terms.plan.suspended) = (deleted, !deleted);
        let guards = |model: &Model| model.target.guarded;
        assert!(guards(&model));
        assert!(model.until(200, |model| !guards(model)), "{deleted}");
        assert!(model.until(5, |model| model.guarded_by_rollout != deleted));
        assert_eq!(reason(&model), "Detached");
        assert_eq!(model.target.revision, revision("v2"));
    }
}

#[test]
fn a_way_back_that_is_late_is_told_once_though_the_canary_stays() {
    let mut model = Model::idle();
    model.terms.plan.bake = Some(Duration::from_secs(120));
    model.stays = true;
    model.apply("v2");
    let drained = |model: &Model| model.canary.is_some() && model.route.is_none();
    assert!(model.until(30, |model| model.weight() == 5));
    assert!(model.until(600, drained));
    model.rolls = false;
    model.ask("abort");
    assert!(!model.until(400, |model| model.state.phase.name() != "RollingBack"));
    let hindered = told(&model)
        .into_iter()
        .filter(|it| *it == "RollbackHindered");
    assert_eq!(hindered.count(), 1);
}
