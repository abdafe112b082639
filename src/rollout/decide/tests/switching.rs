//! Timelines of blue/green releases: all of the traffic at once, judged against what was before.

use std::time::Duration;

use super::model::{Health, Model, all_at_once, ended, phase, reason, revision};
use crate::rollout::describe;
use crate::rollout::observation::Smoked;
use crate::rollout::plan::{Strategy, UndecidedThen};
use crate::rollout::reason::{Outcome, Reason};

/// An idle Rollout whose releases are switched, and watched for half a minute.
fn idle(approval: bool) -> Model {
    let mut model = Model::idle();
    switched(&mut model, approval);
    model
}

pub(super) fn switched(model: &mut Model, approval: bool) {
    all_at_once(model, Strategy::BlueGreen { approval });
}

fn seconds(model: &Model, since: jiff::Timestamp) -> i64 {
    model.now.duration_since(since).as_secs()
}

#[test]
fn all_traffic_goes_over_when_stable_is_known_and_stays_for_the_hold() {
    let mut model = idle(false);
    let began = model.now;
    model.apply("v2");
    assert!(model.until(10, |model| {
        model.canary.as_ref().is_some_and(|it| it.ready == 4)
    }));
    assert!(
        !model.until(50, |model| model.weight() > 0),
        "too little is known of stable"
    );
    assert!(model.until(20, |model| model.weight() == 100));
    assert!((55..75).contains(&seconds(&model, began)));
    let served = &model.target.serving;
    assert_eq!(
        (served.len(), served[0].ready),
        (1, 4),
        "stable keeps running"
    );
    assert!(!model.until(28, phase("Promoting")));
    assert!(model.until(20, |model| ended(model, Outcome::Promoted)));
    assert_eq!(model.target.revision, revision("v2"));
    assert!(model.canary.is_none() && model.route.is_none());
}

#[test]
fn what_is_worse_than_before_is_off_in_the_pass_that_finds_it() {
    let mut model = idle(false);
    model.canary_health = Health::Bad;
    model.apply("v2");
    assert!(model.until(90, |model| model.weight() == 100));
    assert!(model.until(30, phase("RollingBack")));
    assert_eq!(model.weight(), 0);
    assert!(model.until(60, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&model), "Worse");
    assert_eq!(model.target.revision, revision("v1"));
}

#[test]
fn a_person_approves_the_switch_and_nothing_is_asked_twice() {
    let mut model = idle(true);
    model.apply("v2");
    assert!(model.until(90, phase("AwaitingApproval")));
    assert!(describe::message(&model.state).contains("waits for an approval"));
    assert!(!model.until(300, |model| model.weight() > 0));
    model.ask("approve");
    assert!(model.until(5, |model| model.weight() == 100));
    // Stable vanishes for a moment: off, and on again without another word.
    model.target.serving[0].ready = 0;
    model.pass();
    assert_eq!((model.weight(), model.state.phase.name()), (0, "Held"));
    model.settle();
    assert!(model.until(30, |model| model.weight() == 100));
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_failed_smoke_test_keeps_all_traffic_where_it_is() {
    let mut model = idle(false);
    model.terms.plan.smoke = vec!["health".to_owned()];
    model.apply("v2");
    assert!(model.until(60, |model| model.smoke_asked == ["health"]));
    assert!(!model.until(120, |model| model.weight() > 0));
    model.smoked = Some(Smoked::Failed {
        sentence: "health said 500".to_owned(),
    });
    assert!(model.until(30, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&model), "Smoke");
    assert!(
        !model
            .told
            .iter()
            .any(|it| matches!(it, Reason::WeightRaised { .. }))
    );
}

#[test]
fn without_requests_before_nothing_is_switched_unless_the_plan_says_so() {
    let quiet = |then| {
        let mut model = idle(false);
        model.baseline = false;
        model.terms.plan.analysis.undecided = (Duration::from_secs(400), then);
        model.apply("v2");
        model
    };
    let mut held = quiet(UndecidedThen::Hold);
    assert!(held.until(900, phase("Held")));
    assert_eq!(held.weight(), 0);
    held.baseline = true;
    assert!(held.until(300, |model| ended(model, Outcome::Promoted)));

    let mut back = quiet(UndecidedThen::Rollback);
    assert!(back.until(900, |model| ended(model, Outcome::RolledBack)));
    assert_eq!(reason(&back), "Undecided");

    let mut onward = quiet(UndecidedThen::Promote);
    assert!(onward.until(900, |model| model.weight() == 100));
}

#[test]
fn green_keeps_its_pods_when_an_autoscaler_takes_those_without_traffic() {
    let mut model = idle(false);
    model.apply("v2");
    assert!(model.until(90, |model| model.weight() == 100));
    model.target.replicas = 1;
    model.settle();
    assert!(!model.until(20, |model| {
        model.canary.as_ref().is_none_or(|it| it.replicas != 4)
    }));
    assert_eq!(model.weight(), 100);
}

#[test]
fn a_newer_template_and_the_old_one_lead_back_first() {
    for (applied, outcome) in [("v3", Outcome::Promoted), ("v1", Outcome::Cancelled)] {
        let mut model = idle(false);
        model.apply("v2");
        assert!(model.until(90, |model| model.weight() == 100));
        model.apply(applied);
        model.pass();
        assert_eq!(model.weight(), 0, "{applied}");
        assert!(model.until(300, |model| ended(model, outcome)), "{applied}");
        assert_eq!(model.target.revision, revision(applied));
    }
}

#[test]
fn a_hold_longer_than_the_wait_for_a_decision_is_kept() {
    let mut model = idle(false);
    model.terms.plan.analysis.undecided = (Duration::from_secs(100), UndecidedThen::Hold);
    model.terms.plan.steps[0].hold = Duration::from_secs(200);
    model.apply("v2");
    assert!(model.until(90, |model| model.weight() == 100));
    assert!(!model.until(190, |model| !phase("Stepping")(model)));
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}
