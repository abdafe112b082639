//! The terms that a spec asks for; what holds instead where it is not accepted, and that this is said.
//!
//! Not here: what a valid spec is (`kubernetes::conversion`), and what follows from the terms (`rollout::decide`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::context::Context;
use super::entry::Entry;
use super::pass::Error;
use super::publish;
use crate::kubernetes::conversion::{self, Problem};
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::events::reference;
use crate::kubernetes::status;
use crate::rollout::plan::Plan;
use crate::rollout::reason::Reason;
use crate::rollout::rule::Kind;
use crate::rollout::terms::Terms;

/// The most problems of a spec that are told.
const TOLD: usize = 16;

/// The terms of the spec. Of one that cannot be used it is told, and the terms that were accepted
/// last stay in force; after a restart, those by which nothing can rise.
pub fn terms(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Option<Arc<Terms>> {
    let rules = context.rule_set();
    let known: BTreeSet<String> = rules.keys().cloned().collect();
    let is_load = |name: &str| {
        let rule = rules.get(name);
        rule.is_some_and(|rule| matches!(rule.kind, Kind::Load(_)))
    };
    let plan = conversion::plan(rollout, &known);
    match plan.and_then(|plan| conversion::answerable(plan, is_load)) {
        Ok(plan) => {
            let terms = Arc::new(context.terms(plan, &rules));
            entry.refusal = None;
            entry.terms = Some(terms.clone());
            Some(terms)
        }
        Err(problems) => {
            tell_refusal(context, entry, rollout, told(&problems));
            entry.terms.clone().or_else(|| fallback(context, rollout))
        }
    }
}

/// The first problems: a status is stored, and has room for so much.
fn told(problems: &[Problem]) -> String {
    let mut text: Vec<String> = problems
        .iter()
        .take(TOLD)
        .map(ToString::to_string)
        .collect();
    if problems.len() > TOLD {
        text.push(format!("and {} more", problems.len() - TOLD));
    }
    text.join("; ")
}

/// Tells once why a spec is not accepted.
fn tell_refusal(context: &Context, entry: &mut Entry, rollout: &Rollout, why: String) {
    let known = entry.refusal.clone();
    let known = known.or_else(|| status::refusal(rollout.status.as_ref()));
    if known.as_ref() != Some(&why) {
        let reason = [Reason::Unguarded { why: why.clone() }];
        let now = context.clock.now();
        publish::tell(context, &[reference(rollout)], "", &reason, now);
    }
    entry.refusal = Some(why);
}

/// Terms for a Rollout that was guarded before and whose spec cannot be used: enough to watch a
/// run, to put back and to let go. A rule that is not known has no samples, so nothing rises.
fn fallback(context: &Context, rollout: &Rollout) -> Option<Arc<Terms>> {
    let guarded = rollout.status.as_ref()?.checkpoint.is_some();
    let named = rollout.spec.analysis.iter().flat_map(|a| &a.rules);
    let known: BTreeSet<String> = named.cloned().collect();
    let plan = conversion::plan(rollout, &known).ok();
    let plan = plan.or_else(|| going(rollout))?;
    guarded.then(|| Arc::new(context.terms(plan, &context.rule_set())))
}

/// For one that is being deleted its target and route are enough.
fn going(rollout: &Rollout) -> Option<Plan> {
    rollout.metadata.deletion_timestamp.as_ref()?;
    let mut bare = rollout.clone();
    bare.spec.analysis = None;
    bare.spec.strategy = None;
    bare.spec.progress_deadline = None;
    let known = conversion::DEFAULT_RULES.map(str::to_owned);
    conversion::plan(&bare, &known.into()).ok()
}

/// Says in the status that the spec is not accepted, where nothing else is to be said.
pub async fn refuse(context: &Context, entry: &mut Entry, rollout: &Rollout) -> Result<(), Error> {
    let problems = entry.refusal.clone().unwrap_or_default();
    let generation = rollout.metadata.generation;
    let now = context.clock.now();
    let refused = status::refused(rollout.status.as_ref(), generation, &problems, now);
    if rollout.status.as_ref() == Some(&refused) {
        return Ok(());
    }
    let mut object = rollout.clone();
    object.status = Some(refused);
    entry.written = Some(Arc::new(context.executor.save(&object).await?));
    Ok(())
}
