//! What a pass tells: the log, Events, metrics, the board, the watchlist.
//!
//! Not here: the words (`rollout::reason`, `rollout::describe`).

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;

use super::context::Context;
use super::queue::Key;
use crate::history::Seen;
use crate::kubernetes::canary;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::scene::Scene;
use crate::kubernetes::status;
use crate::prometheus::{self, Cursor, Subject};
use crate::rollout::describe;
use crate::rollout::reason::{Counted, Reason};
use crate::rollout::rule::{Kind, Rule};
use crate::rollout::state::{Phase, State};
use crate::rollout::terms::Terms;
use crate::telemetry::{RolloutSeries, RuleSeries};
use crate::web::Entry as BoardEntry;

/// Tells what happened: log, Events, counters.
pub fn tell(
    context: &Context,
    regarding: &[ObjectReference],
    run: &str,
    reasons: &[Reason],
    now: Timestamp,
) {
    for reason in reasons {
        let (namespace, rollout) = regarding
            .first()
            .map(|object| (object.namespace.as_deref(), object.name.as_deref()))
            .unwrap_or_default();
        if reason.warns() {
            tracing::warn!(namespace, rollout, run, reason = reason.name(), "{reason}");
        } else {
            tracing::info!(namespace, rollout, run, reason = reason.name(), "{reason}");
        }
        context.events.tell(regarding, reason, now);
        let key = (namespace.unwrap_or_default(), rollout.unwrap_or_default());
        context.history.told(key, run, reason, now);
        context.notices.told(key, run, reason, now);
        count(context, reason);
    }
}

fn count(context: &Context, reason: &Reason) {
    match reason.counted() {
        Some(Counted::Bypass) => context.metrics.bypassed(),
        Some(Counted::End(outcome, reason)) => context.metrics.run_ended(outcome.name(), reason),
        Some(Counted::Remedy(outcome)) => context.metrics.remedied(outcome),
        None => {}
    }
}

/// Shows where a Rollout stands, and asks for metrics while it has evidence to gather.
/// What keeps failing is told with it.
pub fn publish(
    context: &Context,
    scene: &Scene,
    terms: &Terms,
    state: &State,
    (trouble, now): (Option<&str>, Timestamp),
) {
    let plan = &terms.plan;
    let run = state
        .phase
        .run()
        .map(|run| status::run_status(terms, state, run));
    context
        .metrics
        .rollout(&plan.namespace, &plan.name, series(terms, state));
    let status = scene.rollout.status.as_ref();
    let last = status.and_then(|status| status.last_run.clone());
    let entry = BoardEntry {
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
        target: plan.target.clone(),
        phase: state.phase.name().to_owned(),
        message: message(state, trouble),
        stable: state.stable.as_ref().map(status::revision_status),
        run: run.map(Box::new),
        last_run: status::last_run(state).or(last).map(Box::new),
        git: status.and_then(|status| status.git.clone()).map(Box::new),
        updated: now,
    };
    remember(context, &entry, now);
    context.board.set(entry);
    let key = prometheus::Key {
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
    };
    match subject(context, scene, terms, state) {
        Some(subject) => context.watchlist.enter(subject),
        None => context.watchlist.leave(&key),
    }
}

/// Where it stands, and why it does not go on.
fn message(state: &State, trouble: Option<&str>) -> String {
    let message = describe::message(state);
    match trouble {
        Some(trouble) => format!("{message}; this fails and is tried again: {trouble}"),
        None => message,
    }
}

/// Hands the run that goes on, and the one that ended last, to the history.
fn remember(context: &Context, entry: &BoardEntry, now: Timestamp) {
    let seen = Seen {
        namespace: &entry.namespace,
        name: &entry.name,
        target: &entry.target,
        stable: entry.stable.as_ref(),
        run: entry.run.as_deref(),
        last_run: entry.last_run.as_deref(),
        git: entry.git.as_deref(),
    };
    context.history.seen(seen, now);
}

fn series(terms: &Terms, state: &State) -> RolloutSeries {
    let reports = state
        .evidence
        .as_ref()
        .map(|evidence| evidence.report(&terms.asked(state)));
    let rule = |report: &crate::rollout::evidence::RuleReport| {
        let (exact, block, not_worse) = report.reached();
        RuleSeries {
            rule: report.rule.clone(),
            exact,
            block,
            bound: report.bound,
            not_worse,
            not_worse_bound: report.bound_not_worse,
        }
    };
    RolloutSeries {
        phase: state.phase.name().to_owned(),
        weight_percent: state.phase.run().map_or(0.0, |run| f64::from(run.weight)),
        unguarded: matches!(state.phase, Phase::Adopting { .. })
            || state.bypassed.is_some()
            || state.opened.is_some(),
        rules: reports.iter().flatten().map(rule).collect(),
    }
}

/// What to read for a Rollout with evidence to gather.
fn subject(context: &Context, scene: &Scene, terms: &Terms, state: &State) -> Option<Subject> {
    let run = state.phase.run()?;
    state.evidence.as_ref()?;
    let names = scene.names(&terms.plan)?;
    let rules = context.rule_set();
    let named = terms.plan.analysis.rules.iter();
    Some(Subject {
        namespace: terms.plan.namespace.clone(),
        name: terms.plan.name.clone(),
        ingress: names.ingress,
        other_ingresses: names.other_ingresses,
        service: names.service,
        canary_service: names.canary_service,
        port: names.port,
        other_ports: names.other_ports,
        workload: terms.plan.target.clone(),
        canary_workload: canary::deployment_name(&terms.plan.target),
        canary_pods: canary::pods(&canary::deployment_name(&terms.plan.target)),
        stable_pods: canary::pods(&terms.plan.target),
        rules: named
            .filter_map(|name| rules.get(name))
            .filter(|rule| has_both_arms(state, rule))
            .map(Arc::clone)
            .collect(),
        cursor: cursor(state),
        since: run.started,
    })
}

/// Whether there is a canary to send synthetic load to; other rules need none.
fn has_both_arms(state: &State, rule: &Rule) -> bool {
    let alone = matches!(state.phase, Phase::Baking(_) | Phase::RollingBack { .. });
    !(alone && matches!(rule.kind, Kind::Load(_)))
}

/// Where a state's evidence goes on reading.
pub fn cursor(state: &State) -> Option<Cursor> {
    state.bookmark.as_ref()?.read()
}

/// Shows a Rollout as its status says: for a daemon that does not lead.
pub fn show(context: &Context, rollout: &Rollout) {
    let status = rollout.status.clone().unwrap_or_default();
    context.board.set(BoardEntry {
        namespace: rollout.namespace().unwrap_or_default(),
        name: rollout.name_any(),
        target: rollout.spec.target.name.clone(),
        phase: status.phase.unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        stable: status.stable,
        run: status.run.map(Box::new),
        last_run: status.last_run.map(Box::new),
        git: status.git.map(Box::new),
        updated: context.clock.now(),
    });
}

/// Forgets a Rollout that is gone.
pub fn forget(context: &Context, key: &Key) {
    context.smoke.forget(key);
    context.metrics.forget(&key.0, &key.1);
    context.board.forget(&key.0, &key.1);
    context.history.forget(&key.0, &key.1);
    context.watchlist.leave(&prometheus::Key {
        namespace: key.0.clone(),
        name: key.1.clone(),
    });
}
