//! The stream that tells open pages that something changed: server-sent events without content.
//!
//! A page that hears of a change is read again, so a stream is a few hundred bytes of memory
//! whatever is shown, and what is shown is made in one place. At most one event a second and
//! stream, and fewer where many are open; a line every 15 s keeps proxies from closing it. Streams are bounded in number, so that
//! pages which nobody closed cannot keep probes and people out; they end at shutdown.
//!
//! Not here: what is shown (`view`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::routes::Web;

/// The most open streams.
pub const STREAMS: usize = 640;
/// The least time between two events of one stream, while there are few.
const EVERY: Duration = Duration::from_secs(1);
/// Each page that hears of a change is read again: so many a second.
const READS: usize = 50;
/// The longest silence.
const ALIVE: Duration = Duration::from_secs(15);

/// What streams have in common. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Streams {
    /// Streams that end at `stop`.
    pub fn until(stop: CancellationToken) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(STREAMS)),
            stop,
        }
    }

    /// Streams that end at another moment, and count together with these.
    #[must_use]
    pub fn and_until(&self, stop: CancellationToken) -> Self {
        let permits = Arc::clone(&self.permits);
        Self { permits, stop }
    }
}

/// Which Rollout is looked at; all, unless it is said.
#[derive(Debug, Deserialize)]
pub struct Asked {
    namespace: Option<String>,
    name: Option<String>,
}

struct Stream {
    changes: watch::Receiver<u64>,
    board: Board,
    one: Option<(String, String)>,
    seen: u64,
    stop: CancellationToken,
    permits: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
}

/// `GET /events`.
pub async fn events(State(web): State<Web>, Query(asked): Query<Asked>) -> Response {
    let Ok(permit) = Arc::clone(&web.streams.permits).try_acquire_owned() else {
        let words = "too many pages are open; this one is not live\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    let start = Stream {
        changes: web.board.changes(),
        seen: web.board.version(asked.one().as_ref()),
        one: asked.one(),
        board: web.board.clone(),
        stop: web.streams.stop.clone(),
        permits: Arc::clone(&web.streams.permits),
        _permit: permit,
    };
    let events = stream::unfold(start, |mut stream| async move {
        stream.changed().await?;
        let event = Event::default().data("changed");
        Some((Ok::<_, Infallible>(event), stream))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Sse::new(events).keep_alive(alive).into_response()
}

impl Asked {
    fn one(&self) -> Option<(String, String)> {
        Some((self.namespace.clone()?, self.name.clone()?))
    }
}

impl Stream {
    /// The time from a change to its event.
    fn pause(&self) -> Duration {
        let open = STREAMS.saturating_sub(self.permits.available_permits());
        EVERY.max(EVERY * u32::try_from(open / READS).unwrap_or(1))
    }

    /// Waits for a change of what is looked at; none at the end.
    async fn changed(&mut self) -> Option<()> {
        loop {
            let (stop, pause) = (self.stop.clone(), self.pause());
            let waited = stop.run_until_cancelled(async {
                self.changes.changed().await.ok()?;
                tokio::time::sleep(pause).await;
                Some(())
            });
            waited.await??;
            self.changes.mark_unchanged();
            let version = self.board.version(self.one.as_ref());
            if version != self.seen {
                self.seen = version;
                return Some(());
            }
        }
    }
}
