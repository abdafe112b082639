//! Timelines of a canary's smoke tests.

use super::model::{Model, ended, names};
use crate::rollout::observation::Smoked;
use crate::rollout::reason::Outcome;

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
