//! Past runs: the list, and the page of one.
//!
//! Not here: what a run consists of (`run`).

use jiff::Timestamp;
use maud::{Markup, html};

use super::run;
use super::words::{Tone, moment, sentence, spaced, span};
use crate::history::{Record, Summary};
use crate::web::Place;

/// The page of past runs.
pub fn list(runs: &[Summary], place: &Place, now: Timestamp) -> Markup {
    html! {
        h1 { "Past runs" }
        (table(runs, place, now))
    }
}

/// Past runs, a row each.
pub fn table(runs: &[Summary], place: &Place, now: Timestamp) -> Markup {
    html! {
        @if runs.is_empty() {
            p.none { "No run has ended yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Past runs" {
                table {
                    thead { tr {
                        th scope="col" { "Outcome" } th scope="col" { "Rollout" }
                        th.number.wide scope="col" { "Weight" } th scope="col" { "Ended" } th.wide scope="col" { "Took" }
                    } }
                    tbody { @for run in runs { (row(run, place, now)) } }
                }
            }
        }
    }
}

fn row(run: &Summary, place: &Place, now: Timestamp) -> Markup {
    let outcome = run.outcome.as_deref().unwrap_or_default();
    let ended = run.ended.unwrap_or(run.started);
    html! {
        tr {
            td { span class={ "badge " (Tone::of(outcome).class()) } { (spaced(outcome)) } }
            td {
                a href={ (place.base) "/runs/" (run.namespace) "/" (run.name) "/" (run.run) } { (run.namespace) "/" (run.name) }
                @for image in &run.revision.images { " " code { (image) } }
                span.why { (sentence(&run.message)) }
            }
            td.number.wide { (run.peak) "%" }
            td.nowrap { time datetime=(ended) title={ (moment(ended)) " UTC" } { (span(ended, now)) " ago" } }
            td.wide.nowrap { (span(run.started, ended)) }
        }
    }
}

/// The page of one run.
pub fn one(record: &Record, place: &Place) -> Markup {
    let summary = &record.summary;
    let query = format!("namespace={}&name={}", summary.namespace, summary.name);
    html! {
        (run::past(record))
        p.actions {
            a href={ (place.base) "/api/runs/" (summary.run) "/report.html?" (query) } download { "Report (HTML)" }
            a href={ (place.base) "/api/runs/" (summary.run) "?" (query) } { "Data (JSON)" }
        }
    }
}
