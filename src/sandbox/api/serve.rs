//! The server on a TCP port: HTTP/1.1 without TLS, for kubectl and separate processes.
//!
//! Every connection is a task in one set that ends with the server.

use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Api;

/// Serving on the port went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A connection could not be accepted.
    #[error("accepting a connection to the API server")]
    Accept(#[source] std::io::Error),
}

/// A request whose connection breaks, by an armed fault.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub struct Lost;

impl Api {
    /// Serves on a listener until `shutdown`; open connections are closed then.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => {
                    let (stream, _) = accepted.map_err(ServeError::Accept)?;
                    connections.spawn(connection(self.clone(), stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn connection(api: Api, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { request_over_tcp(&api, request).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the sandbox's API server ended early");
    }
}

async fn request_over_tcp(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Lost)?.to_bytes();
    api.handle(&parts, bytes, None).await
}

/// The in-process form of the same.
pub(super) async fn request_in_process(
    api: &Api,
    request: Request<kube::client::Body>,
    user: &str,
) -> Result<Response<Body>, Lost> {
    let (mut parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Lost)?.to_bytes();
    // The parts of a control plane own fields by their own names.
    if let Some(name) = user.strip_prefix("system:")
        && !name.contains(':')
        && let Ok(agent) = name.parse()
    {
        parts.headers.entry(header::USER_AGENT).or_insert(agent);
    }
    api.handle(&parts, bytes, Some(user)).await
}
