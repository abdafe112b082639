//! The shipped dashboards on a real Prometheus: no panel is empty once a release was promoted and
//! one rolled back.
//!
//! The real binary plays the sandbox and its daemon; Prometheus scrapes the daemon's page. What
//! Grafana would put into a query is put in here. Not here: whether the names exist (`tests/docs`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::child::{self, free_ports};
use crate::server::{Job, Kind, Server};

/// How long both releases may take.
const PATIENCE: Duration = Duration::from_secs(240);

const SCENARIO: &str = "
name: dashboards
about: a release that is promoted and one that is rolled back
cluster: {reload: 300ms}
daemon:
  evidence: {every: 500ms, settle: 1s}
steps:
  - apply: {by: flux, file: shop.yaml}
  - expect: {within: 30s, that: [{rollout: {name: shop, phase: Idle}}]}
  - run:
      name: v2
      about: healthy
      release: {deployment: shop, image: 'shop:v2'}
      outcome: Promoted
      within: 90s
  - run:
      name: v3
      about: answers 30% of its requests with an error
      release: {deployment: shop, image: 'shop:v3', behaves: {errors: '0.3'}}
      outcome: RolledBack
      within: 90s
";

/// What each panel of a dashboard asks, as Grafana would ask it.
fn asked(board: &Value) -> Vec<(String, String)> {
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap();
        targets
            .iter()
            .map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    let filled = [
        ("$__rate_interval", "1m"),
        ("$__range", "5m"),
        ("$environment", ".*"),
        ("$namespace", ".*"),
        ("$rollout", ".*"),
    ];
    let fill = |expr: String| {
        filled
            .iter()
            .fold(expr, |expr, (name, value)| expr.replace(name, value))
    };
    targets.map(|(title, expr)| (title, fill(expr))).collect()
}

#[allow(clippy::disallowed_methods)] // a server's time is the machine's
/// How many values a query has in the last five minutes that are numbers.
async fn values(prometheus: &Server, expr: &str) -> usize {
    let client = sluice::prometheus::http_client(Duration::from_secs(10)).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let url = format!("{}/api/v1/query_range", prometheus.url());
    let range = [
        ("query", expr.to_owned()),
        ("start", (now - 300).to_string()),
        ("end", now.to_string()),
        ("step", "5".to_owned()),
    ];
    let answer = client.get(&url).query(&range).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["status"], "success", "{expr}: {answer}");
    let series = answer["data"]["result"].as_array().unwrap();
    let values = series
        .iter()
        .flat_map(|one| one["values"].as_array().unwrap());
    values.filter(|value| value[1] != "NaN").count()
}

#[allow(clippy::disallowed_methods)] // real servers take real time
async fn until_both_releases_are_over(sandbox: &child::Server, page: SocketAddr) {
    let client = sluice::prometheus::http_client(Duration::from_secs(2)).unwrap();
    let began = std::time::Instant::now();
    loop {
        let asked = client.get(format!("http://{page}/metrics")).send().await;
        let text = match asked {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let over = |outcome: &str| {
            let wanted = format!("outcome=\"{outcome}\"");
            let mut runs = text
                .lines()
                .filter(|line| line.starts_with("sluice_runs_total"));
            runs.any(|line| line.contains(&wanted) && !line.ends_with(" 0"))
        };
        if over("Promoted") && over("RolledBack") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{}\n{text}", sandbox.told());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a server lives in real time
async fn no_panel_of_a_dashboard_is_empty() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("dashboards.yaml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    std::fs::copy(
        root.join("scenarios/shop.yaml"),
        folder.path().join("shop.yaml"),
    )
    .unwrap();
    let [port] = free_ports();
    let page = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (scenario, listen) = (scenario.display().to_string(), page.to_string());
    let arguments = [
        "sandbox",
        "--scenario",
        &scenario,
        "--page",
        &listen,
        "--stay",
    ];
    let log = folder.path().join("log");
    let sandbox = child::Server::start(env!("CARGO_BIN_EXE_sluice"), &arguments, &log);
    let mut prometheus = Server::new(Kind::Prometheus);
    let job = Job {
        name: "sluice".to_owned(),
        every: 1,
        targets: vec![page],
        labels: Vec::new(),
    };
    prometheus.begin(&[job]).await;
    until_both_releases_are_over(&sandbox, page).await;
    // Increases need samples on both sides of the last change.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut empty = Vec::new();
    for entry in std::fs::read_dir(root.join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (title, expr) in asked(&board) {
            // The sandbox's API server asks within the process, without a certificate.
            let has_none = title == "The webhook's certificate";
            if !has_none && values(&prometheus, &expr).await == 0 {
                empty.push(format!("{}: {title}: {expr}", board["title"]));
            }
        }
    }
    assert!(empty.is_empty(), "{empty:#?}");
}
