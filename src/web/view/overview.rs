//! All Rollouts at a glance: what needs somebody first.
//!
//! Not here: one Rollout (`rollout`).

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::run::meter;
use super::words::{class, class_of, sentence, spaced, span};
use crate::kubernetes::crd::{RuleStatus, RunStatus};
use crate::rollout::tone::Tone;
use crate::web::{Entry, Place};

/// The page.
pub fn overview(entries: &[Arc<Entry>], place: &Place, now: Timestamp) -> Markup {
    let mut entries: Vec<&Entry> = entries.iter().map(Arc::as_ref).collect();
    entries.sort_by_key(|entry| Tone::of(&entry.phase));
    html! {
        h1 { "Rollouts" }
        @if entries.is_empty() {
            p.none { "No Rollout is known." }
        } @else {
            (counts(&entries))
            table {
                caption.skip { "All Rollouts, those that need somebody first" }
                thead { tr {
                    th scope="col" { "Phase" } th scope="col" { "Rollout" } th.number scope="col" { "Weight" }
                    th.wide scope="col" { "Worst rule" } th.number scope="col" { "Since" }
                } }
                tbody { @for entry in entries { (row(entry, place, now)) } }
            }
        }
    }
}

fn counts(entries: &[&Entry]) -> Markup {
    let of = |tone| {
        entries
            .iter()
            .filter(|entry| Tone::of(&entry.phase) == tone)
            .count()
    };
    let kinds = [
        (Tone::Bad, "failed or being put back"),
        (Tone::Attention, "waiting for somebody or something"),
        (Tone::Moving, "under way"),
        (Tone::Calm, "at rest"),
    ];
    html! {
        ul.counts {
            @for (tone, words) in kinds {
                @let count = of(tone);
                @if count > 0 { li class=(class(tone)) { strong { (count) } " " (words) } }
            }
        }
    }
}

fn row(entry: &Entry, place: &Place, now: Timestamp) -> Markup {
    let run = entry.run.as_deref();
    html! {
        tr {
            td { span class={ "badge " (class_of(&entry.phase)) } { (spaced(&entry.phase)) } }
            td {
                a href={ (place.base) "/rollouts/" (entry.namespace) "/" (entry.name) } { (entry.namespace) "/" (entry.name) }
                span.why { (sentence(&entry.message)) }
            }
            td.number { @if let Some(run) = run { (run.weight) "%" } @else { span.faint { "–" } } }
            td.wide { @if let Some(rule) = run.and_then(worst) { (told(rule)) } }
            td.number { (since(entry, now)) }
        }
    }
}

/// The rule whose evidence for worse has come the farthest.
fn worst(run: &RunStatus) -> Option<&RuleStatus> {
    let part = |rule: &RuleStatus| rule.exact.min(rule.block) / rule.bound.max(1e-9);
    let rules = run.rules.iter();
    rules.max_by(|a, b| part(a).total_cmp(&part(b)))
}

fn told(rule: &RuleStatus) -> Markup {
    html! {
        (rule.name) " "
        span class={ "badge " (class_of(&rule.verdict)) } { (spaced(&rule.verdict)) }
        (meter(rule.exact.min(rule.block), rule.bound, "worse"))
    }
}

/// Since when it stands there: the run's phase, else the end of the last run.
fn since(entry: &Entry, now: Timestamp) -> Markup {
    let run = entry.run.as_ref().map(|run| run.since.0);
    let since = run.or(entry.last_run.as_ref().map(|last| last.ended.0));
    html! {
        @if let Some(since) = since { (span(since, now)) } @else { span.faint { "–" } }
    }
}
