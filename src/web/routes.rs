//! The endpoints.
//!
//! Handlers copy from memory and answer; none waits for anything. Bodies of requests are not
//! read, and a request that takes longer than ten seconds is given up.
//!
//! Not here: connections (`serve`), HTML (`view`).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use super::events::{Streams, events};
use super::purse::{self, Purse, counted};
use super::session::Sessions;
use super::view::frame::{ICON, SCRIPT, STYLE};
use super::{Board, Entry, Nearby, Place, Readiness, Versions, archive, pages, versions};
use crate::clock::Clock;
use crate::history::History;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::CONTENT_TYPE;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Nothing but our own files; no frame of anybody's.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const BODY_BYTES: usize = 64 * 1024;

/// What is shown.
#[derive(Debug, Clone)]
pub struct Web {
    /// Whose it is, and where it lies.
    pub place: Place,
    /// The Rollouts.
    pub board: Board,
    /// The runs that ended, and the curves of those that go on.
    pub history: History,
    /// Whether the daemon can do its work.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Metrics,
    /// Open pages.
    pub streams: Streams,
    /// The daemon's clock.
    pub clock: Clock,
    /// What is around a Rollout.
    pub nearby: Nearby,
    /// Which version is where, as it was read last.
    pub versions: Versions,
    /// What others send, below `/hooks`.
    pub hooks: Router,
    /// Who has signed in, where anybody may act.
    pub sessions: Option<Sessions>,
    /// What acts, and asks who one is.
    pub acts: Router,
}

/// All endpoints as a service.
pub fn router(web: Web) -> Router {
    let (hooks, acts) = (web.hooks.clone(), web.acts.clone());
    let purse = Purse::new(purse::ALL);
    Router::new()
        .route("/rollouts/{namespace}/{name}", get(pages::rollout))
        .route("/environments", get(versions::page))
        .route("/api/pipeline", get(versions::list))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(purse.clone(), counted))
        .merge(compressed(purse))
        .nest_service("/hooks", hooks)
        .route("/events", get(events))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .with_state(web)
        .merge(acts)
        .layer(middleware::from_fn(bounded))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// What many rows make large, smaller on the way. A Rollout's page is not among it: with a session's secret in it,
/// its length could tell of the secret (BREACH). Nor is the stream, which must not wait for more.
fn compressed(purse: Purse) -> Router<Web> {
    Router::new()
        .route("/", get(pages::overview))
        .route("/api/rollouts", get(rollouts))
        .route("/api/rollouts/{namespace}/{name}", get(rollout))
        .route("/api/history", get(archive::list))
        .route("/api/runs/{run}", get(archive::one))
        .route("/api/runs/{run}/report.html", get(archive::report))
        .route("/history", get(archive::past_runs))
        .route("/runs/{namespace}/{name}/{run}", get(archive::past_run))
        .route(
            "/style.css",
            get(|| async { file("text/css; charset=utf-8", STYLE) }),
        )
        .route("/icon.svg", get(|| async { file("image/svg+xml", ICON) }))
        .route(
            "/live.js",
            get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }),
        )
        .layer(middleware::from_fn_with_state(purse, counted))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

pub(super) async fn bounded(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "took too long\n").into_response(),
    };
    let headers = response.headers_mut();
    let mut say = |name, value| headers.insert(name, header::HeaderValue::from_static(value));
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::CACHE_CONTROL, "no-store");
    say(header::CONTENT_SECURITY_POLICY, POLICY);
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "same-origin");
    response
}

/// A file that is part of the binary.
pub(super) fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn ready(State(web): State<Web>) -> (StatusCode, String) {
    let (ready, text) = web.readiness.report(web.clock.now());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text)
}

async fn metrics(State(web): State<Web>) -> Response {
    match web.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn rollouts(State(web): State<Web>) -> Json<serde_json::Value> {
    let entries = web.board.all();
    let entries: Vec<&Entry> = entries.iter().map(Arc::as_ref).collect();
    Json(json!({"environment": web.place.environment, "rollouts": entries}))
}

async fn rollout(
    State(web): State<Web>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    if let Some(entry) = web.board.get(&namespace, &name) {
        return Json(entry.as_ref()).into_response();
    }
    let error = json!({"error": format!("no Rollout {namespace}/{name} is known here")});
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use jiff::Timestamp;
    use tower::ServiceExt;

    use super::super::Check;
    use super::*;

    fn web() -> Web {
        let board = Board::default();
        board.set(Entry {
            namespace: "shop".to_owned(),
            name: "backend".to_owned(),
            target: "backend".to_owned(),
            phase: "Idle".to_owned(),
            message: "serves <v1> & waits".to_owned(),
            stable: None,
            run: None,
            last_run: None,
            git: None,
            updated: Timestamp::UNIX_EPOCH,
        });
        Web {
            place: Place::root("test"),
            board,
            history: crate::history::History::closed(),
            readiness: Readiness::waiting_for(&["caches"]),
            metrics: Metrics::new(),
            streams: Streams::until(tokio_util::sync::CancellationToken::new()),
            clock: Clock::machine(),
            nearby: Nearby::default(),
            versions: Versions::default(),
            hooks: Router::new(),
            sessions: None,
            acts: Router::new(),
        }
    }

    async fn ask(web: Web, method: &str, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = router(web).oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let kind = kind.map_or(String::new(), |kind| kind.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_endpoint_answers() {
        let cases = [
            ("/healthz", 200, "text/plain", "ok"),
            ("/readyz", 503, "text/plain", "wait caches: not known yet"),
            (
                "/metrics",
                200,
                "application/openmetrics-text; version=1.0.0",
                "# EOF",
            ),
            (
                "/api/rollouts",
                200,
                "application/json",
                "\"phase\":\"Idle\"",
            ),
            (
                "/api/rollouts/shop/backend",
                200,
                "application/json",
                "\"name\":\"backend\"",
            ),
            (
                "/api/rollouts/shop/front",
                404,
                "application/json",
                "no Rollout shop/front",
            ),
            ("/", 200, "text/html", "serves &lt;v1&gt; &amp; waits"),
            (
                "/rollouts/shop/backend",
                200,
                "text/html",
                "<h1>shop/backend</h1>",
            ),
            ("/rollouts/shop/front", 404, "text/plain", "no Rollout"),
            ("/style.css", 200, "text/css", "color-scheme: light dark"),
            ("/live.js", 200, "text/javascript", "EventSource"),
            ("/icon.svg", 200, "image/svg+xml", "<svg"),
            ("/history", 404, "application/json", "no history is kept"),
            (
                "/api/history",
                404,
                "application/json",
                "no history is kept",
            ),
            ("/api/history?since=soon", 400, "text/plain", "since"),
            (
                "/api/runs/one",
                404,
                "application/json",
                "no history is kept",
            ),
            (
                "/environments",
                404,
                "text/plain",
                "no pipeline is named in the settings",
            ),
            (
                "/api/pipeline",
                404,
                "application/json",
                "no pipeline is named in the settings",
            ),
            ("/nowhere", 404, "text/plain", "no such page"),
        ];
        for (path, status, kind, part) in cases {
            let (found, type_found, body) = ask(web(), "GET", path).await;
            assert_eq!(found.as_u16(), status, "{path}");
            assert!(type_found.starts_with(kind), "{path}: {type_found}");
            assert!(body.contains(part), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn what_may_be_large_is_compressed_but_no_page_with_a_secret_and_no_stream() {
        let ask = |path: &'static str, encodings: &'static str| async move {
            let request = Request::builder().uri(path);
            let request = request.header(header::ACCEPT_ENCODING, encodings);
            let request = request.body(axum::body::Body::empty()).unwrap();
            router(web()).oneshot(request).await.unwrap()
        };
        let cases = [
            ("/", "gzip, br", true),
            ("/", "br", false),
            ("/api/rollouts", "gzip", true),
            ("/style.css", "gzip", true),
            ("/rollouts/shop/backend", "gzip", false),
            ("/events", "gzip", false),
        ];
        for (path, encodings, wanted) in cases {
            let answer = ask(path, encodings).await;
            let encoding = answer.headers().get(header::CONTENT_ENCODING);
            let encoding = encoding.map(|value| value.to_str().unwrap().to_owned());
            let wanted = wanted.then(|| "gzip".to_owned());
            assert_eq!(encoding, wanted, "{path} for {encodings}");
        }
        let body = ask("/", "gzip").await.into_body().collect().await.unwrap();
        let mut text = String::new();
        let body = body.to_bytes();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text)
            .unwrap();
        assert!(text.contains("shop/backend"), "{text}");
    }

    #[tokio::test]
    async fn it_is_ready_when_nothing_is_waited_for() {
        let web = web();
        web.readiness
            .set("caches", Check::Good("synced".to_owned()));
        assert_eq!(ask(web, "GET", "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn nothing_can_be_changed() {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let (status, ..) = ask(web(), method, "/api/rollouts/shop/backend").await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    }
}
