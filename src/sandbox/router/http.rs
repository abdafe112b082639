//! The router on sockets: requests of users, and scrapes of its metrics.
//!
//! HTTP/1.1 with keep-alive. Answers carry `x-sandbox-service`, `x-sandbox-pod` and
//! `x-sandbox-image`. Not here: routing.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response as HttpResponse, StatusCode, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Exposed, Request, Response, Router};

/// What a broken metrics endpoint answers.
pub const PAGE: &str = "<!doctype html><title>Bad gateway</title><h1>Bad gateway</h1>";

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("accepting a connection")]
    Accept(#[source] std::io::Error),
}

type Reply = HttpResponse<Full<Bytes>>;

/// The metrics endpoint refuses to answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics endpoint is down")]
struct Down;

impl Router {
    /// Serves users' requests until `shutdown`.
    ///
    /// # Errors
    /// If connections can no longer be accepted.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        accept(listener, shutdown, |stream| {
            let router = self.clone();
            connection(stream, move |request| {
                let router = router.clone();
                async move { Ok::<_, Infallible>(reply(router.handle(&taken(&request)).await)) }
            })
        })
        .await
    }

    /// Serves `GET /metrics` until `shutdown`.
    ///
    /// # Errors
    /// If connections can no longer be accepted.
    pub async fn serve_metrics(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        accept(listener, shutdown, |stream| {
            let router = self.clone();
            connection(stream, move |request| {
                let router = router.clone();
                async move { router.scrape(request.uri().path()).await }
            })
        })
        .await
    }

    async fn scrape(&self, path: &str) -> Result<Reply, Down> {
        if path != "/metrics" {
            return Ok(status(StatusCode::NOT_FOUND));
        }
        let kind = match self.exposed() {
            Exposed::Down => return Err(Down),
            Exposed::Hangs => std::future::pending().await,
            Exposed::Html => "text/html",
            Exposed::Fine | Exposed::Fails | Exposed::Partial | Exposed::Nan => {
                "text/plain; version=0.0.4; charset=utf-8"
            }
        };
        let Some(text) = self.metrics_text() else {
            return Ok(status(StatusCode::INTERNAL_SERVER_ERROR));
        };
        let mut reply = HttpResponse::new(Full::new(Bytes::from(text)));
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(reply)
    }
}

/// Accepts connections and runs each as a task of its own, which ends at `shutdown`.
async fn accept<F>(
    listener: TcpListener,
    shutdown: CancellationToken,
    serve: impl Fn(TcpStream) -> F,
) -> Result<(), ServeError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream)); }
                Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return Err(ServeError::Accept(error)),
            }
        }
    }
}

/// Errors of one connection, or a shortage that passes.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    let kinds = [ConnectionAborted, ConnectionReset, Interrupted, WouldBlock];
    kinds.contains(&error.kind()) || matches!(error.raw_os_error(), Some(23 | 24))
}

async fn connection<H, F, E>(stream: TcpStream, handle: H)
where
    H: Fn(HttpRequest<Incoming>) -> F,
    F: Future<Output = Result<Reply, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let _ = stream.set_nodelay(true);
    let served = server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(handle));
    if let Err(error) = served.await {
        tracing::trace!(%error, "a connection ended");
    }
}

fn taken(request: &HttpRequest<Incoming>) -> Request {
    let host = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok());
    Request {
        method: request.method().clone(),
        host: host
            .or_else(|| request.uri().host())
            .unwrap_or_default()
            .to_owned(),
        path: request.uri().path().to_owned(),
        headers: request.headers().clone(),
    }
}

fn status(code: StatusCode) -> Reply {
    let mut reply = HttpResponse::new(Full::new(Bytes::from(format!("{code}\n"))));
    *reply.status_mut() = code;
    reply
}

fn reply(response: Response) -> Reply {
    let body = match (response.status, response.pod.as_str()) {
        (404, "") => "default backend - 404\n".to_owned(),
        (status, "") => format!("{status} from the router\n"),
        (status, pod) => format!("{status} from {pod} ({})\n", response.image),
    };
    let mut reply = HttpResponse::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let named = [
        ("x-sandbox-service", &response.service),
        ("x-sandbox-pod", &response.pod),
        ("x-sandbox-image", &response.image),
    ];
    for (name, value) in named {
        if let Some(value) = HeaderValue::from_str(value)
            .ok()
            .filter(|value| !value.is_empty())
        {
            reply.headers_mut().insert(name, value);
        }
    }
    if let Some(cookie) = response
        .cookie
        .and_then(|cookie| HeaderValue::from_str(&cookie).ok())
    {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    reply
}

/// The same text with NaN for every value.
pub fn without_values(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((series, _)) if !line.starts_with('#') => format!("{series} NaN\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
