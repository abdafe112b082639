//! Answers that are too large are refused, not held: the limit counts while they are read, and
//! after they are unpacked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use jiff::Timestamp;
use sluice::daemon::rules::Rules;
use sluice::prometheus::{Prometheus, Reading, Scrape, Source, Subject, Targets};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
const SIZE: usize = 100 * MIB;

/// How a large answer comes.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Its length is said first.
    Announced,
    /// In pieces, without a length.
    Chunked,
    /// As a small body that unpacks to a large one.
    Packed,
}

/// A server that answers everything so; it counts the bytes that were taken from it.
async fn server(how: How, piece: Bytes) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let packed = matches!(how, How::Packed).then(|| Bytes::from(packed(&piece)));
    let router = axum::Router::new().fallback(move || {
        let answer = answer(how, piece.clone(), packed.clone(), count.clone());
        async move { answer }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, sent, tasks)
}

fn answer(how: How, piece: Bytes, packed: Option<Bytes>, sent: Arc<AtomicUsize>) -> Response {
    if let Some(packed) = packed {
        sent.fetch_add(packed.len(), Ordering::Relaxed);
        return ([(header::CONTENT_ENCODING, "gzip")], packed).into_response();
    }
    let pieces = SIZE / piece.len();
    let pieces = futures::stream::iter(0..pieces).map(move |_| {
        sent.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece.clone())
    });
    let body = Body::from_stream(pieces);
    match how {
        How::Announced => ([(header::CONTENT_LENGTH, SIZE.to_string())], body).into_response(),
        How::Chunked | How::Packed => body.into_response(),
    }
}

/// The whole answer, packed.
fn packed(piece: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..SIZE / piece.len() {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn subject() -> Subject {
    let rules = Rules::load(Vec::new()).unwrap();
    Subject {
        namespace: "shop".into(),
        name: "api".into(),
        ingress: "api".into(),
        service: "api".into(),
        canary_service: "api-canary".into(),
        other_ingresses: Vec::new(),
        port: "80".into(),
        other_ports: Vec::new(),
        workload: String::new(),
        canary_workload: String::new(),
        canary_pods: "canary-.*".into(),
        stable_pods: "stable-.*".into(),
        rules: vec![rules.all()["error-rate"].clone()],
        cursor: None,
        since: Timestamp::UNIX_EPOCH,
    }
}

async fn read(mut source: Source) -> Reading {
    let mut readings = source
        .read(&[subject()], Timestamp::from_second(1_000).unwrap())
        .await;
    readings.pop_first().unwrap().1
}

/// The most memory that this process has held so far, in bytes.
fn most_held() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

async fn refused(how: How, prometheus: bool) {
    let line: &[u8] = if prometheus {
        br#"[1435781430.781,"1"],"#
    } else {
        b"nginx_ingress_controller_requests_of_another_name{a=\"b\"} 1\n"
    };
    let piece = Bytes::from(line.repeat(MIB / line.len()));
    let (url, sent, _tasks) = server(how, piece).await;
    let timeout = Duration::from_secs(60);
    let (source, limit): (Source, usize) = if prometheus {
        // Of one who is new, whose past is asked for.
        (Prometheus::new(&url, None, timeout).unwrap().into(), 8)
    } else {
        (
            Scrape::new(Targets::Urls(vec![url]), timeout)
                .unwrap()
                .into(),
            64,
        )
    };
    let before = most_held();
    let reading = read(source).await;
    let (absent, held) = (
        reading.absent.unwrap_or_default(),
        most_held().saturating_sub(before),
    );
    let want = format!("the answer is larger than {limit} MiB; it was not read to its end");
    assert!(absent.contains(&want), "{how:?}: {absent}");
    let sent = sent.load(Ordering::Relaxed);
    // The past of one who is new is asked for again over half of the time, a few times.
    let asked = if prometheus { 6 } else { 1 };
    // What the sockets and the server's own buffers hold comes on top.
    assert!(
        sent < asked * (limit + 24) * MIB,
        "{how:?}: {} MiB were taken",
        sent / MIB
    );
    println!("{how:?}: {} MiB taken, {} MiB held", sent / MIB, held / MIB);
    if !prometheus {
        assert!(held < 48 * MIB, "{how:?}: {} MiB held", held / MIB);
    }
}

#[tokio::test]
async fn an_answer_of_100_megabytes_is_refused_and_not_held() {
    for prometheus in [false, true] {
        for how in [How::Announced, How::Chunked, How::Packed] {
            refused(how, prometheus).await;
        }
    }
}
