//! Evidence of the rules that sample numbers: two arms by ranks, or one arm against bounds.
//!
//! Ranks are looked at when the smaller arm has 8, 16, 32, ... samples of the step. A look that shows
//! the canary worse stands for the rest of the run. A look can show no more than that nothing was
//! seen: a step passes where chance alone would part the arms so in more than one case of twenty.
//! Bounds are no test: so many of the newest numbers outside are worse, and a step passes when a
//! whole window of its own numbers had fewer. A number that is missing is neither.
//!
//! Not here: the rank test (`stats::rank`), and where numbers come from.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::stats::rank::{Look, Ranks};

use super::report::ArmReport;
use super::sample::Bounds;

/// A step passes on a look with a larger probability than this.
const DOUBT: f64 = 0.05;
/// Logarithms of evidence stay within this, as they are stored as JSON.
const FARTHEST: f64 = 700.0;

/// State of a rule that compares two arms' numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    higher: bool,
    /// Where smaller numbers are worse, both arms are kept negated.
    ranks: Ranks,
    /// The look of the run that shows the most.
    strongest: Option<Look>,
}

impl Compared {
    pub(super) fn begin(higher: bool) -> Self {
        Self {
            higher,
            ranks: Ranks::default(),
            strongest: None,
        }
    }

    pub(super) fn is_of(&self, higher: bool) -> bool {
        self.higher == higher
    }

    /// Takes samples; the canary's may be `ratio` times as far in the worse direction.
    pub(super) fn observe(&mut self, canary: &[f64], stable: &[f64], ratio: f64) {
        let sign = self.sign();
        let canary: Vec<f64> = canary.iter().map(|x| kept(sign * x)).collect();
        let stable: Vec<f64> = stable
            .iter()
            .map(|x| kept(sign * self.shifted(*x, ratio)))
            .collect();
        let Some(look) = self.ranks.observe(&canary, &stable) else {
            return;
        };
        if self
            .strongest
            .is_none_or(|strongest| log(look) > log(strongest))
        {
            self.strongest = Some(look);
        }
    }

    pub(super) fn weight_changed(&mut self) {
        self.ranks.restart();
    }

    /// `ratio` times as far in the worse direction.
    fn shifted(&self, x: f64, ratio: f64) -> f64 {
        if self.higher == (x >= 0.0) {
            x * ratio
        } else {
            x / ratio
        }
    }

    fn sign(&self) -> f64 {
        if self.higher { 1.0 } else { -1.0 }
    }

    /// `alpha` is the rule's part of the false rollback rate.
    pub(super) fn report(&self, alpha: f64, ratio: f64) -> NumbersReport {
        let (canary, stable) = self.ranks.samples();
        let undo = |x: f64| self.shifted(self.sign() * x, 1.0 / ratio);
        NumbersReport::Compared {
            higher: self.higher,
            ratio,
            canary: (canary.len(), median(canary).map(|x| self.sign() * x)),
            stable: (stable.len(), median(stable).map(undo)),
            look: self.ranks.last(),
            strongest: self.strongest,
            alpha,
        }
    }
}

/// How much a look shows, with its part of alpha: `ln(part/p)`.
fn log(look: Look) -> f64 {
    (look.part.ln() - look.p.ln()).clamp(-FARTHEST, FARTHEST)
}

/// As it is kept: finite, since JSON has no infinity, and six digits, since a checkpoint holds many.
fn kept(x: f64) -> f64 {
    let finite = x.clamp(-f64::MAX, f64::MAX);
    format!("{finite:.5e}").parse().unwrap_or(finite)
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

/// State of a rule that holds the canary's number to bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bounded {
    bounds: Bounds,
    /// Whether each of the newest numbers was outside, newest last.
    recent: VecDeque<bool>,
    /// Numbers of this step.
    step: u32,
    /// Numbers of the run, and those outside.
    run: (u32, u32),
    last: Option<f64>,
    /// There were too many outside at some time of the run.
    failed: bool,
}

impl Bounded {
    pub(super) fn begin(bounds: Bounds) -> Self {
        Self {
            bounds,
            recent: VecDeque::new(),
            step: 0,
            run: (0, 0),
            last: None,
            failed: false,
        }
    }

    pub(super) fn is_of(&self, bounds: &Bounds) -> bool {
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1e-300),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let own = &self.bounds;
        near(own.min, bounds.min)
            && near(own.max, bounds.max)
            && (own.failures, own.window) == (bounds.failures, bounds.window)
    }

    pub(super) fn observe(&mut self, numbers: &[f64]) {
        for x in numbers.iter().filter(|x| !x.is_nan()) {
            let Bounds { min, max, .. } = self.bounds;
            let outside = min.is_some_and(|min| *x < min) || max.is_some_and(|max| *x > max);
            self.recent.push_back(outside);
            while self.recent.len() > self.bounds.window as usize {
                self.recent.pop_front();
            }
            self.last = Some(kept(*x));
            self.step = self.step.saturating_add(1);
            self.run.0 = self.run.0.saturating_add(1);
            self.run.1 = self.run.1.saturating_add(u32::from(outside));
            self.failed |= self.outside() >= self.bounds.failures;
        }
    }

    /// How many of the newest numbers are outside.
    fn outside(&self) -> u32 {
        self.recent.iter().map(|outside| u32::from(*outside)).sum()
    }

    pub(super) fn weight_changed(&mut self) {
        self.step = 0;
    }

    pub(super) fn report(&self) -> NumbersReport {
        NumbersReport::Bounded {
            bounds: self.bounds,
            last: self.last,
            numbers: self.run.0,
            numbers_outside: self.run.1,
            newest: u32::try_from(self.recent.len()).unwrap_or(u32::MAX),
            outside: self.outside(),
            step: self.step,
            failed: self.failed,
        }
    }
}

/// What sampled numbers say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NumbersReport {
    /// Of both arms, by ranks.
    #[serde(rename_all = "camelCase")]
    Compared {
        /// Whether larger numbers are worse.
        higher: bool,
        /// The tolerated ratio.
        ratio: f64,
        /// The canary's samples of the step, and their median.
        canary: (usize, Option<f64>),
        /// Stable's.
        stable: (usize, Option<f64>),
        /// The newest look of the step.
        look: Option<Look>,
        /// The look of the run that shows the most.
        strongest: Option<Look>,
        /// The rule's part of the false rollback rate.
        alpha: f64,
    },
    /// Of the canary, against bounds.
    #[serde(rename_all = "camelCase")]
    Bounded {
        /// Where they should be.
        bounds: Bounds,
        /// The newest number.
        last: Option<f64>,
        /// Numbers of the run.
        numbers: u32,
        /// ... of them outside.
        numbers_outside: u32,
        /// How many newest numbers there are, up to the window.
        newest: u32,
        /// ... of them outside.
        outside: u32,
        /// Numbers of this step.
        step: u32,
        /// There were too many outside at some time of the run.
        failed: bool,
    },
}

impl NumbersReport {
    /// Evidence that it is worse, as a natural logarithm; `bound` is what must be reached.
    pub(super) fn log(&self, bound: f64) -> f64 {
        match self {
            Self::Compared { strongest, .. } => strongest.map_or(0.0, log),
            Self::Bounded { failed: true, .. } => bound,
            Self::Bounded {
                bounds, outside, ..
            } => {
                // Below the bound, however it is rounded.
                let part = f64::from(*outside) / f64::from(bounds.failures.max(1));
                bound * part.min(0.99)
            }
        }
    }

    /// Whether a step passes on it.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Compared { look, .. } => look.is_some_and(|look| look.p > DOUBT),
            Self::Bounded {
                bounds,
                step,
                outside,
                failed,
                ..
            } => !failed && *step >= bounds.window && *outside < bounds.failures,
        }
    }

    /// Both arms' numbers of samples, and how many were bad where that can be said.
    pub(super) fn arms(&self) -> (ArmReport, ArmReport) {
        let arm = |total: f64, bad: f64| ArmReport {
            total,
            bad,
            rate: if total > 0.0 { bad / total } else { 0.0 },
            ..ArmReport::default()
        };
        match self {
            Self::Compared { canary, stable, .. } => {
                (arm(canary.0 as f64, 0.0), arm(stable.0 as f64, 0.0))
            }
            Self::Bounded {
                numbers,
                numbers_outside,
                ..
            } => {
                let canary = arm(f64::from(*numbers), f64::from(*numbers_outside));
                (canary, ArmReport::default())
            }
        }
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Compared {
                higher,
                ratio,
                canary,
                stable,
                look,
                strongest,
                alpha,
            } => {
                let arm = |(count, median): (usize, Option<f64>)| match median {
                    Some(median) => format!("{} (median of {count} samples)", shown(median)),
                    None => "no sample yet".to_owned(),
                };
                let arms = format!("canary {}, stable {}", arm(*canary), arm(*stable));
                let worse = if *higher { "higher" } else { "lower" };
                let shown = strongest.filter(|look| look.shows(*alpha));
                let Some(look) = shown.or(*look) else {
                    return format!("{arms}; compared from 8 samples of each in this step");
                };
                let (p, needed) = (small(look.p), small(alpha * look.part));
                let so = if shown.is_some() { "worse" } else { "no proof" };
                format!(
                    "{arms}: {so}; chance alone makes a canary so much {worse}, beyond {ratio} times, with probability {p}, and {needed} is needed at {} samples",
                    look.size
                )
            }
            Self::Bounded {
                bounds,
                last,
                newest,
                outside,
                failed,
                ..
            } => {
                let Some(last) = last else {
                    return format!("no number yet, {} wanted", wanted(bounds));
                };
                let so = if *failed { "worse: " } else { "" };
                format!(
                    "{so}{} now, {} wanted; outside in {outside} of the last {newest}, {} of {} are worse",
                    shown(*last),
                    wanted(bounds),
                    bounds.failures,
                    bounds.window
                )
            }
        }
    }
}

/// With five digits at most.
fn shown(x: f64) -> String {
    let short: f64 = format!("{x:.4e}").parse().unwrap_or(x);
    short.to_string()
}

pub(super) fn small(p: f64) -> String {
    if p < 0.001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.3}")
    }
}

fn wanted(bounds: &Bounds) -> String {
    match (bounds.min, bounds.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::super::{
        ArmCounts, Evidence, Kind, Question, RuleReport, Sample, Settings, Verdict,
    };
    use super::*;
    use crate::stats::chance::Chance;

    fn at(seconds: u32) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs(seconds.into())
    }

    fn settings(kind: Kind) -> Settings {
        let question = Question::new("rule", kind);
        Settings {
            questions: vec![question],
            steps: vec![10, 50],
            ..Settings::default()
        }
    }

    fn compare(higher: bool) -> Settings {
        let every = Duration::from_secs(10);
        settings(Kind::Compare { higher, every })
    }

    fn value() -> Settings {
        let bounds = Bounds {
            min: Some(0.97),
            max: None,
            failures: 3,
            window: 5,
        };
        let every = Duration::from_secs(10);
        settings(Kind::Value { bounds, every })
    }

    /// A run in which each sample, ten seconds apart, has these numbers; restarted after each.
    fn play(
        settings: &Settings,
        evidence: &mut Evidence,
        numbers: impl IntoIterator<Item = (Option<f64>, Option<f64>)>,
    ) -> Vec<RuleReport> {
        let from = evidence.newest("rule").map_or(at(10), |newest| newest);
        let mut reports = Vec::new();
        for (n, (canary, stable)) in (0u32..).zip(numbers) {
            let arm = |number: Option<f64>| ArmCounts::Numbers(number.into_iter().collect());
            let begin = from + SignedDuration::from_secs(i64::from(n) * 10);
            let sample = Sample {
                rule: "rule".into(),
                from: begin,
                to: begin + SignedDuration::from_secs(10),
                canary: arm(canary),
                stable: arm(stable),
            };
            evidence.observe(settings, &sample);
            let stored = serde_json::to_string(&evidence).unwrap();
            assert!(stored.len() < 60_000);
            *evidence = serde_json::from_str(&stored).unwrap();
            evidence.follow(settings);
            reports.push(evidence.report(settings).remove(0));
        }
        reports
    }

    fn begun(settings: &Settings) -> Evidence {
        let mut evidence = Evidence::begin(settings);
        evidence.weight_changed(settings, 10, 50, at(0));
        evidence
    }

    /// Numbers of two arms, spread by a third around their middle.
    fn noisy(canary: f64, stable: f64, count: usize) -> Vec<(Option<f64>, Option<f64>)> {
        let mut chance = Chance::seeded(3);
        let mut around = |middle: f64| middle * (0.7 + chance.binomial(60.0, 0.5) / 100.0);
        (0..count)
            .map(|_| (Some(around(canary)), Some(around(stable))))
            .collect()
    }

    /// What a number at this second says that looks back 120 s and is outside.
    fn observe(settings: &Settings, evidence: &mut Evidence, second: u32) -> RuleReport {
        let arm = |numbers: &[f64]| ArmCounts::Numbers(numbers.to_vec());
        let sample = Sample {
            rule: "rule".into(),
            from: at(second) - SignedDuration::from_secs(120),
            to: at(second),
            canary: arm(&[0.5]),
            stable: arm(&[0.9]),
        };
        evidence.observe(settings, &sample);
        evidence.report(settings).remove(0)
    }

    fn numbers_of(report: &RuleReport) -> usize {
        match report.numbers {
            Some(NumbersReport::Bounded { numbers, .. }) => numbers as usize,
            Some(NumbersReport::Compared { canary, .. }) => canary.0,
            None => 0,
        }
    }

    #[test]
    fn what_was_before_the_canary_is_not_its_doing_and_what_it_did_in_another_step_is() {
        for (settings, later) in [(value(), 2), (compare(true), 1)] {
            let settings = Settings {
                settle: Duration::from_secs(3),
                ..settings
            };
            let mut evidence = Evidence::begin(&settings);
            evidence.weight_changed(&settings, 10, 50, at(1_000));
            assert_eq!(numbers_of(&observe(&settings, &mut evidence, 1_110)), 0);
            assert_eq!(numbers_of(&observe(&settings, &mut evidence, 1_122)), 0);
            assert_eq!(numbers_of(&observe(&settings, &mut evidence, 1_123)), 1);
            evidence.weight_changed(&settings, 50, 100, at(1_130));
            // The time since the number before is not all of this step.
            observe(&settings, &mut evidence, 1_142);
            let report = observe(&settings, &mut evidence, 1_143);
            let counted = numbers_of(&report);
            // The other kind compares two arms under one weight, and begins anew with each.
            assert_eq!(counted, if later == 2 { 2 } else { 0 });
            let report = observe(&settings, &mut evidence, 1_253);
            assert_eq!(numbers_of(&report), if later == 2 { 3 } else { 1 });
        }
    }

    #[test]
    fn numbers_beyond_the_tolerated_ratio_are_worse() {
        let settings = compare(true);
        let reports = play(&settings, &mut begun(&settings), noisy(30.0, 20.0, 16));
        assert_eq!(reports[6].verdict, Verdict::Undecided);
        assert!(
            reports[6].sentence().contains("compared from 8 samples"),
            "{}",
            reports[6].sentence()
        );
        assert_eq!(
            reports[7].verdict,
            Verdict::Worse,
            "{}",
            reports[7].sentence()
        );
        let sentence = reports[7].sentence();
        assert!(
            sentence.contains(" (median of 8 samples): worse; chance alone "),
            "{sentence}"
        );
        // A look that showed it stands.
        assert!(
            reports
                .iter()
                .skip(7)
                .all(|report| report.verdict == Verdict::Worse)
        );
    }

    #[test]
    fn numbers_within_the_tolerated_ratio_let_a_step_pass() {
        for (higher, canary) in [(true, 22.0), (false, 19.0), (true, -21.0), (false, 40.0)] {
            let stable = 20.0f64.copysign(canary);
            let settings = compare(higher);
            let mut evidence = begun(&settings);
            let reports = play(&settings, &mut evidence, noisy(canary, stable, 16));
            let last = &reports[15];
            assert_eq!(last.verdict, Verdict::NotWorse, "{}", last.sentence());
            let Some(NumbersReport::Compared {
                stable: (_, Some(median)),
                ..
            }) = last.numbers
            else {
                panic!("no medians")
            };
            assert!((median / stable - 1.0).abs() < 0.1, "{median}, {stable}");
            // The next step wants its own samples.
            evidence.weight_changed(&settings, 50, 100, at(175));
            assert_eq!(evidence.report(&settings)[0].verdict, Verdict::Undecided);
        }
    }

    #[test]
    fn smaller_numbers_are_worse_where_the_rule_says_so() {
        let settings = compare(false);
        let reports = play(&settings, &mut begun(&settings), noisy(10.0, 20.0, 8));
        assert_eq!(
            reports[7].verdict,
            Verdict::Worse,
            "{}",
            reports[7].sentence()
        );
    }

    #[test]
    fn what_is_missing_or_no_number_is_left_out() {
        let settings = compare(true);
        let odd = [None, Some(f64::NAN), Some(f64::INFINITY)];
        let numbers = (0..30).map(|n| (odd[n % 3], Some(1.0)));
        let reports = play(&settings, &mut begun(&settings), numbers);
        assert!((reports[29].canary.total - 10.0).abs() < 1e-9);
    }

    #[test]
    fn too_many_numbers_outside_are_worse() {
        let settings = value();
        let ok = (Some(0.99), None);
        let bad = (Some(0.9), None);
        let none = (None, None);
        let nan = (Some(f64::NAN), None);
        let rows = [
            (vec![ok, ok, ok, ok], Verdict::Undecided),
            (vec![ok, ok, ok, ok, ok], Verdict::NotWorse),
            (vec![ok, ok, ok, ok, none, nan], Verdict::Undecided),
            (vec![ok, ok, ok, ok, bad, bad], Verdict::NotWorse),
            (vec![bad, none, bad, nan, bad], Verdict::Worse),
            // Also when they come back, all in one look.
            (
                vec![bad, ok, bad, ok, bad, ok, ok, ok, ok, ok],
                Verdict::Worse,
            ),
            (
                vec![bad, ok, ok, ok, ok, bad, ok, ok, ok, ok, bad],
                Verdict::NotWorse,
            ),
        ];
        for (numbers, want) in rows {
            let told = format!("{numbers:?}");
            let reports = play(&settings, &mut begun(&settings), numbers);
            let last = reports.last().unwrap();
            assert_eq!(last.verdict, want, "{told}: {}", last.sentence());
        }
    }

    #[test]
    fn a_step_wants_a_window_of_its_own() {
        let settings = value();
        let mut evidence = begun(&settings);
        play(&settings, &mut evidence, vec![(Some(1.0), None); 5]);
        evidence.weight_changed(&settings, 50, 100, at(61));
        assert_eq!(evidence.report(&settings)[0].verdict, Verdict::Undecided);
        let reports = play(&settings, &mut evidence, vec![(Some(0.9712), None); 6]);
        // The first one began before the weight had settled.
        assert_eq!(reports[4].verdict, Verdict::Undecided);
        assert_eq!(reports[5].verdict, Verdict::NotWorse);
        assert_eq!(
            reports[5].sentence(),
            "0.9712 now, at least 0.97 wanted; outside in 0 of the last 5, 3 of 5 are worse"
        );
    }

    #[test]
    fn healthy_numbers_are_seldom_worse() {
        let settings = compare(true);
        let mut chance = Chance::seeded(11);
        let mut worse = 0;
        for _ in 0..300 {
            let mut compared = Compared::begin(true);
            for _ in 0..300 {
                let (x, y) = (chance.binomial(400.0, 0.5), chance.binomial(400.0, 0.5));
                compared.observe(&[x], &[y], 1.0);
            }
            let bound = settings.bound(&settings.questions[0]);
            worse += u32::from(compared.report(0.01, 1.0).log(bound) >= bound);
        }
        assert!(worse <= 9, "{worse} of 300 at 1%");
    }
}
