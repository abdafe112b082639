//! The live pages: all Rollouts, and one.
//!
//! Not here: past runs (`archive`), and how it looks (`view`).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::routes::Web;
use super::view::frame::Page;
use super::view::overview;
use super::view::rollout::Shown;
use crate::history::Filter;

/// Past runs on the page of a Rollout.
const PAST: usize = 10;

/// `GET /`.
pub async fn overview(State(web): State<Web>) -> Html<String> {
    let page = Page {
        environment: &web.environment,
        title: "Rollouts",
        events: Some(""),
    };
    let main = overview::overview(&web.board.all(), web.clock.now());
    Html(page.html(&main).into_string())
}

/// `GET /rollouts/{namespace}/{name}`.
pub async fn rollout(
    State(web): State<Web>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let Some(entry) = web.board.get(&namespace, &name) else {
        let words = format!("no Rollout {namespace}/{name} is known here\n");
        return (StatusCode::NOT_FOUND, words).into_response();
    };
    let past = web.history.list(Filter {
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        limit: PAST,
        ..Filter::default()
    });
    let past = past.await.ok();
    let live = web.history.live(&namespace, &name);
    let shown = Shown {
        entry: &entry,
        live: live.as_ref(),
        past: past.as_deref(),
        now: web.clock.now(),
    };
    let title = format!("{} {namespace}/{name}", entry.phase);
    let events = format!("namespace={namespace}&name={name}");
    let page = Page {
        environment: &web.environment,
        title: &title,
        events: Some(&events),
    };
    Html(page.html(&shown.html()).into_string()).into_response()
}
