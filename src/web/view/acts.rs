//! What a person may ask for on a Rollout's page: buttons that are asked back, the page to sign in,
//! and the answer.
//!
//! All of it works without JavaScript: a button opens what it means, and the second one does it.
//! Not here: who may (the daemon asks), and what follows (the decision).

use maud::{Markup, html};

use super::words::sentence;
use crate::kubernetes::crd::LastRun;
use crate::rollout::request::{self, Act};
use crate::rollout::state::PhaseName;
use crate::web::session::Session;
use crate::web::{Entry, Place};

/// Who looks at the page.
#[derive(Debug, Clone, Copy)]
pub enum Viewer<'a> {
    /// Nobody may act here.
    Reader,
    /// Somebody who has not signed in.
    Stranger,
    /// Somebody who has.
    Known(&'a Session),
}

/// Acts, their names, what they do, and the class of their button.
const ACTS: [(Act, &str, &str, &str); 7] = [
    (
        Act::Approve,
        "Approve",
        "Lets the step that waits for a person pass.",
        "calm",
    ),
    (
        Act::Promote,
        "Promote",
        "Brings the revision through now, whatever the evidence says.",
        "attention",
    ),
    (
        Act::Hold,
        "Hold",
        "Keeps the present weight until somebody resumes the run.",
        "moving",
    ),
    (Act::Resume, "Resume", "Lets the run go on.", "moving"),
    (
        Act::Abort,
        "Roll back",
        "Ends the run: weight 0, the canary is removed, the template is put back.",
        "bad",
    ),
    (
        Act::Retry,
        "Retry",
        "Tries the revision again that failed.",
        "moving",
    ),
    (
        Act::Rollback,
        "Go back",
        "Puts the last good revision back in place of the one that serves; it rolls natively.",
        "bad",
    ),
];

/// The buttons for who has signed in, else the way to do so.
pub fn bar(entry: &Entry, place: &Place, viewer: Viewer<'_>) -> Markup {
    let session = match viewer {
        Viewer::Reader => return html! {},
        Viewer::Stranger => {
            let Place { base, .. } = place;
            let back = format!("{base}/rollouts/{}/{}", entry.namespace, entry.name);
            return html! { p.actions { a href={ (base) "/login?back=" (back) } { "Sign in to act" } } };
        }
        Viewer::Known(session) => session,
    };
    let offered = offered(entry);
    html! {
        div.actions role="group" aria-label="Acts" {
            @for (act, name, about, class) in ACTS.iter().filter(|(act, ..)| offered.contains(act)) {
                details.act id={ "act-" (act) } class=(class) {
                    summary { (name) "…" }
                    form method="post" action={ (place.base) "/rollouts/" (entry.namespace) "/" (entry.name) "/" (act) } {
                        p { (about) }
                        input type="hidden" name="form" value=(session.form);
                        @if let Some(revision) = revision(entry, *act) { input type="hidden" name="revision" value=(revision); }
                        button { (name) " now" }
                    }
                }
            }
            @if session.is_ours {
                form method="post" action={ (place.base) "/logout" } {
                    input type="hidden" name="form" value=(session.form);
                    span.faint { "signed in as " (session.who) " " } button { "Sign out" }
                }
            } @else {
                span.faint { "signed in as " (session.who) }
            }
        }
    }
}

/// What can be asked for now.
fn offered(entry: &Entry) -> Vec<Act> {
    let to_come = entry.run.as_ref().is_some_and(|run| run.approvals_to_come);
    let phase = PhaseName::named(&entry.phase);
    let acts = phase.map(|phase| request::offered(phase, to_come));
    acts.into_iter().flatten().collect()
}

/// The revision that the person sees: a request that comes too late cannot hit another one.
fn revision(entry: &Entry, act: Act) -> Option<&str> {
    let run = entry.run.as_ref().map(|run| &run.revision);
    // One goes back from what serves.
    let rest = if act == Act::Rollback {
        entry.stable.as_ref()
    } else {
        entry.last_run.as_deref().and_then(LastRun::failed)
    };
    let revision = run.or(rest);
    revision.map(|revision| revision.hash.as_str())
}

/// How one can sign in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ways {
    /// With a token.
    pub token: bool,
    /// At an identity provider.
    pub provider: bool,
}

/// The page to sign in; `why` says what was wrong the last time.
pub fn login(place: &Place, back: &str, ways: Ways, why: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in" }
        @if let Some(why) = why { p.bad role="alert" { strong { (why) } } }
        @if ways.provider { p { a href={ (place.base) "/login/provider?back=" (back) } { "Sign in with your organization's account" } } }
        @if ways.token { (with_token(place, back)) }
        @if !ways.token && !ways.provider { p { "Come by the proxy that signs people in here." } }
    }
}

fn with_token(place: &Place, back: &str) -> Markup {
    html! {
        p { "With a bearer token: who may patch a Rollout may act on it. For an hour, for yourself in a cluster: "
            code { "kubectl create token ACCOUNT --duration 1h" } }
        form method="post" action={ (place.base) "/login" } {
            input type="hidden" name="back" value=(back);
            p { label for="token" { "Token " } input #token type="password" name="token" required autocomplete="off" autofocus; }
            button { "Sign in" }
        }
    }
}

/// That one is signed in, or out; `there` leads to where one is still signed in.
pub fn passed(back: &str, words: &str, there: Option<&str>) -> Markup {
    html! {
        section.banner.calm aria-label="Answer" { h1 { (words) } }
        @if let Some(there) = there { p { a href=(there) { "Sign out at the identity provider too" } } }
        p { a href=(back) { "Go on" } }
    }
}

/// What became of a request.
pub fn answered(back: &str, done: bool, words: &str) -> Markup {
    html! {
        section class={ "banner " (if done { "calm" } else { "bad" }) } aria-label="Answer" {
            h1 { @if done { "Done" } @else { "Not done" } }
            p { (sentence(words)) }
        }
        p { a href=(back) { "Back" } }
    }
}
