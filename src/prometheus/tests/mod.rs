//! The source against a server on the loopback interface, on its good and its bad days.
//!
//! A small HTTP server plays Prometheus or a router's pod; what it answers is set by each test.
//! Not here: the pure halves, which are tested beside their code.

mod asking;
mod rewriting;
mod sampling;
mod scraping;
mod shipping;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::sorting::tests::{shipped, subject};
use super::tally::Class;
use super::*;
use crate::rollout::evidence::ArmCounts;
use crate::rollout::rule::{Rule, lint};

#[derive(Clone, Default)]
struct Said {
    method: String,
    query: String,
    authorization: Option<String>,
}

/// What the server answers.
#[derive(Clone)]
enum Answer {
    Body(u16, String),
    Never,
    Redirect,
    /// What this says to a query.
    To(fn(&str) -> String),
}

#[derive(Clone)]
struct Scene {
    answer: Arc<Mutex<Answer>>,
    said: Arc<Mutex<Vec<Said>>>,
}

struct Server {
    url: String,
    scene: Scene,
    _tasks: JoinSet<()>,
}

async fn handle(State(scene): State<Scene>, headers: HeaderMap, request: Request) -> Response {
    let method = request.method().to_string();
    let in_url = request.uri().query().unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let query = format!("{in_url}{}", String::from_utf8_lossy(&body));
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    scene.said.lock().unwrap().push(Said {
        method,
        query: query.clone(),
        authorization,
    });
    let answer = scene.answer.lock().unwrap().clone();
    match answer {
        Answer::Body(code, body) => (StatusCode::from_u16(code).unwrap(), body).into_response(),
        Answer::To(reply) => reply(&query).into_response(),
        Answer::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/login")]).into_response(),
        Answer::Never => std::future::pending().await,
    }
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scene = Scene {
            answer: Arc::new(Mutex::new(answer)),
            said: Arc::default(),
        };
        let router = axum::Router::new()
            .fallback(handle)
            .with_state(scene.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            scene,
            _tasks: tasks,
        }
    }

    fn answers(&self, body: &str) {
        *self.scene.answer.lock().unwrap() = Answer::Body(200, body.to_owned());
    }

    fn said(&self) -> Vec<Said> {
        std::mem::take(&mut *self.scene.said.lock().unwrap())
    }

    fn source(&self) -> Source {
        Prometheus::new(&self.url, None, Duration::from_millis(300))
            .unwrap()
            .with_limit(4_000)
            .into()
    }

    fn scraper(&self) -> Source {
        let url = format!("{}/metrics", self.url);
        Scrape::new(Targets::Urls(vec![url]), Duration::from_millis(300))
            .unwrap()
            .into()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn errors(name: &str) -> Subject {
    subject("shop", name, &[shipped("error-rate")])
}

/// Status, canary label, values with their times in seconds.
type Series<'a> = (&'a str, &'a str, &'a [(i64, &'a str)]);

/// A reply with these series of `shop/api`.
fn matrix(series: &[Series<'_>]) -> String {
    let one = |(status, canary, values): &Series<'_>| {
        serde_json::json!({
            "metric": {
                "__name__": "nginx_ingress_controller_requests", "exported_namespace": "shop", "ingress": "api",
                "exported_service": "api", "instance": "10.0.0.1:10254", "status": status, "canary": canary,
            },
            "values": values,
        })
    };
    let result: Vec<_> = series.iter().map(one).collect();
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
        .to_string()
}

/// Samples as (from, to, canary total, canary bad, stable total, stable bad).
fn rows(reading: &Reading) -> Vec<(i64, i64, f64, f64, f64, f64)> {
    let numbers = |counts: &ArmCounts| match counts {
        ArmCounts::Proportion { total, bad } => (*total, *bad),
        _ => panic!("not a proportion"),
    };
    let row = |sample: &Sample| {
        let ((ct, cb), (st, sb)) = (numbers(&sample.canary), numbers(&sample.stable));
        (
            sample.from.as_second(),
            sample.to.as_second(),
            ct,
            cb,
            st,
            sb,
        )
    };
    reading.samples.iter().map(row).collect()
}

async fn read(source: &mut Source, subject: &Subject, second: i64) -> Reading {
    let readings = source.read(std::slice::from_ref(subject), at(second)).await;
    readings[&subject.key()].clone()
}

const CANARY: &str = "shop-api-canary-80";

fn text(ok: u32, bad: u32, canary: u32) -> String {
    let line = |status, canary, count| {
        format!(
            "nginx_ingress_controller_requests{{namespace=\"shop\",ingress=\"api\",service=\"api\",status=\"{status}\",canary=\"{canary}\"}} {count}\n"
        )
    };
    format!(
        "# TYPE nginx_ingress_controller_requests counter\n{}{}{}",
        line(200, "", ok),
        line(500, "", bad),
        line(200, CANARY, canary)
    )
}

/// Process names and their texts.
type Shown = Arc<Mutex<Vec<(String, String)>>>;

/// A scraper of texts that a test sets.
fn texts() -> (Source, Shown) {
    let now = Shown::default();
    let shown = Arc::clone(&now);
    let targets = Targets::Texts(Arc::new(move || shown.lock().unwrap().clone()));
    (
        Scrape::new(targets, Duration::from_secs(1)).unwrap().into(),
        now,
    )
}

/// A reply whose series have these values and these labels beside the usual ones.
fn labelled(series: &[(serde_json::Value, &[(i64, &str)])]) -> String {
    let one = |(more, values): &(serde_json::Value, &[(i64, &str)])| {
        let mut metric = serde_json::json!({
            "exported_namespace": "shop", "ingress": "api", "exported_service": "api",
            "instance": "10.0.0.1:10254", "status": "200", "canary": "",
        });
        json_patch::merge(&mut metric, more);
        serde_json::json!({"metric": metric, "values": values})
    };
    let result: Vec<_> = series.iter().map(one).collect();
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
        .to_string()
}
