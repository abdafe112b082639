//! A trip: the effect, counted over servers and lines, at which a daemon is killed.
//!
//! What comes to it is held until the kill is done, and fails then: nothing that the killed daemon
//! began goes on behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

/// All clones are one.
#[derive(Clone)]
pub struct Trip {
    left: Arc<AtomicI64>,
    state: watch::Sender<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Off,
    Armed,
    Reached,
}

impl Trip {
    /// At no effect yet.
    pub fn new() -> Self {
        Self {
            left: Arc::default(),
            state: watch::Sender::new(Stage::Off),
        }
    }

    /// At the effect of this number from now on, counted from 1.
    pub fn arm(&self, effect: i64) {
        self.left.store(effect, Ordering::SeqCst);
        self.state.send_replace(Stage::Armed);
    }

    /// Until an effect is held: virtual time stands still then, so that nobody may wait by it.
    pub async fn reached(&self) {
        let mut state = self.state.subscribe();
        // Fails when all clones are gone, and this is one.
        let _ = state.wait_for(|stage| *stage == Stage::Reached).await;
    }

    /// Lets what is held fail, and counts no more.
    pub fn release(&self) {
        self.state.send_replace(Stage::Off);
    }

    /// An effect. True if it fails since its daemon was killed.
    pub async fn here(&self) -> bool {
        let mut state = self.state.subscribe();
        let now = *state.borrow();
        let ours = now == Stage::Armed && self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if ours {
            self.state.send_replace(Stage::Reached);
        }
        // What else comes while one is held is of the same daemon.
        if !ours && now != Stage::Reached {
            return false;
        }
        let released = state.wait_for(|stage| *stage != Stage::Reached).await;
        released.is_ok()
    }
}

/// A server's request is an effect before and after it is answered.
pub async fn counted(State(trip): State<Trip>, request: Request, next: Next) -> Response {
    if trip.here().await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let answer = next.run(request).await;
    if trip.here().await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    answer
}
