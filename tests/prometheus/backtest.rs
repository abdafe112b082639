//! `sluice backtest` and `sluice plan` on a real Prometheus with a day of history.
//!
//! The history is written as text and made blocks of by promtool, so that a day takes seconds.
//! The counters are reset once, and a part of the day is missing, as it happens.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sluice::clock::Clock;
use sluice::rollout::forecast::chance::Chance;

use super::command::report;
use super::server::{Kind, Server};

/// Seconds between two scrapes.
const EVERY: i64 = 15;
/// Seconds of history.
const DAY: i64 = 24 * 3600;
/// Requests a second.
const RPS: f64 = 200.0;
/// The share of bad ones.
const RATE: f64 = 0.002;

const ROLLOUT: &str = "apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: backend, namespace: shop}
spec:
  target: {name: backend}
  route: {ingressNginx: {ingress: backend, service: backend}}
  strategy: {canary: {steps: [{weight: 10}, {weight: 50}]}}
  analysis: {rules: [error-rate]}
";

/// Counters of one controller up to now, a line a sample.
fn history(now: i64) -> String {
    let mut chance = Chance::of(5, 5);
    let (mut good, mut bad) = (1e6, 500.0);
    let mut lines = [String::new(), String::new()];
    for at in (now - DAY..now).step_by(EVERY as usize) {
        let age = now - at;
        good += chance.poisson(RPS * EVERY as f64 * (1.0 - RATE));
        bad += chance.poisson(RPS * EVERY as f64 * RATE);
        if age == DAY / 2 / EVERY * EVERY {
            (good, bad) = (10.0, 0.0);
        }
        if (20_000..22_000).contains(&age) {
            continue;
        }
        for (line, status, count) in [(0, "200", good), (1, "503", bad)] {
            let _ = writeln!(
                lines[line],
                "nginx_ingress_controller_requests_total{{exported_namespace=\"shop\",ingress=\"backend\",exported_service=\"backend\",canary=\"\",status=\"{status}\",controller_pod=\"c-0\",instance=\"a\",job=\"nginx\"}} {count} {at}"
            );
        }
    }
    let [good, bad] = lines;
    format!("# TYPE nginx_ingress_controller_requests counter\n{good}{bad}# EOF\n")
}

/// Makes blocks of the text where the server will find them.
fn lay(text: &str, data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    let file = data.join("history.txt");
    std::fs::write(&file, text).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, data])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_played_on_a_day_of_history() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let mut server = Server::new(Kind::Prometheus);
    lay(&history(Clock::machine().now().as_second()), &server.data());
    server.begin(&[]).await;
    let (url, folder) = (server.url(), tempfile::tempdir().unwrap());
    let (file, rules) = (
        folder.path().join("backend.yaml"),
        folder.path().join("rules"),
    );
    std::fs::write(&file, ROLLOUT).unwrap();
    std::fs::create_dir(&rules).unwrap();
    // Text of OpenMetrics must name a counter so.
    let shipped = include_str!("../../rules/ingress-nginx.yaml");
    let named = shipped.replace(
        "nginx_ingress_controller_requests",
        "nginx_ingress_controller_requests_total",
    );
    std::fs::write(rules.join("rules.yaml"), named).unwrap();
    let (file, rules) = (file.to_str().unwrap(), rules.to_str().unwrap());
    let common = [
        "-f",
        file,
        "--rules",
        rules,
        "--prometheus",
        &url,
        "-o",
        "json",
        "--runs",
        "30",
    ];

    let played = [&["backtest", "--since", "23h"][..], &common].concat();
    let told = report(None, &played).await;
    let rule = &told["rules"][0];
    let requests = rule["requests"].as_f64().unwrap();
    // What is missing is counted when the counter is there again; a little before `since` is
    // read as well.
    let wanted = RPS * 23.0 * 3600.0;
    assert!(
        (requests / wanted - 1.0).abs() < 0.03,
        "{requests} of {wanted}"
    );
    assert!(
        (rule["rate"].as_f64().unwrap() / RATE - 1.0).abs() < 0.03,
        "{rule}"
    );
    assert_eq!(told["healthy"]["rolledBack"], 0.0, "{told}");
    assert!(
        told["healthy"]["promoted"].as_f64().unwrap() > 0.9,
        "{told}"
    );
    assert!(told["healthy"]["runs"].as_f64().unwrap() >= 26.0, "{told}");
    let found = |at: usize| rule["harms"][at]["rolledBack"].as_f64().unwrap();
    assert!(found(1) > 0.8 && found(2) > 0.9, "{rule}");

    // The same traffic, as `plan` sees it.
    let asked = [&["plan", "--window", "50m"][..], &common].concat();
    let planned = report(None, &asked).await;
    let seen = &planned["traffic"]["rules"][0];
    assert!(
        (seen["rps"].as_f64().unwrap() / RPS - 1.0).abs() < 0.02,
        "{seen}"
    );
    assert!(
        (seen["rate"].as_f64().unwrap() / RATE - 1.0).abs() < 0.25,
        "{seen}"
    );
    assert!(
        (planned["traffic"]["every"].as_f64().unwrap() - 15.0).abs() < 0.5,
        "{planned}"
    );
    // What was planned is what is played on history: the same harm is found in about the same time.
    let seconds = |report: &Value, key: &str| report[key].as_f64().unwrap();
    let (past, plan) = (
        &rule["harms"][2]["seconds"],
        &planned["harms"][2]["seconds"],
    );
    let ratio = seconds(past, "median") / seconds(plan, "median");
    assert!((0.4..2.5).contains(&ratio), "{past} {plan}");
}
