//! Connections: accepted, bounded in number and in time, drained at shutdown.
//!
//! Guarantees: at most [`CONNECTIONS`] at a time, and whoever comes when there are so many takes the place of the one on
//! which nothing was asked for the longest time; at most [`ANSWERS`] are answered at a time, what Kubernetes probes not
//! counted, so that a probe is answered whatever strangers do. A client that sends its head slowly is cut off
//! after [`HEAD_TIMEOUT`], and one that reads slowly (`patient`); after `shutdown` no connection is accepted, those that are open finish
//! their request within [`DRAIN`]. All tasks end before `serve` returns.
//!
//! Not here: what is answered (`routes`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::events::STREAMS;
use super::patient::Patient;
use super::session::Peer;
use crate::places::{Place, Places};

/// The most connections at a time.
pub const CONNECTIONS: usize = 1024;
/// The most requests that are answered at a time: all open pages, and some beside them.
pub const ANSWERS: usize = STREAMS + 256;
/// What Kubernetes asks of the process.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// The time in which a request's head must be complete.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that open requests have after shutdown.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `shutdown`. Fails when the listener does.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), io::Error> {
    serve_so_many(listener, router, (CONNECTIONS, ANSWERS), shutdown).await
}

async fn serve_so_many(
    listener: TcpListener,
    router: Router,
    (connections, answers): (usize, usize),
    shutdown: CancellationToken,
) -> Result<(), io::Error> {
    let places = Places::new(connections);
    let answers = Arc::new(Semaphore::new(answers));
    let router = router.layer(middleware::from_fn_with_state(answers, in_turn));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let result = loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let place = Arc::new(place);
                let from = (peer, Arc::clone(&place));
                let connection = connection(stream, from, router.clone(), &graceful);
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = place.is_needed() => tracing::debug!("a connection gave its place to another"),
                    }
                });
            }
            Err(error) if passing(&error) => pause(&error).await,
            Err(error) => break Err(error),
        }
    };
    let drained = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("requests were still open at shutdown and are cut off");
    }
    connections.shutdown().await;
    result
}

async fn accept(
    listener: &TcpListener,
    places: &Places,
) -> Result<(TcpStream, Peer, Place), io::Error> {
    let place = places.take().await;
    let (stream, from) = listener.accept().await?;
    place.idles();
    Ok((stream, Peer(Some(from.ip())), place))
}

fn connection(
    stream: TcpStream,
    (peer, place): (Peer, Arc<Place>),
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let router = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&place));
        request
    });
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    let watched = graceful.watch(connection);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// A request is answered, if there is a turn for it; its connection idles again when the answer's body has ended.
async fn in_turn(
    State(answers): State<Arc<Semaphore>>,
    Extension(place): Extension<Arc<Place>>,
    request: Request,
    next: Next,
) -> Response {
    place.is_busy();
    let busy = Busy(place);
    let permit = if PROBES.contains(&request.uri().path()) {
        None
    } else if let Ok(permit) = answers.try_acquire_owned() {
        Some(permit)
    } else {
        let text = "too many others are answered\n";
        let mut refused = (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        let headers = refused.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        return refused;
    };
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(Answer {
            body,
            _turn: (busy, permit),
        })
    })
}

/// A connection on which a request is being answered.
struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idles();
    }
}

/// An answer's body, and the turn that it takes.
struct Answer {
    body: Body,
    _turn: (Busy, Option<OwnedSemaphorePermit>),
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Errors of one connection or of a moment, which the next accept need not meet.
fn passing(error: &io::Error) -> bool {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    ) || error
        .raw_os_error()
        .is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::{Board, Place, Readiness, Web, router};
    use super::*;
    use crate::telemetry::Metrics;

    fn web() -> Web {
        Web {
            place: Place::root("test"),
            board: Board::default(),
            history: crate::history::History::closed(),
            readiness: Readiness::waiting_for(&[]),
            metrics: Metrics::new(),
            streams: super::super::Streams::until(CancellationToken::new()),
            clock: crate::clock::Clock::machine(),
            versions: super::super::Versions::default(),
            nearby: super::super::Nearby::default(),
            hooks: axum::Router::new(),
            sessions: None,
            acts: axum::Router::new(),
        }
    }

    #[tokio::test]
    async fn it_answers_and_drains() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, router(web()), shutdown.clone()));

        let mut stream = TcpStream::connect(address).await.unwrap();
        let idle = TcpStream::connect(address).await.unwrap();
        let head = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("ok\n"), "{answer}");

        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(3), tasks.join_next());
        ended.await.unwrap().unwrap().unwrap().unwrap();
        drop(idle);
        assert!(TcpStream::connect(address).await.is_err());
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_probe_is_answered_whatever_strangers_do() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let many = (8, 4);
        tasks.spawn(serve_so_many(
            listener,
            router(web()),
            many,
            shutdown.clone(),
        ));

        let mut open = Vec::new();
        for _ in 0..4 {
            let mut page = TcpStream::connect(address).await.unwrap();
            page.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            let mut status = [0; 12];
            page.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            open.push(page);
        }
        for _ in 0..8 {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent
                .write_all(b"GET /healthz HTTP/1.1\r\n")
                .await
                .unwrap();
            open.push(silent);
        }
        let probed = tokio::time::timeout(HEAD_TIMEOUT / 2, ask(address, "/healthz")).await;
        let probed = probed.unwrap();
        assert!(probed.starts_with("HTTP/1.1 200"), "{probed}");
        let other = ask(address, "/metrics").await;
        assert!(other.starts_with("HTTP/1.1 503"), "{other}");
        drop(open);
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}
