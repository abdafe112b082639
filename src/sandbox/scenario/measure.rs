//! Measuring one named run: when the first bad answer, the step down, weight 0 and the
//! outcome came, and how many answers users got of the new revision.
//!
//! Pure: the player feeds it a moment ten times a second. Times are therefore good to a
//! tenth of a second, but for the first bad answer, which the router noted itself.

use jiff::Timestamp;
use serde_json::Value;

use super::format::Run;
use super::kinds::text;
use super::stage::Tally;
use super::told::Row;
use crate::clock::elapsed;

/// What is known of a run so far.
#[derive(Debug)]
pub struct Measure {
    image: String,
    changed: Timestamp,
    run_before: Option<String>,
    before: (u64, u64),
    now: (u64, u64),
    first_request: Option<Timestamp>,
    first_bad: Option<Timestamp>,
    weight: u8,
    /// The first lowering of the weight to something above 0.
    lowered: Option<Timestamp>,
    zero: Option<Timestamp>,
    suspect: bool,
}

/// One moment of a run.
#[derive(Debug)]
pub struct Moment<'a> {
    /// When.
    pub at: Timestamp,
    /// All answers so far.
    pub tallies: &'a [Tally],
    /// The canary Ingress's weight; 0 without one.
    pub weight: u8,
    /// The Rollout's `status.run.verdict` is `Suspect`.
    pub suspect: bool,
}

impl Measure {
    /// Begins just before the change; `last` is the id of the run that ended last.
    pub fn new(image: String, now: Timestamp, last: Option<&str>, tallies: &[Tally]) -> Self {
        let before = counts(&image, tallies);
        Self {
            image,
            changed: now,
            run_before: last.map(str::to_owned),
            before,
            now: before,
            first_request: None,
            first_bad: None,
            weight: 0,
            lowered: None,
            zero: None,
            suspect: false,
        }
    }

    /// Takes in one moment.
    pub fn see(&mut self, moment: &Moment) {
        self.now = counts(&self.image, moment.tallies);
        self.suspect |= moment.suspect;
        if self.now.0 > self.before.0 {
            self.first_request.get_or_insert(moment.at);
        }
        if self.now.1 > self.before.1 {
            let noted = first_bad(&self.image, moment.tallies).filter(|at| *at >= self.changed);
            self.first_bad.get_or_insert(noted.unwrap_or(moment.at));
        }
        if moment.weight == 0 && self.weight > 0 {
            self.zero = Some(moment.at);
        } else if moment.weight < self.weight && self.lowered.is_none() {
            self.lowered = Some(moment.at);
        }
        self.weight = moment.weight;
    }

    /// Whether the run has ended by the Rollout's status.
    pub fn ended(&self, rollout: &Value) -> bool {
        let last = text(rollout, "/status/lastRun/id");
        let running = rollout.pointer("/status/run").is_some();
        last.is_some() && last != self.run_before.as_deref() && !running
    }

    /// The run's line in the table.
    pub fn row(&self, run: &Run, rollout: &Value, now: Timestamp) -> Row {
        let word = |pointer: &str| text(rollout, pointer).unwrap_or_default().to_owned();
        let ended = self.ended(rollout);
        let from = self.first_bad.or(self.first_request);
        let until = |end: Option<Timestamp>, start: Option<Timestamp>| {
            start
                .zip(end)
                .map(|(start, end)| elapsed(start, end).as_secs_f64())
        };
        let mut row = Row {
            run: run.name.clone(),
            outcome: "none".to_owned(),
            zero_after: until(self.zero, from),
            from_first_request: self.first_bad.is_none(),
            lowered_after: until(self.lowered, self.first_bad),
            requests: self.now.0 - self.before.0,
            bad: self.now.1 - self.before.1,
            ..Row::default()
        };
        if ended {
            row.outcome = word("/status/lastRun/outcome");
            row.reason = word("/status/lastRun/reason");
            row.message = word("/status/lastRun/message");
            row.saved = rollout
                .pointer("/status/lastRun/saved")
                .and_then(Value::as_u64);
            row.outcome_after = Some(elapsed(self.changed, now).as_secs_f64());
        }
        if row.outcome == "Promoted" {
            row.zero_after = None;
        }
        row
    }

    /// What in the run was not as it should be.
    pub fn problems(&self, run: &Run, row: &Row) -> Vec<String> {
        let mut problems = Vec::new();
        let one_of = |wanted: &str, found: &str| wanted.split('|').any(|one| one.trim() == found);
        if !one_of(&run.outcome, &row.outcome) {
            problems.push(format!(
                "outcome is {}, wanted {}",
                row.outcome, run.outcome
            ));
        }
        if let Some(reason) = run
            .reason
            .as_deref()
            .filter(|reason| !one_of(reason, &row.reason))
        {
            problems.push(format!("reason is {}, wanted {reason}", row.reason));
        }
        for (what, wanted, found) in [
            ("requests", &run.requests, row.requests),
            ("bad", &run.bad, row.bad),
        ] {
            if let Some(wanted) = wanted
                .as_ref()
                .filter(|wanted| !wanted.allows(found as f64))
            {
                problems.push(format!("{what} is {found}, wanted {wanted}"));
            }
        }
        if run.suspect.is_some_and(|wanted| wanted != self.suspect) {
            problems.push(format!(
                "suspect is {}, wanted {}",
                self.suspect, !self.suspect
            ));
        }
        problems
    }
}

fn counts(image: &str, tallies: &[Tally]) -> (u64, u64) {
    super::compare::answers(Some(image), None, &[], tallies)
}

fn first_bad(image: &str, tallies: &[Tally]) -> Option<Timestamp> {
    tallies
        .iter()
        .filter(|tally| tally.image == image)
        .filter_map(|tally| tally.first_bad)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn tallies(total: u64, bad: u64) -> Vec<Tally> {
        let canary = Tally {
            image: "v2".into(),
            total,
            bad,
            ..Tally::default()
        };
        let stable = Tally {
            image: "v1".into(),
            total: 100 * total,
            ..Tally::default()
        };
        vec![canary, stable]
    }

    #[test]
    fn a_run_is_measured_from_change_to_outcome() {
        let mut measure = Measure::new("v2".into(), at(0), Some("a"), &tallies(0, 0));
        for (second, total, bad, weight) in [
            (5, 0, 0, 0),
            (10, 10, 0, 50),
            (20, 100, 10, 50),
            (22, 120, 30, 5),
            (32, 130, 33, 5),
            (33, 131, 34, 0),
        ] {
            let tallies = tallies(total, bad);
            measure.see(&Moment {
                at: at(second),
                tallies: &tallies,
                weight,
                suspect: second == 22,
            });
        }
        let run: Run = serde_saphyr::from_str(
            "{name: v2, release: {deployment: shop}, outcome: RolledBack, reason: Worse, within: 1m, bad: '<= 40', suspect: true}",
        )
        .unwrap();
        let ended = json!({"status": {"lastRun": {"id": "b", "outcome": "RolledBack", "reason": "Worse", "saved": 149}}});
        let row = measure.row(&run, &ended, at(40));
        assert_eq!(row.outcome_after, Some(40.0));
        assert_eq!(row.zero_after, Some(13.0));
        assert_eq!(row.lowered_after, Some(2.0));
        assert_eq!((row.requests, row.bad), (131, 34));
        assert_eq!(row.saved, Some(149));
        assert_eq!(measure.problems(&run, &row), Vec::<String>::new());
    }

    #[test]
    fn an_earlier_outcome_is_not_taken_for_this_runs() {
        let measure = Measure::new("v2".into(), at(0), Some("a"), &[]);
        assert!(!measure.ended(&json!({"status": {"lastRun": {"id": "a"}}})));
        assert!(!measure.ended(&json!({"status": {"lastRun": {"id": "b"}, "run": {}}})));
        assert!(measure.ended(&json!({"status": {"lastRun": {"id": "b"}}})));
    }
}
