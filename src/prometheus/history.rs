//! Reading what was: all increments since a subject's beginning, up to a time that may be now.
//!
//! By the same queries and the same counting as in a run, a piece of raw samples after the other,
//! so that no answer is larger than what is read; a piece that is too large is halved. A piece
//! that fails otherwise is tried again, since two weeks are some hundred of them.
//!
//! Not here: a scraper's history; it has none.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::error::Error;
use super::source::Source;
use super::{Readings, Subject};
use crate::rollout::evidence::Sample;

/// The longest piece: with what is looked back it stays below the furthest that is read.
const LONGEST: Duration = Duration::from_secs(50 * 60);
/// The shortest.
const SHORTEST: Duration = Duration::from_secs(30);
/// A failed piece is tried so often ...
const TRIES: u32 = 3;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Increments, all rules, oldest first.
    pub samples: Vec<Sample>,
    /// What is wrong without stopping the reading, in sentences.
    pub problems: Vec<String>,
    /// Why a rule could not be read at the end.
    pub absent: Option<String>,
}

impl Source {
    /// Reads from the subject's `since` to `until`. `told` hears, from 0 to 1, how far it is.
    pub async fn history(
        &mut self,
        subject: &Subject,
        until: Timestamp,
        mut told: impl FnMut(f64),
    ) -> Result<History, Error> {
        let mut subject = subject.clone();
        let (begin, mut at, mut piece) = (subject.since, subject.since, LONGEST);
        let whole = until.duration_since(begin).as_secs_f64().max(1.0);
        let mut history = History::default();
        self.replay();
        while at < until {
            let to = later(at, piece).min(until);
            match self.piece(&subject, to).await {
                Ok(mut readings) => {
                    let reading = readings.remove(&subject.key()).unwrap_or_default();
                    history.samples.extend(reading.samples);
                    history.problems.extend(reading.problems);
                    history.absent = reading.absent;
                    subject.cursor = Some(reading.cursor);
                    at = to;
                }
                Err(Error::TooLarge { .. }) if piece > SHORTEST => piece /= 2,
                Err(error) => return Err(error),
            }
            told(at.duration_since(begin).as_secs_f64() / whole);
        }
        history.problems.sort();
        history.problems.dedup();
        Ok(history)
    }

    async fn piece(&mut self, subject: &Subject, to: Timestamp) -> Result<Readings, Error> {
        let mut tried = 1;
        loop {
            match self.look(std::slice::from_ref(subject), to).await {
                (readings, None) => return Ok(readings),
                (_, Some(error)) if tried >= TRIES || error.category() == "too_large" => {
                    return Err(error);
                }
                (_, Some(_)) => tried += 1,
            }
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
