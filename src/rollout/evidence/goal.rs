//! A rule's fixed limit: `max: 1%`, beside the comparison, or alone where stable has no requests.
//!
//! What counts as bad is the rule's: errors, or requests slower than a boundary. The boundary is
//! the first at or above the seconds that were asked; where none is, nothing is tested. A run
//! whose stable arm was never seen with a request, and a step in which stable gets none, have
//! nothing to compare: there the limit alone decides.
//!
//! Not here: the test itself (`stats::objective`), and where blocks end (`rule`).

use serde::{Deserialize, Serialize};

use crate::stats::Arm;
use crate::stats::objective::Objective;
use crate::stats::quantile::above;

use super::sample::{ArmCounts, Max};

/// State of a rule's limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Goal {
    max: Max,
    /// Seconds of the boundary that is tested, where times are.
    boundary: Option<f64>,
    /// No boundary is at or above what was asked.
    unseen: bool,
    run: Arm,
    step: Arm,
    open: Arm,
    test: Objective,
}

impl Goal {
    pub(super) fn begin(max: Max) -> Self {
        Self {
            max,
            boundary: None,
            unseen: false,
            run: Arm::default(),
            step: Arm::default(),
            open: Arm::default(),
            test: Objective::begin(),
        }
    }

    pub(super) fn is_of(&self, max: Max) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let seconds = match (self.max.seconds, max.seconds) {
            (Some(a), Some(b)) => near(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        seconds && near(self.max.share, max.share)
    }

    /// Tests what the canary did.
    pub(super) fn observe(&mut self, canary: &ArmCounts) {
        let Some(arm) = self.arm(canary) else { return };
        for sum in [&mut self.run, &mut self.step, &mut self.open] {
            *sum += arm;
        }
        self.test.observe(arm, self.max.share);
    }

    fn arm(&mut self, counts: &ArmCounts) -> Option<Arm> {
        match (counts, self.max.seconds) {
            (ArmCounts::Proportion { total, bad }, None) => Some(Arm::new(*total, *bad)),
            (ArmCounts::Buckets { boundaries, counts }, Some(seconds)) => {
                // A limit of 0.3 stands for the boundary 0.3, however either was rounded.
                let cut = boundaries.iter().position(|le| *le >= seconds - 1e-9);
                self.unseen = cut.is_none();
                self.boundary = cut.map(|cut| boundaries[cut]);
                Some(Arm::new(counts.iter().sum(), above(counts, cut?)))
            }
            (ArmCounts::Proportion { .. }, Some(_))
            | (ArmCounts::Buckets { .. }, None)
            | (ArmCounts::Events { .. } | ArmCounts::Numbers(_), _) => None,
        }
    }

    pub(super) fn close_block(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.test.vote(open, self.max.share);
    }

    pub(super) fn weight_changed(&mut self) {
        (self.step, self.open) = (Arm::default(), Arm::default());
        self.test.step_changed();
    }

    pub(super) fn forgive(&mut self) {
        self.test.forgive();
    }

    pub(super) fn report(&self, alone: bool, bound: f64, bound_below: f64) -> GoalReport {
        GoalReport {
            max: self.max.share,
            seconds: self.max.seconds,
            boundary: self.boundary,
            unseen: self.unseen,
            alone,
            total: self.run.total,
            bad: self.run.bad,
            step_total: self.step.total,
            step_bad: self.step.bad,
            log_exact: self.test.log_exact(),
            log_block: self.test.log_block(),
            bound,
            log_below: self.test.log_below(),
            bound_below,
        }
    }
}

/// What the canary shows against its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoalReport {
    /// The limit of the canary's bad share, 0..1.
    pub max: f64,
    /// Times: seconds above which a request was said to be bad.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seconds: Option<f64>,
    /// Times: the boundary that stands for it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boundary: Option<f64>,
    /// Times: no boundary is at or above `seconds`, so nothing can be tested.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unseen: bool,
    /// There is nothing to compare with: the limit alone decides.
    pub alone: bool,
    /// The canary's requests over the run.
    pub total: f64,
    /// Bad ones among them.
    pub bad: f64,
    /// The canary's requests in this step.
    pub step_total: f64,
    /// Bad ones among them.
    pub step_bad: f64,
    /// Natural logarithm of the exact witness's e-value for "above the limit".
    pub log_exact: f64,
    /// The same of the block witness.
    pub log_block: f64,
    /// What both must reach.
    pub bound: f64,
    /// Natural logarithm of the highest e-value for "below the limit" in this step.
    pub log_below: f64,
    /// What it must reach.
    pub bound_below: f64,
}

impl GoalReport {
    /// Both witnesses are convinced that the canary is above its limit.
    pub fn is_above(&self) -> bool {
        self.is_suspect() && self.log_block >= self.bound
    }

    /// The exact witness alone is convinced.
    pub fn is_suspect(&self) -> bool {
        self.log_exact >= self.bound
    }

    /// The canary is shown to be below its limit in this step.
    pub fn is_below(&self) -> bool {
        self.log_below >= self.bound_below
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};

    use super::super::{Evidence, Kind, Question, RuleReport, Sample, Settings, Verdict};
    use super::*;
    use crate::stats::chance::Chance;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs_f64(seconds)
    }

    fn settings(kind: Kind, seconds: Option<f64>) -> Settings {
        let question = Question {
            max: Some(Max {
                share: 0.01,
                seconds,
            }),
            ..Question::new("rule", kind)
        };
        Settings {
            questions: vec![question],
            steps: vec![10, 50],
            ..Settings::default()
        }
    }

    fn errors() -> Settings {
        settings(Kind::Proportion, None)
    }

    /// Plays seconds of requests at weight 10 until something is decided; the verdict, when, and
    /// the report. Rates are of canary and stable, requests those of each second.
    fn play(rates: (f64, f64), requests: (f64, f64)) -> (Verdict, u32, RuleReport) {
        let settings = errors();
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 50, at(0.0));
        let mut chance = Chance::seeded(9);
        for second in 0..600 {
            let mut arm = |n, p| ArmCounts::Proportion {
                total: n,
                bad: chance.binomial(n, p),
            };
            let to = f64::from(second) + 4.0;
            let (canary, stable) = (arm(requests.0, rates.0), arm(requests.1, rates.1));
            evidence.observe(
                &settings,
                &Sample {
                    rule: "rule".into(),
                    from: at(to - 1.0),
                    to: at(to),
                    canary,
                    stable,
                },
            );
            // As after a restart: what is not stored is lost.
            let stored = serde_json::to_string(&evidence).unwrap();
            evidence = serde_json::from_str(&stored).unwrap();
            let report = evidence.report(&settings).remove(0);
            if matches!(report.verdict, Verdict::Worse | Verdict::NotWorse) {
                assert!(evidence.share().ok, "{:?}", evidence.share());
                return (report.verdict, second, report);
            }
        }
        (
            Verdict::Undecided,
            600,
            evidence.report(&settings).remove(0),
        )
    }

    #[test]
    fn without_a_baseline_the_limit_decides_alone() {
        let (verdict, second, report) = play((0.05, 0.0), (20.0, 0.0));
        assert_eq!(verdict, Verdict::Worse);
        assert!(second < 60, "{second}");
        let sentence = report.sentence();
        assert!(
            sentence.starts_with("nothing to compare with; canary ")
                && sentence.contains("at most 1.00% allowed; above it, odds against chance "),
            "{sentence}"
        );

        let (verdict, second, report) = play((0.0, 0.0), (20.0, 0.0));
        assert_eq!(verdict, Verdict::NotWorse);
        // About 300 requests show it where none is bad.
        assert!((14..25).contains(&second), "{second}");
        assert!(report.sentence().contains("shown to stay below it"));
        assert!(report.reached().2 >= report.bound_not_worse);
    }

    #[test]
    fn beside_a_baseline_both_must_be_shown() {
        // As bad as stable, and both above the limit: it is the canary that is asked.
        let (verdict, _, report) = play((0.05, 0.05), (20.0, 180.0));
        assert_eq!(verdict, Verdict::Worse);
        assert!(
            report.sentence().contains("; limit: "),
            "{}",
            report.sentence()
        );
        // Below the limit, but worse than stable.
        let (verdict, _, report) = play((0.006, 0.0), (100.0, 900.0));
        assert_eq!(verdict, Verdict::Worse, "{}", report.sentence());
        assert!(!report.goal.unwrap().is_above());
        // Good in both senses.
        let (verdict, _, report) = play((0.001, 0.001), (100.0, 900.0));
        assert_eq!(verdict, Verdict::NotWorse, "{}", report.sentence());
        assert!(report.goal.unwrap().is_below());
    }

    #[test]
    fn a_limit_in_seconds_uses_the_boundary_at_or_above_it() {
        let boundaries: Arc<[f64]> = [0.1, 0.5, 1.0].into();
        let counts = ArmCounts::Buckets {
            boundaries,
            counts: vec![90.0, 7.0, 2.0, 1.0],
        };
        let rows = [
            (0.5, Some(0.5), 3.0),
            (0.3, Some(0.5), 3.0),
            (0.6, Some(1.0), 1.0),
            (2.0, None, 0.0),
        ];
        for (seconds, boundary, bad) in rows {
            let mut goal = Goal::begin(Max {
                share: 0.01,
                seconds: Some(seconds),
            });
            goal.observe(&counts);
            let report = goal.report(true, 5.0, 3.0);
            assert_eq!((report.boundary, report.bad), (boundary, bad));
            assert_eq!(report.unseen, boundary.is_none());
        }
    }

    #[test]
    fn an_edited_limit_begins_anew() {
        let before = errors();
        let mut evidence = Evidence::begin(&before);
        let begun = evidence.clone();
        evidence.follow(&before);
        assert_eq!(evidence, begun);
        let mut after = before.clone();
        after.questions[0].max = None;
        evidence.follow(&after);
        assert!(evidence.report(&after)[0].goal.is_none());
    }
}
