//! All environments of a hub: which one needs somebody, and which one is away.
//!
//! Not here: an environment's own pages.

use maud::{Markup, html};

use super::frame;
use super::words::{class, class_of, spaced};
use crate::rollout::tone::Tone;
use crate::web::hub::Standing;

/// The page.
pub fn environments(all: &[Standing]) -> Markup {
    let main = html! {
        h1 { "Environments" }
        table {
            caption.skip { "All environments" }
            thead { tr {
                th scope="col" { "Environment" } th scope="col" { "Worst phase" }
                th.number scope="col" { "Rollouts" } th scope="col" { "Daemon" }
            } }
            tbody { @for standing in all { (row(standing)) } }
        }
        @for (standing, path) in all.iter().filter_map(|one| Some((one, one.pipeline.as_ref()?))) {
            p { a href=(path) { "Which version is where" } " by the pipeline of " (standing.environment) }
        }
    };
    frame::several(&main)
}

fn row(standing: &Standing) -> Markup {
    html! {
        tr {
            td { a href=(standing.path) { (standing.environment) } }
            td {
                @if let Some(phase) = &standing.phase {
                    span class={ "badge " (class_of(phase)) } { (spaced(phase)) }
                } @else { span.faint { "–" } }
            }
            td.number { (standing.rollouts) }
            td {
                @if standing.ready { (standing.says) }
                @else { span class={ "badge " (class(Tone::Attention)) } { "not ready" } span.why { (standing.says) } }
            }
        }
    }
}
