//! Timelines of the weight: how it rises and falls, and who else may have moved it.

use std::time::Duration;

use super::model::{Health, Model, clean, ended, names};
use crate::rollout::action::Action;
use crate::rollout::decide::decide;
use crate::rollout::describe;
use crate::rollout::observation::CanaryRoute;
use crate::rollout::plan::{Route, UndecidedThen};
use crate::rollout::reason::Outcome;

#[test]
fn damage_at_half_of_the_traffic_leads_back_to_the_first_step_and_out() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 50));
    model.canary_health = Health::Bad;
    assert!(model.until(8, |model| model.state.phase.name() == "Suspect"));
    assert_eq!(model.weight(), 5);
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    let message = &model.state.last_run.as_ref().unwrap().message;
    assert!(message.contains("saved some"), "{message}");
}

#[test]
fn a_suspicion_that_is_not_confirmed_leads_to_the_steps_again() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 50));
    model.canary_health = Health::Bad;
    assert!(model.until(8, |model| model.state.phase.name() == "Suspect"));
    model.canary_health = Health::Good;
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert!(names(&model).contains(&"SuspicionOver"));
}

/// A canary with a quarter of the requests, by an `HTTPRoute`.
fn at_25_behind_a_gateway() -> Model {
    let mut model = Model::idle();
    model.terms.plan.route = Route::GatewayApi {
        http_route: "shop".to_owned(),
        service: None,
    };
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 25));
    model
}

#[test]
fn behind_a_gateway_a_canary_without_a_ready_pod_gets_nothing() {
    let mut model = at_25_behind_a_gateway();
    let begun = model.state.phase.run().and_then(|run| run.weight_since);
    // A node is drained: what the Gateway answers for lack of pods is counted as the canary's.
    (model.comes_up, model.canary_health) = (false, Health::Bad);
    model.tick();
    model.pass();
    assert_eq!(model.weight(), 0);
    assert!(!model.until(100, |model| model.weight() > 0));
    assert_eq!(model.state.phase.name(), "Stepping");
    (model.comes_up, model.canary_health) = (true, Health::Good);
    assert!(model.until(10, |model| model.weight() == 25));
    model.pass();
    let again = model.state.phase.run().and_then(|run| run.weight_since);
    assert!(again > begun, "the step begins anew");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    let told = names(&model);
    let unready = told.iter().filter(|name| **name == "CanaryUnready");
    assert_eq!(unready.count(), 1);
    assert!(!told.contains(&"WeightMended"));
}

#[test]
fn behind_a_gateway_a_canary_serves_its_share_while_stable_has_no_pod() {
    let mut model = at_25_behind_a_gateway();
    let replicas = std::mem::take(&mut model.target.replicas);
    assert!(!model.until(60, |model| model.weight() != 25));
    assert_eq!(model.state.phase.name(), "Held");
    model.target.replicas = replicas;
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert!(!names(&model).contains(&"WeightMended"));
}

#[test]
fn a_canary_whose_weight_cannot_be_lowered_loses_its_pods() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 25));
    model.shut = true;
    model.refuses = Some("ingresses is forbidden".to_owned());
    model.canary_health = Health::Bad;
    let empty = |model: &Model| model.canary.as_ref().is_some_and(|it| it.replicas == 0);
    assert!(model.until(30, empty));
    model.tick();
    model.pass();
    assert_eq!(
        (model.weight(), model.state.phase.name()),
        (25, "RollingBack")
    );
    assert!(names(&model).contains(&"RollbackHindered"));
    (model.shut, model.refuses) = (false, None);
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    clean(&model);
}

#[test]
fn stable_scaled_to_nothing_takes_the_weight_away_and_back_again() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.target.replicas = 0;
    model.settle();
    model.pass();
    model.pass();
    assert_eq!(model.weight(), 0);
    model.target.replicas = 4;
    model.settle();
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_share_that_the_cluster_refuses_is_said_and_waited_for() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.state.phase.name() == "Stepping"));
    model.route = None;
    model.refuses = Some("denied by a webhook".to_owned());
    assert!(model.until(150, |model| model.state.phase.name() == "Held"));
    let said = describe::message(&model.state);
    assert!(
        said.contains("cannot be raised: denied by a webhook"),
        "{said}"
    );
    assert!(!model.until(3000, |model| model.state.phase.name() != "Held"));
    model.refuses = None;
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_weight_that_never_comes_into_force_is_not_waited_for_without_end() {
    use UndecidedThen::{Hold, Promote, Rollback};
    for then in [Hold, Promote, Rollback] {
        let mut model = Model::idle();
        model.terms.plan.analysis.undecided.1 = then;
        model.apply("v2");
        assert!(model.until(60, |model| model.state.phase.name() == "Stepping"));
        // Somebody takes it away as often as it is set.
        for _ in 0..2000 {
            model.pass();
            model.route = None;
            model.tick();
        }
        assert_eq!(model.state.phase.name(), "Held", "{then:?}");
        let said = describe::message(&model.state);
        assert!(said.contains("does not stay as it is set"), "{said}");
        assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
    }
}

#[test]
fn a_step_whose_pods_are_still_coming_up_is_not_undecided() {
    let mut model = Model::idle();
    model.terms.plan.progress_deadline = Duration::from_secs(1200);
    model.terms.plan.analysis.undecided = (Duration::from_secs(60), UndecidedThen::Rollback);
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    let ready = model.target.replicas;
    model.target.replicas = ready * 20;
    model.comes_up = false;
    let waits = |model: &Model| model.state.phase.run().is_some_and(|run| run.step == 1);
    assert!(!model.until(600, |model| model.state.phase.name() != "Stepping"));
    model.comes_up = true;
    assert!(model.until(900, waits), "{:?}", model.state.phase);
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn behind_a_gateway_a_route_that_is_refused_does_not_name_a_canary_that_gets_nothing() {
    let mut model = at_25_behind_a_gateway();
    model.unroutable = Some("the Gateway refuses it: BackendNotFound".to_owned());
    model.canary = None;
    assert!(model.until(60, |model| model.state.phase.name() == "Held"
        && model.route.is_none()));
    assert!(!names(&model).contains(&"WeightMended"));
    model.unroutable = None;
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_weight_edited_by_hand_is_put_back() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.tick();
    model.pass();
    for edit in [Some(90), Some(2), None] {
        model.route.as_mut().unwrap().weight = edit;
        model.tick();
        model.pass();
        model.tick();
        model.pass();
        assert_eq!(model.weight(), 5, "after {edit:?}");
    }
}

#[test]
fn a_weight_that_appears_while_the_canary_is_prepared_goes_to_0() {
    let mut model = Model::idle();
    model.comes_up = false;
    model.apply("v2");
    model.pass();
    assert_eq!(model.state.phase.name(), "Preparing");
    model.route = Some(CanaryRoute {
        weight: Some(90),
        differs: false,
        behind: false,
    });
    model.pass();
    assert_eq!(model.weight(), 0);
}

#[test]
fn a_rollback_sends_weight_0_even_where_the_last_rise_was_not_seen() {
    for unseen in [None, Some(0)] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(60, |model| model.weight() == 5));
        model.ask("abort");
        let mut seen = model.look();
        seen.route.canary = unseen.map(|weight| CanaryRoute {
            weight: Some(weight),
            differs: false,
            behind: false,
        });
        let decision = decide(&model.terms, &model.state, &seen);
        assert_eq!(decision.next.phase.name(), "RollingBack");
        let first = decision.actions.first().cloned();
        assert_eq!(first, Some(Action::LowerWeight { weight: 0 }));
    }
}

#[test]
fn steps_that_are_cut_during_a_run_must_be_shown_for_what_follows_now() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    assert!(model.until(5, |model| {
        let run = model.state.phase.run();
        run.is_some_and(|run| run.weight_since.is_some())
    }));
    let margin = |model: &Model| {
        let evidence = model.state.evidence.as_ref().unwrap();
        evidence.report(&model.terms.evidence)[0].margin
    };
    let before = margin(&model);
    model.terms.plan.steps.truncate(1);
    model.terms.evidence.steps.truncate(1);
    model.tick();
    model.pass();
    assert!(margin(&model) < before / 3.0, "100% follows now, not 25%");
}

#[test]
fn a_run_is_finished_on_the_route_that_it_began_with() {
    let mut model = Model::idle();
    let route = |model: &Model| model.state.bound.as_ref().map(|bound| bound.route.clone());
    let before = route(&model);
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    if let Route::IngressNginx { ingress, .. } = &mut model.terms.plan.route {
        "another".clone_into(ingress);
    }
    model.pass();
    assert_eq!(route(&model), before);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    model.pass();
    assert_eq!(route(&model), Some(model.terms.plan.route.clone()));
}

#[test]
fn a_canary_that_stable_outgrows_in_an_old_step_has_its_time_to_follow() {
    let mut model = Model::idle();
    model.terms.plan.steps[0].hold = Duration::from_secs(900);
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    assert!(!model.until(200, |model| model.weight() != 5));
    for (short, lasts) in [(100, true), (100, true), (130, false)] {
        model.target.replicas *= 20;
        model.comes_up = false;
        assert_eq!(!model.until(short, |model| model.weight() != 5), lasts);
        model.comes_up = true;
        model.tick();
        model.pass();
    }
}
