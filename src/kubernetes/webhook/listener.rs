//! The HTTPS endpoint: connections accepted, bounded in number and in time, drained at shutdown.
//!
//! Guarantees: a stranger who opens connections and says nothing, encrypted or not, holds none of them
//! for longer than [`HANDSHAKE`] and [`HEAD`]; what is served follows the keys without a restart; after
//! `shutdown` nothing is accepted and what was begun is answered within [`DRAIN`]. After a good review a
//! connection may idle for longer than the API server keeps one (90 s), so that it is not cut off under a
//! request; with any other answer it is closed. Where places become scarce it is closed after a good one too, and
//! whoever comes when there is none takes the place of the one on which nothing was asked for the longest time: a
//! stranger can make good reviews too.
//!
//! Not here: whose place that is (`places`), the memory that reviews may take (`bodies`), the answer (`review`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::bodies::{self, Bodies};
use super::{PATH, review};
use crate::causes;
use crate::clock::Clock;
use crate::places::{Place, Places};

/// The most connections at a time.
pub const CONNECTIONS: usize = 512;
/// The time in which a connection must be encrypted.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// The time in which the first request's head must come.
pub const HEAD: Duration = Duration::from_secs(5);
/// The time in which the head of a request must come that follows a good review.
pub const IDLE: Duration = Duration::from_secs(120);
/// The time in which a review must be there whole.
pub const BODY: Duration = Duration::from_secs(5);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// The most bytes of an answer, which repeats a few names of the review.
const ANSWER_BYTES: usize = 16 * 1024;
/// The time that open requests have after shutdown.
pub const DRAIN: Duration = Duration::from_secs(1);

/// What became of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reviewed {
    /// What was asked for is let through otherwise than it was asked for.
    Changed,
    /// It is let through as it is.
    Unchanged,
    /// It was not answered with a review.
    Refused,
}

/// Who is told what became of each review, and how long it took.
pub type Tell = Arc<dyn Fn(Reviewed, Duration) + Send + Sync>;

/// What is served with at present; nothing while there are no keys.
pub type Tls = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Serves until `shutdown`; `account` passes the gate.
pub async fn serve(
    listener: TcpListener,
    tls: Tls,
    (account, clock, tell): (&str, Clock, Tell),
    shutdown: CancellationToken,
) {
    let router = router(account, clock, tell);
    let places = Places::new(CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, from, place)) => {
                let config = tls.borrow().clone();
                let place = Arc::new(place);
                let work = (config, router.clone(), graceful.watcher());
                let work = connection(stream, work, (from, Arc::clone(&place)));
                connections.spawn(async move {
                    tokio::select! {
                        () = work => {}
                        () = place.is_needed() => tracing::debug!("a connection to the webhook gave its place to another"),
                    }
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
    places: &Places,
) -> std::io::Result<(TcpStream, IpAddr, Place)> {
    let place = places.take().await;
    let (stream, from) = listener.accept().await?;
    place.idles();
    Ok((stream, from.ip(), place))
}

/// One connection; what is open is answered at shutdown, what is not yet encrypted is dropped.
async fn connection(
    stream: TcpStream,
    (config, router, watcher): (Option<Arc<ServerConfig>>, Router, Watcher),
    (from, place): (IpAddr, Arc<Place>),
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
    let asked = CancellationToken::new();
    let state = (asked.clone(), place);
    let router = router.layer(middleware::from_fn_with_state(state, goes_on));
    let router = router.layer(Extension(from));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        ended = watcher.watch(connection) => if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the webhook ended early");
        },
        () = silent(asked) => tracing::debug!("nothing was asked on a connection to the webhook"),
    }
}

/// Ends when the first request's head did not come in time; never once it came.
async fn silent(asked: CancellationToken) {
    let head = tokio::time::timeout(HEAD, asked.cancelled()).await;
    if head.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// A request came; unless it is answered with a review, and there are places enough, it is the connection's last.
async fn goes_on(
    State((asked, place)): State<(CancellationToken, Arc<Place>)>,
    request: Request,
    next: Next,
) -> Response {
    asked.cancel();
    place.is_busy();
    let mut response = next.run(request).await;
    if response.status() != StatusCode::OK || place.are_scarce() {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    place.idles();
    response
}

/// What answers reviews.
#[derive(Clone)]
struct Desk {
    account: Arc<str>,
    bodies: Bodies,
    clock: Clock,
    tell: Tell,
}

fn router(account: &str, clock: Clock, tell: Tell) -> Router {
    let desk = Desk {
        account: account.into(),
        bodies: Bodies::new(bodies::ALL),
        clock,
        tell,
    };
    Router::new().route(PATH, post(answer)).with_state(desk)
}

/// Why a review is not answered.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<bodies::Error> for Refusal {
    fn from(error: bodies::Error) -> Self {
        let status = match error {
            bodies::Error::Large | bodies::Error::Dense => StatusCode::PAYLOAD_TOO_LARGE,
            bodies::Error::Busy => StatusCode::SERVICE_UNAVAILABLE,
            bodies::Error::Read(_) => StatusCode::BAD_REQUEST,
        };
        let error = causes::told(&error);
        tracing::warn!(error, "a review was not taken");
        Self(status, error + "\n")
    }
}

async fn answer(
    State(desk): State<Desk>,
    Extension(from): Extension<IpAddr>,
    body: Body,
) -> Result<Response, Refusal> {
    let begun = desk.clock.ticks();
    let answered = reviewed(&desk, from, body).await;
    let took = desk.clock.ticks().saturating_sub(begun);
    let result = answered
        .as_ref()
        .map_or(Reviewed::Refused, |(result, _)| *result);
    (desk.tell)(result, took);
    answered.map(|(_, response)| response)
}

async fn reviewed(desk: &Desk, from: IpAddr, body: Body) -> Result<(Reviewed, Response), Refusal> {
    let read = tokio::time::timeout(BODY, desk.bodies.read(from, body)).await;
    let held = read.map_err(|_| {
        let text = format!("the review was not there within {BODY:?}\n");
        Refusal(StatusCode::REQUEST_TIMEOUT, text)
    })??;
    let _turn = desk.bodies.turn(&held).await?;
    let answer = review::answer(&held.bytes, &desk.account).map_err(|error| causes::told(&error));
    let result = match &answer {
        Ok(answer) if answer["response"].get("patch").is_some() => Reviewed::Changed,
        Ok(_) | Err(_) => Reviewed::Unchanged,
    };
    let answer = answer.map(|answer| answer.to_string()).and_then(|answer| {
        let short = answer.len() <= ANSWER_BYTES;
        short
            .then_some(answer)
            .ok_or_else(|| "its names are too long".to_owned())
    });
    match answer {
        Ok(answer) => {
            let response = ([(CONTENT_TYPE, "application/json")], answer).into_response();
            Ok((result, response))
        }
        Err(error) => {
            tracing::warn!(error, "a review was not answered");
            Err(Refusal(StatusCode::BAD_REQUEST, error + "\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::kubernetes::crd::{ACCOUNT, GUARDED};
    use crate::kubernetes::webhook::keys::{self, Keys};
    use crate::kubernetes::webhook::reach;

    fn keys() -> Keys {
        #[allow(clippy::disallowed_methods)] // TLS goes by the machine's clock
        let now = Timestamp::now();
        keys::due(None, "127.0.0.1", None, now).unwrap().unwrap()
    }

    struct Served {
        port: u16,
        told: Arc<Mutex<Vec<Reviewed>>>,
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
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let tell: Tell = Arc::new(move |result, _| telling.lock().unwrap().push(result));
        let ended = stop.clone();
        tasks.spawn(async move {
            let whom = (ACCOUNT, Clock::machine(), tell);
            serve(listener, served, whom, ended).await;
        });
        Served {
            port,
            told,
            tls,
            stop,
            tasks,
        }
    }

    async fn encrypted(served: &Served, keys: &Keys) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::new(reach::client(&keys.bundle()).unwrap()));
        let stream = TcpStream::connect(("127.0.0.1", served.port))
            .await
            .unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    async fn asked(served: &Served, keys: &Keys, request: &str) -> String {
        let mut stream = encrypted(served, keys).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The end may come without a farewell.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    fn review() -> serde_json::Value {
        serde_json::json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u-1", "kind": {"group": "apps", "kind": "Deployment"},
                "operation": "UPDATE", "userInfo": {"username": "jane"}, "object": {}, "oldObject": {}},
        })
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
        let review = review();
        let huge = format!(
            "POST {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{{",
            bodies::ONE + 1
        );
        let dense = format!("[{}0]", "0,".repeat(bodies::ONE / 4));
        let mut named = review.clone();
        named["request"]["uid"] = "u".repeat(ANSWER_BYTES).into();
        let mut held = review.clone();
        for object in ["object", "oldObject"] {
            held["request"][object]["metadata"]["labels"][GUARDED] = "true".into();
        }
        held["request"]["object"]["spec"]["template"]["spec"]["image"] = "shop:2".into();
        let table = [
            (posted(PATH, &dense), "413"),
            (posted(PATH, &named.to_string()), "400"),
            (posted(PATH, &review.to_string()), "200"),
            (posted(PATH, &held.to_string()), "200"),
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
        let (refused, told) = (Reviewed::Refused, served.told.lock().unwrap().clone());
        // Neither another path nor another method is a review.
        let wanted = [
            refused,
            refused,
            Reviewed::Unchanged,
            Reviewed::Changed,
            refused,
            refused,
            refused,
        ];
        assert_eq!(told, wanted);
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

    #[tokio::test]
    async fn who_makes_good_reviews_keeps_no_place_from_others() {
        let keys = keys();
        let served = served(Some(&keys)).await;
        let good = posted(PATH, &review().to_string()).replace("connection: close\r\n", "");
        let mut kept = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = encrypted(&served, &keys).await;
            stream.write_all(good.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            kept.push(stream);
        }
        let place = ("127.0.0.1".to_owned(), served.port);
        let looked = tokio::time::timeout(HANDSHAKE * 4, async {
            while reach::look(place.clone(), &keys.bundle()).await.is_err() {}
        });
        looked.await.unwrap();
    }

    #[tokio::test]
    async fn keys_of_a_clock_that_is_hours_ahead_serve_at_once() {
        #[allow(clippy::disallowed_methods)] // TLS goes by the machine's clock
        let ahead = Timestamp::now() + HEAD * 3600;
        let keys = keys::due(None, "127.0.0.1", None, ahead).unwrap().unwrap();
        let served = served(Some(&keys)).await;
        let place = ("127.0.0.1".to_owned(), served.port);
        reach::look(place, &keys.bundle()).await.unwrap();
    }

    #[tokio::test]
    async fn who_says_nothing_once_encrypted_keeps_no_place_either() {
        let keys = keys();
        let served = served(Some(&keys)).await;
        let half = format!("POST {PATH} HTTP/1.1\r\nhost:");
        for said in ["", half.as_str()] {
            let closed = tokio::time::timeout(HEAD * 6, asked(&served, &keys, said)).await;
            assert_eq!(closed.unwrap(), "");
        }
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_good_reviews_only() {
        let keys = keys();
        let served = served(Some(&keys)).await;
        let good = posted(PATH, &review().to_string()).replace("connection: close\r\n", "");
        let bad = posted(PATH, "{}").replace("connection: close\r\n", "");
        let all = format!("{good}{good}{bad}{good}");
        let answered = tokio::time::timeout(IDLE / 2, asked(&served, &keys, &all)).await;
        let answered = answered.unwrap();
        let count = |text: &str| answered.matches(text).count();
        assert_eq!(
            (count("HTTP/1.1 200"), count("HTTP/1.1 ")),
            (2, 3),
            "{answered}"
        );
    }
}
