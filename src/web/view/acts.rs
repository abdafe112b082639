//! What a person may ask for on a Rollout's page: buttons that are asked back, the page to sign in,
//! and the answer.
//!
//! All of it works without JavaScript: a button opens what it means, and the second one does it.
//! Not here: who may (the daemon asks), and what follows (the decision).

use maud::{Markup, html};

use crate::web::Entry;
use crate::web::session::Session;

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
const ACTS: [(&str, &str, &str, &str); 6] = [
    (
        "approve",
        "Approve",
        "Lets the step that waits for a person pass.",
        "calm",
    ),
    (
        "promote",
        "Promote",
        "Brings the revision through now, whatever the evidence says.",
        "attention",
    ),
    (
        "hold",
        "Hold",
        "Keeps the present weight until somebody resumes the run.",
        "moving",
    ),
    ("resume", "Resume", "Lets the run go on.", "moving"),
    (
        "abort",
        "Roll back",
        "Ends the run: weight 0, the canary is removed, the template is put back.",
        "bad",
    ),
    (
        "retry",
        "Retry",
        "Tries the revision again that failed.",
        "moving",
    ),
];

/// The acts that a phase allows.
fn allowed(phase: &str) -> &'static [&'static str] {
    match phase {
        "Preparing" | "Stepping" | "Suspect" => &["promote", "hold", "abort"],
        "AwaitingApproval" => &["approve", "promote", "hold", "abort"],
        "Held" => &["resume", "promote", "abort"],
        "Promoting" | "Baking" => &["abort"],
        "Failed" => &["retry"],
        _ => &[],
    }
}

/// The buttons for who has signed in, else the way to do so.
pub fn bar(entry: &Entry, viewer: Viewer<'_>) -> Markup {
    let session = match viewer {
        Viewer::Reader => return html! {},
        Viewer::Stranger => {
            let back = format!("/rollouts/{}/{}", entry.namespace, entry.name);
            return html! { p.actions { a href={ "/login?back=" (back) } { "Sign in to act" } } };
        }
        Viewer::Known(session) => session,
    };
    let allowed = allowed(&entry.phase);
    html! {
        div.actions role="group" aria-label="Acts" {
            @for (act, name, about, class) in ACTS.iter().filter(|(act, ..)| allowed.contains(act)) {
                details.act id={ "act-" (act) } class=(class) {
                    summary { (name) "…" }
                    form method="post" action={ "/rollouts/" (entry.namespace) "/" (entry.name) "/" (act) } {
                        p { (about) }
                        input type="hidden" name="form" value=(session.form);
                        @if let Some(revision) = revision(entry) { input type="hidden" name="revision" value=(revision); }
                        button { (name) " now" }
                    }
                }
            }
            form method="post" action="/logout" {
                input type="hidden" name="form" value=(session.form);
                span.faint { "signed in as " (session.who) " " } button { "Sign out" }
            }
        }
    }
}

/// The revision that the person sees: a request that comes too late cannot hit another one.
fn revision(entry: &Entry) -> Option<&str> {
    let run = entry.run.as_ref().map(|run| &run.revision);
    let failed = entry.last_run.as_ref().filter(|_| entry.phase == "Failed");
    let revision = run.or(failed.map(|last| &last.revision));
    revision.map(|revision| revision.hash.as_str())
}

/// The page to sign in; `why` says what was wrong the last time.
pub fn login(back: &str, why: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in" }
        @if let Some(why) = why { p.bad role="alert" { strong { (why) } } }
        p { "With a bearer token: who may patch a Rollout may act on it. For an hour, for yourself in a cluster: "
            code { "kubectl create token ACCOUNT --duration 1h" } }
        form method="post" action="/login" {
            input type="hidden" name="back" value=(back);
            p { label for="token" { "Token " } input #token type="password" name="token" required autocomplete="off" autofocus; }
            button { "Sign in" }
        }
    }
}

/// What became of a request.
pub fn answered(back: &str, done: bool, words: &str) -> Markup {
    html! {
        section class={ "banner " (if done { "calm" } else { "bad" }) } aria-label="Answer" {
            h1 { @if done { "Done" } @else { "Not done" } }
            p { (words) }
        }
        p { a href=(back) { "Back" } }
    }
}
