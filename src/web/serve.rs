//! Connections: accepted, bounded in number and in time, drained at shutdown.
//!
//! Guarantees: at most [`CONNECTIONS`] at a time; a client that sends its head slowly is cut off
//! after [`HEAD_TIMEOUT`], and one that does not read (`patient`); after `shutdown` no connection is accepted, those that are open finish
//! their request within [`DRAIN`]. All tasks end before `serve` returns.
//!
//! Not here: what is answered (`routes`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::patient::Patient;
use super::session::Peer;

/// The most connections at a time.
pub const CONNECTIONS: usize = 1024;
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
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let result = loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let connection = connection(stream, peer, router.clone(), &graceful);
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
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
    permits: &Arc<Semaphore>,
) -> Result<(TcpStream, Peer, Option<tokio::sync::OwnedSemaphorePermit>), io::Error> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, from) = listener.accept().await?;
    Ok((stream, Peer(Some(from.ip())), permit))
}

fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let router = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
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
}
