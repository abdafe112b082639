//! The line between one daemon and the API server: it can be cut, and notes what was sent over it.
//!
//! While it is cut, requests get no answer; those that nobody gave up meanwhile go through when it
//! is mended. Watches that are open stay open.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body as Answer;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use sluice::clock::Clock;
use tokio::sync::watch;

/// A request that left.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Duration,
    pub method: String,
    pub path: String,
}

impl Sent {
    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

/// One line. All clones are one.
#[derive(Clone)]
pub struct Line {
    clock: Clock,
    cut: watch::Sender<bool>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Line {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            cut: watch::Sender::new(false),
            sent: Arc::default(),
        }
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// A client whose requests go over this line.
    pub fn client(&self, client: Client) -> Client {
        let line = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (line, client) = (line.clone(), client.clone());
            async move { line.carry(&client, request).await }
        });
        Client::new(service, "default")
    }

    async fn carry(
        &self,
        client: &Client,
        request: Request<Body>,
    ) -> Result<Response<Answer>, tower::BoxError> {
        self.sent.lock().unwrap().push(Sent {
            at: self.clock.ticks(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
        });
        let mut cut = self.cut.subscribe();
        cut.wait_for(|cut| !cut).await?;
        let answer = client.send(request).await?;
        // The answer gets lost as well.
        cut.wait_for(|cut| !cut).await?;
        Ok(answer.map(Answer::new))
    }
}
