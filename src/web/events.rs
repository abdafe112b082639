//! The stream that tells open pages that something changed: server-sent events without content.
//!
//! A page that hears of a change is read again, so a stream is a few hundred bytes of memory
//! whatever is shown, and what is shown is made in one place. A change is told at once, and the next one a second
//! later at the earliest; where many are open, each has its turn within a longer time, so that pages are not all read
//! in one moment. A line every 15 s keeps proxies from closing a stream. Streams are bounded in number, so that
//! pages which nobody closed cannot keep probes and people out; they end at shutdown.
//!
//! Not here: what is shown (`view`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
/// The least time between two looks that find nothing.
const LOOK: Duration = Duration::from_millis(100);
/// So many hear of a change at the same moment.
const FEW: usize = 50;
/// Each page that hears of a change is read again: so many a second.
const READS: usize = 200;
/// The longest silence.
const ALIVE: Duration = Duration::from_secs(15);

/// What streams have in common. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    /// Streams that were ever opened.
    opened: Arc<AtomicU32>,
}

impl Streams {
    /// Streams that end at `stop`.
    pub fn until(stop: CancellationToken) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(STREAMS)),
            stop,
            opened: Arc::default(),
        }
    }

    /// Streams that end at another moment, and count together with these.
    #[must_use]
    pub fn and_until(&self, stop: CancellationToken) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// A turn that is far from those of the streams before it.
    fn turn(&self) -> Turn {
        /// The golden section of all 32 bits.
        const APART: u32 = 0x9e37_79b9;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        Turn(f64::from(number.wrapping_mul(APART)) / 2f64.powi(32))
    }
}

/// Which Rollout is looked at; all, unless it is said.
#[derive(Debug, Deserialize)]
pub struct Asked {
    namespace: Option<String>,
    name: Option<String>,
}

/// When a stream hears of a change, as a share of the time in which all hear of it.
#[derive(Debug, Clone, Copy)]
struct Turn(f64);

impl Turn {
    /// The time from a change to its event, of so many open streams.
    fn wait(self, open: usize) -> Duration {
        if open <= FEW {
            Duration::ZERO
        } else {
            rest(open).mul_f64(self.0)
        }
    }
}

/// The time from one event to the next, of so many open streams.
fn rest(open: usize) -> Duration {
    EVERY.max(EVERY.mul_f64(open as f64 / READS as f64))
}

struct Stream {
    turn: Turn,
    /// How long nothing is looked at.
    rest: Duration,
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
        turn: web.streams.turn(),
        rest: Duration::ZERO,
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
    fn open(&self) -> usize {
        STREAMS.saturating_sub(self.permits.available_permits())
    }

    /// Waits for a change of what is looked at; none at the end.
    async fn changed(&mut self) -> Option<()> {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.change()).await.flatten()
    }

    async fn change(&mut self) -> Option<()> {
        loop {
            tokio::time::sleep(self.rest).await;
            self.changes.changed().await.ok()?;
            tokio::time::sleep(self.turn.wait(self.open())).await;
            self.changes.mark_unchanged();
            let version = self.board.version(self.one.as_ref());
            if version != self.seen {
                (self.seen, self.rest) = (version, rest(self.open()));
                return Some(());
            }
            self.rest = LOOK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Entry;

    fn stream(streams: &Streams, board: &Board) -> Stream {
        let permit = Arc::clone(&streams.permits).try_acquire_owned();
        Stream {
            turn: streams.turn(),
            rest: Duration::ZERO,
            changes: board.changes(),
            seen: board.version(None),
            one: None,
            board: board.clone(),
            stop: streams.stop.clone(),
            permits: Arc::clone(&streams.permits),
            _permit: permit.unwrap(),
        }
    }

    fn change(board: &Board, message: &str) {
        board.set(Entry {
            namespace: "shop".to_owned(),
            name: "backend".to_owned(),
            target: "backend".to_owned(),
            phase: "Stepping".to_owned(),
            message: message.to_owned(),
            stable: None,
            run: None,
            last_run: None,
            git: None,
            updated: jiff::Timestamp::UNIX_EPOCH,
        });
    }

    /// Seconds until the next event.
    async fn until_told(stream: &mut Stream) -> f64 {
        let clock = tokio::time::Instant::now();
        assert!(stream.changed().await.is_some());
        clock.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_at_once_and_the_next_a_second_later() {
        let (board, streams) = (Board::default(), Streams::until(CancellationToken::new()));
        let mut one = stream(&streams, &board);
        change(&board, "first");
        assert!(until_told(&mut one).await < 0.01);
        change(&board, "second");
        change(&board, "third");
        assert!((0.9..1.1).contains(&until_told(&mut one).await));
        streams.stop.cancel();
        change(&board, "fourth");
        assert!(one.changed().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn five_hundred_streams_hear_of_a_change_one_after_the_other_in_three_seconds() {
        let (board, streams) = (Board::default(), Streams::until(CancellationToken::new()));
        let mut all: Vec<_> = (0..500).map(|_| stream(&streams, &board)).collect();
        change(&board, "first");
        let mut told: Vec<f64> = futures::future::join_all(all.iter_mut().map(until_told)).await;
        told.sort_by(f64::total_cmp);
        assert!(told[499] < 2.6, "{}", told[499]);
        for tenth in 0..25_u32 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = told.iter().filter(|at| range.contains(at)).count();
            assert!((15..=25).contains(&count), "{count} in tenth {tenth}");
        }
    }
}
