//! Sending spans to a collector: OTLP over HTTP, as JSON.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>: `POST ENDPOINT/v1/traces`, identifiers in
//! hexadecimal, times in nanoseconds as text. It goes beside everything else: a collector that is away or
//! slow delays nothing, what it does not take in a few tries is dropped and counted.
//!
//! Not here: which spans there are (`traces`). Why no OpenTelemetry crate: this one request is all that
//! is needed of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::traces::Span;
use crate::clock::Clock;
use crate::http_client;

/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const EVERY: Duration = Duration::from_secs(2);
/// For one request.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a request is tried that the collector may take later, and the first wait.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// For all that is left at the end.
pub const LAST: Duration = Duration::from_secs(1);

/// A collector, as the settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its base URL, to which `/v1/traces` is added.
    pub endpoint: String,
    /// A file with a header a line (`name: value`), read again each time.
    pub headers_file: Option<PathBuf>,
}

/// Sends spans until there are no more.
#[derive(Debug)]
pub struct Exporter {
    collector: Collector,
    client: Client,
    environment: String,
    metrics: Metrics,
    clock: Clock,
    /// What is being sent.
    batch: Vec<Span>,
    /// What was told last of what went wrong.
    told: Option<String>,
}

/// Why a request was not taken.
#[derive(Debug)]
enum Missed {
    /// It may be, later; and when, if that was said.
    Later(String, Option<Duration>),
    /// It will not be.
    Never(String),
}

impl Exporter {
    /// An exporter for one environment. Fails where no client can be made.
    pub fn new(
        collector: Collector,
        environment: &str,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, reqwest::Error> {
        let client = http_client::builder().timeout(DEADLINE).build()?;
        Ok(Self {
            collector,
            client,
            environment: environment.to_owned(),
            metrics,
            clock,
            batch: Vec::with_capacity(BATCH),
            told: None,
        })
    }

    /// Sends what comes, in batches, until nobody can tell more; or until `end`, and then what is left, each span
    /// once and all within [`LAST`].
    pub async fn keep_up(mut self, mut spans: mpsc::Receiver<Span>, end: CancellationToken) {
        let all = end.run_until_cancelled(self.send_all(&mut spans)).await;
        if all.is_none() {
            self.send_rest(spans).await;
        }
    }

    async fn send_all(&mut self, spans: &mut mpsc::Receiver<Span>) {
        while let Some(first) = spans.recv().await {
            self.batch.push(first);
            let batch = &mut self.batch;
            let more =
                async { while batch.len() < BATCH && spans.recv_many(batch, 64).await > 0 {} };
            // The rest is taken as it is when the time is over.
            let _ = tokio::time::timeout(EVERY, more).await;
            self.send().await;
            self.batch.clear();
        }
    }

    async fn send_rest(mut self, mut spans: mpsc::Receiver<Span>) {
        spans.close();
        while let Ok(span) = spans.try_recv() {
            self.batch.push(span);
        }
        let (all, mut sent) = (std::mem::take(&mut self.batch), 0);
        let sends = async {
            for part in all.chunks(BATCH) {
                let body = request(&self.environment, part).to_string();
                if self.post(body).await.is_err() {
                    break;
                }
                sent += part.len();
            }
        };
        // What does not come through in time is dropped, and the count says so.
        let _ = tokio::time::timeout(LAST, sends).await;
        self.metrics.spans("sent", sent);
        self.metrics.spans("dropped", all.len() - sent);
    }

    async fn send(&mut self) {
        let body = request(&self.environment, &self.batch).to_string();
        let mut wait = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            match self.post(body.clone()).await {
                Ok(()) => {
                    self.told = None;
                    return self.metrics.spans("sent", self.batch.len());
                }
                Err(Missed::Later(why, asked)) if left > 0 => {
                    self.tell(why);
                    self.clock
                        .sleep(asked.unwrap_or(wait).min(LONGEST_WAIT))
                        .await;
                    wait *= 2;
                }
                Err(Missed::Later(why, _) | Missed::Never(why)) => {
                    self.tell(why);
                    break;
                }
            }
        }
        self.metrics.spans("dropped", self.batch.len());
    }

    /// Told once, until it is another reason or works again.
    fn tell(&mut self, why: String) {
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(error = why, "spans cannot be sent");
            self.told = Some(why);
        }
    }

    async fn post(&self, body: String) -> Result<(), Missed> {
        let url = format!("{}/v1/traces", self.collector.endpoint);
        let headers = self.headers().map_err(Missed::Never)?;
        let request = self.client.post(url).headers(headers);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await;
        let answer = answer.map_err(|error| Missed::Later(causes(&error.without_url()), None))?;
        let status = answer.status();
        let after = answer.headers().get("retry-after");
        let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Missed::Later(
                status.to_string(),
                after.map(Duration::from_secs),
            )),
            _ => Err(Missed::Never(status.to_string())),
        }
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let Some(file) = &self.collector.headers_file else {
            return Ok(HeaderMap::new());
        };
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        headers(&text)
            .ok_or_else(|| format!("{}: a header a line is wanted, name: value", file.display()))
    }
}

fn headers(text: &str) -> Option<HeaderMap> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let mut value: HeaderValue = value.trim().parse().ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse::<HeaderName>().ok()?, value))
    };
    lines.map(header).collect()
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// `ExportTraceServiceRequest`, as JSON.
fn request(environment: &str, spans: &[Span]) -> Value {
    let resource = [
        ("service.name", "sluice".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("deployment.environment.name", environment.to_owned()),
    ];
    let spans: Vec<Value> = spans.iter().map(written).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&resource)},
        "scopeSpans": [{"scope": {"name": "sluice"}, "spans": spans}],
    }]})
}

fn written(span: &Span) -> Value {
    // 1 is internal; 2 is an error.
    let mut written = json!({
        "traceId": hexadecimal(&span.trace), "spanId": hexadecimal(&span.id), "name": span.name, "kind": 1,
        "startTimeUnixNano": nanoseconds(span.begun), "endTimeUnixNano": nanoseconds(span.ended.max(span.begun)),
        "attributes": attributes(&span.attributes), "status": {},
    });
    if let Some(parent) = &span.parent {
        written["parentSpanId"] = hexadecimal(parent).into();
    }
    if let Some(error) = &span.error {
        written["status"] = json!({"code": 2, "message": error});
    }
    written
}

fn attributes(pairs: &[(&'static str, String)]) -> Vec<Value> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect()
}

fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Json;
    use axum::extract::State;
    use axum::routing::post;
    use tokio::task::JoinSet;

    use super::super::traces::{Trace, Traces, span_id};
    use super::*;

    fn span(name: &'static str, error: Option<&str>) -> Span {
        let trace = Trace::of("shop", "backend", "one");
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        Span {
            trace: trace.id,
            id: span_id(at),
            parent: (name != "run").then_some(trace.run),
            name,
            begun: at,
            ended: at + Duration::from_millis(3),
            attributes: vec![("run", "one".to_owned())],
            error: error.map(str::to_owned),
        }
    }

    /// A collector that takes what it is sent, after it refused `refusals` times; and its address.
    type Heard = Arc<Mutex<(Vec<StatusCode>, Vec<(HeaderMap, Value)>)>>;

    async fn collector(refusals: &[StatusCode], tasks: &mut JoinSet<()>) -> (Heard, String) {
        async fn take(
            State(heard): State<Heard>,
            headers: HeaderMap,
            Json(body): Json<Value>,
        ) -> StatusCode {
            let mut heard = heard.lock().unwrap();
            if let Some(refusal) = heard.0.pop() {
                return refusal;
            }
            heard.1.push((headers, body));
            StatusCode::OK
        }
        let heard: Heard = Arc::new(Mutex::new((refusals.to_vec(), Vec::new())));
        let router = axum::Router::new()
            .route("/otlp/v1/traces", post(take))
            .with_state(heard.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/otlp", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (heard, address)
    }

    async fn exported(endpoint: &str, headers: Option<&str>, spans: &[Span]) -> Metrics {
        let folder = tempfile::tempdir().unwrap();
        let headers_file = headers.map(|text| {
            let path = folder.path().join("headers");
            std::fs::write(&path, text).unwrap();
            path
        });
        let collector = Collector {
            endpoint: endpoint.to_owned(),
            headers_file,
        };
        let metrics = Metrics::new();
        let (traces, out) = Traces::on(metrics.clone());
        for span in spans {
            traces.tell(|| span.clone());
        }
        // Without anybody who could tell more, it sends what there is and ends.
        drop(traces);
        let exporter = Exporter::new(collector, "test", metrics.clone(), Clock::machine()).unwrap();
        let sent = exporter.keep_up(out, CancellationToken::new());
        let done = tokio::time::timeout(Duration::from_secs(60), sent);
        done.await.unwrap();
        metrics
    }

    fn count(metrics: &Metrics, outcome: &str) -> usize {
        let text = metrics.text().unwrap();
        let start = format!("sluice_spans_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |count| count.parse().unwrap())
    }

    #[tokio::test]
    async fn a_collector_hears_of_a_run_as_the_protocol_says() {
        let mut tasks = JoinSet::new();
        let (heard, address) = collector(&[], &mut tasks).await;
        let spans = [span("run", None), span("pass", Some("conflict"))];
        let metrics = exported(
            &address,
            Some("authorization: Bearer x\n\nx-tenant: a\n"),
            &spans,
        )
        .await;
        assert_eq!(
            (count(&metrics, "sent"), count(&metrics, "dropped")),
            (2, 0)
        );
        let (headers, body) = heard.lock().unwrap().1.pop().unwrap();
        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(
            (&headers["x-tenant"], &headers["content-type"]),
            (&"a".parse().unwrap(), &"application/json".parse().unwrap())
        );
        let resource = &body["resourceSpans"][0]["resource"]["attributes"];
        assert_eq!(
            resource[0],
            json!({"key": "service.name", "value": {"stringValue": "sluice"}})
        );
        let found = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let (run, pass) = (&found[0], &found[1]);
        assert_eq!(
            (&run["name"], &run["parentSpanId"]),
            (&json!("run"), &Value::Null)
        );
        assert_eq!(run["traceId"], pass["traceId"]);
        assert_eq!(run["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(pass["spanId"].as_str().unwrap().len(), 16);
        assert_eq!(pass["startTimeUnixNano"], "1800000000000000000");
        assert_eq!(pass["endTimeUnixNano"], "1800000000003000000");
        assert_eq!(pass["status"], json!({"code": 2, "message": "conflict"}));
        assert_eq!(
            pass["attributes"][0],
            json!({"key": "run", "value": {"stringValue": "one"}})
        );
    }

    #[tokio::test]
    async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let mut tasks = JoinSet::new();
        let busy = [StatusCode::SERVICE_UNAVAILABLE];
        let (heard, address) = collector(&busy, &mut tasks).await;
        let metrics = exported(&address, None, &[span("pass", None)]).await;
        assert_eq!(
            (count(&metrics, "sent"), heard.lock().unwrap().1.len()),
            (1, 1)
        );
        let (heard, address) = collector(&[StatusCode::BAD_REQUEST], &mut tasks).await;
        let metrics = exported(&address, None, &[span("pass", None)]).await;
        assert_eq!(
            (count(&metrics, "dropped"), heard.lock().unwrap().1.len()),
            (1, 0)
        );
        let metrics = exported(&address, Some("no header"), &[span("pass", None)]).await;
        assert_eq!(
            (count(&metrics, "dropped"), heard.lock().unwrap().1.len()),
            (1, 0)
        );
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_sent_and_what_waits_for_another_try_too() {
        let mut tasks = JoinSet::new();
        let (heard, address) = collector(&[StatusCode::SERVICE_UNAVAILABLE], &mut tasks).await;
        let collector = Collector {
            endpoint: address,
            headers_file: None,
        };
        let metrics = Metrics::new();
        let (traces, out) = Traces::on(metrics.clone());
        let exporter = Exporter::new(collector, "test", metrics.clone(), Clock::machine()).unwrap();
        let end = CancellationToken::new();
        traces.tell(|| span("pass", None));
        let mut sends = std::pin::pin!(exporter.keep_up(out, end.clone()));
        let refused = async {
            while !heard.lock().unwrap().0.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = &mut sends => unreachable!("spans can still be told"),
            () = refused => {}
        }
        // More than one request takes, while the first waits for its second try.
        for _ in 0..=BATCH {
            traces.tell(|| span("act", None));
        }
        end.cancel();
        let done = tokio::time::timeout(Duration::from_secs(30), sends);
        done.await.unwrap();
        let counts = (count(&metrics, "sent"), count(&metrics, "dropped"));
        assert_eq!(counts, (BATCH + 2, 0));
        assert_eq!(heard.lock().unwrap().1.len(), 2);
        traces.tell(|| span("act", None));
        assert_eq!(count(&metrics, "dropped"), 1);
    }

    #[tokio::test]
    async fn a_silent_collector_holds_the_end_up_for_a_bounded_time() {
        // Connections are taken by the system, and nothing is answered.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Collector {
            endpoint: format!("http://{}", silent.local_addr().unwrap()),
            headers_file: None,
        };
        let metrics = Metrics::new();
        let (traces, out) = Traces::on(metrics.clone());
        let exporter = Exporter::new(collector, "test", metrics.clone(), Clock::machine()).unwrap();
        let end = CancellationToken::new();
        traces.tell(|| span("pass", None));
        end.cancel();
        // Half of what one request may take.
        let done = tokio::time::timeout(DEADLINE / 2, exporter.keep_up(out, end));
        done.await.unwrap();
        assert_eq!(count(&metrics, "dropped"), 1);
    }

    #[tokio::test]
    async fn what_a_collector_that_is_away_does_not_take_is_dropped_and_counted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let metrics = exported(&address, None, &[span("pass", None), span("decide", None)]).await;
        assert_eq!(
            (count(&metrics, "sent"), count(&metrics, "dropped")),
            (0, 2)
        );
    }
}
