//! Traces of a real daemon, heard by a stand-in for the collector.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

type Spans = Arc<Mutex<Vec<Value>>>;

async fn take(State(spans): State<Spans>, Json(body): Json<Value>) -> Json<Value> {
    let heard = body["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let heard = heard.as_array().cloned().unwrap_or_default();
    spans.lock().unwrap().extend(heard);
    Json(json!({}))
}

async fn collector(tasks: &mut JoinSet<()>) -> (Spans, String) {
    let spans = Spans::default();
    let router = axum::Router::new().route("/v1/traces", post(take));
    let router = router.with_state(Arc::clone(&spans));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (spans, address)
}

fn attribute(span: &Value, key: &str) -> String {
    let all = span["attributes"].as_array().into_iter().flatten();
    let found = all.filter(|pair| pair["key"] == key);
    let mut values = found.filter_map(|pair| pair["value"]["stringValue"].as_str());
    values.next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_trace_with_its_passes_decisions_and_writes() {
    let world = World::listening().await;
    let mut tasks = JoinSet::new();
    let (spans, address) = collector(&mut tasks).await;
    let settings = format!("telemetry: {{otlp: {{endpoint: \"{address}\"}}}}");
    let daemon = world.process("traces", world.cluster.api_address.unwrap(), &settings);
    world.app("shop", 50, "3600s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    world.release("shop", "2", "1").await;
    let whole = || async {
        spans
            .lock()
            .unwrap()
            .iter()
            .any(|span| span["name"] == "run")
    };
    world.until("the run is told", SECOND * 90, whole).await;

    let spans = spans.lock().unwrap().clone();
    let run = spans.iter().find(|span| span["name"] == "run").unwrap();
    assert_eq!(attribute(run, "outcome"), "RolledBack");
    assert_eq!(run["parentSpanId"], Value::Null);
    let of_it: Vec<&Value> = spans
        .iter()
        .filter(|span| span["traceId"] == run["traceId"])
        .collect();
    let named = |name: &str| {
        of_it
            .iter()
            .filter(|span| span["name"] == name)
            .copied()
            .collect::<Vec<_>>()
    };
    let (passes, decisions, acts) = (named("pass"), named("decide"), named("act"));
    assert!(
        passes.len() > 3 && acts.len() > 3,
        "{} {}",
        passes.len(),
        acts.len()
    );
    assert!(
        passes
            .iter()
            .all(|pass| pass["parentSpanId"] == run["spanId"])
    );
    for decision in &decisions {
        let mut whole = passes.iter();
        assert!(
            whole.any(|pass| pass["spanId"] == decision["parentSpanId"]),
            "{decision}"
        );
    }
    let worse = decisions
        .iter()
        .any(|span| attribute(span, "reasons").contains("RolledBack"));
    let lowered = acts
        .iter()
        .any(|span| attribute(span, "action") == "LowerWeight");
    assert!(worse && lowered, "{decisions:?} {acts:?}");
    let metrics = daemon.page("metrics").await.unwrap();
    assert!(
        metrics.contains("sluice_spans_total{outcome=\"sent\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_takes_connections_and_is_silent_holds_nothing_up() {
    let world = World::listening().await;
    // Taken by the system, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let settings = format!("telemetry: {{otlp: {{endpoint: \"http://{address}\"}}}}");
    let daemon = world.process("untold", world.cluster.api_address.unwrap(), &settings);
    world.app("shop", 50, "3600s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    world.release("shop", "2", "1").await;
    let ended = || async { world.outcome("shop").await.as_deref() == Some("RolledBack") };
    world.until("it is put back", SECOND * 90, ended).await;

    // Nor is anything of a Rollout that is gone left behind.
    let metrics = daemon.page("metrics").await.unwrap();
    assert!(metrics.contains("rollout=\"shop\""), "{metrics}");
    world.delete_rollout("shop").await;
    let gone = || async {
        let metrics = daemon.page("metrics").await;
        metrics.is_some_and(|metrics| !metrics.contains("rollout=\"shop\""))
    };
    world.until("its series are gone", SECOND * 60, gone).await;
    daemon.signal("TERM");
    let ended = || async { daemon.ended() };
    world.until("it ends", SECOND * 5, ended).await;
}
