//! How the load reaches the router: within the process, or over real HTTP.
//!
//! HTTP keeps its connections alive and reads every answer to its end. Not here: rates.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Empty};
use hyper::Request as HttpRequest;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::sandbox::router::{Request, Router};

/// A way to the router, or to several in turn.
#[derive(Debug)]
pub struct Transport {
    way: Way,
    turn: AtomicUsize,
}

#[derive(Debug)]
enum Way {
    Direct(Vec<Router>),
    Http(Box<Client<HttpConnector, Empty<Bytes>>>, Vec<SocketAddr>),
}

impl Transport {
    /// Calls the routers in this process: works in virtual time.
    pub fn direct(routers: Vec<Router>) -> Self {
        Self {
            way: Way::Direct(routers),
            turn: AtomicUsize::new(0),
        }
    }

    /// Sends real requests to the routers' addresses.
    pub fn http(routers: Vec<SocketAddr>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            way: Way::Http(Box::new(client), routers),
            turn: AtomicUsize::new(0),
        }
    }

    /// Sends a GET; the status of the answer, if there is one.
    pub async fn send(&self, host: &str, path: &str) -> Option<u16> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match &self.way {
            Way::Direct(routers) => {
                let router = routers.get(turn % routers.len().max(1))?;
                Some(router.handle(&Request::get(host, path)).await.status)
            }
            Way::Http(client, routers) => {
                let router = routers.get(turn % routers.len().max(1))?;
                let request =
                    HttpRequest::get(format!("http://{router}{path}")).header("host", host);
                let answer = client
                    .request(request.body(Empty::new()).ok()?)
                    .await
                    .ok()?;
                let status = answer.status().as_u16();
                answer.into_body().collect().await.ok()?;
                Some(status)
            }
        }
    }
}
