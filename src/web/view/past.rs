//! Past runs: the list, and the page of one.
//!
//! Not here: what a run consists of (`run`).

use jiff::Timestamp;
use maud::{Markup, html};

use super::run;
use super::words::{class_of, moment, sentence, spaced, span};
use crate::history::{Record, Summary};
use crate::web::Place;

/// Whose runs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The environment's own, which are all that there are.
    One,
    /// The environment's own, of several that share the database.
    OneOfSeveral,
    /// Those of all environments.
    All,
}

/// The page of past runs; `more` is the query for further ones, where there may be some.
pub fn list(
    runs: &[Summary],
    place: &Place,
    listed: Listed,
    more: Option<&str>,
    now: Timestamp,
) -> Markup {
    let page = place.path("/history");
    html! {
        h1 { "Past runs" }
        @match listed {
            Listed::One => {}
            Listed::OneOfSeveral => p { "Of " (place.environment) ". " a href={ (page) "?everywhere=true" } { "Of all environments" } }
            Listed::All => p { "Of all environments. " a href=(page) { "Only of " (place.environment) } }
        }
        (rows(runs, place, listed, now))
        @if let Some(more) = more {
            p.faint { a href={ (page) "?" (more) } { "Further ones" } }
        }
    }
}

/// Past runs of one environment, a row each.
pub fn table(runs: &[Summary], place: &Place, now: Timestamp) -> Markup {
    rows(runs, place, Listed::One, now)
}

fn rows(runs: &[Summary], place: &Place, listed: Listed, now: Timestamp) -> Markup {
    let all = listed == Listed::All;
    html! {
        @if runs.is_empty() {
            p.none { "No run has ended yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Past runs" {
                table {
                    thead { tr {
                        th scope="col" { "Outcome" }
                        @if all { th scope="col" { "Environment" } }
                        th scope="col" { "Rollout" }
                        th.number.wide scope="col" { "Weight" } th scope="col" { "Ended" } th.wide scope="col" { "Took" }
                    } }
                    tbody { @for run in runs { (row(run, place, all, now)) } }
                }
            }
        }
    }
}

fn row(run: &Summary, place: &Place, all: bool, now: Timestamp) -> Markup {
    let outcome = run.outcome.as_deref().unwrap_or_default();
    let ended = run.ended.unwrap_or(run.started);
    html! {
        tr {
            td { span class={ "badge " (class_of(outcome)) } { (spaced(outcome)) } }
            @if all { td { (run.environment) } }
            td {
                a href=(address(run, place)) { (run.namespace) "/" (run.name) }
                @for image in &run.revision.images { " " code { (image) } }
                span.why { (sentence(&run.glance())) }
            }
            td.number.wide { (run.peak) "%" }
            td.nowrap { time datetime=(ended) title={ (moment(ended)) " UTC" } { (span(ended, now)) " ago" } }
            td.wide.nowrap { (span(run.started, ended)) }
        }
    }
}

/// Where a run's page is; one of another environment is named with it.
fn address(run: &Summary, place: &Place) -> String {
    let Summary {
        environment,
        namespace,
        name,
        run,
        ..
    } = run;
    let page = place.path(&format!("/runs/{namespace}/{name}/{run}"));
    if *environment == place.environment {
        return page;
    }
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{page}?"), page.len() + 1);
    query.append_pair("environment", environment).finish()
}

/// The page of one run.
pub fn one(record: &Record, place: &Place) -> Markup {
    let summary = &record.summary;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("environment", &summary.environment);
    query.append_pair("namespace", &summary.namespace);
    let query = query.append_pair("name", &summary.name).finish();
    html! {
        (run::past(record))
        p.actions {
            a href={ (place.base) "/api/runs/" (summary.run) "/report.html?" (query) } download { "Report (HTML)" }
            a href={ (place.base) "/api/runs/" (summary.run) "?" (query) } { "Data (JSON)" }
        }
    }
}
