//! How many requests a look at Prometheus makes with 1, 10 and 100 Rollouts in a run.
//!
//! The daemon's own source asks a small server that answers like Prometheus with both arms'
//! counters of every Rollout; the server counts.
//! Not here: how long Prometheus takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice::daemon::rules::Rules;
use sluice::prometheus::{Prometheus, Source, Subject};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Error;
use super::table::Row;

const TICKS: u32 = 10;
const RULES: [&str; 2] = ["error-rate", "latency-p99"];

/// What the server knows: how many Rollouts there are, and the requests so far.
#[derive(Debug, Default)]
struct Server {
    rollouts: AtomicUsize,
    requests: AtomicU64,
    second: AtomicU64,
}

/// Measures requests a tick.
pub async fn measure() -> Result<Vec<Row>, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Arc::new(Server::default());
    let app = Router::new().fallback(answer).with_state(server.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await });
    let mut rows = Vec::new();
    for rollouts in [1, 10, 100, 500] {
        let queries = queries(&server, &url, rollouts).await?;
        rows.push(Row::held(
            format!("Prometheus queries a tick, {rollouts} Rollouts in a run, two rules"),
            format!("{queries:.1}"),
            format!("{} (one a rule)", RULES.len()),
            queries <= RULES.len() as f64,
        ));
    }
    Ok(rows)
}

/// Requests a tick with so many Rollouts.
async fn queries(server: &Server, url: &str, rollouts: usize) -> Result<f64, Error> {
    let rules = Rules::load(Vec::new()).map_err(|problems| format!("{problems:?}"))?;
    let rules: Vec<_> = RULES
        .iter()
        .filter_map(|name| rules.get(name))
        .cloned()
        .collect();
    server.rollouts.store(rollouts, Ordering::Relaxed);
    let mut source = Source::from(Prometheus::new(url, None, Duration::from_secs(5))?);
    let mut subjects: Vec<Subject> = (0..rollouts).map(|index| subject(index, &rules)).collect();
    let before = server.requests.load(Ordering::Relaxed);
    let mut samples = 0;
    for tick in 0..TICKS {
        server.second.store(u64::from(tick) + 1, Ordering::Relaxed);
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(tick) + 1);
        let readings = source.read(&subjects, now).await;
        for subject in &mut subjects {
            let reading = readings
                .get(&subject.key())
                .ok_or("a Rollout without a reading")?;
            subject.cursor = Some(reading.cursor.clone());
            samples += reading.samples.len();
        }
    }
    if samples < rollouts * (TICKS as usize - 2) {
        return Err(format!("only {samples} samples were read for {rollouts} Rollouts").into());
    }
    let asked = server.requests.load(Ordering::Relaxed) - before;
    Ok(asked as f64 / f64::from(TICKS))
}

fn subject(index: usize, rules: &[Arc<sluice::rollout::rule::Rule>]) -> Subject {
    let name = format!("app-{index}");
    Subject {
        namespace: format!("team-{}", index % 10),
        ingress: name.clone(),
        service: name.clone(),
        canary_service: format!("{name}-canary"),
        other_ingresses: Vec::new(),
        port: "80".to_owned(),
        other_ports: Vec::new(),
        workload: String::new(),
        canary_workload: String::new(),
        canary_pods: "canary-.*".into(),
        stable_pods: "stable-.*".into(),
        name,
        rules: rules.to_vec(),
        cursor: None,
        since: Timestamp::UNIX_EPOCH,
    }
}

/// A second of every Rollout's counters, each second 100 more.
async fn answer(State(server): State<Arc<Server>>) -> axum::Json<Value> {
    server.requests.fetch_add(1, Ordering::Relaxed);
    let second = server.second.load(Ordering::Relaxed);
    let values: Vec<Value> = (second.saturating_sub(2)..=second)
        .map(|second| json!([second, (second * 100).to_string()]))
        .collect();
    let series = |index: usize, canary: &str| {
        let name = format!("app-{index}");
        let labels = json!({
            "__name__": "nginx_ingress_controller_requests", "instance": "10.0.0.1:10254",
            "exported_namespace": format!("team-{}", index % 10), "ingress": name,
            "exported_service": name, "canary": canary, "status": "200",
        });
        json!({"metric": labels, "values": values})
    };
    let result: Vec<Value> = (0..server.rollouts.load(Ordering::Relaxed))
        .flat_map(|index| [series(index, ""), series(index, &format!("canary-{index}"))])
        .collect();
    axum::Json(json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
}
