//! How far a subject's counters have been counted.
//!
//! A cursor is saved with the evidence it led to, so that after a restart nothing is counted
//! twice or lost. For Prometheus the times suffice, since it can be asked again; the scraper
//! cannot look back, so its cursor also holds what the counters stood at, summed by arm and
//! bucket (a few dozen numbers a process, however many series there are).
//!
//! Not here: how counting goes on from a cursor (`counters`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// How far each rule of one subject has been counted. Opaque to callers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor {
    /// Shared, since the source, what it has read and whom it reads for all have them.
    #[serde(with = "shared")]
    pub(super) rules: BTreeMap<String, Arc<RuleCursor>>,
}

/// How far one rule has been counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct RuleCursor {
    /// The newest sample's end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// What was counted, as a hash: sums of anything else mean nothing. Unknown in older cursors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u32>,
    /// The newest counted scrape of each process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<String, ProcessCursor>,
}

/// How far one process has been counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessCursor {
    /// Its newest counted scrape, in milliseconds.
    pub at: i64,
    /// What the counters stood at then; scraper only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Tally>,
}

/// Shared rules, as JSON that does not tell.
mod shared {
    use serde::{Deserializer, Serializer};

    use super::{Arc, BTreeMap, Deserialize, RuleCursor};

    type Rules = BTreeMap<String, Arc<RuleCursor>>;

    pub fn serialize<S: Serializer>(rules: &Rules, serializer: S) -> Result<S::Ok, S::Error> {
        let rules = rules.iter().map(|(name, rule)| (name, &**rule));
        serializer.collect_map(rules)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rules, D::Error> {
        let rules = BTreeMap::<String, RuleCursor>::deserialize(deserializer)?;
        let shared = rules.into_iter().map(|(name, rule)| (name, Arc::new(rule)));
        Ok(shared.collect())
    }
}

impl RuleCursor {
    /// The newest scrape that has been counted, of any process, in milliseconds.
    pub fn newest(&self) -> Option<i64> {
        self.of.values().map(|process| process.at).max()
    }

    /// Leaves out processes that were last counted so long before the newest: what they stood at then is
    /// not read again, and pods that come and go would be too many to save. Sums that are saved stay.
    pub fn forget(&mut self, after: i64) {
        let newest = self.newest().unwrap_or(0);
        self.of.retain(|_, process| {
            process.sum.is_some() || newest.saturating_sub(process.at) <= after
        });
    }
}

impl Cursor {
    /// The end of the newest sample, of the rule that is least far.
    pub fn until(&self) -> Option<Timestamp> {
        let least = self.rules.values().filter_map(|rule| rule.until).min()?;
        Timestamp::from_millisecond(least).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Arm, Class};
    use super::*;

    #[test]
    fn processes_that_cannot_be_gone_on_with_are_left_out() {
        let sum = Tally::of(&[(Arm::Stable, Class::Good, 7.0)]).unwrap();
        let process = |at, sum| ProcessCursor { at, sum };
        let of = [
            ("gone", process(1_000, None)),
            ("late", process(3_000, None)),
            ("lives", process(9_000, None)),
            ("scraped", process(1_000, sum)),
        ];
        let mut cursor = RuleCursor {
            counted: None,
            until: Some(9_000),
            of: of.map(|(name, at)| (name.to_owned(), at)).into(),
        };
        cursor.forget(6_000);
        let left: Vec<&String> = cursor.of.keys().collect();
        assert_eq!(left, ["late", "lives", "scraped"]);
        RuleCursor::default().forget(0);
    }
}
