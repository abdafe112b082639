//! Approvals that matter by whom: how many, from whom, how long, not from the author, and from Git.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::model::{Health, Model, ended, phase, revision};
use super::native::rolling;
use crate::rollout::approval::{Approvals, Environment, Vouched};
use crate::rollout::decide::decide;
use crate::rollout::describe;
use crate::rollout::evidence::Verdict;
use crate::rollout::observation::Past;
use crate::rollout::plan::{self, UndecidedThen};
use crate::rollout::reason::{Outcome, Reason};

const LIMIT: Duration = Duration::from_secs(300);

fn two_of_sre() -> Approvals {
    Approvals {
        required: 2,
        from: vec![vec!["sre".to_owned(), "carol".to_owned()]],
        expires: Some(LIMIT),
        not_author: false,
    }
}

fn waiting(approvals: Approvals) -> Model {
    let mut model = Model::idle();
    model.terms.plan.steps[0].approval = true;
    model.terms.plan.approvals = approvals;
    model.apply("v2");
    assert!(model.until(300, phase("AwaitingApproval")));
    model
}

fn approves(model: &mut Model, by: Option<&str>, groups: &[&str]) {
    model.ask("approve");
    if let Some(request) = model.requests.last_mut() {
        request.by = by.map(str::to_owned);
        request.groups = groups.iter().map(ToString::to_string).collect();
    }
}

/// Asks, and what is answered.
fn answer(model: &mut Model, by: Option<&str>, groups: &[&str]) -> String {
    approves(model, by, groups);
    model.tick();
    model.pass();
    model.state.answers.last().unwrap().message.clone()
}

#[test]
fn two_people_of_the_group_approve_and_each_counts_once() {
    let mut model = waiting(two_of_sre());
    let cases: [(Option<&str>, &[&str], &str); 5] = [
        (None, &[], "nobody is named"),
        (
            Some("mallory"),
            &["dev"],
            "mallory is none of those who may approve: sre, carol",
        ),
        (Some("alice"), &["sre"], "approved, 1 of 2"),
        (
            Some("alice"),
            &["sre"],
            "alice has approved already, and counts once",
        ),
        (Some("carol"), &[], "approved"),
    ];
    for (by, groups, wanted) in cases {
        let found = answer(&mut model, by, groups);
        assert!(found.ends_with(wanted), "{by:?}: {found}");
        let told = describe::message(&model.state);
        let awaits = model.state.phase.name() == "AwaitingApproval";
        assert_eq!(awaits, by != Some("carol"), "{told}");
    }
    let run = model.state.phase.run().unwrap();
    let by: Vec<&str> = run.approvals.iter().map(|a| a.by.as_str()).collect();
    assert_eq!(by, ["alice", "carol"]);
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn an_approval_that_waits_too_long_is_told_and_counts_no_more() {
    let mut model = waiting(two_of_sre());
    assert_eq!(
        answer(&mut model, Some("alice"), &["sre"]),
        "approved, 1 of 2"
    );
    assert!(describe::message(&model.state).ends_with("; approved by alice"));
    let plan = model.terms.plan.clone();
    assert_eq!(
        describe::next(&plan, &model.state, &[]),
        "`sluice approve` lets it go on: 1 of 2, from sre or carol"
    );
    let expired = Reason::ApprovalExpired {
        by: "alice".to_owned(),
        after: "5m".to_owned(),
    };
    assert!(model.until(400, |model| model.told.contains(&expired)));
    assert_eq!(answer(&mut model, Some("carol"), &[]), "approved, 1 of 2");
    assert_eq!(model.weight(), 5);
    assert_eq!(answer(&mut model, Some("alice"), &["sre"]), "approved");
    assert!(model.until(60, |model| model.weight() == 25));
}

#[test]
fn what_expired_while_nobody_looked_does_not_count_with_the_next_one() {
    let mut model = waiting(two_of_sre());
    let first = answer(&mut model, Some("alice"), &["sre"]);
    assert_eq!(first, "approved, 1 of 2");
    // No daemon for a while; the request is there when one comes.
    model.now += 2 * LIMIT;
    let second = answer(&mut model, Some("carol"), &[]);
    assert_eq!(second, "approved, 1 of 2");
    assert_eq!(model.state.phase.name(), "AwaitingApproval");
}

#[test]
fn nobody_goes_back_to_what_was_never_promoted_where_releases_need_people() {
    let mut model = Model::idle();
    model.terms.plan.steps[0].approval = true;
    model.terms.plan.approvals = two_of_sre();
    model.target.past.push(Past {
        revision: revision("v9"),
        number: 9,
    });
    model.ask_for("v9");
    model.pass();
    let answer = model.state.answers.last().unwrap();
    assert!(
        !answer.done && answer.message.contains("was never promoted here"),
        "{}",
        answer.message
    );
}

#[test]
fn nobody_passes_by_promote_what_others_must_approve() {
    let mut model = waiting(two_of_sre());
    model.ask("promote");
    model.tick();
    model.pass();
    let answer = model.state.answers.last().unwrap();
    assert!(!answer.done && answer.message.contains("sluice.dev/open"));
    // Where anybody may approve, whoever may ask may promote.
    let mut model = waiting(Approvals::default());
    model.ask("promote");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn who_takes_steps_away_from_a_run_takes_no_approval_away() {
    let every_run = |model: &mut Model| {
        let environment = Environment {
            approvals: two_of_sre(),
            every_run: true,
        };
        model.terms.plan.take_place_in(&environment);
    };
    let mut model = Model::idle();
    every_run(&mut model);
    model.apply("v2");
    assert!(model.until(300, |model| model.weight() == 25));
    model.terms.plan.steps.truncate(1);
    model.terms.plan.steps[0].hold = Duration::from_secs(100);
    model.terms.evidence.steps.truncate(1);
    every_run(&mut model);
    assert!(model.terms.plan.approvals_to_come(&model.state.phase));
    assert!(
        !model.until(90, phase("AwaitingApproval")),
        "the hold counts"
    );
    assert!(model.until(300, phase("AwaitingApproval")));
    assert!(!model.until(300, |model| model.state.phase.name() != "AwaitingApproval"));
    for by in ["alice", "bob"] {
        assert_eq!(model.state.phase.name(), "AwaitingApproval");
        answer(&mut model, Some(by), &["sre"]);
    }
    assert!(model.until(60, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn the_author_does_not_count_and_an_environment_adds_what_it_asks_for() {
    let mut model = Model::idle();
    model.terms.plan.take_place_in(&Environment {
        approvals: Approvals {
            not_author: true,
            ..Approvals::default()
        },
        every_run: true,
    });
    model.authors = vec!["alice".to_owned()];
    model.apply("v2");
    assert!(model.until(900, phase("AwaitingApproval")));
    assert_eq!(model.weight(), 50, "before the promotion");
    let told = answer(&mut model, Some("alice"), &[]);
    assert!(told.contains("alice is the author"), "{told}");
    assert_eq!(answer(&mut model, Some("bob"), &[]), "approved");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    let last = model.state.last_run.as_ref();
    assert_eq!(last.unwrap().authors, ["alice"], "whom the workload names");
}

/// Whoever may patch the Rollout may write another plan in the middle of a run.
#[test]
fn a_plan_that_is_changed_in_a_run_asks_for_the_environments_approvals_still() {
    let every_run = Environment {
        approvals: two_of_sre(),
        every_run: true,
    };
    let shortened: fn(&mut Model) = |model| {
        model.terms.plan.steps.truncate(1);
        model.terms.evidence.steps.truncate(1);
    };
    let switched: fn(&mut Model) = |model| {
        model.terms.plan.steps.truncate(1);
        model.terms.evidence.steps.truncate(1);
        model.terms.plan.steps[0].weight = 100;
        model.terms.plan.strategy = plan::Strategy::BlueGreen { approval: false };
    };
    for change in [shortened, switched] {
        let mut model = Model::idle();
        model.terms.plan.take_place_in(&every_run);
        model.apply("v2");
        assert!(model.until(600, |model| model.weight() == 25));
        change(&mut model);
        model.terms.plan.take_place_in(&every_run);
        model.ask("promote");
        assert!(model.until(900, phase("AwaitingApproval")));
        let refused = &model.state.answers.last().unwrap().message;
        assert!(refused.contains("needs the approvals"), "{refused}");
        assert!(!model.until(900, |model| ended(model, Outcome::Promoted)));
    }
}

#[test]
fn who_turns_out_to_be_the_author_counts_no_more() {
    let asked = Approvals {
        required: 2,
        not_author: true,
        ..Approvals::default()
    };
    let mut model = waiting(asked);
    let told = answer(&mut model, Some("alice"), &[]);
    assert_eq!(told, "approved, 1 of 2; who wrote the change is not known");
    model.authors = vec!["alice".to_owned()];
    model.tick();
    model.pass();
    assert_eq!(model.state.phase.run().unwrap().approvals_here(), 0);
    assert_eq!(answer(&mut model, Some("bob"), &[]), "approved, 1 of 2");
    let told = answer(&mut model, Some("alice"), &[]);
    assert!(told.contains("alice is the author"), "{told}");
    assert_eq!(answer(&mut model, Some("carol"), &[]), "approved");
}

#[test]
fn what_stands_in_git_counts_for_its_revision_and_does_not_expire() {
    let mut model = waiting(two_of_sre());
    let vouched = |text: &str| Vouched::read(text);
    for (text, count) in [("v1 carol", 0), ("v2 mallory", 0), ("v2 carol", 1)] {
        model.vouched = vouched(text);
        model.tick();
        model.pass();
        let run = model.state.phase.run().unwrap();
        assert_eq!(run.approvals_here(), count, "{text}");
    }
    assert!(!model.until(400, |model| model.weight() > 5));
    assert_eq!(answer(&mut model, Some("alice"), &["sre"]), "approved");
    assert!(model.until(60, |model| model.weight() == 25));

    let mut model = waiting(Approvals::default());
    model.vouched = vouched("v2");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
}

/// The same image, and a command that nobody has seen.
fn changed_but_for_the_tag(model: &mut Model) {
    model.target.revision.hash = "a command".to_owned();
    model.target.paused = true;
}

#[test]
fn what_stands_in_git_counts_for_no_other_template_of_the_tag() {
    let mut model = waiting(Approvals::default());
    model.vouched = Vouched::read("v2 carol");
    assert!(model.until(600, |model| ended(model, Outcome::Promoted)));
    changed_but_for_the_tag(&mut model);
    assert!(model.until(300, phase("AwaitingApproval")));
    assert!(!model.until(300, |model| !phase("AwaitingApproval")(model)));
    let told = model.told.iter().filter(|reason| {
        let told = reason.to_string();
        told.contains("(v2) does not count: it was given when v2 had that name")
    });
    assert_eq!(told.count(), 1, "{:?}", model.told);
    model.vouched = Vouched::read("another v2 carol");
    assert!(!model.until(60, |model| model.weight() > 5));
    model.vouched = Vouched::read("v2 dave");
    assert!(model.until(60, |model| model.weight() > 5));
}

#[test]
fn what_stands_in_git_is_of_the_template_that_was_there_though_no_run_asked_for_it() {
    let mut model = Model::idle();
    model.vouched = Vouched::read("v1 carol");
    model.terms.plan.steps[0].approval = true;
    model.tick();
    model.pass();
    changed_but_for_the_tag(&mut model);
    assert!(model.until(300, phase("AwaitingApproval")));
    assert!(!model.until(300, |model| !phase("AwaitingApproval")(model)));
    assert_eq!(model.state.phase.run().unwrap().approvals_here(), 0);
}

/// One step, so that an approval is all that is between it and the promotion.
fn suspected(model: &mut Model) {
    model.terms.plan.steps.truncate(1);
    model.terms.evidence.steps.truncate(1);
    model.canary_health = Health::Bad;
    let is_suspected = |model: &Model| {
        let run = model.state.phase.run();
        run.is_some_and(|run| run.verdict == Verdict::Suspect)
    };
    assert!(model.until(30, is_suspected));
    assert_eq!(model.state.phase.name(), "AwaitingApproval");
    let told = describe::message(&model.state);
    assert!(told.contains("it is suspected"), "{told}");
}

#[test]
fn a_suspected_release_goes_on_by_nobodys_approval() {
    let mut model = waiting(Approvals::default());
    suspected(&mut model);
    let told = answer(&mut model, Some("alice"), &[]);
    assert!(told.starts_with("it is suspected (error-rate: "), "{told}");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));

    let mut model = waiting(Approvals::default());
    suspected(&mut model);
    model.vouched = Vouched::read("v2");
    assert!(model.until(90, |model| ended(model, Outcome::RolledBack)));
    assert!(!model.approved.contains("v2"));
}

#[test]
fn a_roll_is_approved_by_two_as_well() {
    let mut model = Model::idle();
    rolling(&mut model, true);
    model.terms.plan.approvals = two_of_sre();
    model.apply("v2");
    assert!(model.until(300, phase("AwaitingApproval")));
    assert_eq!(
        answer(&mut model, Some("alice"), &["sre"]),
        "approved, 1 of 2"
    );
    assert_eq!(answer(&mut model, Some("carol"), &[]), "approved");
    assert!(model.until(900, |model| ended(model, Outcome::Promoted)));
}

#[test]
fn a_step_that_stays_undecided_is_approved_all_the_same() {
    let mut model = Model::idle();
    model.terms.plan.steps[0].approval = true;
    let soon = Duration::from_secs(60);
    model.terms.plan.analysis.undecided = (soon, UndecidedThen::Promote);
    // It cannot be shown in that time.
    model.terms.evidence.blast = 1e-9;
    model.terms.evidence.blast_max = 1e-9;
    model.apply("v2");
    assert!(model.until(600, phase("AwaitingApproval")));
    assert_eq!(model.weight(), 5);
}

#[derive(Debug, Clone)]
enum Event {
    Seconds(u16),
    Approves(u8, bool),
    Promotes,
    Dies(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..200_u16).prop_map(Event::Seconds),
        5 => (0..4_u8, any::<bool>()).prop_map(|(who, member)| Event::Approves(who, member)),
        1 => Just(Event::Promotes),
        2 => (0..4_usize).prop_map(Event::Dies),
    ]
}

/// Whether two different members have asked within the limit.
fn enough(asked: &[(u8, Timestamp)]) -> bool {
    let mut pairs = asked
        .iter()
        .flat_map(|one| asked.iter().map(move |two| (one, two)));
    pairs.any(|((one, at), (two, then))| {
        let apart = crate::clock::elapsed(*at, *then).max(crate::clock::elapsed(*then, *at));
        one != two && apart <= LIMIT + Duration::from_secs(5)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No weight beyond the step without two different people of the group, shortly after one another,
    /// whatever else is asked and wherever the daemon dies.
    #[test]
    fn no_step_is_passed_without_enough_people(events in proptest::collection::vec(event(), 1..40)) {
        let mut model = waiting(two_of_sre());
        let mut asked = Vec::new();
        for event in events {
            match event {
                Event::Seconds(seconds) => {
                    for _ in 0..seconds {
                        model.tick();
                        model.pass();
                    }
                }
                Event::Approves(who, member) => {
                    let groups: &[&str] = if member { &["sre"] } else { &["dev"] };
                    approves(&mut model, Some(&format!("p{who}")), groups);
                    if member {
                        asked.push((who, model.now));
                    }
                }
                Event::Promotes => model.ask("promote"),
                Event::Dies(effects) => {
                    model.tick();
                    let decision = decide(&model.terms, &model.state, &model.look());
                    model.execute(&decision, effects);
                    model.crash();
                }
            }
            prop_assert!(model.weight() <= 5 || enough(&asked), "{asked:?}");
        }
    }
}
