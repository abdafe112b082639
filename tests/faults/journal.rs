//! The story of a simulation: what happened, with its time, in one order.
//!
//! Shared by everything that takes part; also knows who is writing at the moment, so that a
//! change in the API server can be laid at somebody's door. Two plays of one seed must tell the
//! same story.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The story. Clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Story>>);

struct Story {
    began: Instant,
    lines: Vec<String>,
    acting: Option<usize>,
}

impl Journal {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Story {
            began: Instant::now(),
            lines: Vec::new(),
            acting: None,
        })))
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.story().began.elapsed().as_millis() as u64
    }

    pub fn say(&self, what: &str) {
        let mut story = self.story();
        let at = story.began.elapsed().as_secs_f64();
        story.lines.push(format!("{at:>9.3}  {what}"));
    }

    /// Which daemon's request is being answered.
    pub fn acts(&self, daemon: Option<usize>) {
        self.story().acting = daemon;
    }

    pub fn acting(&self) -> Option<usize> {
        self.story().acting
    }

    pub fn lines(&self) -> Vec<String> {
        self.story().lines.clone()
    }
}
