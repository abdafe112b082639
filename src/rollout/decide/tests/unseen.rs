//! A namespace that the daemon may not look at any more: nothing is decided for what cannot be seen.

use super::model::{Health, Model, ended, revision};
use crate::rollout::cause::HeldWhy;
use crate::rollout::reason::{Outcome, Reason};
use crate::rollout::state::Phase;

const WHY: &str = "pods is forbidden";
/// Longer than every deadline of the plan.
const LONG: u32 = 3600;

fn at_25() -> Model {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 25));
    model
}

#[test]
fn a_run_holds_its_weight_whatever_seems_to_be_so_and_goes_on_when_it_is_seen_again() {
    let mut model = at_25();
    model.unseen = Some(WHY.to_owned());
    // As empty or old shelves would show it.
    let (canary, serving) = (model.canary.take(), model.target.serving.clone());
    model.target.serving.clear();
    let held = HeldWhy::Unseen {
        why: WHY.to_owned(),
    };
    let moves = |model: &Model| model.weight() != 25 || model.target.revision != revision("v2");
    assert!(!model.until(LONG, moves));
    assert!(
        matches!(&model.state.phase, Phase::Held { why, .. } if *why == held),
        "{:?}",
        model.state.phase
    );
    (model.canary, model.target.serving, model.unseen) = (canary, serving, None);
    assert!(model.until(LONG, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_canary_that_is_worse_or_unwanted_gets_no_requests_and_is_cleared_away_later() {
    for aborted in [true, false] {
        let mut model = at_25();
        model.unseen = Some(WHY.to_owned());
        if aborted {
            model.ask("abort");
        } else {
            model.canary_health = Health::Bad;
        }
        assert!(model.until(120, |model| model.weight() == 0), "{aborted}");
        assert!(!model.until(LONG, |model| model.canary.is_none()));
        assert_eq!(model.target.revision, revision("v2"), "{aborted}");
        model.unseen = None;
        let over = |model: &Model| matches!(model.state.phase, Phase::Idle | Phase::Failed);
        assert!(model.until(LONG, over), "{aborted}");
        assert!(model.canary.is_none() && model.route.is_none(), "{aborted}");
        assert_eq!(model.target.revision, revision("v1"), "{aborted}");
    }
}

#[test]
fn a_promotion_waits_and_what_else_is_asked_for_too() {
    let mut model = Model::idle();
    model.rolls = false;
    model.apply("v2");
    assert!(model.until(600, |model| model.state.phase.name() == "Promoting"));
    model.unseen = Some(WHY.to_owned());
    model.ask("restart");
    assert!(!model.until(LONG, |model| model.state.phase.name() != "Promoting"));
    assert_eq!(model.requests.len(), 1);
    let told = |reason: &&Reason| matches!(reason, Reason::PromotionHindered { why } if why == WHY);
    assert_eq!(model.told.iter().filter(told).count(), 1);
    (model.unseen, model.rolls) = (None, true);
    assert!(model.until(LONG, |model| ended(model, Outcome::Promoted)));
    assert!(model.requests.is_empty());
}

#[test]
fn what_comes_meanwhile_is_not_begun() {
    let mut model = Model::idle();
    model.unseen = Some(WHY.to_owned());
    model.apply("v2");
    assert!(!model.until(LONG, |model| model.state.phase != Phase::Idle));
    model.unseen = None;
    assert!(model.until(LONG, |model| ended(model, Outcome::Promoted)));
}
