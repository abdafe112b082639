//! The standard health check of gRPC, over HTTP/2 without TLS.
//!
//! The protocol is `grpc.health.v1.Health/Check`
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>): its request has one field, a
//! text, and its answer one, a small number; so they are written and read here, and no protobuf
//! library is needed.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Failure, connect, excerpt};

/// What is read of an answer, in bytes.
const BYTES: usize = 4096;
/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks whether a service is healthy.
pub async fn ask(address: &str, service: &str) -> Result<(), Failure> {
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .map_err(|error| format!("no HTTP/2 at {address}: {error}"))?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(message(service))))
        .map_err(|error| format!("{address}: {error}"))?;
    let asking = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| format!("no answer of {address}: {error}"))?;
        read(answer).await
    };
    tokio::select! {
        answer = asking => answer,
        ended = connection => Err(match ended {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => format!("the connection broke: {error}"),
        }),
    }
}

/// A `HealthCheckRequest` in its frame: not compressed, its length, field 1 as text.
fn message(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        field.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            field.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(field.len() as u32).to_be_bytes());
    frame.extend(field);
    frame
}

async fn read(answer: Response<Incoming>) -> Result<(), Failure> {
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("answered {status}, which gRPC does not"));
    }
    let code = |headers: &hyper::HeaderMap| {
        let code = headers.get("grpc-status")?.to_str().ok()?.to_owned();
        let said = headers.get("grpc-message");
        let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
        Some((code, said.to_owned()))
    };
    let early = code(answer.headers());
    let body = Limited::new(answer.into_body(), BYTES).collect().await;
    let body = body.map_err(|error| format!("reading the answer: {error}"))?;
    let late = body.trailers().and_then(code);
    match early.or(late) {
        Some((code, _)) if code == "0" => {}
        Some((code, said)) => {
            let said = excerpt(said.as_bytes());
            return Err(format!("gRPC status {code}: {said}"));
        }
        None => return Err("an answer without a gRPC status".to_owned()),
    }
    serving(&body.to_bytes())
}

/// Reads a `HealthCheckResponse` in its frame.
fn serving(frame: &[u8]) -> Result<(), Failure> {
    let status = match frame.get(5..) {
        Some([]) => 0,
        Some([0x08, status]) => *status,
        _ => return Err("no HealthCheckResponse was answered".to_owned()),
    };
    if status == SERVING {
        return Ok(());
    }
    let name = STATUSES.get(usize::from(status)).unwrap_or(&"unknown");
    Err(format!("says {name}"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use tokio::task::JoinSet;

    use super::*;

    /// Answers for the service `up` that it serves, for the server that it does not, and that it
    /// knows no other.
    async fn answer(
        request: Request<Incoming>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible>
    {
        let path = request.uri().path() == "/grpc.health.v1.Health/Check";
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        let (body, code) = match &asked[5..] {
            b"\x0a\x02up" if path => (vec![0, 0, 0, 0, 2, 8, 1], "0"),
            b"" => (vec![0, 0, 0, 0, 2, 8, 2], "0"),
            _ => (Vec::new(), "5"),
        };
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", "not known".parse().unwrap());
        let frames = [Frame::data(Bytes::from(body)), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        Ok(Response::new(body))
    }

    #[tokio::test]
    async fn a_service_is_healthy_if_it_says_that_it_serves() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks: JoinSet<()> = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = server::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                // The client goes when it has its answer.
                let _ = connection.await;
            }
        });
        assert_eq!(ask(&address, "up").await, Ok(()));
        assert_eq!(ask(&address, "").await, Err("says NOT_SERVING".to_owned()));
        let other = ask(&address, "other").await;
        assert_eq!(other, Err("gRPC status 5: not known".to_owned()));
    }

    #[tokio::test]
    async fn what_speaks_no_http2_is_not_healthy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks: JoinSet<()> = JoinSet::new();
        tasks.spawn(async move { while listener.accept().await.is_ok() {} });
        assert!(ask(&address, "up").await.is_err());
    }

    #[test]
    fn long_names_have_long_lengths() {
        let frame = message(&"a".repeat(300));
        assert_eq!(frame[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }
}
