//! Timelines: what happens, and what must have been told and be so in the end.

use super::model::{Health, Model, revision};
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

fn names(model: &Model) -> Vec<&'static str> {
    let told = model.told.iter().map(crate::rollout::reason::Reason::name);
    told.filter(|name| *name != "Patience").collect()
}

fn ended(model: &Model, outcome: Outcome) -> bool {
    let ended = model.state.last_run.as_ref();
    matches!(model.state.phase, Phase::Idle) && ended.is_some_and(|run| run.outcome == outcome)
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
    model.pass();
    assert_eq!(model.weight(), 0);
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
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
