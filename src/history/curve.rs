//! A run over time: weight and each rule's numbers, thinned out to a bounded number of points.
//!
//! Guarantees: at most [`POINTS`] points, whatever the length of the run; the first and the newest
//! are among them, and so is every change of the weight as long as there are few enough. Numbers
//! are single floats: this is for pictures, the exact ones of the end are in the record.
//!
//! Not here: pictures (`web`).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::elapsed;
use crate::kubernetes::crd::{RuleStatus, RunStatus};

/// The most points of one run.
pub const POINTS: usize = 300;
/// The first distance of two points, in milliseconds; doubles whenever there are too many.
const FIRST_GAP: i64 = 1000;

/// One rule at one moment: canary requests and bad ones so far, stable requests and bad ones so
/// far, natural logarithms of the evidence for worse (the lesser witness) and for not worse.
pub type Values = [f32; 6];

/// A run over time, column by column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Curve {
    /// Milliseconds since 1970, rising.
    pub at: Vec<i64>,
    /// The wanted weight then, in percent.
    pub weight: Vec<u8>,
    /// Each rule's numbers then.
    pub rules: Vec<Line>,
    /// The present distance of two points in milliseconds.
    gap: i64,
}

/// One rule over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The rule's name.
    pub name: String,
    /// What the evidence for worse must reach.
    pub bound: f32,
    /// What the evidence for not worse must reach.
    pub not_worse_bound: f32,
    /// As many as there are points.
    pub values: Vec<Values>,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            at: Vec::new(),
            weight: Vec::new(),
            rules: Vec::new(),
            gap: FIRST_GAP,
        }
    }
}

impl Curve {
    /// Points so far.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The greatest weight, in percent.
    pub fn peak(&self) -> u8 {
        self.weight.iter().copied().max().unwrap_or(0)
    }

    /// Adds the run as it is now. A clock that stepped back adds nothing.
    pub fn push(&mut self, run: &RunStatus, now: Timestamp) {
        let at = now.as_millisecond();
        if self.at.last().is_some_and(|last| at <= *last) {
            return;
        }
        let weight = u8::try_from(run.weight).unwrap_or(0);
        if self.replaces_newest(at, weight) {
            self.pop();
        }
        self.at.push(at);
        self.weight.push(weight);
        for rule in &run.rules {
            self.line(rule).values.push(values(rule));
        }
        self.pad();
        self.thin();
    }

    /// Whether the newest point is only the newest: at the same weight as the one before it and
    /// as the one to come, and not far enough from the one before.
    fn replaces_newest(&self, at: i64, weight: u8) -> bool {
        let count = self.len();
        count >= 2
            && self.weight[count - 1] == weight
            && self.weight[count - 2] == weight
            && at - self.at[count - 2] < self.gap
    }

    fn pop(&mut self) {
        self.at.pop();
        self.weight.pop();
        let count = self.len();
        for line in &mut self.rules {
            line.values.truncate(count);
        }
    }

    /// The line of a rule; a new one has had no evidence so far.
    fn line(&mut self, rule: &RuleStatus) -> &mut Line {
        let known = self.rules.iter().position(|line| line.name == rule.name);
        let index = known.unwrap_or_else(|| {
            self.rules.push(Line {
                name: rule.name.clone(),
                bound: 0.0,
                not_worse_bound: 0.0,
                values: vec![Values::default(); self.at.len() - 1],
            });
            self.rules.len() - 1
        });
        let line = &mut self.rules[index];
        line.bound = rule.bound as f32;
        line.not_worse_bound = rule.not_worse_bound as f32;
        line
    }

    /// A rule that is not asked any more stays where it was.
    fn pad(&mut self) {
        let count = self.len();
        for line in &mut self.rules {
            let last = line.values.last().copied().unwrap_or_default();
            line.values.resize(count, last);
        }
    }

    fn thin(&mut self) {
        while self.len() > POINTS {
            self.gap = self.gap.saturating_mul(2);
            let mut kept = self.apart();
            if kept.len() > POINTS {
                // The weight changes all the time: every other point tells that too.
                kept = kept.into_iter().step_by(2).collect();
            }
            self.keep(&kept);
        }
    }

    /// The points that are a gap apart, the ends, and both sides of each change of the weight.
    fn apart(&self) -> Vec<usize> {
        let newest = self.len() - 1;
        let changes = |index: usize| self.weight[index] != self.weight[index.saturating_sub(1)];
        let mut kept: Vec<usize> = Vec::new();
        for index in 0..=newest {
            let far = kept
                .last()
                .is_none_or(|last| self.at[index] - self.at[*last] >= self.gap);
            if far || index == newest || changes(index) || changes((index + 1).min(newest)) {
                kept.push(index);
            }
        }
        kept
    }

    fn keep(&mut self, kept: &[usize]) {
        self.at = kept.iter().map(|index| self.at[*index]).collect();
        self.weight = kept.iter().map(|index| self.weight[*index]).collect();
        for line in &mut self.rules {
            line.values = kept.iter().map(|index| line.values[*index]).collect();
        }
    }

    /// Puts what an earlier life saw before what this one saw. Doing it again changes nothing.
    pub fn absorb(&mut self, earlier: &Self) {
        let first = self.at.first().copied().unwrap_or(i64::MAX);
        let count = earlier.at.iter().take_while(|at| **at < first).count();
        if count == 0 || !earlier.is_whole() {
            return;
        }
        let own = std::mem::replace(self, earlier.clone());
        self.keep(&(0..count).collect::<Vec<_>>());
        self.gap = self.gap.max(own.gap);
        self.at.extend(&own.at);
        self.weight.extend(&own.weight);
        for line in own.rules {
            match self.rules.iter_mut().find(|known| known.name == line.name) {
                Some(known) => known.values.extend(line.values),
                None => self.rules.push(Line {
                    values: [vec![Values::default(); count], line.values].concat(),
                    ..line
                }),
            }
        }
        self.pad();
        self.thin();
    }

    /// Whether all columns are as long: what was read from a database may be anything.
    pub fn is_whole(&self) -> bool {
        let count = self.len();
        self.weight.len() == count && self.rules.iter().all(|line| line.values.len() == count)
    }

    /// Time from the first point to the newest.
    pub fn span(&self) -> Duration {
        let at = |at: Option<&i64>| at.and_then(|at| Timestamp::from_millisecond(*at).ok());
        match (at(self.at.first()), at(self.at.last())) {
            (Some(first), Some(last)) => elapsed(first, last),
            _ => Duration::ZERO,
        }
    }
}

fn values(rule: &RuleStatus) -> Values {
    [
        rule.canary_total,
        rule.canary_bad,
        rule.stable_total,
        rule.stable_bad,
        rule.exact.min(rule.block),
        rule.not_worse,
    ]
    .map(|value| {
        // JSON has no word for infinity.
        let value = if value.is_nan() { 0.0 } else { value };
        value.clamp(-1e30, 1e30) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::run;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn curve(seconds: impl Iterator<Item = i64>, weight: impl Fn(i64) -> i32) -> Curve {
        let mut curve = Curve::default();
        for second in seconds {
            let mut run = run("one");
            run.weight = weight(second);
            run.rules[0].canary_total = second as f64;
            curve.push(&run, at(second));
        }
        assert!(curve.is_whole());
        curve
    }

    #[test]
    fn a_long_run_is_thinned_out_and_keeps_its_ends_and_steps() {
        let curve = curve(0..100_000, |second| (second / 20_000 * 10) as i32);
        assert!((100..=POINTS).contains(&curve.len()), "{}", curve.len());
        assert_eq!(curve.at[0], at(0).as_millisecond());
        assert_eq!(*curve.at.last().unwrap(), at(99_999).as_millisecond());
        for step in 1..5 {
            let index = curve.at.binary_search(&at(step * 20_000).as_millisecond());
            let index = index.unwrap();
            assert_eq!(i64::from(curve.weight[index]), step * 10);
            assert_eq!(i64::from(curve.weight[index - 1]), step * 10 - 10);
        }
        assert_eq!(curve.span(), Duration::from_secs(99_999));
        assert_eq!(curve.peak(), 40);
    }

    #[test]
    fn a_weight_that_changes_all_the_time_is_bounded_too() {
        let curve = curve(0..5000, |second| (second % 2) as i32);
        assert!(curve.len() <= POINTS, "{}", curve.len());
    }

    #[test]
    fn a_clock_that_steps_back_adds_nothing() {
        assert_eq!(curve([5, 4, 5, 6].into_iter(), |_| 5).len(), 2);
    }

    #[test]
    fn two_lives_make_one_curve_however_often_they_are_joined() {
        let earlier = curve(0..50, |_| 5);
        let mut later = curve(60..110, |_| 25);
        later.absorb(&earlier);
        assert_eq!(
            (later.len(), later.weight[0], later.weight[99]),
            (100, 5, 25)
        );
        let once = later.clone();
        later.absorb(&once);
        later.absorb(&earlier);
        assert_eq!(later, once);
    }

    #[test]
    fn a_rule_that_comes_later_begins_at_nothing() {
        let mut curve = curve(0..3, |_| 5);
        let mut run = run("one");
        run.rules[0].name = "late".to_owned();
        curve.push(&run, at(10));
        assert!(curve.is_whole());
        assert_eq!(curve.rules[1].values[0].to_vec(), [0.0; 6].to_vec());
        let values = |point: usize| curve.rules[0].values[point].to_vec();
        assert_eq!(values(3), values(2));
    }
}
