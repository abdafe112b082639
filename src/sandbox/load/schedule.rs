//! When the next request of each flow is due: pure, seeded.
//!
//! Gaps are exponential. A sender that falls more than a second behind skips what it missed,
//! and says how much. Not here: sending.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::elapsed;
use crate::sandbox::drive::after;
use crate::sandbox::random::Random;

const PATIENCE: Duration = Duration::from_secs(1);

/// Requests at a rate per second, to hosts and paths in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    pub rate: f64,
    pub targets: Vec<(Arc<str>, Arc<str>)>,
}

#[derive(Debug)]
struct Running {
    flow: Flow,
    due: Timestamp,
    turn: usize,
}

/// The flows by key, and which is due next.
#[derive(Debug)]
pub struct Schedule<K> {
    random: Random,
    flows: HashMap<K, Running>,
    order: BTreeSet<(Timestamp, K)>,
    late: u64,
}

impl<K: Clone + Ord + Hash> Schedule<K> {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            flows: HashMap::new(),
            order: BTreeSet::new(),
            late: 0,
        }
    }

    /// Starts, changes or (with none) ends a flow. A changed rate counts from now.
    pub fn set(&mut self, key: K, flow: Option<Flow>, now: Timestamp) {
        if self.flows.get(&key).map(|running| &running.flow) == flow.as_ref() {
            return;
        }
        if let Some(running) = self.flows.remove(&key) {
            self.order.remove(&(running.due, key.clone()));
        }
        if let Some(flow) = flow {
            let due = after(now, self.gap(flow.rate));
            self.order.insert((due, key.clone()));
            self.flows.insert(key, Running { flow, due, turn: 0 });
        }
    }

    /// The next request that is due: its host and path.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Arc<str>, Arc<str>)> {
        let (due, key) = self.order.first().filter(|(due, _)| *due <= now).cloned()?;
        self.order.pop_first();
        let rate = self.flows.get(&key)?.flow.rate;
        let mut next = after(due, self.gap(rate));
        let behind = elapsed(next, now);
        if behind > PATIENCE {
            self.late += (behind.as_secs_f64() * rate) as u64;
            next = now;
        }
        let running = self.flows.get_mut(&key)?;
        running.due = next;
        running.turn += 1;
        let target = running.flow.targets[running.turn % running.flow.targets.len()].clone();
        self.order.insert((next, key));
        Some(target)
    }

    /// How many requests were skipped since the last time this was asked.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// When the next request is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(due, _)| *due)
    }

    fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64((self.random.exponential() / rate).min(1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn flow(rate: f64) -> Flow {
        let target = |path: &str| (Arc::from("a.test"), Arc::from(path));
        Flow {
            rate,
            targets: vec![target("/"), target("/b")],
        }
    }

    /// Requests between two times, looked at every 10 ms.
    fn sent(schedule: &mut Schedule<&str>, from: i64, to: i64) -> usize {
        let times = (from..to).step_by(10);
        times
            .map(|time| std::iter::from_fn(|| schedule.pop(at(time))).count())
            .sum()
    }

    #[test]
    fn the_rate_holds_and_changes_at_once() {
        let mut schedule = Schedule::new(5);
        schedule.set("a", Some(flow(200.0)), at(0));
        let before = sent(&mut schedule, 0, 10_000);
        assert!((1_850..2_150).contains(&before), "{before}");
        schedule.set("a", Some(flow(1_000.0)), at(10_000));
        let after = sent(&mut schedule, 10_000, 11_000);
        assert!((900..1_100).contains(&after), "{after}");
        schedule.set("a", None, at(11_000));
        assert_eq!(
            (sent(&mut schedule, 11_000, 20_000), schedule.next()),
            (0, None)
        );
    }

    #[test]
    fn targets_take_turns() {
        let mut schedule = Schedule::new(5);
        schedule.set("a", Some(flow(1_000.0)), at(0));
        let paths: Vec<_> = (0..4)
            .filter_map(|_| schedule.pop(at(900)))
            .map(|target| target.1)
            .collect();
        assert_eq!(
            paths.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ["/b", "/", "/b", "/"]
        );
    }

    #[test]
    fn a_sender_far_behind_skips_what_it_missed() {
        let mut schedule = Schedule::new(5);
        schedule.set("a", Some(flow(100.0)), at(0));
        let caught_up = std::iter::from_fn(|| schedule.pop(at(60_000))).count();
        let late = schedule.take_late();
        assert!(caught_up < 10, "{caught_up}");
        assert!((5_900..6_000).contains(&late), "{late}");
    }
}
