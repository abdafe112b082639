//! Spans of what the daemon does: a run, its passes, what each decided and did, and the remedy in Git.
//!
//! All spans of a run are one trace, whose identifiers follow from the run's, so that a daemon that takes
//! over goes on in the same one; the run's own span is told at its end. Telling waits for nothing: spans
//! that find no room are dropped and counted.
//!
//! Not here: the wire form and sending (`otlp`).

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::Metrics;

/// Spans that wait to be sent.
const ROOM: usize = 4096;

/// An identifier of a span.
pub type SpanId = [u8; 8];

/// The trace that a span belongs to, and the run's own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: [u8; 16],
    /// The run's span.
    pub run: SpanId,
}

impl Trace {
    /// The trace of a run of a Rollout.
    pub fn of(namespace: &str, rollout: &str, run: &str) -> Self {
        let named = format!("{namespace}/{rollout}/{run}");
        let digest: [u8; 32] = Sha256::digest(named.as_bytes()).into();
        let (mut id, mut root) = ([0; 16], [0; 8]);
        id.copy_from_slice(&digest[..16]);
        root.copy_from_slice(&digest[16..24]);
        Self { id, run: root }
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: [u8; 16],
    /// Its own identifier.
    pub id: SpanId,
    /// What it was a part of.
    pub parent: Option<SpanId>,
    /// What it was.
    pub name: &'static str,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Where spans are told. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<(mpsc::Sender<Span>, Metrics)>);

impl Traces {
    /// Nobody hears of spans.
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans come out of the receiver; those that find no room are counted.
    pub fn on(metrics: Metrics) -> (Self, mpsc::Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(ROOM);
        (Self(Some((sender, metrics))), receiver)
    }

    /// Whether anybody hears.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a span, and waits for nothing.
    pub fn tell(&self, span: impl FnOnce() -> Span) {
        if let Some((sender, metrics)) = &self.0
            && sender.try_send(span()).is_err()
        {
            metrics.spans("dropped", 1);
        }
    }
}

/// A new identifier; where there is no randomness, one of the time.
pub fn span_id(now: Timestamp) -> SpanId {
    let mut id = [0; 8];
    if getrandom::fill(&mut id).is_err() {
        id = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH))
            .map_or(1, |since| since.as_nanos() as u64)
            .to_be_bytes();
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        let trace = Trace::of("shop", "backend", "one");
        Span {
            trace: trace.id,
            id: span_id(Timestamp::UNIX_EPOCH),
            parent: Some(trace.run),
            name: "pass",
            begun: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            attributes: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn a_run_is_one_trace_whoever_tells_of_it() {
        let one = Trace::of("shop", "backend", "one");
        assert_eq!(one, Trace::of("shop", "backend", "one"));
        let others = [
            ("shop", "backend", "two"),
            ("shop", "front", "one"),
            ("pay", "backend", "one"),
        ];
        for (namespace, rollout, run) in others {
            assert_ne!(one, Trace::of(namespace, rollout, run));
        }
    }

    #[test]
    fn spans_without_room_are_dropped_and_counted() {
        let metrics = Metrics::new();
        let (traces, mut out) = Traces::on(metrics.clone());
        for _ in 0..ROOM + 3 {
            traces.tell(span);
        }
        let text = metrics.text().unwrap();
        assert!(
            text.contains("sluice_spans_total{outcome=\"dropped\"} 3\n"),
            "{text}"
        );
        assert_eq!(out.try_recv().unwrap().name, "pass");
        Traces::off().tell(|| unreachable!("nobody asks for it"));
    }
}
