//! The line between one daemon and the API server: it can be cut, and notes what was sent over it.
//!
//! While it is cut, requests get no answer; those that nobody gave up meanwhile go through when it
//! is mended. Watches that are open stay open. A trip holds what comes at a chosen effect.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body as Answer;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use sluice::clock::Clock;
use tokio::sync::watch;

use crate::trip::Trip;

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
    trip: Arc<Mutex<Option<Trip>>>,
}

impl Line {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            cut: watch::Sender::new(false),
            sent: Arc::default(),
            trip: Arc::default(),
        }
    }

    /// Each write is an effect before and after it is done.
    pub fn effects_on(&self, trip: &Trip) {
        *self.trip.lock().unwrap() = Some(trip.clone());
    }

    async fn effect(&self, is_write: bool) -> Result<(), tower::BoxError> {
        let trip = self.trip.lock().unwrap().clone();
        match trip {
            Some(trip) if is_write && trip.here().await => Err("killed".into()),
            _ => Ok(()),
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
        let is_write = request.method() != "GET";
        self.effect(is_write).await?;
        let mut cut = self.cut.subscribe();
        cut.wait_for(|cut| !cut).await?;
        let answer = client.send(request).await?;
        self.effect(is_write).await?;
        // The answer gets lost as well.
        cut.wait_for(|cut| !cut).await?;
        Ok(answer.map(Answer::new))
    }
}
