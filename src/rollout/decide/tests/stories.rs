//! Timelines of whole runs: what happens, and what must have been told and be so in the end.

use super::model::{Health, Model, clean, ended, names, revision};
use crate::rollout::describe;
use crate::rollout::reason::Outcome;
use crate::rollout::state::Phase;

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
