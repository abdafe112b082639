//! What users got, by ingress, side and image: for the demo's and the scenarios' tables.
//!
//! Not metrics: no scrape sees this, and nothing decides by it.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Whose answers are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arm {
    pub namespace: String,
    pub ingress: String,
    pub canary: bool,
    /// The image that answered; empty if the router answered itself.
    pub image: String,
}

/// Answers of one arm; bad ones have a status of 500 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub total: u64,
    pub bad: u64,
    pub first_bad: Option<Timestamp>,
    pub last_bad: Option<Timestamp>,
}

/// All arms' tallies since the start or the last mark.
#[derive(Debug, Clone, Default)]
pub struct Tallies(BTreeMap<Arm, Tally>);

impl Tallies {
    pub fn count(&mut self, arm: Arm, status: u16, now: Timestamp) {
        let tally = self.0.entry(arm).or_default();
        tally.total += 1;
        if status >= 500 {
            tally.bad += 1;
            tally.first_bad.get_or_insert(now);
            tally.last_bad = Some(now);
        }
    }

    pub fn list(&self) -> Vec<(Arm, Tally)> {
        self.0
            .iter()
            .map(|(arm, tally)| (arm.clone(), *tally))
            .collect()
    }

    /// Begins anew.
    pub fn mark(&mut self) {
        self.0.clear();
    }
}
