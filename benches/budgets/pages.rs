//! The router's metrics page over HTTP, and when it was last read.
//!
//! The time at which the daemon was handed the counters that led to a verdict is the start of
//! its reaction; only who serves the page knows it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use sluice::sandbox::router::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Error;
use super::stopwatch::{self, Instant};

/// Serves the page.
#[derive(Debug)]
pub struct Pages {
    /// Where.
    pub address: SocketAddr,
    served: Arc<Served>,
    _tasks: JoinSet<std::io::Result<()>>,
}

#[derive(Debug)]
struct Served {
    router: Router,
    times: Mutex<Vec<Instant>>,
}

impl Pages {
    /// Serves the router's page on a free port.
    pub async fn start(router: Router) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = Arc::new(Served {
            router,
            times: Mutex::default(),
        });
        let app = axum::Router::new()
            .fallback(page)
            .with_state(served.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await });
        Ok(Self {
            address,
            served,
            _tasks: tasks,
        })
    }

    /// When the page was handed out in the last while, in order.
    pub fn since(&self, last: Duration) -> Vec<Instant> {
        let (now, served) = (stopwatch::now(), &self.served);
        let times = served.times.lock().unwrap_or_else(PoisonError::into_inner);
        let new = |time: &&Instant| now.duration_since(**time) <= last;
        times.iter().filter(new).copied().collect()
    }

    /// When the page was last handed out before `moment`.
    pub fn last_before(&self, moment: Instant) -> Option<Instant> {
        let times = self
            .served
            .times
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        times.iter().rev().find(|time| **time <= moment).copied()
    }
}

async fn page(State(served): State<Arc<Served>>) -> String {
    let text = served.router.metrics_text().unwrap_or_default();
    let mut times = served.times.lock().unwrap_or_else(PoisonError::into_inner);
    times.push(stopwatch::now());
    text
}
