//! What the evidence says, in numbers.
//!
//! A [`RuleReport`] holds all that a status, a page or a message needs: both arms' counts over the
//! run and over the step, what the tests have reached, and their bounds. Not here: the same in
//! words (`sentence`), and what is done about a verdict (the decision).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stats::quantile::{above, quantile};
use crate::stats::{Arm, Arms};

use super::counts::Counts;
use super::events::EventsReport;
use super::goal::GoalReport;
use super::numbers::NumbersReport;
use super::rule::Rule;
use super::sample::{Question, Settings};
use super::times::{Pair, Times};

/// What the evidence of one rule comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// The promotion test of this step has passed.
    NotWorse,
    /// Neither shown; never a success.
    Undecided,
    /// The exact witness alone is convinced: back to a small weight, for the time being.
    Suspect,
    /// Both witnesses are convinced.
    Worse,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NotWorse, Self::Undecided, Self::Suspect, Self::Worse];

    /// The verdict of this name; none where a daemon of another version has written it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// Its name, as status and history use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotWorse => "NotWorse",
            Self::Undecided => "Undecided",
            Self::Suspect => "Suspect",
            Self::Worse => "Worse",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotWorse => "not worse",
            Self::Undecided => "undecided",
            Self::Suspect => "suspect",
            Self::Worse => "worse",
        })
    }
}

/// One arm's counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmReport {
    /// Requests.
    pub total: f64,
    /// Bad ones: errors, or slower than the report's boundary.
    pub bad: f64,
    /// `bad / total`, 0 without requests.
    pub rate: f64,
    /// Latency rules: the asked quantile in seconds, interpolated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quantile: Option<f64>,
    /// The quantile lies above the last boundary and is larger than said.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub limited: bool,
}

/// What one rule's evidence says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleReport {
    /// The rule's name.
    pub rule: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// The canary over the whole run.
    pub canary: ArmReport,
    /// The stable over the same intervals.
    pub stable: ArmReport,
    /// The canary in this step.
    pub step_canary: ArmReport,
    /// The stable in this step.
    pub step_stable: ArmReport,
    /// Latency rules: the asked quantile, 0..1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quantile: Option<f64>,
    /// Latency rules: seconds above which a request counts as bad in this report.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boundary: Option<f64>,
    /// Natural logarithm of the exact witness's e-value.
    pub log_exact: f64,
    /// Natural logarithm of the block witness's e-value.
    pub log_block: f64,
    /// The tolerated ratio of the bad shares; unknown in older reports.
    #[serde(default)]
    pub ratio: f64,
    /// The same, discounted by the noise of pods; unknown in older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_lasting: Option<f64>,
    /// What both must reach for Worse (the exact one alone for Suspect).
    pub bound: f64,
    /// Natural logarithm of the promotion test's highest e-value in this step.
    pub log_not_worse: f64,
    /// What it must reach for `NotWorse`.
    pub bound_not_worse: f64,
    /// The rule's blast radius: share of all requests that may go bad unnoticed.
    pub blast: f64,
    /// The margin that follows for this step, as a share of the canary's requests.
    pub margin: f64,
    /// The newest time counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest: Option<Timestamp>,
    /// What the canary shows against the rule's fixed limit, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub goal: Option<GoalReport>,
    /// What sampled numbers say, where the rule samples and counts no requests.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub numbers: Option<NumbersReport>,
    /// What the pods' rare events say, where the rule counts those: `total` is then seconds that
    /// pods lived, and `bad` the events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub events: Option<EventsReport>,
    /// The requests are synthetic ones: no user's.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub synthetic: bool,
}

impl RuleReport {
    pub(super) fn of(
        settings: &Settings,
        question: &Question,
        rule: &Rule,
        blast: f64,
        margin: f64,
        w: f64,
    ) -> Self {
        let mut report = Self {
            log_exact: rule.log_exact(),
            log_block: rule.log_block(),
            ratio: question.ratio,
            bound: settings.bound(question),
            log_not_worse: rule.log_not_worse(),
            bound_not_worse: settings.bound_not_worse(),
            blast: blast * question.leniency(),
            margin: margin * question.leniency(),
            newest: rule.newest,
            synthetic: rule.is_load(),
            goal: rule.goal.as_ref().map(|goal| {
                let bound = settings.bound(question);
                goal.report(rule.is_alone(w), bound, settings.bound_not_worse())
            }),
            ..Self::blank(&rule.name)
        };
        match &rule.counts {
            Counts::Errors(errors) => report.fill_errors(errors.run, errors.step),
            Counts::Times(times) => report.fill_times(times, question.told_quantile()),
            Counts::Compared(compared) => {
                let alpha = (-report.bound).exp();
                report.fill_numbers(compared.report(alpha, question.ratio));
            }
            Counts::Bounded(bounded) => report.fill_numbers(bounded.report()),
            Counts::Events(events) => {
                report.fill_errors(events.run, events.step);
                let events = events.report(&question.margin());
                if events.passes() {
                    report.log_not_worse = report.bound_not_worse;
                }
                report.events = Some(events);
            }
        }
        report.decide(rule.counted);
        report
    }

    /// Nothing counted, nothing shown.
    pub(super) fn blank(rule: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            verdict: Verdict::Undecided,
            canary: ArmReport::default(),
            stable: ArmReport::default(),
            step_canary: ArmReport::default(),
            step_stable: ArmReport::default(),
            quantile: None,
            boundary: None,
            log_exact: 0.0,
            log_block: 0.0,
            log_lasting: None,
            ratio: 0.0,
            bound: 0.0,
            log_not_worse: 0.0,
            bound_not_worse: 0.0,
            blast: 0.0,
            margin: 0.0,
            newest: None,
            goal: None,
            numbers: None,
            events: None,
            synthetic: false,
        }
    }

    /// Sets the verdict; `counted` says whether anything was in this step.
    pub(super) fn decide(&mut self, counted: bool) {
        self.verdict = self.judge(counted);
    }

    /// Takes the noise of pods into account; of sampled numbers none is known.
    pub(super) fn discount(&mut self, log_lasting: f64, counted: bool) {
        if self.numbers.is_some() {
            return;
        }
        self.log_lasting = Some(log_lasting);
        self.decide(counted);
    }

    /// Natural logarithm of the evidence that must reach the bound for Worse: the least of the
    /// witnesses'.
    pub fn log_worse(&self) -> f64 {
        self.log_exact.min(self.log_burst())
    }

    /// The block witness with what the noise of pods leaves of it.
    pub(super) fn log_burst(&self) -> f64 {
        self.log_lasting
            .map_or(self.log_block, |lasting| lasting.min(self.log_block))
    }

    fn judge(&self, counted: bool) -> Verdict {
        let goal = self.goal.as_ref();
        let compared = self.log_exact >= self.bound;
        if self.log_worse() >= self.bound || goal.is_some_and(GoalReport::is_above) {
            Verdict::Worse
        } else if compared || goal.is_some_and(GoalReport::is_suspect) {
            Verdict::Suspect
        } else if counted && self.is_shown() {
            Verdict::NotWorse
        } else {
            Verdict::Undecided
        }
    }

    /// What the promotion asks for: not worse than stable, and below the limit; the limit alone
    /// where there is nothing to compare with.
    fn is_shown(&self) -> bool {
        let compared = self.log_not_worse >= self.bound_not_worse;
        match &self.goal {
            None => compared,
            Some(goal) => goal.is_below() && (goal.alone || compared),
        }
    }

    /// Natural logarithms that the deciding tests have reached: exact witness, block witness,
    /// promotion test. The comparison's; the limit's where that stands alone.
    pub fn reached(&self) -> (f64, f64, f64) {
        match &self.goal {
            Some(goal) if goal.alone => (goal.log_exact, goal.log_block, goal.log_below),
            Some(_) | None => (self.log_exact, self.log_block, self.log_not_worse),
        }
    }

    pub(super) fn fill_errors(&mut self, run: Arms, step: Arms) {
        (self.canary, self.stable) = (arm(run.canary), arm(run.stable));
        (self.step_canary, self.step_stable) = (arm(step.canary), arm(step.stable));
    }

    pub(super) fn fill_times(&mut self, times: &Times, q: f64) {
        let cut = times.told_boundary(q);
        self.quantile = Some(q);
        self.boundary = cut.and_then(|cut| times.boundaries.get(cut).copied());
        let arms = |pair: &Pair| {
            let arm = |counts: &[f64]| slow_arm(&times.boundaries, counts, cut, q);
            (arm(&pair.canary), arm(&pair.stable))
        };
        (self.canary, self.stable) = arms(&times.run);
        (self.step_canary, self.step_stable) = arms(&times.step);
    }

    /// What sampled numbers come to, in the terms of the tests: they reach the bound or they do not.
    fn fill_numbers(&mut self, numbers: NumbersReport) {
        (self.log_exact, self.log_block) = (numbers.log(self.bound), numbers.log(self.bound));
        self.log_not_worse = if numbers.passes() {
            self.bound_not_worse
        } else {
            0.0
        };
        (self.canary, self.stable) = numbers.arms();
        (self.step_canary, self.step_stable) = (self.canary, self.stable);
        self.numbers = Some(numbers);
    }

    /// Whether the promotion test of this step is passed, whatever an open suspicion says.
    pub fn shown_not_worse(&self) -> bool {
        self.verdict != Verdict::Worse && self.is_shown()
    }

    /// Bad canary answers of this step beyond what stable's rate would have given; `None`
    /// without stable requests, and where no answers are counted.
    pub fn step_excess(&self) -> Option<f64> {
        let usual = self.step_stable.rate * self.step_canary.total;
        let counts = self.events.is_none() && !self.synthetic && self.step_stable.total > 0.0;
        counts.then_some(self.step_canary.bad - usual)
    }

    /// How many times as often the canary is bad as the stable, over the run; `None` where the
    /// stable has shown nothing bad.
    pub fn times_worse(&self) -> Option<f64> {
        (self.stable.rate > 0.0).then(|| self.canary.rate / self.stable.rate)
    }
}

fn arm(arm: Arm) -> ArmReport {
    ArmReport {
        total: arm.total,
        bad: arm.bad,
        rate: arm.rate(),
        quantile: None,
        limited: false,
    }
}

fn slow_arm(boundaries: &[f64], counts: &[f64], cut: Option<usize>, q: f64) -> ArmReport {
    let total = counts.iter().sum();
    let bad = cut.map_or(0.0, |cut| above(counts, cut));
    let estimate = quantile(boundaries, counts, q);
    ArmReport {
        quantile: estimate.map(|estimate| estimate.value),
        limited: estimate.is_some_and(|estimate| estimate.limited),
        ..arm(Arm::new(total, bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_ordered_by_how_bad_they_are() {
        assert!(Verdict::Worse > Verdict::Suspect && Verdict::Suspect > Verdict::Undecided);
        assert!(Verdict::Undecided > Verdict::NotWorse);
    }

    #[test]
    fn a_verdict_has_one_name_in_the_status_and_in_the_checkpoint() {
        for verdict in Verdict::ALL {
            let stored = serde_json::to_value(verdict).unwrap();
            assert_eq!(stored, verdict.name());
            assert_eq!(Verdict::named(verdict.name()), Some(verdict));
        }
        assert_eq!(Verdict::named("Better"), None);
    }
}
