//! Rules about pods and numbers on a real Prometheus: `events`, `compare` and `value`.
//!
//! A page plays kube-state-metrics and an application's own numbers for the pods of two releases,
//! one good and one bad in every respect; one server scrapes it each second. What is read goes
//! to the evidence as the daemon hands it there, and each rule must come to its verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sluice::clock::Clock;
use sluice::prometheus::{Prometheus, Source, Subject};
use sluice::rollout::evidence::{Evidence, Settings, Verdict};
use sluice::rollout::rule::{self, Rule};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::server::{Job, Kind, Server};

/// The rules that ask queries; `restarts` is the shipped one.
const QUERIES: &str = r#"
- name: queue-depth
  compare: {query: 'avg(queue_depth{namespace="{{namespace}}", pod=~"{{pods}}"})', worse: higher, every: 1s}
- name: checkout-success
  value: {query: 'avg(checkout_ratio{namespace="{{namespace}}", pod=~"{{canaryPods}}"})', min: 0.97, failures: 3, window: 5, every: 1s}
"#;
/// Two pods of the canary and six of stable, of each release.
const PODS: [&str; 8] = [
    "canary-7d9f-a",
    "canary-7d9f-b",
    "5c6b-a",
    "5c6b-b",
    "5c6b-c",
    "5c6b-d",
    "5c6b-e",
    "5c6b-f",
];
/// Each pod of the bad canary is restarted so often, in seconds.
const RESTARTED: u32 = 6;
/// Seconds in which everything must be shown.
const MOST: i64 = 150;

/// What is scraped in this second.
fn page(second: u32) -> String {
    let mut text = String::from("# TYPE kube_pod_container_status_restarts_total counter\n");
    let mut numbers = String::new();
    for release in ["good", "bad"] {
        for (at, pod) in (0u32..).zip(PODS) {
            let broken = release == "bad" && at < 2;
            let labels = format!("namespace=\"shop\",pod=\"{release}-{pod}\"");
            // Stable's pods have been restarted before; that is nobody's fault now.
            let restarts = if broken {
                (second + 3 * at) / RESTARTED
            } else {
                at
            };
            let _ = writeln!(
                text,
                "kube_pod_container_status_restarts_total{{{labels},container=\"app\"}} {restarts}"
            );
            let wobble = (second * 7 + at * 3) % 5;
            let depth = 10 + wobble + if broken { 20 } else { 0 };
            let ratio = if broken { 0.9 } else { 0.99 };
            let _ = writeln!(numbers, "queue_depth{{{labels}}} {depth}");
            let _ = writeln!(numbers, "checkout_ratio{{{labels}}} {ratio}");
        }
    }
    text + &numbers
}

/// Serves the page; time goes on by a second with each request.
async fn exporter() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let second = Arc::new(AtomicU32::new(0));
    let router = axum::Router::new().fallback(move || {
        let text = page(second.fetch_add(1, Ordering::Relaxed));
        async move { text }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

fn rules() -> Vec<Arc<Rule>> {
    let shipped = include_str!("../../rules/kubernetes.yaml");
    let mut rules = rule::lint(shipped, "kubernetes.yaml").unwrap();
    rules.retain(|rule| rule.name == "restarts");
    rules.extend(rule::lint(QUERIES, "queries").unwrap());
    rules.into_iter().map(Arc::new).collect()
}

fn settings(rules: &[Arc<Rule>]) -> Settings {
    Settings {
        questions: rules.iter().map(|rule| rule.question()).collect(),
        steps: vec![25, 50],
        ..Settings::default()
    }
}

fn subject(name: &str, rules: &[Arc<Rule>], since: Timestamp) -> Subject {
    Subject {
        namespace: "shop".into(),
        name: name.into(),
        ingress: name.into(),
        service: name.into(),
        canary_service: format!("{name}-canary"),
        other_ingresses: Vec::new(),
        port: "80".into(),
        other_ports: Vec::new(),
        workload: name.into(),
        canary_workload: format!("{name}-canary"),
        canary_pods: format!("{name}-canary-[a-z0-9]+-[a-z0-9]+"),
        stable_pods: format!("{name}-[a-z0-9]+-[a-z0-9]+"),
        rules: rules.to_vec(),
        cursor: None,
        since,
    }
}

/// A release, and what has been shown of it.
struct Watched {
    subject: Subject,
    evidence: Evidence,
    /// Each rule's first verdict that is one, with seconds and the sentence.
    verdicts: BTreeMap<String, (Verdict, i64, String)>,
}

impl Watched {
    fn note(&mut self, settings: &Settings, seconds: i64) {
        for report in self.evidence.report(settings) {
            if matches!(report.verdict, Verdict::Worse | Verdict::NotWorse) {
                let verdict = (report.verdict, seconds, report.sentence());
                self.verdicts.entry(report.rule).or_insert(verdict);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_comparisons_and_bounds_come_to_their_verdicts() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let (address, _serving) = exporter().await;
    let mut server = Server::new(Kind::Prometheus);
    let job = Job {
        name: "pods".into(),
        every: 1,
        targets: vec![address],
        labels: Vec::new(),
    };
    server.begin(&[job]).await;
    server.wait_for_targets(1).await;
    let (clock, rules) = (Clock::machine(), rules());
    let (settings, begun) = (settings(&rules), clock.now());
    let begin = |name: &str| {
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 25, 50, begun);
        let subject = subject(name, &rules, begun);
        Watched {
            subject,
            evidence,
            verdicts: BTreeMap::new(),
        }
    };
    let mut watched = [begin("good"), begin("bad")];
    let server_at = Prometheus::new(&server.url(), None, Duration::from_secs(5)).unwrap();
    let mut source = Source::from(server_at);
    let mut said = Vec::new();
    while watched.iter().any(|one| one.verdicts.len() < rules.len()) {
        let now = clock.now();
        let seconds = now.duration_since(begun).as_secs();
        let told = || -> Vec<_> { watched.iter().map(|one| &one.verdicts).collect() };
        assert!(seconds < MOST, "{:?}\n{said:?}", told());
        let subjects = [watched[0].subject.clone(), watched[1].subject.clone()];
        let mut readings = source.read(&subjects, now).await;
        for one in &mut watched {
            let reading = readings.remove(&one.subject.key()).unwrap();
            said.extend(reading.absent);
            for sample in &reading.samples {
                one.evidence.observe(&settings, sample);
            }
            one.subject.cursor = Some(reading.cursor);
            one.note(&settings, seconds);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for (one, wanted) in watched.iter().zip([Verdict::NotWorse, Verdict::Worse]) {
        for (rule, (verdict, seconds, sentence)) in &one.verdicts {
            println!(
                "{} {rule}: {verdict} after {seconds} s: {sentence}",
                one.subject.name
            );
            assert_eq!(*verdict, wanted, "{rule} of {}", one.subject.name);
        }
    }
}
