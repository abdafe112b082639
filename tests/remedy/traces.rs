//! A remedy is a part of its run's trace, and what was not sent when the daemon ends is sent then.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::daemons::Daemon;
use super::{MINUTE, Shop};

type Spans = Arc<Mutex<Vec<Value>>>;

async fn take(State(spans): State<Spans>, Json(body): Json<Value>) -> Json<Value> {
    let heard = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let mut spans = spans.lock().unwrap();
    spans.extend(heard.as_array().cloned().unwrap_or_default());
    Json(json!({}))
}

async fn collector(tasks: &mut JoinSet<()>) -> (Spans, String) {
    let spans = Spans::default();
    let router = axum::Router::new().route("/v1/traces", post(take));
    let router = router.with_state(Arc::clone(&spans));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (spans, address)
}

/// In real time: a collector is reached by HTTP, for which virtual time does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remedy_is_a_part_of_its_runs_trace_and_the_last_spans_are_sent_at_the_end() {
    // Fails only when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut tasks = JoinSet::new();
    let (spans, address) = collector(&mut tasks).await;
    let shop = Shop::open().await;
    let daemon = Daemon::start(
        &shop.world,
        &json!({
            "git": {"folder": shop.team.folder.path().join("copies")},
            "telemetry": {"otlp": {"endpoint": address}},
        }),
    );
    let known = || async { shop.git().await.good.is_some() };
    let begun = shop
        .world
        .until("the first commit is known", MINUTE * 3, known);
    begun.await;
    shop.released("2", "0.3", "RolledBack").await;
    let done = || async { shop.remedy().await.is_some() };
    shop.world.until("it is done", MINUTE * 3, done).await;
    let remedy = shop.remedy().await.unwrap();
    assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
    // At once, while what was told last still waits for more.
    daemon.stop().await;

    let spans = spans.lock().unwrap();
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    let (whole, told) = (named("run"), named("remedy"));
    assert_eq!(told["traceId"], whole["traceId"]);
    assert_eq!(told["parentSpanId"], whole["spanId"]);
    let run = json!({"key": "run", "value": {"stringValue": remedy.run}});
    let attributes = told["attributes"].as_array().unwrap();
    assert!(attributes.contains(&run), "{told}");
}
