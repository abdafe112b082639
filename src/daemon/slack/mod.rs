//! What people ask in Slack: taken at the door, acknowledged at once, and done afterwards.
//!
//! `POST /hooks/slack` takes buttons and `/sluice`, and acknowledges events. Slack waits three seconds at most, so the door only looks
//! whether Slack has signed it, now and for the first time; a clerk does what is asked and answers where Slack says.
//! Where nobody outside reaches the daemon, the same comes over a socket.
//!
//! Guarantees: the head is checked before the body is read, the signature before anything in it is; of what is
//! bounded, nothing is taken that cannot be done soon. Not here: what people may (`clerk`), the forms
//! (`people::slack`).

mod clerk;
mod socket;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use tokio::sync::mpsc;

use super::hooks::{Refusal, bytes, stranger};
use super::settings::SlackApp;
use crate::clock::Clock;
use crate::people::slack::asked::{self, Asked, Event};
use crate::people::slack::signed::{self, Taken};

pub use clerk::Clerk;

/// What Slack sends at most; a button brings its whole message along.
const BYTES: usize = 256 * 1024;
/// What waits for the clerk at most.
const WAITING: usize = 64;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    /// The same wherever it is sent again.
    id: String,
    asked: Asked,
}

struct Inner {
    app: SlackApp,
    clock: Clock,
    taken: Mutex<Taken>,
    jobs: mpsc::Sender<Job>,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

impl Desk {
    /// A door, and what comes in there.
    fn open(app: SlackApp, clock: Clock) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let inner = Inner {
            app,
            clock,
            taken: Mutex::default(),
            jobs,
        };
        (Self(Arc::new(inner)), waiting)
    }

    /// The endpoint, below `/hooks`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/slack", post(take))
            .with_state(self.clone())
    }

    /// Lets something in; what is said back at once.
    async fn admit(&self, request: Request) -> Result<String, Refusal> {
        let Some(key) = &self.0.app.signing_secret_file else {
            let text = "nothing is taken from Slack here: slack.signingSecretFile is not set";
            return Err(Refusal(StatusCode::NOT_FOUND, text.to_owned()));
        };
        let (head, body) = request.into_parts();
        let now = self.0.clock.now();
        let given = |name| header(&head.headers, name);
        let claim = signed::claim(given(signed::SIGNATURE), given(signed::TIME), now);
        let claim = claim.map_err(stranger)?;
        let body = bytes(&head.headers, body, BYTES).await?;
        claim.admit(&body, key).map_err(stranger)?;
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.note(&claim, now).map_err(stranger)?;
        drop(taken);
        match asked::event(&body) {
            Some(Event::Challenge(challenge)) => return Ok(challenge),
            Some(Event::Happened) => return Ok(String::new()),
            None => {}
        }
        let asked = asked::form(&body)
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        if let Some(asked) = asked {
            self.put(claim.id(), asked)?;
        }
        Ok(String::new())
    }

    /// Has it done, by and by.
    fn put(&self, id: String, asked: Asked) -> Result<(), Refusal> {
        self.0.jobs.try_send(Job { id, asked }).map_err(|_| {
            let text = "too much is asked at once; ask again".to_owned();
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

async fn take(State(desk): State<Desk>, request: Request) -> Result<String, Refusal> {
    desk.admit(request).await
}

#[cfg(test)]
mod tests;
