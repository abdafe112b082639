//! Timelines: what happens, and what must have been told and be so in the end.

use std::time::Duration;

use super::model::{Health, Model, ended, revision, told};
use crate::rollout::action::Action;
use crate::rollout::decide::{decide, needs_pods};
use crate::rollout::describe;
use crate::rollout::evidence::{Kind, Max, Question};
use crate::rollout::observation::{CanaryRoute, Smoked};
use crate::rollout::plan::{Route, UndecidedThen};
use crate::rollout::reason::Outcome;
use crate::rollout::state::{Phase, State};

/// What was told, but for what a promotion can exclude.
fn names(model: &Model) -> Vec<&'static str> {
    let names = told(model).into_iter();
    names.filter(|name| *name != "Patience").collect()
}

fn clean(model: &Model) {
    assert!(model.canary.is_none(), "the canary is gone");
    assert!(model.route.is_none(), "the route is gone");
    assert!(!model.target.paused, "the Deployment is not left paused");
}

#[test]
fn a_healthy_release_is_held_stepped_and_promoted() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    clean(&model);
    assert_eq!(model.target.revision, revision("v2"));
    assert_eq!(
        names(&model),
        [
            "Adopted",
            "RunStarted",
            "CanaryReady",
            "WeightRaised",
            "WeightRaised",
            "WeightRaised",
            "PromotionStarted",
            "Promoted",
        ]
    );
}

#[test]
fn a_bad_release_is_at_weight_0_in_the_pass_that_finds_it() {
    let mut model = Model::idle();
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(60, |model| model.state.phase.name() == "RollingBack"));
    assert_eq!(model.weight(), 0);
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    clean(&model);
    assert_eq!(model.target.revision, revision("v1"));
}

#[test]
fn a_failed_revision_that_is_applied_again_stays_held_until_it_is_retried() {
    let mut model = Model::idle();
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
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

#[test]
fn a_canary_that_crashes_never_gets_a_request() {
    let mut model = Model::idle();
    model.crashes = true;
    model.apply("v2");
    assert!(model.until(10, |model| ended(model, Outcome::RolledBack)));
    assert!(!names(&model).contains(&"WeightRaised"));
    assert_eq!(model.state.last_run.as_ref().unwrap().reason, "CrashLoop");
}

#[test]
fn a_canary_that_hangs_ends_at_the_deadline() {
    let mut model = Model::idle();
    model.comes_up = false;
    model.apply("v2");
    assert!(!model.until(110, |model| model.state.phase.name() != "Preparing"));
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(
        model.state.last_run.as_ref().unwrap().reason,
        "ProgressDeadline"
    );
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
fn a_newer_revision_supersedes_the_run() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    model.apply("v3");
    model.pass();
    assert_eq!(model.weight(), 0);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v3"));
    assert!(!model.approved.contains("v2"));
}

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

#[test]
fn only_what_the_last_run_promoted_is_said_to_be_promoted_by_it() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    let (v2, v3) = (revision("v2"), revision("v3"));
    let promoted = format!("guards {v2}, which the last run promoted");
    assert_eq!(describe::message(&model.state), promoted);
    // By break-glass.
    model.state.stable = Some(v3.clone());
    assert_eq!(describe::message(&model.state), format!("guards {v3}"));
}

/// A run whose canary is ready and whose smoke tests are not known yet.
fn with_smoke_tests() -> Model {
    let mut model = Model::idle();
    model.terms.plan.smoke = vec!["health".to_owned()];
    model.apply("v2");
    assert!(model.until(60, |model| model.smoke_asked == ["health"]));
    assert!(!model.until(60, |model| model.weight() > 0));
    model
}

#[test]
fn a_canary_gets_no_traffic_before_its_smoke_tests_have_passed() {
    let mut model = with_smoke_tests();
    let sentence = "health: 1 of 1 good".to_owned();
    model.smoked = Some(Smoked::Passed { sentence });
    assert!(model.until(3, |model| model.weight() == 5));
    // A daemon that starts again does not know what they came to, but that they passed.
    model.smoked = None;
    model.state = model.saved.clone();
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert_eq!(
        names(&model)
            .iter()
            .filter(|name| **name == "SmokePassed")
            .count(),
        1
    );
}

#[test]
fn a_canary_that_fails_its_smoke_tests_is_put_back_without_traffic() {
    let mut model = with_smoke_tests();
    let sentence = "health: 0 of 3 good; answered 500".to_owned();
    model.smoked = Some(Smoked::Failed { sentence });
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    let last = model.state.last_run.clone().unwrap();
    assert_eq!(last.message, "smoke test health: 0 of 3 good; answered 500");
    assert!(!names(&model).contains(&"WeightRaised"));
}

#[test]
fn a_smoke_test_that_cannot_be_made_holds_the_canary_back_and_is_told_once() {
    let mut model = with_smoke_tests();
    let why = "there is no smoke test \"health\"".to_owned();
    model.smoked = Some(Smoked::Hindered { why });
    assert!(!model.until(60, |model| model.weight() > 0));
    assert_eq!(model.state.phase.name(), "Preparing");
    assert_eq!(
        names(&model)
            .iter()
            .filter(|name| **name == "SmokeHindered")
            .count(),
        1
    );
}

#[test]
fn an_alert_ends_a_run_even_while_a_person_holds_it() {
    for held in [false, true] {
        let mut model = Model::idle();
        model.apply("v2");
        assert!(model.until(60, |model| model.weight() == 5));
        if held {
            model.ask("hold");
            assert!(model.until(3, |model| model.state.phase.name() == "Held"));
        }
        model.ask("alert");
        model.requests.last_mut().unwrap().why = Some("Slow fires: p99 3 s".to_owned());
        model.pass();
        assert_eq!(model.weight(), 0);
        assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
        let ended = model.state.last_run.clone().unwrap();
        assert_eq!(ended.message, "alert Slow fires: p99 3 s");
    }
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
fn a_canary_that_the_cluster_does_not_let_be_made_is_no_failure_of_the_release() {
    let mut model = Model::idle();
    model.refuses = Some("denied by policy labels".to_owned());
    model.apply("v2");
    assert!(model.until(180, |model| model.state.phase.name() == "Held"));
    let Phase::Held { why, .. } = &model.state.phase else {
        panic!("{:?}", model.state.phase);
    };
    assert_eq!(
        why.to_string(),
        "no canary can be made: denied by policy labels"
    );
    assert!(!model.until(1000, |model| model.state.phase.name() != "Held"));
    model.refuses = None;
    // Once it can be made, its pods have their time.
    model.comes_up = false;
    assert!(model.until(10, |model| model.state.phase.name() == "Preparing"));
    assert!(!model.until(100, |model| model.state.phase.name() != "Preparing"));
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
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
fn behind_a_gateway_a_canary_without_a_ready_pod_gets_nothing() {
    let mut model = Model::idle();
    model.terms.plan.route = Route::GatewayApi {
        http_route: "shop".to_owned(),
        service: None,
    };
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 25));
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
    let mut model = Model::idle();
    model.terms.plan.route = Route::GatewayApi {
        http_route: "shop".to_owned(),
        service: None,
    };
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 25));
    let replicas = std::mem::take(&mut model.target.replicas);
    assert!(!model.until(60, |model| model.weight() != 25));
    assert_eq!(model.state.phase.name(), "Held");
    model.target.replicas = replicas;
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    assert!(!names(&model).contains(&"WeightMended"));
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
    // No node has room: it waits.
    model.target.refused = Some("pod shop-1 finds no node".to_owned());
    assert!(!model.until(3 * half, |model| model.state.phase.name() != "Promoting"));
    model.rolls = true;
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn what_would_refuse_a_canary_holds_one_that_is_under_trial() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(600, |model| model.weight() == 25));
    let gone = || Some("Ingress shop is not there".to_owned());
    model.unroutable = gone();
    assert!(
        !model.until(8, |model| model.weight() != 25),
        "it may be for a moment"
    );
    model.unroutable = None;
    model.pass();
    model.unroutable = gone();
    assert!(model.until(15, |model| model.state.phase.name() == "Held"));
    assert_eq!(model.weight(), 0);
    assert!(describe::message(&model.state).contains("Ingress shop is not there"));
    model.unroutable = None;
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
fn what_nobody_watched_is_no_time_in_which_nothing_came() {
    let mut promoting = Model::idle();
    promoting.rolls = false;
    promoting.apply("v2");
    let rolls =
        |model: &Model| model.target.updated_ready == 1 && model.state.phase.name() == "Promoting";
    assert!(promoting.until(600, rolls));
    promoting.pass();
    let mut undecided = Model::idle();
    undecided.terms.plan.analysis.undecided = (Duration::from_secs(900), UndecidedThen::Rollback);
    undecided.leads = false;
    undecided.apply("v2");
    assert!(undecided.until(60, |model| model.weight() == 5));
    assert!(!undecided.until(30, |model| model.weight() != 5));
    let mut short = Model::idle();
    short.comes_up = false;
    short.apply("v2");
    assert!(short.until(10, |model| model.state.phase.name() == "Preparing"));
    for mut model in [promoting, undecided, short] {
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
fn a_return_to_stable_during_the_promotion_forgets_what_was_wanted_before() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.target.serving(&revision("v2")).is_some()));
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
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.target.serving(&revision("v2")).is_some()));
    model.ask("abort");
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    assert!(!model.until(30, |model| names(model).contains(&"Bypassed")));
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
    let mut model = Model::idle();
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    model.apply("v2");
    assert!(model.until(5, |model| model.state.phase == Phase::Failed));
    model.target.serving.clear();
    assert!(model.until(10, |model| model.target.serving(&revision("v1")).is_some()));
    assert!(!model.until(30, |model| model.target.revision == revision("v2")));
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
