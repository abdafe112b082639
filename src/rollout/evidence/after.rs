//! After a promotion, or a switch of all traffic: what serves now against what stable was like before.
//!
//! There is no second arm any more. So each rule that counts requests gets a limit, from the
//! numbers of the run (from before it only where the run has too few: then an outage may be among
//! them): a share that stable surely did not exceed, twice what the rule tolerates, or
//! the rule's own `max` where that is lower; and the tests of a limit ask whether it is exceeded.
//! Twice, since what differs between before and after need not be the release. A rule about
//! pods' events or sampled numbers, or one of which too little was seen before, asks nothing.
//!
//! Not here: the tests (`goal`), and how long the watch lasts (the decision).

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::goal::Goal;
use super::rule::Rule;
use super::sample::{ArmCounts, Kind, Max, Question, Sample, Settings};
use super::{Evidence, RuleReport};
use crate::stats::Arm;

/// Fewer requests of stable say too little about it.
const LEAST: f64 = 100.0;
/// How much of what a rule tolerates beside a second arm is tolerated without one.
const WITHOUT_ARM: f64 = 2.0;
/// Standard deviations above the share that was seen.
const SURE: f64 = 3.0;

/// What a rule's bad share may come to after the promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The rule's name.
    pub rule: String,
    /// The limit.
    pub max: Max,
    /// The share that stable had, 0..1.
    pub before: f64,
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.2}%", share * 100.0);
        let (most, before) = (percent(self.max.share), percent(self.before));
        write!(out, "{} at most {most}, {before} before", self.rule)
    }
}

impl Settings {
    /// The same with these limits: for what serves alone. What compares two arms is not asked then.
    #[must_use]
    pub fn limited(&self, limits: &[Limit]) -> Self {
        let two_arms = |question: &Question| matches!(question.kind, Kind::Compare { .. });
        let mut settings = self.clone();
        settings.questions.retain(|question| !two_arms(question));
        for question in &mut settings.questions {
            let limit = limits.iter().find(|limit| limit.rule == question.name);
            question.max = limit.map(|limit| limit.max).or(question.max);
        }
        settings
    }
}

impl Evidence {
    /// Whether enough was seen of stable for limits: each rule that counts requests saw a minute, and
    /// a thousand of them or five minutes.
    pub fn knows_stable(&self, settings: &Settings) -> bool {
        let counted = settings.questions.iter().filter(|q| q.counts_requests());
        let mut seen = counted.map(|question| self.rules.iter().find(|r| r.name == question.name));
        seen.all(|rule| rule.is_some_and(Rule::knows_stable))
    }

    /// The rules that could say nothing without a second arm: they have no limit, and need one.
    pub fn without_limit(&self, settings: &Settings) -> Vec<String> {
        let limits = self.limits(settings);
        let known = |name: &str| limits.iter().any(|limit| limit.rule == name);
        let counted = settings.questions.iter().filter(|q| q.counts_requests());
        counted
            .map(|question| question.name.clone())
            .filter(|name| !known(name))
            .collect()
    }

    /// From now on all requests are the canary's: it is held to what stable was like.
    pub fn held_to(&mut self, limits: &[Limit]) {
        for rule in &mut self.rules {
            let limit = limits.iter().find(|limit| limit.rule == rule.name);
            if let Some(limit) = limit {
                rule.goal = Some(Goal::begin(limit.max));
            }
        }
    }

    /// The limits that follow from what was seen of stable.
    pub fn limits(&self, settings: &Settings) -> Vec<Limit> {
        let rules = self.rules.iter();
        rules
            .filter_map(|rule| {
                let question = settings.question(&rule.name)?;
                limit(rule, Some(question).filter(|it| it.is_asked())?)
            })
            .collect()
    }

    /// Evidence about what serves alone since `at`, with these limits.
    pub fn after(settings: &Settings, limits: &[Limit], at: Timestamp) -> Self {
        let asked = limits.iter().filter_map(|limit| {
            let mut question = settings.question(&limit.rule)?.clone();
            question.max = Some(limit.max);
            Some(question)
        });
        let questions = asked.collect();
        let settings = Settings {
            questions,
            ..settings.clone()
        };
        let mut evidence = Self::begin(&settings);
        evidence.weight_changed(&settings, 100, 100, at);
        evidence
    }

    /// Folds in a sample of what serves alone: it is counted as stable.
    pub fn observe_after(&mut self, settings: &Settings, sample: &Sample) {
        let sample = Sample {
            canary: sample.stable.clone(),
            stable: none_of(&sample.stable),
            ..sample.clone()
        };
        self.observe(settings, &sample);
    }

    /// The time that every rule has samples of which is still asked; `None` where nothing is.
    pub fn watched(&self, settings: &Settings) -> Option<Duration> {
        let asked = |rule: &&Rule| settings.question(&rule.name).is_some();
        let seconds = self.rules.iter().filter(asked).map(|rule| rule.seconds);
        let least = seconds.min_by(f64::total_cmp)?;
        Some(Duration::try_from_secs_f64(least).unwrap_or_default())
    }

    /// Whether this rule is asked here.
    pub fn asks(&self, rule: &str) -> bool {
        self.rules.iter().any(|known| known.name == rule)
    }
}

impl RuleReport {
    /// What serves alone, against its limit, in words.
    pub fn sentence_after(&self) -> String {
        let Some(goal) = &self.goal else {
            return "nothing was asked".to_owned();
        };
        let percent = |share: f64| format!("{:.2}%", share * 100.0);
        let share = goal.bad / goal.total.max(1.0);
        let what = match goal.boundary {
            Some(seconds) => format!(" slower than {seconds} s"),
            None => " bad".to_owned(),
        };
        format!(
            "{}{what} of {} requests since the promotion; at most {} is like before",
            percent(share),
            goal.total.round(),
            percent(goal.max)
        )
    }
}

/// As many requests as there are not.
fn none_of(counts: &ArmCounts) -> ArmCounts {
    match counts {
        ArmCounts::Proportion { .. } => ArmCounts::Proportion {
            total: 0.0,
            bad: 0.0,
        },
        ArmCounts::Buckets { boundaries, counts } => ArmCounts::Buckets {
            boundaries: boundaries.clone(),
            counts: vec![0.0; counts.len()],
        },
        ArmCounts::Events { .. } => ArmCounts::Events {
            seconds: 0.0,
            events: 0.0,
        },
        ArmCounts::Numbers(_) => ArmCounts::Numbers(Vec::new()),
    }
}

fn limit(rule: &Rule, question: &Question) -> Option<Limit> {
    let (before, seconds) = match &rule.counts {
        // After the promotion nothing is left to send them to.
        Counts::Errors(_) if rule.is_load() => return None,
        Counts::Errors(errors) => {
            let run = errors.run.stable;
            let known = if run.total < LEAST { errors.known } else { run };
            (known, None)
        }
        Counts::Times(times) => {
            let seconds = question.max.and_then(|max| max.seconds);
            let (arm, boundary) = times.known_tail(question.told_quantile(), seconds, LEAST)?;
            (arm, Some(boundary))
        }
        Counts::Events(_) | Counts::Compared(_) | Counts::Bounded(_) => return None,
    };
    let own = question.max.map(|max| max.share);
    let like_before = share(before, question);
    let share = match (own, like_before) {
        (Some(own), Some(like_before)) => own.min(like_before),
        (own, like_before) => own.or(like_before)?,
    };
    Some(Limit {
        rule: rule.name.clone(),
        max: Max { share, seconds },
        before: before.bad / before.total.max(1.0),
    })
}

/// Twice what is tolerated of a share that stable surely did not exceed; `None` where that is all.
fn share(before: Arm, question: &Question) -> Option<f64> {
    if before.total < LEAST {
        return None;
    }
    let half = SURE * SURE / 2.0;
    let spread = SURE * (before.bad + half / 2.0).sqrt();
    let surely = (before.bad + half + spread) / before.total;
    let share = WITHOUT_ARM * (question.ratio * surely + question.absolute);
    (share < 1.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::Verdict;
    use super::*;
    use crate::stats::chance::Chance;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs(seconds)
    }

    fn settings(max: Option<f64>) -> Settings {
        let question = Question {
            max: max.map(|share| Max {
                share,
                seconds: None,
            }),
            ..Question::new("errors", Kind::Proportion)
        };
        Settings {
            questions: vec![question],
            ..Settings::default()
        }
    }

    fn sample(second: i64, total: f64, bad: f64) -> Sample {
        let counts = |total, bad| ArmCounts::Proportion { total, bad };
        Sample {
            rule: "errors".into(),
            from: at(second - 1),
            to: at(second),
            canary: counts(0.0, 0.0),
            stable: counts(total, bad),
        }
    }

    /// A minute before at one rate, then minutes after at another: the verdict and its second.
    fn play(before: f64, after: f64, seed: u64) -> (Verdict, i64) {
        let settings = settings(None);
        let mut chance = Chance::seeded(seed);
        let mut run = Evidence::begin(&settings);
        for second in 1..=60 {
            let bad = chance.binomial(200.0, before);
            run.baseline(&settings, &sample(second, 200.0, bad));
        }
        let mut watch = Evidence::after(&settings, &run.limits(&settings), at(60));
        for second in 61..=660 {
            let bad = chance.binomial(200.0, after);
            watch.observe_after(&settings, &sample(second, 200.0, bad));
            // As after a restart: what is not stored is lost.
            let stored = serde_json::to_string(&watch).unwrap();
            watch = serde_json::from_str(&stored).unwrap();
            let report = watch.report(&settings).remove(0);
            if report.verdict == Verdict::Worse {
                let sentence = report.sentence_after();
                assert!(sentence.contains("since the promotion"), "{sentence}");
                return (report.verdict, second - 60);
            }
        }
        (Verdict::Undecided, 600)
    }

    #[test]
    fn damage_after_the_promotion_is_found_and_the_usual_is_not() {
        for seed in 0..20 {
            assert_eq!(play(0.005, 0.005, seed).0, Verdict::Undecided, "{seed}");
            let (verdict, second) = play(0.001, 0.05, seed);
            assert_eq!(verdict, Verdict::Worse, "{seed}");
            assert!(second < 30, "{seed}: {second}");
        }
    }

    #[test]
    fn the_limit_is_the_lower_of_the_rules_own_and_what_was_before() {
        let limit = |max: Option<f64>, requests: f64| {
            let settings = settings(max);
            let mut run = Evidence::begin(&settings);
            run.baseline(&settings, &sample(1, requests, requests / 1000.0));
            let limits = run.limits(&settings);
            limits.first().map(|limit| limit.max.share)
        };
        let derived = limit(None, 100_000.0).unwrap();
        assert!((0.0044..0.0055).contains(&derived), "{derived}");
        assert_eq!(limit(Some(0.5), 100_000.0), Some(derived));
        assert_eq!(limit(Some(0.002), 100_000.0), Some(0.002));
        assert_eq!(limit(Some(0.01), 10.0), Some(0.01), "nothing known before");
        assert_eq!(limit(None, 10.0), None);
    }

    #[test]
    fn what_users_get_while_stable_has_no_pods_is_not_what_it_is_like() {
        let settings = settings(None);
        let mut run = Evidence::begin(&settings);
        for second in 1..=60 {
            let ready = second > 30;
            run.stable_seen(ready, at(second));
            let bad = if ready { 0.0 } else { 40.0 };
            run.baseline(&settings, &sample(second, 40.0, bad));
        }
        let limits = run.limits(&settings);
        assert_eq!(limits.len(), 1);
        assert!(limits[0].before < 0.01, "{}", limits[0]);
    }

    #[test]
    fn an_outage_before_the_steps_is_not_what_stable_is_like() {
        let settings = settings(None);
        let mut run = Evidence::begin(&settings);
        for second in 1..=60 {
            run.baseline(&settings, &sample(second, 40.0, 40.0));
        }
        assert_eq!(run.limits(&settings), [], "nothing else is known yet");
        run.weight_changed(&settings, 50, 100, at(60));
        for second in 70..=100 {
            let mut both = sample(second, 20.0, 0.0);
            both.canary = both.stable.clone();
            run.observe(&settings, &both);
        }
        let limit = run.limits(&settings).remove(0);
        assert!(limit.max.share < 0.05, "{limit:?}");
        assert_eq!(limit.before.to_bits(), 0.0_f64.to_bits());
    }
}
