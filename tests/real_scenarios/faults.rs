//! Bad days on a real API server: a layer around a client that refuses, delays or loses requests.
//!
//! It arms the same faults as the sandbox's API server, and answers what that would. Watches are
//! ended between two events, cleanly or with an error 410, as a load balancer or a compaction
//! does. Not here: what the real server does wrong by itself.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::{BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::json;
use sluice::sandbox::api::{Asked, Fault, Faults, Target};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

/// What a body is made of here.
type Frames = StreamBody<BoxStream<'static, Result<Frame<Bytes>, BoxError>>>;

/// How watches have been ended so far: how often, and whether with an error the last time.
type Ended = (u64, bool);

/// Armed faults of one client, and the ends of its watches. Clones share them.
#[derive(Clone)]
pub struct BadDays {
    pub faults: Arc<Faults>,
    watches: watch::Sender<Ended>,
    user: &'static str,
}

impl BadDays {
    /// For a client that acts as this user.
    pub fn new(user: &'static str) -> Self {
        Self {
            faults: Arc::default(),
            watches: watch::Sender::new((0, false)),
            user,
        }
    }

    /// Ends all watches that are open now; as too old, or without a word.
    pub fn end_watches(&self, expired: bool) {
        self.watches
            .send_modify(|(times, kind)| (*times, *kind) = (*times + 1, expired));
    }

    fn take(&self, request: &Request<Body>) -> Option<Fault> {
        let target = Target::parse(request.uri().path())?;
        let resource = match target.subresource.as_str() {
            "" => target.plural.clone(),
            sub => format!("{}/{sub}", target.plural),
        };
        self.faults.take(&Asked {
            verb: verb(request, &target),
            resource: &resource,
            name: target.name.as_deref().unwrap_or_default(),
            user: self.user,
        })
    }
}

fn verb(request: &Request<Body>, target: &Target) -> &'static str {
    match *request.method() {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if watches(request) => "watch",
        _ if target.name.is_some() => "get",
        _ => "list",
    }
}

fn watches(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

impl<S> Layer<S> for BadDays {
    type Service = Troubled<S>;

    fn layer(&self, inner: S) -> Troubled<S> {
        Troubled {
            inner,
            days: self.clone(),
        }
    }
}

/// A client's service under [`BadDays`].
pub struct Troubled<S> {
    inner: S,
    days: BadDays,
}

impl<S, B> Service<Request<Body>> for Troubled<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Frames>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ends = watches(&request).then(|| self.days.watches.subscribe());
        match self.days.take(&request) {
            None => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answer = answer.await.map_err(Into::into)?;
                    Ok(answer.map(|body| frames(body, ends)))
                })
            }
            Some(Fault::LostAfterEffect) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    answer.await.map_err(Into::into)?;
                    Err(lost())
                })
            }
            Some(Fault::LostBefore) => Box::pin(async { Err(lost()) }),
            Some(Fault::Conflict) => Box::pin(ready(refused(409, "Conflict", None))),
            Some(Fault::TooManyRequests(seconds)) => {
                Box::pin(ready(refused(429, "TooManyRequests", Some(seconds))))
            }
            Some(Fault::Status(code)) => Box::pin(ready(refused(code, "InternalError", None))),
            Some(Fault::Hang | Fault::Delay(_)) => Box::pin(std::future::pending()),
        }
    }
}

fn lost() -> BoxError {
    "the connection was lost (armed fault)".into()
}

fn refused(
    code: u16,
    reason: &str,
    retry_after: Option<u64>,
) -> Result<Response<Frames>, BoxError> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "armed fault", "reason": reason, "code": code});
    let mut response = Response::new(frames(Full::new(Bytes::from(status.to_string())), None));
    *response.status_mut() = StatusCode::from_u16(code)?;
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    Ok(response)
}

/// The body; of a watch only until watches are ended.
fn frames<B>(body: B, ends: Option<watch::Receiver<Ended>>) -> Frames
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let whole = StreamExt::boxed(BodyStream::new(body.map_err(Into::into)));
    let Some(ends) = ends else {
        return StreamBody::new(whole);
    };
    let until = stream::unfold((whole, Some(ends)), |(mut rest, ends)| async move {
        let mut ends = ends?;
        tokio::select! {
            frame = rest.next() => frame.map(|frame| (frame, (rest, Some(ends)))),
            Ok(()) = ends.changed() => {
                let expired = ends.borrow_and_update().1;
                expired.then(|| (Ok(Frame::data(too_old())), (rest, None)))
            }
        }
    });
    StreamBody::new(until.boxed())
}

/// The error event of a watch whose resource version is too old.
fn too_old() -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version (armed fault)", "reason": "Expired", "code": 410});
    Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))
}
