//! Timelines of rolling releases: no canary, what serves is held to what was before.

use std::time::Duration;

use super::model::{Health, Model, all_at_once, ended, phase, reason, revision};
use crate::rollout::describe;
use crate::rollout::observation::Smoked;
use crate::rollout::plan::{Strategy, UndecidedThen};
use crate::rollout::reason::{Outcome, Reason};
use crate::rollout::state::Phase;

/// An idle Rollout whose releases roll, and are watched for half a minute.
fn idle(approval: bool) -> Model {
    let mut model = Model::idle();
    rolling(&mut model, approval);
    model.terms.plan.bake = Some(Duration::from_secs(30));
    model
}

pub(super) fn rolling(model: &mut Model, approval: bool) {
    all_at_once(model, Strategy::Rolling { approval });
}

fn stable_is(model: &Model, name: &str) -> bool {
    let stable = model.state.stable.as_ref();
    stable.is_some_and(|stable| stable.same(&revision(name)))
}

#[test]
fn it_is_held_until_stable_is_known_then_rolls_and_is_watched() {
    let mut model = idle(false);
    model.apply("v2");
    assert!(
        !model.until(55, |model| !model.target.paused),
        "too little is known of stable"
    );
    assert!(describe::message(&model.state).contains("is held"));
    assert!(model.until(10, |model| !model.target.paused));
    assert!(model.until(5, phase("Baking")));
    assert!(stable_is(&model, "v1"), "it is not proven yet");
    assert!(
        !model.until(25, phase("Idle")),
        "it is watched for its time"
    );
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
    assert!(stable_is(&model, "v2"));
    let canary =
        |it: &Reason| matches!(it, Reason::CanaryReady { .. } | Reason::WeightRaised { .. });
    assert!(!model.told.iter().any(canary), "there is no canary");
    assert!(model.canary.is_none() && model.route.is_none());
}

#[test]
fn what_is_worse_while_it_rolls_is_put_back_before_the_roll_is_over() {
    let mut model = idle(false);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(70, phase("Promoting")));
    assert!(describe::message(&model.state).contains("rolls natively"));
    model.stable_health = Health::Bad;
    assert!(model.until(30, phase("RollingBack")));
    assert_eq!(model.target.revision, revision("v1"));
    model.stable_health = Health::Good;
    model.rolls = true;
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&model), "BakeFailed");
    // Applied again, it stays held.
    model.apply("v2");
    assert!(model.until(5, phase("Failed")));
    assert!(model.target.paused);
}

#[test]
fn what_is_worse_after_the_roll_is_put_back_whoever_applies_it_again() {
    let mut model = idle(false);
    model.apply("v2");
    assert!(model.until(90, phase("Baking")));
    model.stable_health = Health::Bad;
    model.rolls = false;
    assert!(model.until(30, phase("RollingBack")));
    model.apply("v2");
    model.pass();
    assert_eq!(model.target.revision, revision("v1"), "put back again");
    model.rolls = true;
    model.settle();
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert!(stable_is(&model, "v1"));
}

#[test]
fn a_roll_that_comes_to_nothing_is_taken_back_at_the_deadline() {
    let mut model = idle(false);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(70, phase("Promoting")));
    assert!(!model.until(115, phase("RollingBack")));
    assert!(model.until(20, phase("RollingBack")));
    model.rolls = true;
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&model), "PromotionStuck");
}

#[test]
fn a_person_approves_the_roll() {
    let mut model = idle(true);
    model.apply("v2");
    assert!(model.until(90, phase("AwaitingApproval")));
    assert!(model.told.contains(&Reason::RollAwaited));
    assert!(!model.until(300, |model| !model.target.paused));
    model.ask("approve");
    assert!(model.until(5, |model| !model.target.paused));
    assert!(model.until(90, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_person_who_promotes_does_not_wait_for_metrics() {
    let mut model = idle(false);
    model.metrics = false;
    model.apply("v2");
    assert!(model.until(90, phase("Held")), "nothing can be judged");
    assert!(model.target.paused);
    model.ask("promote");
    assert!(model.until(10, |model| ended(model, Outcome::Promoted)));
    assert!(model.canary.is_none());
}

#[test]
fn a_newer_template_waits_and_the_old_one_is_back_at_once() {
    let mut model = idle(false);
    model.apply("v2");
    assert!(model.until(30, phase("Preparing")));
    model.apply("v3");
    model.pass();
    let tried = model.state.phase.run().map(|run| run.revision.clone());
    assert_eq!(tried, Some(revision("v3")), "nothing of v2 had begun");
    assert!(model.until(90, phase("Baking")));
    model.apply("v4");
    assert!(!model.until(20, |model| !phase("Baking")(model)));
    assert!(model.until(60, |model| stable_is(model, "v3")));
    assert!(model.until(200, |model| stable_is(model, "v4")));
    model.apply("v5");
    assert!(model.until(90, phase("Baking")));
    model.apply("v4");
    assert!(model.until(10, |model| ended(model, Outcome::Cancelled)));
    assert_eq!(model.target.revision, revision("v4"));
}

#[test]
fn a_newer_template_in_mid_roll_is_kept_and_tried_afterwards() {
    let mut model = idle(false);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(70, phase("Promoting")));
    model.pass();
    model.apply("v3");
    model.pass();
    assert_eq!(model.target.revision, revision("v2"), "finished first");
    assert_eq!(model.state.desired, Some(revision("v3")));
    model.rolls = true;
    model.settle();
    assert!(model.until(60, |model| stable_is(model, "v2")));
    assert!(model.until(200, |model| stable_is(model, "v3")));
}

#[test]
fn what_stands_in_the_way_is_removed_on_the_way_back_only() {
    let mut model = idle(false);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(70, phase("Promoting")));
    model.target.stuck = true;
    model.pass();
    assert!(model.target.stuck, "on the way forward it may still come");
    model.stable_health = Health::Bad;
    assert!(model.until(60, |model| !model.target.stuck));
    assert_eq!(model.target.revision, revision("v1"));
    model.stable_health = Health::Good;
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
}

#[test]
fn a_failed_smoke_test_after_the_roll_takes_it_back() {
    let mut model = idle(false);
    model.terms.plan.smoke_after = vec!["login".to_owned()];
    model.apply("v2");
    assert!(model.until(90, |model| model.smoke_asked == ["login"]));
    model.smoked_after = Some(Smoked::Failed {
        sentence: "login said 500".to_owned(),
    });
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&model), "Smoke");
}

#[test]
fn without_requests_nothing_rolls_unless_the_plan_says_so() {
    let quiet = |then| {
        let mut model = idle(false);
        model.baseline = false;
        model.terms.plan.analysis.undecided = (Duration::from_secs(400), then);
        model.apply("v2");
        model
    };
    let mut held = quiet(UndecidedThen::Hold);
    assert!(held.until(900, phase("Held")));
    assert!(held.target.paused);
    let mut back = quiet(UndecidedThen::Rollback);
    assert!(back.until(900, |model| ended(model, Outcome::RolledBack)));
    let mut onward = quiet(UndecidedThen::Promote);
    assert!(onward.until(900, phase("Baking")));
}

#[test]
fn an_outage_before_the_roll_is_not_what_stable_is_like() {
    let mut model = idle(false);
    model.apply("v2");
    model.target.replicas = 0;
    model.stable_health = Health::Bad;
    model.settle();
    assert!(model.until(20, phase("Held")));
    assert!(!model.until(60, |model| !phase("Held")(model)));
    model.target.replicas = 4;
    model.stable_health = Health::Good;
    model.settle();
    assert!(model.until(5, phase("Preparing")));
    assert!(
        !model.until(55, |model| !model.target.paused),
        "counted anew"
    );
    assert!(model.until(10, |model| !model.target.paused));
    model.stable_health = Health::Bad;
    assert!(model.until(30, phase("RollingBack")));
}

#[test]
fn suspending_in_mid_roll_puts_back_and_keeps_what_was_wanted() {
    let mut model = idle(false);
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(70, phase("Promoting")));
    model.terms.plan.suspended = true;
    model.rolls = true;
    assert!(model.until(30, |model| {
        matches!(model.state.phase, Phase::Suspended) && !model.target.guarded
    }));
    assert_eq!(model.target.revision, revision("v1"));
    assert_eq!(model.state.desired, Some(revision("v2")));
}

#[test]
fn a_canary_of_another_strategy_is_removed_before_the_roll() {
    let mut model = Model::idle();
    model.comes_up = false;
    model.apply("v2");
    assert!(model.until(5, |model| model.canary.is_some()));
    rolling(&mut model, false);
    assert!(model.until(5, |model| model.canary.is_none()));
    assert!(model.until(200, |model| ended(model, Outcome::Promoted)));
}
