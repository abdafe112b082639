//! Native histograms on a real Prometheus, which reads them as protobuf only.
//!
//! A page plays an HTTP server's request durations for two releases, one good and one whose canary is
//! twice as slow, as native histograms: stable's with eight buckets a doubling, the canary's with
//! two; and stable halves its resolution on the way. The few messages are written by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use sluice::clock::Clock;
use sluice::prometheus::{Prometheus, Source, Subject};
use sluice::rollout::evidence::{Evidence, Kind as Asks, Question, Settings, Verdict};
use sluice::rollout::rule::{self, Rule};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::server::{Job, Kind, Server};

const RULE: &str = r#"
- name: latency
  latency:
    metric: http_request_duration_seconds
    native: true
    select: {release: "{{name}}"}
    arm: {label: arm, canary: "canary", stable: "stable"}
"#;
/// Seconds in which everything must be shown.
const MOST: i64 = 120;
/// The second in which stable's histogram halves its resolution.
const HALVED: u32 = 12;
/// Requests a second of either arm.
const REQUESTS: u32 = 100;

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// A `sint32` or `sint64`.
    fn signed(&mut self, field: u64, value: i64) {
        self.number(field, ((value << 1) ^ (value >> 63)) as u64);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }
}

/// Buckets of `2^-schema` doublings: index and count.
type Buckets = BTreeMap<i32, u64>;

/// What an arm has answered after so many seconds: durations around 100 ms, times `slower`.
fn answered(seconds: u32, schema: i32, slower: f64) -> Buckets {
    let mut buckets = Buckets::new();
    for request in 0..u64::from(seconds * REQUESTS) {
        // A low-discrepancy spread over two doublings and a half.
        let spread = (request as f64 * 0.618_033_988_749_895).fract();
        let duration = 0.05 * (2.5 * spread).exp2() * slower;
        let index = (duration.log2() * 2f64.powi(schema)).ceil() as i32;
        *buckets.entry(index).or_default() += 1;
    }
    buckets
}

fn histogram(schema: i32, buckets: &Buckets) -> Vec<u8> {
    let mut message = Message::default();
    message.number(1, buckets.values().sum());
    message.double(2, 1.0);
    message.signed(5, schema.into());
    message.double(6, 1e-39);
    let (mut next, mut before) = (None, 0);
    let mut deltas = Vec::new();
    for (index, count) in buckets {
        let mut span = Message::default();
        span.signed(1, i64::from(index - next.unwrap_or(0)));
        span.number(2, 1);
        message.bytes(12, &span.0);
        let count = i64::try_from(*count).unwrap();
        deltas.push(count - before);
        (next, before) = (Some(index + 1), count);
    }
    for delta in deltas {
        message.signed(13, delta);
    }
    message.0
}

/// One family with both releases, each with both arms.
fn page(second: u32) -> Vec<u8> {
    let mut family = Message::default();
    family.bytes(1, b"http_request_duration_seconds");
    family.bytes(2, b"durations");
    family.number(3, 4);
    let fine = if second < HALVED { 3 } else { 2 };
    for (release, slower) in [("good", 1.0), ("slow", 2.0)] {
        for (arm, schema, slower) in [("canary", 1, slower), ("stable", fine, 1.0)] {
            let mut metric = Message::default();
            for (name, value) in [("arm", arm), ("release", release)] {
                let mut label = Message::default();
                label.bytes(1, name.as_bytes());
                label.bytes(2, value.as_bytes());
                metric.bytes(1, &label.0);
            }
            let buckets = answered(second, schema, slower);
            metric.bytes(7, &histogram(schema, &buckets));
            family.bytes(4, &metric.0);
        }
    }
    let mut page = Message::default();
    page.varint(family.0.len() as u64);
    page.0.extend(family.0);
    page.0
}

/// Serves the page; time goes on by a second with each request.
async fn exporter() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let second = Arc::new(AtomicU32::new(1));
    let router = axum::Router::new().fallback(move || {
        let page = page(second.fetch_add(1, Ordering::Relaxed));
        async move { ([(CONTENT_TYPE, PROTOBUF)], page) }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_of_any_resolution_come_to_their_verdicts() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let (address, _serving) = exporter().await;
    let server = Server::new(Kind::Prometheus);
    let mut server = server.with("--enable-feature=native-histograms");
    let job = Job {
        name: "shop".into(),
        every: 1,
        targets: vec![address],
        labels: Vec::new(),
    };
    server.begin(&[job]).await;
    server.wait_for_targets(1).await;
    let rules: Vec<Arc<Rule>> = rule::lint(RULE, "rule")
        .unwrap()
        .into_iter()
        .map(Arc::new)
        .collect();
    let settings = Settings {
        questions: vec![Question::new("latency", Asks::Latency { quantile: 0.99 })],
        steps: vec![50],
        blast: 0.02,
        ..Settings::default()
    };
    let (clock, begun) = (Clock::machine(), Clock::machine().now());
    let read = Prometheus::new(&server.url(), None, Duration::from_secs(5)).unwrap();
    let mut source = Source::from(read);
    let subject = |name: &str| Subject {
        namespace: "shop".into(),
        name: name.into(),
        ingress: name.into(),
        service: name.into(),
        canary_service: format!("{name}-canary"),
        other_ingresses: Vec::new(),
        port: "80".into(),
        other_ports: Vec::new(),
        workload: String::new(),
        canary_workload: String::new(),
        canary_pods: String::new(),
        stable_pods: String::new(),
        rules: rules.clone(),
        cursor: None,
        since: begun,
    };
    let mut watched = ["good", "slow"].map(|name| {
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 50, 100, begun);
        (subject(name), evidence)
    });
    let mut said = Vec::new();
    loop {
        let now = clock.now();
        let seconds = now.duration_since(begun).as_secs();
        let subjects = [watched[0].0.clone(), watched[1].0.clone()];
        let mut readings = source.read(&subjects, now).await;
        for (subject, evidence) in &mut watched {
            let reading = readings.remove(&subject.key()).unwrap();
            assert_eq!(reading.problems, Vec::<String>::new());
            said.extend(reading.absent);
            for sample in &reading.samples {
                evidence.observe(&settings, sample);
            }
            subject.cursor = Some(reading.cursor);
        }
        let reports = watched
            .each_ref()
            .map(|(_, evidence)| evidence.report(&settings).remove(0));
        let [good, slow] = &reports;
        let told = || {
            format!(
                "{seconds} s, {said:?}\n{}\n{}",
                good.sentence(),
                slow.sentence()
            )
        };
        // Beyond the halving too: what was counted then is in.
        let long = seconds > i64::from(HALVED) + 15;
        if long && good.verdict == Verdict::NotWorse && slow.verdict == Verdict::Worse {
            println!("{}", told());
            assert!(good.canary.total > 1000.0, "{}", told());
            return;
        }
        assert_ne!(good.verdict, Verdict::Worse, "{}", told());
        assert!(seconds < MOST, "{}", told());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
