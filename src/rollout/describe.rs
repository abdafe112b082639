//! A state in words: why it is there, and what happens next.
//!
//! Not here: what happened (`reason`).

use super::cause::Cause;
use super::evidence::{Evidence, RuleReport, Verdict};
use super::plan::{Plan, Strategy};
use super::reason::{HeldWhy, Outcome};
use super::revision::Revision;
use super::state::{Phase, Promotion, Rollback, Run, Smoke, State};

/// Why a Rollout stands where it stands.
pub fn message(state: &State) -> String {
    match &state.phase {
        Phase::Adopting { why } => format!("not guarded yet: {why}"),
        Phase::Idle => idle(state),
        Phase::Preparing(run) => {
            let told = format!("{} is held and being prepared", run.revision);
            unmeasured(told, run)
        }
        Phase::Stepping(run) if run.suspect.is_some() => format!(
            "{} is suspected: back at {}% until both witnesses agree",
            run.revision, run.weight
        ),
        Phase::Stepping(run) => tried(state, run),
        Phase::AwaitingApproval(run) if run.weight == 0 => format!(
            "{} is held and waits for an approval to get all of the traffic{}",
            run.revision,
            approved(run)
        ),
        Phase::AwaitingApproval(run) => {
            format!(
                "{} passed {}% and waits for an approval{}{}",
                run.revision,
                run.weight,
                approved(run),
                doubted(run)
            )
        }
        Phase::Held { run, why } => held(run, why),
        Phase::Promoting { run, stage } => promoting(run, stage),
        Phase::Baking(run) => baking(state, run),
        // Nothing is put back then.
        Phase::RollingBack {
            run,
            rollback:
                Rollback {
                    cause: cause @ (Cause::WentOut | Cause::TargetGone | Cause::Superseded),
                    ..
                },
        } => format!(
            "the run of {} ends, its canary is being removed: {cause}",
            run.revision
        ),
        Phase::RollingBack { run, rollback } => {
            format!("{} is put back: {}", run.revision, rollback.cause)
        }
        Phase::Failed => failed(state),
        Phase::Suspended => suspended(state),
    }
}

/// Who has approved already.
fn approved(run: &Run) -> String {
    let here = run.approvals.iter();
    let here = here.filter(|approval| approval.step == run.step);
    let names: Vec<&str> = here.map(|approval| approval.by.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; approved by {}", names.join(", ")),
    }
}

/// Why an approval would not do now.
fn doubted(run: &Run) -> &'static str {
    if run.verdict >= Verdict::Suspect {
        "; it is suspected, and no approval lets it go on meanwhile"
    } else {
        ""
    }
}

/// What is missing for a step to pass.
fn awaited(plan: &Plan, run: &Run) -> String {
    let asked = plan.asked_at(run);
    let mut told = "`sluice approve` lets it go on".to_owned();
    if asked.required > 1 {
        told = format!("{told}: {} of {}", run.approvals_here(), asked.required);
    }
    for (index, names) in asked.from.iter().enumerate() {
        let by = if index == 0 {
            "from"
        } else {
            "who must also be"
        };
        told = format!("{told}, {by} {}", names.join(" or "));
    }
    if asked.not_author {
        told.push_str(", not from the author");
    }
    told
}

fn tried(state: &State, run: &Run) -> String {
    let tried = format!("{} is tried at {}%", run.revision, run.weight);
    match state.evidence.as_ref().map(Evidence::share) {
        Some(share) if !share.ok => {
            format!(
                "{tried}; it waits, its share is wrong: {}",
                share.sentence()
            )
        }
        _ => match &run.late {
            Some(rule) => format!(
                "{tried}; it waits, the newest sample of {rule} is too old when it comes for a weight to rise by it"
            ),
            None => unmeasured(tried, run),
        },
    }
}

/// The same, and that there are no metrics.
fn unmeasured(told: String, run: &Run) -> String {
    match &run.silent {
        Some(why) => format!("{told}; it waits, there are no metrics: {why}"),
        None => told,
    }
}

fn suspended(state: &State) -> String {
    let told = "suspended: nothing is guarded";
    match &state.desired {
        Some(kept) => {
            format!("{told}; {kept} was held and is kept: `suspended: false` gives it back, held")
        }
        None => told.to_owned(),
    }
}

fn idle(state: &State) -> String {
    let told = at_rest(state);
    let told = match &state.lingering {
        Some(failed) => format!("{told}; pods of {failed} serve beside it still"),
        None => told,
    };
    let told = match &state.desired {
        Some(kept) => format!("{told}; {}", given_back(kept)),
        None => told,
    };
    match &state.opened {
        Some(why) => format!(
            "{told}; its gate is open ({why}): each new template goes out unproven, until `sluice open --close`"
        ),
        None => told,
    }
}

/// When a template that is kept is had again.
fn given_back(kept: &Revision) -> String {
    format!(
        "{kept} was applied meanwhile and is kept: it is given back once stable's template serves alone again; who cannot wait opens the gate (`sluice open`)"
    )
}

fn at_rest(state: &State) -> String {
    match (&state.stable, &state.last_run) {
        // What it was promoted for stands with the last run.
        (Some(stable), Some(run)) if run.outcome == Outcome::Promoted => {
            if run.revision.same(stable) {
                format!("guards {stable}, which the last run promoted")
            } else {
                // It went out without one: by break-glass, or past the gate.
                format!("guards {stable}")
            }
        }
        (Some(stable), Some(run)) => format!(
            "guards {stable}; the last run ended {}: {}",
            run.outcome, run.message
        ),
        (Some(stable), None) => format!("guards {stable}"),
        (None, _) => "nothing is guarded yet".to_owned(),
    }
}

fn held(run: &Run, why: &HeldWhy) -> String {
    match &run.waiting {
        Some(waiting) => format!("{} stands still: {why}; {waiting} waits", run.revision),
        None => format!("{} stands still: {why}", run.revision),
    }
}

fn promoting(run: &Run, stage: &Promotion) -> String {
    match stage {
        Promotion::Rolling { ready, .. } if run.rolls => {
            format!(
                "{} rolls natively and is watched, {} ready",
                run.revision,
                pods(*ready)
            )
        }
        Promotion::Rolling { ready, .. } => {
            format!(
                "{} is promoted and rolls natively, {} ready",
                run.revision,
                pods(*ready)
            )
        }
        Promotion::Draining { .. } | Promotion::Removing if run.rolls => {
            format!("{} serves and is watched", run.revision)
        }
        Promotion::Draining { .. } | Promotion::Removing => {
            format!("{} serves; its canary is being removed", run.revision)
        }
    }
}

fn pods(count: i32) -> String {
    match count {
        1 => "1 pod".to_owned(),
        count => format!("{count} pods"),
    }
}

fn baking(state: &State, run: &Run) -> String {
    let before = state.stable.as_ref();
    let told = format!(
        "{} serves and is watched; {} is kept to go back to",
        run.revision,
        before.map(ToString::to_string).unwrap_or_default()
    );
    match &run.waiting {
        Some(waiting) => format!("{told}; {waiting} waits"),
        None => told,
    }
}

fn failed(state: &State) -> String {
    let Some(failure) = &state.failed else {
        return "a failed revision is held".to_owned();
    };
    let told = format!(
        "{} failed and is held: {}; a new template or `sluice retry` starts a run",
        failure.revision, failure.message
    );
    match &state.desired {
        Some(kept) => format!("{told}; {}", given_back(kept)),
        None => told,
    }
}

/// What happens next, and when at the earliest.
pub fn next(plan: &Plan, state: &State, reports: &[RuleReport]) -> String {
    match &state.phase {
        Phase::Preparing(_) if plan.strategy.is_rolling() => {
            "when it is known what stable is like it rolls natively".to_owned()
        }
        Phase::Preparing(run) if plan.strategy.approval().is_some() => {
            let asks = if plan.asks_after(run) { "an approval, then " } else { "" };
            format!("when its pods are ready and it is known what stable is like: {asks}all of the traffic")
        }
        Phase::Preparing(_) => format!(
            "when the canary is ready and the metrics are fresh: {}%",
            plan.steps.first().map_or(0, |step| step.weight)
        ),
        Phase::Stepping(run) if is_misled(state) => format!(
            "{}, when the canary gets its share again: is its Service's port one of its pods, does the controller take its route?",
            goal(plan, run)
        ),
        Phase::Stepping(run) if run.silent.is_some() => {
            format!("{}, when there are metrics again", goal(plan, run))
        }
        Phase::Stepping(run) => next_step(plan, run, reports),
        Phase::AwaitingApproval(run) => awaited(plan, run),
        Phase::Held { why, .. } => out_of_held(why, plan.approvals_to_come(&state.phase)),
        Phase::Promoting { run, .. } if run.rolls => {
            "when the Deployment is complete it is watched on; `sluice abort` goes back".to_owned()
        }
        Phase::Promoting { .. } => {
            "when the Deployment is complete the canary is removed".to_owned()
        }
        Phase::Baking(run) if tested(plan, run) => {
            "when its smoke tests have passed and the watch is over it is promoted; `sluice promote` ends both now, `sluice abort` goes back".to_owned()
        }
        Phase::Baking(run) => {
            let over = run.since.checked_add(plan.bake.unwrap_or_default());
            let over = over.unwrap_or(jiff::Timestamp::MAX);
            format!(
                "at {} the watch is over and it is promoted; `sluice promote` ends it now, `sluice abort` goes back",
                over.strftime("%H:%M:%S UTC")
            )
        }
        Phase::RollingBack { .. } => "when the canary is gone the run is over".to_owned(),
        Phase::Adopting { .. } => "the Deployment is guarded as soon as it is complete".to_owned(),
        Phase::Idle => "a change of the template starts a run".to_owned(),
        Phase::Failed => "a new template or `sluice retry` starts a run".to_owned(),
        Phase::Suspended => "`spec.suspended: false` guards again".to_owned(),
    }
}

/// How a held run goes on; nobody is told to promote past approvals that are still to come.
fn out_of_held(why: &HeldWhy, approvals_to_come: bool) -> String {
    let promote = |with: &str, without: &str| {
        let told = if approvals_to_come { without } else { with };
        told.to_owned()
    };
    match why {
        HeldWhy::Frozen { until, .. } => promote(
            &format!(
                "at {until} its run begins; `sluice resume` tries it now all the same, `sluice promote` lets it through"
            ),
            &format!("at {until} its run begins; `sluice resume` tries it now all the same"),
        ),
        HeldWhy::NoReplicas => promote(
            "it goes on when the Deployment is scaled up; `sluice promote` lets the new template through",
            "it goes on when the Deployment is scaled up",
        ),
        HeldWhy::Undecided => promote(
            "it goes on when the evidence suffices, or by `sluice promote` or `sluice abort`",
            "it goes on when the evidence suffices, or back by `sluice abort`",
        ),
        HeldWhy::Person | HeldWhy::PersonNamed { .. } | HeldWhy::Suspicions => promote(
            "a person decides: `sluice resume`, `sluice promote` or `sluice abort`",
            "a person decides: `sluice resume` or `sluice abort`",
        ),
        HeldWhy::Refused { .. }
        | HeldWhy::GateHoldsUs { .. }
        | HeldWhy::PodsRefused { .. }
        | HeldWhy::NotMade { .. }
        | HeldWhy::NotRouted { .. }
        | HeldWhy::StableGone
        | HeldWhy::Unseen { .. }
        | HeldWhy::NoData { .. } => "it goes on by itself when the cause is gone".to_owned(),
    }
}

/// Whether smoke tests are still to be passed after the promotion.
fn tested(plan: &Plan, run: &Run) -> bool {
    !plan.smoke_after.is_empty() && run.smoke_after != Smoke::Passed
}

/// Whether the canary gets another share of the requests than its weight says.
fn is_misled(state: &State) -> bool {
    let share = state.evidence.as_ref().map(Evidence::share);
    share.is_some_and(|share| !share.ok)
}

fn goal(plan: &Plan, run: &Run) -> String {
    let goal = match plan.steps.get(run.step + 1) {
        Some(step) => format!("{}%", step.weight),
        None => "the promotion".to_owned(),
    };
    if plan.strategy == Strategy::Canary && plan.asks_after(run) {
        return format!("an approval, then {goal}");
    }
    goal
}

fn next_step(plan: &Plan, run: &Run, reports: &[RuleReport]) -> String {
    let goal = goal(plan, run);
    if let Some(rule) = &run.late {
        return format!(
            "{goal}, by a younger sample of {rule}: how long does its source take to show one?"
        );
    }
    let missing: Vec<&str> = reports
        .iter()
        .filter(|report| report.verdict != Verdict::NotWorse)
        .map(|report| report.rule.as_str())
        .collect();
    let hold = plan.step_of(run).map(|step| step.hold).unwrap_or_default();
    let earliest = run.weight_since.map(|since| {
        let at = since
            .checked_add(hold.max(super::LEAST_STEP))
            .unwrap_or(jiff::Timestamp::MAX);
        at.strftime("%H:%M:%S UTC").to_string()
    });
    match (missing.is_empty(), earliest) {
        (_, None) => format!("{goal}, once {}% is in force", run.weight),
        (true, Some(at)) => format!("{goal}, at {at} at the earliest"),
        (false, Some(at)) => format!(
            "{goal}, when {} {} it is not worse, at {at} at the earliest",
            missing.join(" and "),
            if missing.len() == 1 { "shows" } else { "show" }
        ),
    }
}
