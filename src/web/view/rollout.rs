//! One Rollout as it is now: where it stands and why, what comes next, the run's curves and
//! decisions, the last run, and past ones.
//!
//! Not here: what a run consists of (`run`), and who may act (`routes`).

use jiff::Timestamp;
use maud::{Markup, html};

use super::acts::{self, Viewer};
use super::words::{class_of, sentence, spaced, span};
use super::{around, past, run};
use crate::history::{Record, Summary};
use crate::kubernetes::crd::{GitPoint, LastRun, RunStatus, besides};
use crate::web::{Around, Entry, Place};

/// What the page of a Rollout shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The Rollout.
    pub entry: &'a Entry,
    /// The run that goes on, as far as it was watched.
    pub live: Option<&'a Record>,
    /// Its pods, its plan, and what people asked for.
    pub around: &'a Around,
    /// Past runs, newest first; none where the history does not answer.
    pub past: Option<&'a [Summary]>,
    /// Where the pages lie.
    pub place: &'a Place,
    /// Who looks at it.
    pub viewer: Viewer<'a>,
    /// The present time.
    pub now: Timestamp,
}

impl Shown<'_> {
    /// The page.
    pub fn html(&self) -> Markup {
        let entry = self.entry;
        html! {
            (self.banner())
            (acts::bar(entry, self.place, self.viewer))
            @if let Some(run) = &entry.run { (self.facts(run)) }
            @else {
                @if let Some(stable) = &entry.stable { dl.facts { dt { "Serves" } dd { (run::revision(stable)) } } }
            }
            @if let Some(git) = &entry.git { (run::commits(git)) }
            @if let Some(run) = &entry.run { (around::asked(&self.around.answers, run)) }
            @if let Some(plan) = &self.around.plan { (around::plan(plan, entry)) }
            @if let Some(run) = &entry.run {
                (run::rules(&run.rules))
                @if let Some(live) = self.live {
                    (run::charts(&live.curve, self.now))
                    (run::decisions(&live.decisions))
                }
            } @else {
                @if let Some(last) = &entry.last_run { (self.last(last)) }
            }
            (around::pods(&self.around.pods, entry, self.now))
            section aria-labelledby="past" {
                h2 #past { "Past runs" }
                @match self.past {
                    Some(runs) => {
                        (past::table(runs, self.place, self.now))
                        @if !runs.is_empty() {
                            p.faint { a href={ (self.place.path("/history")) "?namespace=" (entry.namespace) "&name=" (entry.name) } { "All of its runs" } }
                        }
                    },
                    None => { p.none { "The history does not answer." } },
                }
            }
        }
    }

    fn banner(&self) -> Markup {
        let entry = self.entry;
        let run = entry.run.as_deref();
        html! {
            section class={ "banner " (class_of(&entry.phase)) } aria-label="State" {
                h1 { (entry.namespace) "/" (entry.name) }
                p.state {
                    strong { (spaced(&entry.phase)) }
                    @if let Some(run) = run {
                        " · " (run.weight) "%"
                        @if let Some(step) = &run.step { " · step " (step) }
                        " · for " (span(run.since.0, self.now))
                    }
                }
                p { (sentence(&entry.message)) }
                @if let Some(next) = run.and_then(|run| run.next.as_ref()) {
                    p { strong { "Next: " } (sentence(next)) }
                }
            }
        }
    }

    /// The commit of a run.
    fn tried(&self, run: &str) -> Option<&GitPoint> {
        let git = self.entry.git.as_ref();
        git.and_then(|git| git.tried(run))
    }

    fn facts(&self, status: &RunStatus) -> Markup {
        html! {
            dl.facts {
                dt { "Tried" } dd { (run::revision(&status.revision)) }
                (run::author(self.tried(&status.id), &status.authors))
                @if let Some(stable) = &self.entry.stable { dt { "Stable" } dd { (run::revision(stable)) } }
                dt { "Run" } dd { code { (status.id) } ", for " (span(status.started.0, self.now)) }
                @if let Some(patience) = &status.patience { dt { "Can show" } dd { (patience) } }
                dt { "Newest sample" }
                dd {
                    @match &status.sampled {
                        Some(at) => { (span(at.0, self.now)) " ago" },
                        None => { "none yet" },
                    }
                }
            }
        }
    }

    fn last(&self, last: &LastRun) -> Markup {
        let entry = self.entry;
        let authors = besides(self.tried(&last.id), &last.authors);
        html! {
            section aria-labelledby="last" {
                h2 #last { "Last run" }
                p {
                    span class={ "badge " (class_of(&last.outcome)) } { (spaced(&last.outcome)) } " "
                    a href={ (self.place.base) "/runs/" (entry.namespace) "/" (entry.name) "/" (last.id) } { (span(last.ended.0, self.now)) " ago" }
                    ", after " (span(last.started.0, last.ended.0)) ": " (sentence(&last.message))
                }
                p {
                    (run::revision(&last.revision))
                    @if !authors.is_empty() { " by " (authors.join(", ")) }
                }
            }
        }
    }
}
