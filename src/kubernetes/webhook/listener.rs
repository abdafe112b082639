//! The HTTPS endpoint: connections accepted, bounded in number and in time, drained at shutdown.
//!
//! Guarantees: a stranger who opens connections and says nothing holds none of them for long;
//! what is served follows the keys without a restart; after `shutdown` nothing is accepted and what was
//! begun is answered within [`DRAIN`]. A connection may idle for longer than the API server keeps one
//! (90 s), so that it is never cut off under a request.
//!
//! Not here: the answer (`review`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{PATH, review};
use crate::causes;

/// The most connections at a time.
pub const CONNECTIONS: usize = 512;
/// The time in which a connection must be encrypted.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// The time in which a request's head must come, also of one that follows another.
pub const IDLE: Duration = Duration::from_secs(120);
/// The time in which a review must be there whole.
pub const BODY: Duration = Duration::from_secs(5);
/// The most bytes of a review: two objects of the size that etcd takes, and what is around them.
pub const BYTES: usize = 8 * 1024 * 1024;
/// The time that open requests have after shutdown.
pub const DRAIN: Duration = Duration::from_secs(1);

/// What is served with at present; nothing while there are no keys.
pub type Tls = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Serves until `shutdown`; `account` passes the gate.
pub async fn serve(listener: TcpListener, tls: Tls, account: String, shutdown: CancellationToken) {
    let router = router(account);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let config = tls.borrow().clone();
                let work = connection(stream, config, router.clone(), graceful.watcher());
                connections.spawn(async move {
                    work.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of the webhook could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("reviews were still open at shutdown and are cut off");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// One connection; what is open is answered at shutdown, what is not yet encrypted is dropped.
async fn connection(
    stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    router: Router,
    watcher: Watcher,
) {
    let Some(config) = config else {
        return;
    };
    // Without it, an answer of two writes may wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let error = causes::told(&error);
            tracing::debug!(error, "a connection to the webhook is not encrypted");
            return;
        }
        Err(_) => return,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection to the webhook ended early");
    }
}

fn router(account: String) -> Router {
    let account: Arc<str> = account.into();
    Router::new().route(PATH, post(answer)).with_state(account)
}

/// Why a review is not answered.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

async fn answer(State(account): State<Arc<str>>, body: Body) -> Result<Response, Refusal> {
    if HttpBody::size_hint(&body).lower() > BYTES as u64 {
        let text = format!("the review is over {BYTES} bytes\n");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let read = tokio::time::timeout(BODY, to_bytes(body, BYTES)).await;
    let read = read.map_err(|_| {
        let text = format!("the review was not there within {BODY:?}\n");
        Refusal(StatusCode::REQUEST_TIMEOUT, text)
    })?;
    let bytes = read.map_err(|error| {
        let text = format!("the review cannot be read, or is over {BYTES} bytes: {error}\n");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, text)
    })?;
    match review::answer(&bytes, &account) {
        Ok(answer) => Ok(axum::Json(answer).into_response()),
        Err(error) => {
            let error = causes::told(&error);
            tracing::warn!(error, "a review was not answered");
            Err(Refusal(StatusCode::BAD_REQUEST, error + "\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::kubernetes::crd::ACCOUNT;
    use crate::kubernetes::webhook::keys::{self, Keys};
    use crate::kubernetes::webhook::reach;

    fn keys() -> Keys {
        #[allow(clippy::disallowed_methods)] // TLS goes by the machine's clock
        let now = Timestamp::now();
        keys::due(None, "127.0.0.1", None, now).unwrap().unwrap()
    }

    struct Served {
        port: u16,
        tls: watch::Sender<Option<Arc<ServerConfig>>>,
        stop: CancellationToken,
        tasks: JoinSet<()>,
    }

    async fn served(keys: Option<&Keys>) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = keys.map(|keys| Arc::new(reach::server(&keys.serving).unwrap()));
        let (tls, served) = watch::channel(config);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(serve(listener, served, ACCOUNT.to_owned(), stop.clone()));
        Served {
            port,
            tls,
            stop,
            tasks,
        }
    }

    async fn asked(served: &Served, keys: &Keys, request: &str) -> String {
        let connector = TlsConnector::from(Arc::new(reach::client(&keys.bundle()).unwrap()));
        let stream = TcpStream::connect(("127.0.0.1", served.port))
            .await
            .unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The end may come without a farewell.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    fn posted(path: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn reviews_are_answered_and_everything_else_is_refused() {
        let keys = keys();
        let mut served = served(Some(&keys)).await;
        let review = serde_json::json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u-1", "kind": {"group": "apps", "kind": "Deployment"},
                "operation": "UPDATE", "userInfo": {"username": "jane"}, "object": {}, "oldObject": {}},
        });
        let huge = format!(
            "POST {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{{",
            BYTES + 1
        );
        let table = [
            (posted(PATH, &review.to_string()), "200"),
            (posted(PATH, "{}"), "400"),
            (posted(PATH, "\u{1}"), "400"),
            (posted("/", &review.to_string()), "404"),
            (
                "GET /gate HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
                "405",
            ),
            (huge, "413"),
        ];
        for (request, status) in table {
            let answer = asked(&served, &keys, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
        served.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), served.tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        assert!(
            TcpStream::connect(("127.0.0.1", served.port))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn new_keys_are_served_without_a_restart() {
        let (old, new) = (keys(), keys());
        let served = served(None).await;
        let place = || ("127.0.0.1".to_owned(), served.port);
        assert!(
            reach::look(place(), &old.bundle()).await.is_err(),
            "no keys yet"
        );
        for (keys, other) in [(&old, &new), (&new, &old)] {
            let config = Arc::new(reach::server(&keys.serving).unwrap());
            served.tls.send_replace(Some(config));
            reach::look(place(), &keys.bundle()).await.unwrap();
            assert!(reach::look(place(), &other.bundle()).await.is_err());
        }
        assert!(reach::look(place(), "").await.is_err(), "nobody is trusted");
    }

    #[tokio::test]
    async fn who_says_nothing_keeps_no_place() {
        let keys = keys();
        let served = served(Some(&keys)).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(
                TcpStream::connect(("127.0.0.1", served.port))
                    .await
                    .unwrap(),
            );
        }
        let place = ("127.0.0.1".to_owned(), served.port);
        let patience = HANDSHAKE * 4;
        let looked = tokio::time::timeout(patience, async {
            while reach::look(place.clone(), &keys.bundle()).await.is_err() {}
        });
        looked.await.unwrap();
    }
}
