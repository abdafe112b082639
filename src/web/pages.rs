//! The live pages: all Rollouts, and one.
//!
//! Not here: past runs (`archive`), and how it looks (`view`).

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use super::routes::Web;
use super::session::Peer;
use super::view::acts::Viewer;
use super::view::frame::Page;
use super::view::overview;
use super::view::rollout::Shown;
use crate::history::Filter;

/// Past runs on the page of a Rollout.
const PAST: usize = 10;
/// How long the page waits for them: who looks at it is in a hurry.
const PATIENCE: Duration = Duration::from_millis(500);

/// `GET /`.
pub async fn overview(State(web): State<Web>) -> Html<String> {
    let page = Page {
        place: &web.place,
        title: "Rollouts",
        events: Some(""),
    };
    let main = overview::overview(&web.board.all(), &web.place, web.clock.now());
    Html(page.html(&main).into_string())
}

/// `GET /rollouts/{namespace}/{name}`.
pub async fn rollout(
    State(web): State<Web>,
    Path((namespace, name)): Path<(String, String)>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    let Some(entry) = web.board.get(&namespace, &name) else {
        let words = format!("no Rollout {namespace}/{name} is known here\n");
        return (StatusCode::NOT_FOUND, words).into_response();
    };
    let past = web.history.list(Filter {
        environment: Some(web.place.environment.clone()),
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        limit: PAST,
        ..Filter::default()
    });
    let past = tokio::time::timeout(PATIENCE, past).await;
    let past = past.ok().and_then(Result::ok);
    // What this daemon watched may be of a run before the one that goes on.
    let run = entry.run.as_ref().map(|run| &run.id);
    let live = web.history.live(&namespace, &name);
    let live = live.filter(|live| Some(&live.summary.run) == run);
    let now = web.clock.now();
    let sessions = web.sessions.as_ref();
    let around = web.nearby.of(&namespace, &name);
    let session = sessions.and_then(|sessions| sessions.of(&headers, peer, now));
    let shown = Shown {
        entry: &entry,
        live: live.as_ref(),
        around: &around,
        place: &web.place,
        past: past.as_deref(),
        viewer: match (sessions, &session) {
            (None, _) => Viewer::Reader,
            (Some(_), None) => Viewer::Stranger,
            (Some(_), Some(session)) => Viewer::Known(session),
        },
        now,
    };
    let title = format!("{} {namespace}/{name}", entry.phase);
    let events = format!("namespace={namespace}&name={name}");
    let page = Page {
        place: &web.place,
        title: &title,
        events: Some(&events),
    };
    Html(page.html(&shown.html()).into_string()).into_response()
}
