//! The frame of every page: head, header, main, and the style sheet.
//!
//! Not here: what stands in the middle.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::web::Place;

/// The style sheet, served as a file and put into reports.
pub const STYLE: &str = include_str!("style.css");
/// What makes a page live; all of it works without.
pub const SCRIPT: &str = include_str!("live.js");

/// A sluice's gate, half open.
pub const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path d=\"M2 1v14M14 1v14\" stroke=\"#5b636b\" stroke-width=\"2\"/><rect x=\"4\" y=\"1\" width=\"8\" height=\"8\" fill=\"#1a56b0\"/><path d=\"M4 12h8M4 14.5h8\" stroke=\"#8ab4f8\" stroke-width=\"1.4\"/></svg>";

/// A page of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Whose it is, and where it lies.
    pub place: &'a Place,
    /// The title, before the environment's.
    pub title: &'a str,
    /// What its events are asked with; none for a page that does not change.
    pub events: Option<&'a str>,
}

impl Page<'_> {
    /// The whole document.
    pub fn html(&self, main: &Markup) -> Markup {
        let Place {
            environment,
            base,
            has_pipeline,
        } = self.place;
        let events = self.events.map(|asked| format!("{base}/events?{asked}"));
        let title = format!("{} · {environment}", self.title);
        let live = html! {
            @if events.is_some() {
                script src={ (base) "/live.js" } defer {}
                noscript { (again()) }
            }
        };
        let body = html! {
            body data-events=[events] {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.brand href="/" { "Sluice" }
                    span.environment { (environment) }
                    nav aria-label="Pages" {
                        a href={ (base) "/" } { "Rollouts" }
                        a href={ (base) "/history" } { "History" }
                        @if *has_pipeline { a href={ (base) "/environments" } { "Environments" } }
                    }
                    span #live role="status" {}
                }
                main #main tabindex="-1" { (main) }
            }
        };
        served(base, &title, &live, &body)
    }
}

/// The page of several environments, which comes again every ten seconds.
pub fn several(main: &Markup) -> Markup {
    let body = html! {
        body {
            a.skip href="#main" { "Skip to content" }
            header { a.brand href="/" { "Sluice" } }
            main #main tabindex="-1" { (main) }
        }
    };
    served("", "Environments", &again(), &body)
}

fn again() -> Markup {
    html! { meta http-equiv="refresh" content="10"; }
}

/// A page at the daemon, with what it loads from there.
fn served(base: &str, title: &str, more: &Markup, body: &Markup) -> Markup {
    let more = html! {
        link rel="icon" href={ (base) "/icon.svg" } type="image/svg+xml";
        link rel="stylesheet" href={ (base) "/style.css" };
        (more)
    };
    document(&format!("{title} · Sluice"), &more, body)
}

/// A document that needs nothing but itself.
pub fn alone(title: &str, main: &Markup) -> Markup {
    let more = html! {
        meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
        style { (PreEscaped(STYLE)) }
    };
    document(title, &more, &html! { body { main { (main) } } })
}

fn document(title: &str, more: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                (more)
            }
            (body)
        }
    }
}
