//! Several environments behind one listener: each beneath its name, and all of them at a glance.
//!
//! `/` lists the environments with the phase that needs somebody most, `/api/environments` is the same
//! as JSON, `/metrics` has the series of all, `/environments/NAME/...` is what a daemon of one
//! environment has at its root. `/readyz` is good once each environment is ready or was tried: a
//! cluster that is away must not take the others' daemon out of service.
//!
//! Guarantees: a seat's pages are answered by its own daemon's router only, and say why where none
//! runs. Not here: what the daemons do, and when one is started anew.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tower::ServiceExt;

use super::routes::{self, Web, bounded, file};
use super::view::frame::{ICON, STYLE};
use super::view::hub::environments;
use super::{Board, Place, Readiness, Streams};
use crate::clock::{Clock, elapsed};
use crate::rollout::tone::Tone;
use crate::telemetry::metrics::CONTENT_TYPE;
use crate::telemetry::{Metrics, joined};

/// An environment that is not ready by then was tried: the hub is ready without it.
const TRIED: Duration = Duration::from_secs(10);

/// One environment's seat in the hub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    board: Board,
    metrics: Metrics,
    streams: Streams,
    tried: AtomicBool,
    now: RwLock<Now>,
}

/// What is in a seat.
#[derive(Debug)]
enum Now {
    /// Nobody yet.
    Starting,
    /// A daemon.
    Open(Router, Readiness, Place),
    /// Nobody any more, and why.
    Away(String),
}

/// How an environment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub environment: String,
    /// Where its pages are.
    pub path: String,
    /// Whether its daemon can do its work.
    pub ready: bool,
    /// What it waits for, or what is wrong; `ready` where nothing is.
    pub says: String,
    /// Its Rollouts.
    pub rollouts: usize,
    /// The phase among them that needs somebody most.
    pub phase: Option<String>,
    /// Where its pages show a pipeline, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
}

impl Seat {
    /// A seat that waits for its daemon; open pages count with those of the other seats.
    pub fn new(environment: &str, streams: Streams) -> Self {
        Self(Arc::new(Inner {
            place: Place::beneath(environment),
            board: Board::default(),
            metrics: Metrics::of(environment),
            streams,
            tried: AtomicBool::new(false),
            now: RwLock::new(Now::Starting),
        }))
    }

    /// Whose it is, and where its pages lie.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// What is shown of its Rollouts.
    pub fn board(&self) -> Board {
        self.0.board.clone()
    }

    /// Its metrics, which go on when its daemon is started anew.
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// Open pages of all seats.
    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// From now on a daemon answers.
    pub fn open(&self, web: Web) {
        let readiness = web.readiness.clone();
        let place = web.place.clone();
        self.put(Now::Open(routes::router(web), readiness, place));
    }

    /// From now on nobody answers, and nothing is told of Rollouts.
    pub fn close(&self, why: &str) {
        self.0.tried.store(true, Ordering::Relaxed);
        self.put(Now::Away(why.to_owned()));
        for entry in self.0.board.all() {
            self.0.board.forget(&entry.namespace, &entry.name);
        }
        self.0.metrics.forget_all();
        self.0.metrics.leads(false);
    }

    fn put(&self, now: Now) {
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// How it stands.
    pub fn standing(&self, at: Timestamp) -> Standing {
        let mut pipeline = None;
        let (ready, says) = match &*self.0.now.read().unwrap_or_else(PoisonError::into_inner) {
            Now::Starting => (false, "starts".to_owned()),
            Now::Away(why) => (false, why.clone()),
            Now::Open(_, readiness, place) => {
                pipeline = place.has_pipeline.then(|| place.path("/environments"));
                told(readiness.report(at))
            }
        };
        if ready {
            self.0.tried.store(true, Ordering::Relaxed);
        }
        let entries = self.0.board.all();
        let worst = entries.iter().min_by_key(|entry| Tone::of(&entry.phase));
        Standing {
            environment: self.0.place.environment.clone(),
            path: self.0.place.path("/"),
            ready,
            says,
            rollouts: entries.len(),
            phase: worst.map(|entry| entry.phase.clone()),
            pipeline,
        }
    }

    /// What its daemon answers.
    async fn answer(&self, request: Request) -> Response {
        let router = match &*self.0.now.read().unwrap_or_else(PoisonError::into_inner) {
            Now::Open(router, ..) => Ok(router.clone()),
            Now::Starting => Err("starts".to_owned()),
            Now::Away(why) => Err(format!("is away: {why}")),
        };
        match router {
            Ok(router) => match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(why) => {
                let words = format!("the environment {} {why}\n", self.0.place.environment);
                (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
            }
        }
    }
}

/// Whether a daemon is ready, and what is not good.
fn told((ready, text): (bool, String)) -> (bool, String) {
    let lines = text.lines().filter(|line| !line.starts_with("good"));
    let wrong: Vec<&str> = lines.map(|line| line.get(5..).unwrap_or(line)).collect();
    let says = if wrong.is_empty() {
        "ready".to_owned()
    } else {
        wrong.join("; ")
    };
    (ready, says)
}

/// All seats of one listener.
#[derive(Debug)]
struct Hub {
    seats: Vec<Seat>,
    clock: Clock,
    begun: Timestamp,
}

impl Hub {
    fn standings(&self) -> Vec<Standing> {
        let now = self.clock.now();
        self.seats.iter().map(|seat| seat.standing(now)).collect()
    }

    /// Whether each environment is ready or was tried, and a line an environment.
    fn report(&self) -> (bool, String) {
        let late = elapsed(self.begun, self.clock.now()) >= TRIED;
        let mut all = true;
        let mut text = String::new();
        for (seat, standing) in self.seats.iter().zip(self.standings()) {
            let tried = late || seat.0.tried.load(Ordering::Relaxed);
            let mark = match (standing.ready, tried) {
                (true, _) => "good",
                (false, true) => "bad ",
                (false, false) => "wait",
            };
            all &= standing.ready || tried;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{mark} {}: {}", standing.environment, standing.says);
        }
        (all, text)
    }
}

/// All endpoints of a listener with these seats.
pub fn router(seats: Vec<Seat>, clock: Clock) -> Router {
    let hub = Arc::new(Hub {
        seats: seats.clone(),
        clock,
        begun: clock.now(),
    });
    let mut router = Router::new()
        .route("/", get(overview))
        .route("/api/environments", get(list))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/style.css",
            get(|| async { file("text/css; charset=utf-8", STYLE) }),
        )
        .route("/icon.svg", get(|| async { file("image/svg+xml", ICON) }))
        .fallback(unnamed)
        .with_state(hub);
    for seat in seats {
        let base = seat.place().base.clone();
        let service = tower::service_fn(move |request: Request| {
            let seat = seat.clone();
            async move { Ok::<_, Infallible>(seat.answer(request).await) }
        });
        router = router.nest_service(&base, service);
    }
    router.layer(middleware::from_fn(bounded))
}

async fn overview(State(hub): State<Arc<Hub>>) -> Html<String> {
    Html(environments(&hub.standings()).into_string())
}

async fn list(State(hub): State<Arc<Hub>>) -> Json<serde_json::Value> {
    Json(json!({"environments": hub.standings()}))
}

async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, String) {
    let (ready, text) = hub.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text)
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let texts: Result<Vec<_>, _> = hub.seats.iter().map(|seat| seat.0.metrics.text()).collect();
    match texts {
        Ok(texts) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], joined(&texts)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What belongs to one environment is asked for beneath its name.
async fn unnamed(State(hub): State<Arc<Hub>>) -> Response {
    let names = hub
        .seats
        .iter()
        .map(|seat| seat.place().environment.clone());
    let names = names.collect::<Vec<_>>().join(", ");
    let error = format!(
        "no such page: several environments are served here, each beneath /environments/NAME ({names})"
    );
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;

    use super::super::{Check, Entry, Nearby, Versions};
    use super::*;
    use crate::history::History;

    fn web(seat: &Seat, ready: bool) -> Web {
        let readiness = Readiness::waiting_for(&["cluster"]);
        if ready {
            readiness.set("cluster", Check::Good("filled".to_owned()));
        }
        Web {
            place: Place {
                has_pipeline: ready,
                ..seat.place().clone()
            },
            board: seat.board(),
            history: History::closed(),
            readiness,
            metrics: seat.metrics(),
            streams: seat.streams().clone(),
            clock: Clock::machine(),
            nearby: Nearby::default(),
            versions: Versions::default(),
            hooks: Router::new(),
            sessions: None,
            acts: Router::new(),
        }
    }

    /// One that is ready, one that waits for its cluster, and one whose daemon ended.
    fn seats() -> Vec<Seat> {
        let streams = Streams::until(CancellationToken::new());
        let seats = ["staging", "production", "edge"].map(|name| Seat::new(name, streams.clone()));
        let entry = |phase: &str| Entry {
            namespace: "shop".to_owned(),
            name: phase.to_lowercase(),
            target: "backend".to_owned(),
            phase: phase.to_owned(),
            message: "in words".to_owned(),
            stable: None,
            run: None,
            last_run: None,
            git: None,
            updated: Timestamp::UNIX_EPOCH,
        };
        seats[0].board().set(entry("Idle"));
        seats[0].board().set(entry("Failed"));
        seats[2].board().set(entry("Idle"));
        seats[0].metrics().reconciled();
        seats[0].open(web(&seats[0], true));
        seats[1].open(web(&seats[1], false));
        seats[2].close("reading the kubeconfig");
        seats.to_vec()
    }

    async fn ask(seats: Vec<Seat>, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(axum::body::Body::empty());
        let router = router(seats, Clock::machine());
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_environment_is_beneath_its_name() {
        let cases = [
            ("/healthz", 200, "ok"),
            ("/", 200, "href=\"/environments/staging/\""),
            ("/", 200, "reading the kubeconfig"),
            ("/api/environments", 200, "\"phase\":\"Failed\""),
            ("/", 200, "href=\"/environments/staging/environments\""),
            (
                "/environments/staging/environments",
                200,
                "href=\"/environments/staging/environments\"",
            ),
            ("/environments/production/environments", 404, "no pipeline"),
            ("/environments/staging", 200, "shop/failed"),
            (
                "/environments/staging/",
                200,
                "href=\"/environments/staging/rollouts/shop/failed\"",
            ),
            (
                "/environments/staging/",
                200,
                "data-events=\"/environments/staging/events?\"",
            ),
            (
                "/environments/staging/rollouts/shop/idle",
                200,
                "<h1>shop/idle</h1>",
            ),
            (
                "/environments/staging/api/rollouts/shop/idle",
                200,
                "\"name\":\"idle\"",
            ),
            (
                "/environments/production/api/rollouts/shop/idle",
                404,
                "no Rollout",
            ),
            ("/environments/production/readyz", 503, "wait cluster"),
            ("/environments/edge/", 503, "edge is away: reading"),
            ("/environments/nowhere/", 404, "staging, production, edge"),
            ("/api/rollouts", 404, "beneath /environments/NAME"),
        ];
        for (path, status, part) in cases {
            let (found, body) = ask(seats(), path).await;
            assert_eq!(found, status, "{path}: {body}");
            assert!(body.contains(part), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn metrics_are_told_once_with_the_environment() {
        let (_, text) = ask(seats(), "/metrics").await;
        assert!(
            text.contains("sluice_reconciles_total{environment=\"staging\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("sluice_reconciles_total{environment=\"edge\"} 0\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE sluice_reconciles ").count(), 1);
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    }

    #[tokio::test]
    async fn a_cluster_that_is_away_keeps_the_hub_from_being_ready_until_it_was_tried() {
        let begun = Timestamp::UNIX_EPOCH;
        let report = |seats, clock| {
            let hub = Hub {
                seats,
                clock,
                begun,
            };
            hub.report()
        };
        let soon = Clock::scaled(begun + Duration::from_secs(1), 1.0);
        let text = "good staging: ready\nwait production: cluster: not known yet\nbad  edge: reading the kubeconfig\n";
        assert_eq!(report(seats(), soon), (false, text.to_owned()));
        let late = Clock::scaled(begun + TRIED, 1.0);
        let text = text.replace("wait", "bad ");
        assert_eq!(report(seats(), late), (true, text));
    }
}
