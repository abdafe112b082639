//! Single decisions between runs: what one look leads to, where a story would hide it.
//!
//! Each test changes one fact of a look at an idle or adopting Rollout. What comes of a decision over time is
//! told by the timelines beside this file.

use super::model::{Model, config, revision};
use crate::rollout::action::Action;
use crate::rollout::cause::HeldWhy;
use crate::rollout::decide::{Decision, decide};
use crate::rollout::observation::{Canary, GateMode, Observation, Serving};
use crate::rollout::plan::ConfigChanges;
use crate::rollout::reason::{Outcome, Reason};
use crate::rollout::state::{Ended, Failure, Mending, Phase, Run, State, Trigger};

fn decided(model: &Model, look: impl FnOnce(&mut Observation)) -> Decision {
    let mut seen = model.look();
    look(&mut seen);
    decide(&model.terms, &model.state, &seen)
}

fn told(decision: &Decision) -> Vec<&'static str> {
    decision.reasons.iter().map(Reason::name).collect()
}

fn serves(name: &str, ready: i32) -> Serving {
    Serving {
        revision: revision(name),
        replicas: 4,
        ready,
    }
}

fn ended(model: &Model, name: &str) -> Ended {
    Ended {
        id: "run".to_owned(),
        revision: revision(name),
        authors: Vec::new(),
        outcome: Outcome::RolledBack,
        reason: "Worse".to_owned(),
        message: "it was worse".to_owned(),
        saved: None,
        started: model.now,
        ended: model.now,
    }
}

fn failure(model: &Model, name: &str) -> Failure {
    Failure {
        revision: revision(name),
        message: "it was worse".to_owned(),
        at: model.now,
    }
}

fn unpause(name: &str) -> Action {
    Action::Unpause {
        expect: revision(name),
    }
}

fn held_by_gate(seen: &mut Observation, name: &str) {
    let target = seen.target.as_mut().unwrap();
    target.revision = revision(name);
    target.paused = true;
    target.complete = false;
}

#[test]
fn nothing_new_leads_to_nothing() {
    let decision = decided(&Model::idle(), |_| {});
    assert_eq!(decision.actions, []);
    assert_eq!(told(&decision), Vec::<&str>::new());
    assert_eq!(decision.next, Model::idle().state);
}

#[test]
fn a_deployment_made_again_is_another_one() {
    let mut model = Model::idle();
    model.kept.desired = Some(revision("v9"));
    let decision = decided(&model, |seen| {
        let target = seen.target.as_mut().unwrap();
        target.uid = "two".to_owned();
        target.revision = revision("v5");
        target.serving = vec![serves("v5", 4)];
    });
    assert_eq!(decision.next.target.as_deref(), Some("two"));
    assert_eq!(decision.next.stable, Some(revision("v5")));
    assert!(decision.actions.contains(&Action::DropDesired));
    assert!(!told(&decision).contains(&"Bypassed"));
}

#[test]
fn a_broken_gate_is_said_once_and_so_is_its_mending() {
    let mut model = Model::idle();
    let problem = |seen: &mut Observation| seen.gate.problem = Some("no binding".to_owned());
    let broken = decided(&model, problem);
    assert_eq!(told(&broken), ["GateBroken"]);
    model.state = broken.next;
    assert_eq!(told(&decided(&model, problem)), Vec::<&str>::new());
    assert_eq!(told(&decided(&model, |_| {})), ["GateMended"]);
}

#[test]
fn what_guards_is_put_back() {
    let model = Model::idle();
    let without_finalizer = decided(&model, |seen| seen.rollout.finalizer = false);
    assert_eq!(without_finalizer.actions, [Action::TakeCustody]);
    let named_otherwise = decided(&model, |seen| {
        seen.target.as_mut().unwrap().held_by = Some("another".to_owned());
    });
    assert_eq!(named_otherwise.actions, [Action::Guard]);
}

#[test]
fn pods_of_a_run_that_ended_are_a_bypass_unless_they_are_leaving() {
    let mut model = Model::idle();
    model.state.last_run = Some(ended(&model, "v2"));
    for (name, complete, noticed) in [
        ("v2", false, false),
        ("v2", true, true),
        ("v9", false, true),
        ("v9", true, true),
    ] {
        let decision = decided(&model, |seen| {
            let target = seen.target.as_mut().unwrap();
            target.complete = complete;
            target.serving.push(serves(name, 1));
        });
        let said = told(&decision).contains(&"Bypassed");
        assert_eq!(said, noticed, "{name}, complete: {complete}");
    }
}

#[test]
fn a_suspended_rollout_takes_back_what_is_held_where_it_can() {
    let mut model = Model::idle();
    model.terms.plan.suspended = true;
    model.state.phase = Phase::Suspended;
    let restored = [Action::RestoreTemplate {
        to: revision("v1"),
        expect: revision("v2"),
        paused: false,
        restarted_at: None,
    }];
    let keep = Action::KeepDesired {
        revision: revision("v2"),
    };
    let restored = [keep, restored[0].clone()];
    let cases: [(&str, Option<&str>, &[Action]); 3] = [
        ("v1", None, &restored),
        ("v0", Some("v1"), &restored),
        ("v0", Some("v7"), &[unpause("v2")]),
    ];
    for (serving, kept, actions) in cases {
        let decision = decided(&model, |seen| {
            held_by_gate(seen, "v2");
            seen.target.as_mut().unwrap().serving = vec![serves(serving, 4)];
            seen.kept.stable = kept.map(revision);
        });
        assert_eq!(decision.actions, actions, "{serving} serves, {kept:?} kept");
    }
    let paused_by_a_person = decided(&model, |seen| seen.target.as_mut().unwrap().paused = true);
    assert_eq!(paused_by_a_person.actions, [unpause("v1")]);
    let out_already = decided(&model, |seen| {
        seen.target.as_mut().unwrap().revision = revision("v2");
    });
    assert_eq!(out_already.actions, [Action::Unguard]);
}

#[test]
fn only_a_rollout_that_is_deleted_lets_go_of_its_finalizer() {
    for (deleting, finalizer, lets_go) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let mut model = Model::idle();
        model.terms.plan.suspended = true;
        model.state.phase = Phase::Suspended;
        let decision = decided(&model, |seen| {
            let target = seen.target.as_mut().unwrap();
            (target.guarded, target.held_by) = (false, None);
            (seen.rollout.deleting, seen.rollout.finalizer) = (deleting, finalizer);
        });
        // What guards may be put back before it is released; that is not asked here.
        let said = decision.actions.contains(&Action::ReleaseCustody);
        assert_eq!(said, lets_go, "deleting {deleting}, finalizer {finalizer}");
    }
}

#[test]
fn what_is_applied_while_nothing_is_guarded_is_newer_than_what_is_kept() {
    for (live, guarded, kept) in [
        ("v1", false, true),
        ("v2", false, true),
        ("v3", true, true),
        ("v3", false, false),
    ] {
        let mut model = Model::idle();
        model.terms.plan.suspended = true;
        model.state.phase = Phase::Suspended;
        model.state.desired = Some(revision("v2"));
        let decision = decided(&model, |seen| {
            seen.kept.desired = Some(revision("v2"));
            let target = seen.target.as_mut().unwrap();
            (target.guarded, target.held_by) = (guarded, None);
            target.revision = revision(live);
        });
        assert_eq!(decision.next.desired.is_some(), kept, "{live}, {guarded}");
    }
}

#[test]
fn what_serves_instead_of_a_stable_that_nobody_knows_is_stable_if_it_is_ready() {
    let model = Model::idle();
    for (ready, known, taken) in [
        (0, false, false),
        (1, false, true),
        (4, false, true),
        (4, true, false),
    ] {
        let decision = decided(&model, |seen| {
            held_by_gate(seen, "v2");
            seen.kept.stable = known.then(|| revision("v1"));
            seen.target.as_mut().unwrap().serving = vec![serves("v0", ready)];
        });
        let stable = decision.next.stable.clone();
        assert_eq!(stable == Some(revision("v0")), taken, "{ready} ready");
        assert_eq!(decision.next.phase, Phase::Idle);
        let back = |action: &Action| matches!(action, Action::RestoreTemplate { to, paused: false, .. } if *to == revision("v1"));
        assert_eq!(decision.actions.iter().any(back), known, "{ready} ready");
    }
}

#[test]
fn pods_that_were_asked_for_a_moment_ago_are_waited_for() {
    for failed in [false, true] {
        let mut model = Model::idle();
        if failed {
            model.state.phase = Phase::Failed;
            model.state.failed = Some(failure(&model, "v2"));
        }
        let decision = decided(&model, |seen| {
            held_by_gate(seen, "v2");
            let target = seen.target.as_mut().unwrap();
            target.serving.clear();
            target.behind = true;
        });
        assert_eq!(decision.actions, [], "failed: {failed}");
    }
}

#[test]
fn what_failed_is_not_let_through_as_the_first() {
    for (failed, goes_out) in [("v2", false), ("v3", true)] {
        let mut model = Model::idle();
        model.state.phase = Phase::Failed;
        model.state.failed = Some(failure(&model, failed));
        let decision = decided(&model, |seen| {
            held_by_gate(seen, "v2");
            seen.kept.stable = None;
            seen.target.as_mut().unwrap().serving.clear();
        });
        let out = decision.actions.contains(&unpause("v2"));
        assert_eq!(out, goes_out, "{failed} failed before");
    }
}

#[test]
fn the_template_of_what_serves_is_kept_again_beside_a_failed_one() {
    let mut model = Model::idle();
    model.state.phase = Phase::Failed;
    model.state.failed = Some(failure(&model, "v2"));
    let decision = decided(&model, |seen| {
        held_by_gate(seen, "v2");
        seen.kept.stable = None;
    });
    let kept = Action::KeepStable {
        revision: revision("v1"),
    };
    assert_eq!(decision.actions, [kept]);
}

#[test]
fn a_newest_replica_set_that_was_scaled_up_instead_of_stable_gives_way_to_it() {
    let mut model = Model::idle();
    let run = Run::begun(revision("v2"), Trigger::Template, model.now);
    model.state.phase = Phase::Held {
        run,
        why: HeldWhy::NoReplicas,
    };
    let decision = decided(&model, |seen| {
        held_by_gate(seen, "v2");
        seen.target.as_mut().unwrap().serving = vec![serves("v0", 4)];
    });
    let back = |action: &Action| matches!(action, Action::RestoreTemplate { to, paused: false, .. } if *to == revision("v1"));
    assert!(decision.actions.iter().any(back), "{:?}", decision.actions);
    assert_eq!(decision.next.desired, Some(revision("v2")));
}

#[test]
fn a_new_template_without_replicas_begins_a_run() {
    let decision = decided(&Model::idle(), |seen| {
        held_by_gate(seen, "v2");
        let target = seen.target.as_mut().unwrap();
        target.replicas = 0;
        target.serving.clear();
    });
    assert!(
        decision.next.phase.run().is_some(),
        "{:?}",
        decision.next.phase
    );
}

#[test]
fn that_stable_is_mended_is_forgotten_once_it_serves() {
    let mut model = Model::idle();
    model.state.mending = vec![Mending::Serving, Mending::Canary];
    for name in ["v1", "v2"] {
        let decision = decided(&model, |seen| {
            if name == "v2" {
                held_by_gate(seen, name);
            }
        });
        assert!(!decision.next.mending.contains(&Mending::Serving), "{name}");
    }
}

#[test]
fn changed_configuration_is_reported_or_tried_as_the_plan_says() {
    let mut model = Model::idle();
    model.state.config = config("old.one");
    let changed = |seen: &mut Observation| seen.target.as_mut().unwrap().config = config("new.one");
    let reported = decided(&model, changed);
    assert_eq!(told(&reported), ["ConfigChanged"]);
    assert_eq!(reported.next.config, config("new.one"));
    assert_eq!(reported.next.phase, Phase::Idle);
    model.terms.plan.config_changes = ConfigChanges::Run;
    let tried = decided(&model, changed);
    let run = tried.next.phase.run().unwrap();
    let digest = "new.one".to_owned();
    assert_eq!(run.trigger, Trigger::Config { digest });
    assert_eq!(run.mark(), "v1-new.one");
}

#[test]
fn configuration_that_cannot_be_read_is_not_taken_for_changed() {
    let mut model = Model::idle();
    model.terms.plan.config_changes = ConfigChanges::Run;
    for (known, now, afterwards) in [
        ("maps.secrets", "maps.unread", "maps.secrets"),
        ("maps.secrets", "unread.unread", "maps.secrets"),
        // A rule that is granted later.
        ("maps.unread", "maps.secrets", "maps.secrets"),
    ] {
        model.state.config = config(known);
        let decision = decided(&model, |seen| {
            seen.target.as_mut().unwrap().config = config(now);
        });
        assert_eq!(decision.next.phase, Phase::Idle, "{now}");
        assert_eq!(decision.next.config, config(afterwards), "{now}");
        assert_eq!(told(&decision), Vec::<&str>::new(), "{now}");
    }
}

#[test]
fn a_restart_is_done_once_and_is_over_when_all_pods_are_new() {
    let mut model = Model::idle();
    let id = "one".to_owned();
    model.state.restart = Some(id.clone());
    let begun = decided(&model, |_| {});
    let (at, expect) = (model.now, revision("v1"));
    assert_eq!(begun.actions, [Action::Restart { id, at, expect }]);
    assert_eq!(told(&begun), Vec::<&str>::new());
    for (complete, mode, paused, actions) in [
        (false, GateMode::Policy, false, vec![]),
        (false, GateMode::Paused, false, vec![]),
        (false, GateMode::Paused, true, vec![unpause("v1")]),
        (true, GateMode::Policy, false, vec![]),
    ] {
        let decision = decided(&model, |seen| {
            seen.gate.mode = mode;
            let target = seen.target.as_mut().unwrap();
            target.restarted_for = Some("one".to_owned());
            (target.complete, target.paused) = (complete, paused);
        });
        assert_eq!(decision.actions, actions, "{complete}, {mode:?}, {paused}");
        assert_eq!(told(&decision).contains(&"Restarted"), complete);
        assert_eq!(decision.next.restart.is_none(), complete);
    }
}

#[test]
fn between_runs_a_complete_deployment_is_paused_in_mode_paused_only() {
    let model = Model::idle();
    let pause = Action::Pause {
        expect: revision("v1"),
    };
    for (mode, paused, complete, actions) in [
        (GateMode::Paused, false, true, vec![pause]),
        (GateMode::Paused, false, false, vec![]),
        (GateMode::Paused, true, true, vec![]),
        (GateMode::Policy, true, true, vec![unpause("v1")]),
        (GateMode::Policy, false, true, vec![]),
    ] {
        let decision = decided(&model, |seen| {
            seen.gate.mode = mode;
            let target = seen.target.as_mut().unwrap();
            (target.paused, target.complete) = (paused, complete);
        });
        assert_eq!(decision.actions, actions, "{mode:?}, {paused}, {complete}");
    }
}

#[test]
fn who_opens_the_gate_opens_what_is_kept_paused() {
    let mut model = Model::idle();
    model.gate.mode = GateMode::Paused;
    model.pass();
    assert!(model.target.paused);
    model.target.open = Some("a fire".to_owned());
    model.pass();
    model.pass();
    assert!(!model.target.paused);
    model.target.open = None;
    model.pass();
    assert!(model.target.paused);
}

#[test]
fn nothing_is_guarded_before_the_webhook_is_trusted() {
    for refuses in [true, false] {
        let decision = decided(&Model::new(), |seen| {
            seen.gate.mode = GateMode::Webhook;
            seen.gate.refuses = refuses;
            seen.target.as_mut().unwrap().guarded = false;
        });
        let guards = decision.actions.contains(&Action::Guard);
        assert_eq!(guards, !refuses);
        assert!(matches!(decision.next.phase, Phase::Adopting { .. }));
    }
}

#[test]
fn in_mode_paused_a_deployment_is_guarded_once_it_is_paused() {
    for (paused, opened, guarded) in [
        (false, false, false),
        (true, false, true),
        (false, true, true),
    ] {
        let decision = decided(&Model::new(), |seen| {
            seen.gate.mode = GateMode::Paused;
            let target = seen.target.as_mut().unwrap();
            (target.guarded, target.held_by) = (true, Some("shop".to_owned()));
            target.paused = paused;
            target.open = opened.then(|| "a fire".to_owned());
        });
        let pauses = |action: &Action| matches!(action, Action::Pause { .. });
        assert_eq!(decision.actions.iter().any(pauses), !guarded);
        assert_eq!(
            decision.next.phase == Phase::Idle,
            guarded,
            "{paused} {opened}"
        );
    }
}

#[test]
fn in_mode_paused_a_promotion_is_over_when_the_deployment_is_paused_again() {
    let mut model = Model::idle();
    model.gate.mode = GateMode::Paused;
    model.apply("v2");
    let promoted = |model: &Model| model.state.phase == Phase::Idle;
    assert!(model.until(600, |model| !promoted(model)));
    assert!(model.until(600, promoted));
    assert_eq!(model.state.stable, Some(revision("v2")));
    assert!(model.target.paused);
}

#[test]
fn a_template_that_went_out_is_stable_once_it_is_complete() {
    let model = Model::idle();
    for complete in [false, true] {
        let decision = decided(&model, |seen| {
            let target = seen.target.as_mut().unwrap();
            target.revision = revision("v2");
            target.complete = complete;
        });
        assert_eq!(decision.next.phase, Phase::Idle);
        let stable = if complete { "v2" } else { "v1" };
        assert_eq!(decision.next.stable, Some(revision(stable)));
    }
}

#[test]
fn a_template_that_was_kept_is_given_back_when_the_older_one_is_complete() {
    let mut model = Model::idle();
    model.state.desired = Some(revision("v3"));
    for complete in [false, true] {
        let decision = decided(&model, |seen| {
            seen.target.as_mut().unwrap().complete = complete;
        });
        let given = decision.actions.contains(&Action::RestoreTemplate {
            to: revision("v3"),
            expect: revision("v1"),
            paused: true,
            restarted_at: None,
        });
        assert_eq!(given, complete);
        assert_eq!(told(&decision), Vec::<&str>::new());
        assert_eq!(decision.next.desired, Some(revision("v3")));
    }
    let there = decided(&model, |seen| held_by_gate(seen, "v3"));
    assert!(told(&there).contains(&"DesiredGiven"));
    assert_eq!(there.next.desired, None);
    assert!(there.actions.contains(&Action::DropDesired));
}

#[test]
fn a_failed_revision_waits_only_while_it_is_held() {
    let mut model = Model::idle();
    model.state.phase = Phase::Failed;
    model.state.failed = Some(failure(&model, "v2"));
    let held = decided(&model, |seen| held_by_gate(seen, "v2"));
    assert_eq!(held.next.phase, Phase::Failed);
    let released = decided(&model, |seen| {
        held_by_gate(seen, "v2");
        seen.target.as_mut().unwrap().paused = false;
    });
    assert_eq!(released.next.phase, Phase::Idle);
    let replaced = decided(&model, |seen| held_by_gate(seen, "v3"));
    assert!(!matches!(replaced.next.phase, Phase::Failed));
}

/// Paused, complete, replicas, what serves; the stable revision or what is said.
type Adoption = (
    bool,
    bool,
    i32,
    Vec<Serving>,
    Result<&'static str, &'static str>,
);

#[test]
fn a_deployment_is_adopted_with_what_serves() {
    let cases: Vec<Adoption> = vec![
        (false, true, 4, vec![serves("v2", 4)], Ok("v2")),
        (true, true, 4, vec![serves("v2", 4)], Ok("v2")),
        (true, true, 4, vec![serves("v1", 4)], Ok("v1")),
        (true, false, 4, vec![serves("v1", 1)], Ok("v1")),
        (true, true, 0, vec![], Ok("v2")),
        (true, false, 0, vec![], Ok("v2")),
        (false, false, 4, vec![serves("v2", 4)], Err("still rolling")),
        (false, false, 4, vec![serves("v1", 4)], Err("still rolling")),
        (true, false, 4, vec![serves("v1", 0)], Err("no pod")),
        (
            true,
            false,
            4,
            vec![serves("v1", 2), serves("v2", 2)],
            Err("middle of a roll"),
        ),
        (true, false, 4, vec![], Err("nothing serves yet")),
    ];
    for (paused, complete, replicas, serving, wanted) in cases {
        let case = format!("paused {paused}, complete {complete}, {serving:?}");
        let decision = decided(&Model::new(), |seen| {
            let target = seen.target.as_mut().unwrap();
            target.revision = revision("v2");
            (target.paused, target.complete) = (paused, complete);
            (target.replicas, target.serving) = (replicas, serving);
            (target.guarded, target.held_by) = (true, Some("shop".to_owned()));
        });
        match (wanted, &decision.next.phase) {
            (Ok(stable), Phase::Idle | Phase::Preparing(_) | Phase::Held { .. }) => {
                assert_eq!(decision.next.stable, Some(revision(stable)), "{case}");
            }
            (Err(words), Phase::Adopting { why }) => {
                assert!(why.contains(words), "{case}: {why}");
                let opened = decision.actions.contains(&unpause("v2"));
                assert_eq!(opened, words == "nothing serves yet", "{case}");
            }
            (_, phase) => panic!("{case}: {phase:?}"),
        }
    }
}

#[test]
fn why_a_deployment_is_not_guarded_is_said_once() {
    let mut model = Model::new();
    let rolling = |seen: &mut Observation| seen.target.as_mut().unwrap().complete = false;
    let first = decided(&model, rolling);
    assert_eq!(told(&first), ["Unguarded"]);
    model.state = first.next;
    assert_eq!(told(&decided(&model, rolling)), Vec::<&str>::new());
}

#[test]
fn evidence_alone_is_no_reason_to_save() {
    let mut model = Model::idle();
    model.apply("v2");
    assert!(model.until(60, |model| model.weight() == 5));
    let before = model.state.clone();
    let later = State {
        evidence: None,
        bookmark: None,
        ..before.clone()
    };
    assert!(!later.differs_durably(&before));
    let idle = State {
        phase: Phase::Idle,
        ..before.clone()
    };
    assert!(idle.differs_durably(&before));
}

#[test]
fn a_deployment_is_adopted_only_once_its_label_was_seen() {
    let mut model = Model::new();
    let asked = decided(&model, |_| {});
    assert_eq!(asked.actions, [Action::TakeCustody, Action::Guard]);
    assert!(matches!(asked.next.phase, Phase::Adopting { .. }));
    assert_eq!(told(&asked), Vec::<&str>::new());
    model.state = asked.next;
    // A template that was applied before the label was on is seen with it, rolling.
    let slipped = decided(&model, |seen| {
        let target = seen.target.as_mut().unwrap();
        (target.guarded, target.held_by) = (true, Some("shop".to_owned()));
        (target.revision, target.complete) = (revision("v2"), false);
    });
    assert_eq!(told(&slipped), ["Unguarded"]);
    let seen = decided(&model, |seen| {
        let target = seen.target.as_mut().unwrap();
        (target.guarded, target.held_by) = (true, Some("shop".to_owned()));
    });
    assert_eq!(told(&seen), ["Adopted"]);
    assert_eq!(seen.next.phase, Phase::Idle);
}

#[test]
fn where_nothing_serves_the_stable_template_that_is_kept_comes_up_and_the_present_one_waits() {
    let mut model = Model::new();
    model.kept.stable = Some(revision("v1"));
    model.target.revision = revision("v2");
    model.target.paused = true;
    model.target.complete = false;
    model.target.serving.clear();
    let decision = decided(&model, |_| {});
    let keep = Action::KeepDesired {
        revision: revision("v2"),
    };
    assert_eq!(decision.actions[0], keep);
    let Action::RestoreTemplate { to, paused, .. } = &decision.actions[1] else {
        panic!("{:?}", decision.actions);
    };
    assert_eq!((to.hash.as_str(), *paused), ("v1", false));
    assert_eq!(told(&decision)[0], "Healed");
}

#[test]
fn a_deleted_rollout_whose_state_is_lost_puts_back_what_it_keeps_and_lets_go() {
    let mut model = Model::idle();
    model.apply("v2");
    (model.state, model.saved) = (State::default(), State::default());
    model.deleting = true;
    assert!(model.until(10, |model| !model.guarded_by_rollout));
    assert_eq!(model.target.revision, revision("v1"));
    assert!(!model.target.guarded && !model.target.paused);
}

#[test]
fn a_kept_template_that_somebody_deleted_is_given_up_and_that_is_said() {
    let mut model = Model::idle();
    model.state.desired = Some(revision("v3"));
    let first = decided(&model, |_| {});
    assert_eq!(told(&first), Vec::<&str>::new());
    model.state = first.next;
    model.now += std::time::Duration::from_secs(60);
    let second = decided(&model, |_| {});
    assert_eq!(told(&second), ["SetAside"]);
    assert_eq!(second.next.desired, None);
    let late = decided(&model, |seen| seen.kept.desired = Some(revision("v3")));
    assert_eq!(late.next.desired, Some(revision("v3")));
}

#[test]
fn a_run_that_could_not_be_promoted_for_the_gate_is_held_before_it_starts() {
    let mut model = Model::idle();
    model.apply("v2");
    let held = decided(&model, |seen| {
        seen.gate.holds_us = true;
        seen.gate.problem = Some("it lets another pass".to_owned());
    });
    let Phase::Held { why, .. } = &held.next.phase else {
        panic!("{:?}", held.next.phase);
    };
    assert!(why.to_string().ends_with("it lets another pass"), "{why}");
    assert_eq!(held.actions, []);
    model.state = held.next;
    assert_eq!(decided(&model, |_| {}).next.phase.name(), "Preparing");
}

#[test]
fn canary_pods_that_do_not_go_are_not_waited_for_for_ever() {
    let model = Model::idle();
    for (seconds, again) in [(1, false), (119, false), (120, true)] {
        let decision = decided(&model, |seen| {
            seen.canary = Some(Canary {
                leaving: Some(seen.now - std::time::Duration::from_secs(seconds)),
                ..Canary::default()
            });
        });
        let asked = decision.actions.contains(&Action::RemoveCanary);
        assert_eq!(asked, again, "{seconds} s");
        assert_eq!(decision.next.phase, Phase::Idle);
    }
}

#[test]
fn what_is_set_aside_for_stable_is_not_forgotten_by_a_look_that_comes_too_soon() {
    let mut model = Model::idle();
    model.apply("v3");
    // Stable's pods are gone; something else serves.
    let look = |seen: &mut Observation| {
        seen.target.as_mut().unwrap().serving = vec![serves("v9", 4)];
    };
    let first = decided(&model, look);
    assert_eq!(first.next.desired, Some(revision("v3")));
    model.state = first.next.clone();
    let second = decided(&model, look);
    assert_eq!(second.next.desired, Some(revision("v3")));
    assert_eq!(told(&second), Vec::<&str>::new());
    let new = |action: &&Action| !first.actions.contains(action);
    assert_eq!(second.actions.iter().find(new), None);
}
