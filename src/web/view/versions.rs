//! Each service in each environment: its version, since when, and what stands between it and the next one.
//!
//! Not here: when that is read (`web::versions`), and whether a gate is open (`environments`).

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{class, class_of, moment, spaced, span};
use crate::environments::survey::Place;
use crate::rollout::tone::Tone;
use crate::web::Known;

/// The page.
pub fn versions(known: &Known, now: Timestamp) -> Markup {
    html! {
        h1 { "Environments" }
        (state(known, now))
        @if !known.places.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Which version is where" {
                table {
                    caption.skip { "Each service in each environment" }
                    thead { tr {
                        th scope="col" { "Service" } th scope="col" { "Environment" } th scope="col" { "Version" }
                        th scope="col" { "Since" } th scope="col" { "Rollout" } th scope="col" { "On to the next" }
                    } }
                    tbody { @for place in &known.places { (row(place, now)) } }
                }
            }
        }
    }
}

/// How old it is, and what is wrong.
fn state(known: &Known, now: Timestamp) -> Markup {
    html! {
        @match known.read {
            Some(at) => p.faint { "Read " time datetime=(at) title={ (moment(at)) " UTC" } { (span(at, now)) " ago" } ", and again while somebody looks." },
            None if known.wrong.is_none() => p.none { "The pipeline is being read." },
            None => {}
        }
        @if let Some(why) = &known.wrong {
            div.banner.bad role="status" {
                strong.state { "The pipeline could not be read" }
                p { (why) }
            }
        }
    }
}

fn row(place: &Place, now: Timestamp) -> Markup {
    html! {
        tr {
            td { (place.service) }
            td { (place.environment) }
            td { (version(place)) }
            td.nowrap {
                @if let Some(since) = place.since {
                    time datetime=(since) title={ (moment(since)) " UTC" } { (span(since, now)) }
                } @else { span.faint { "–" } }
            }
            td { (rollout(place)) }
            td { (next(place)) }
        }
    }
}

/// The version and the commit that brought it, or why there is none.
fn version(place: &Place) -> Markup {
    html! {
        @if let Some(version) = &place.version {
            code title=(version) { (version.short()) }
            @if let Some(summary) = &place.summary {
                span.why {
                    (summary)
                    @if let Some(commit) = &place.commit { " " code { (commit.get(..10).unwrap_or(commit)) } }
                }
            }
        } @else {
            span class={ "badge " (class(Tone::Attention)) } { "not known" }
            @if let Some(why) = &place.why { span.why { (why) } }
        }
    }
}

/// Its phase, or why that is not known.
fn rollout(place: &Place) -> Markup {
    let is_phase = |word: &&String| word.chars().all(char::is_alphabetic);
    html! {
        @match &place.phase {
            Some(phase) if is_phase(&phase) => span class={ "badge " (class_of(phase)) } { (spaced(phase)) },
            Some(why) => span.why { (why) },
            None => span.faint { "–" },
        }
    }
}

fn next(place: &Place) -> Markup {
    let (tone, words) = match (&place.next, place.ahead, place.may_go()) {
        (None, ..) => return html! { span.faint { "–" } },
        (Some(next), false, _) => (Tone::Calm, format!("{next} has it")),
        (Some(next), true, true) => (Tone::Moving, format!("may go to {next}")),
        (Some(next), true, false) => (Tone::Attention, format!("waits for {next}")),
    };
    html! {
        span class={ "badge " (class(tone)) } { (words) }
        @for answer in &place.gates {
            span.why { (answer.gate) " " strong { (if answer.open { "open" } else { "shut" }) } ": " (answer.why) }
        }
    }
}
