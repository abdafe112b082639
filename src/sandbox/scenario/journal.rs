//! What the player has seen of answers and of Rollouts, moment by moment.
//!
//! Tallies only grow, so a window is the difference of two moments. Kept as long as a
//! check can look back. Pure; the player feeds it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::compare::answers;
use super::kinds::{number, text};
use super::stage::Tally;
use super::told::Live;
use crate::clock::elapsed;

/// The longest look back of a check.
const KEPT: Duration = Duration::from_secs(300);

/// Answers seen at moments, oldest first.
#[derive(Debug)]
pub struct Journal {
    began: Timestamp,
    moments: VecDeque<(Timestamp, Vec<Tally>)>,
    first: Vec<Tally>,
    told: BTreeMap<String, Live>,
}

impl Journal {
    /// Begins with what was answered before the scenario.
    pub fn new(began: Timestamp, tallies: Vec<Tally>) -> Self {
        Self {
            began,
            moments: VecDeque::from([(began, tallies.clone())]),
            first: tallies,
            told: BTreeMap::new(),
        }
    }

    /// Seconds since the scenario began.
    pub fn seconds(&self, now: Timestamp) -> f64 {
        elapsed(self.began, now).as_secs_f64()
    }

    /// Notes the answers up to now.
    pub fn note(&mut self, now: Timestamp, tallies: Vec<Tally>) {
        let old = |at: Timestamp| elapsed(at, now) > KEPT;
        while self.moments.front().is_some_and(|(at, _)| old(*at)) {
            self.moments.pop_front();
        }
        self.moments.push_back((now, tallies));
    }

    /// The answers noted last.
    pub fn latest(&self) -> &[Tally] {
        self.moments.back().map_or(&[], |(_, tallies)| tallies)
    }

    /// The answers as they stood `over` ago, or when the scenario began.
    pub fn before(&self, over: Option<Duration>) -> &[Tally] {
        let Some((over, now)) = over.zip(self.moments.back().map(|(at, _)| *at)) else {
            return &self.first;
        };
        self.moments
            .iter()
            .rev()
            .find(|(at, _)| elapsed(*at, now) >= over)
            .map_or(&self.first, |(_, tallies)| tallies)
    }

    /// Where a Rollout stands by its object and, fresher, by the daemon's own word.
    pub fn stand(&self, now: Timestamp, rollout: &Value, live: Option<Value>) -> Live {
        let status = live
            .as_ref()
            .or(rollout.pointer("/status"))
            .unwrap_or(&Value::Null);
        let word = |pointer: &str| text(status, pointer).unwrap_or_default().to_owned();
        let second = Duration::from_secs(1);
        let (requests, bad) = answers(None, None, self.before(Some(second)), self.latest());
        Live {
            at: self.seconds(now),
            rollout: text(rollout, "/metadata/name")
                .unwrap_or_default()
                .to_owned(),
            phase: word("/phase"),
            step: word("/run/step"),
            images: images(status),
            weight: number(status, "/run/weight"),
            verdict: word("/run/verdict"),
            message: word("/message"),
            rate: requests as f64,
            bad_rate: bad as f64,
            rules: status
                .pointer("/run/rules")
                .and_then(|rules| serde_json::from_value(rules.clone()).ok())
                .unwrap_or_default(),
        }
    }

    /// Whether this differs from what was told of the Rollout last; if so it is noted as told.
    pub fn news(&mut self, live: &Live) -> bool {
        let gist = |live: &Live| {
            (
                live.phase.clone(),
                live.step.clone(),
                live.weight.to_bits(),
                live.verdict.clone(),
            )
        };
        let old = self.told.get(&live.rollout).map(gist);
        let news = old != Some(gist(live)) && !live.phase.is_empty();
        if news {
            self.told.insert(live.rollout.clone(), live.clone());
        }
        news
    }
}

fn images(status: &Value) -> Vec<String> {
    let list = status
        .pointer("/run/revision/images")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
