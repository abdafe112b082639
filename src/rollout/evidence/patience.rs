//! The blast radius from `within`: what can be excluded in the time that people will wait.
//!
//! Gathers what the rules know (traffic, stable's rates) into a question for `stats::patience`, and
//! says the answer in numbers. Without traffic nothing can be planned; the finest radius stands.

use serde::{Deserialize, Serialize};

use crate::stats::patience::{Ask, Test, smallest_blast};

use super::rule::{HALF, Rule};
use super::sample::Settings;
use super::words::{number, percent};

/// Seconds of agreement that a step counts at least.
const LEAST: f64 = 10.0;

/// The blast radius of a run and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patience {
    /// Share of all requests that may go bad unnoticed (errors; five times that for slow ones).
    pub blast: f64,
    /// Whether nine of ten healthy releases show it within the time.
    pub reachable: bool,
    /// Requests per second that it was planned for; 0 where no traffic was seen.
    pub rps: f64,
    /// Seconds in which nine of ten healthy releases are through; `None` if never or unknown.
    pub seconds: Option<f64>,
    /// The time in which a healthy release should be through, in seconds.
    pub within: f64,
    /// These are synthetic requests: no rule counts those of users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

impl Patience {
    pub(super) fn plan(settings: &Settings, rules: &[Rule]) -> Self {
        let within = settings.within.as_secs_f64();
        let tests = tests(settings, rules);
        let leading = settings.leading().map(|question| question.name.as_str());
        let rps = rules
            .iter()
            .find(|rule| Some(rule.name.as_str()) == leading);
        let synthetic = leading.is_none();
        let rps = if synthetic {
            rules.iter().find(|rule| rule.is_load())
        } else {
            rps
        };
        let rps = rps.and_then(Rule::rps).unwrap_or(0.0);
        if tests.is_empty() || rps <= 0.0 {
            let (blast, seconds) = (settings.blast, None);
            return Self {
                blast,
                reachable: false,
                rps: 0.0,
                seconds,
                within,
                synthetic,
            };
        }
        let answer = smallest_blast(&Ask {
            steps: settings.shares(),
            tests,
            beta: settings.beta,
            settle: settings.settle.as_secs_f64(),
            least: LEAST,
            within,
            range: (settings.blast, settings.blast_max),
        });
        Self {
            blast: answer.blast,
            reachable: answer.reachable,
            rps,
            seconds: answer.seconds.is_finite().then_some(answer.seconds),
            within,
            synthetic,
        }
    }

    /// The statement in words.
    pub fn sentence(&self) -> String {
        if self.rps <= 0.0 {
            return "no traffic seen yet, so nothing can be said about what will be noticed"
                .to_owned();
        }
        let (rps, blast) = (number(self.rps), percent(self.blast));
        let what = if self.synthetic {
            "synthetic requests"
        } else {
            "requests"
        };
        if self.reachable {
            format!(
                "at {rps} {what} a second a release that harms more than {blast} of all requests is not promoted"
            )
        } else {
            format!(
                "at {rps} {what} a second even a harm of {blast} of all requests cannot be excluded within {:.0} s; expect the run to end undecided",
                self.within
            )
        }
    }
}

fn tests(settings: &Settings, rules: &[Rule]) -> Vec<Test> {
    let mut tests = Vec::new();
    for rule in rules {
        let (Some(question), Some(rps)) = (settings.question(&rule.name), rule.rps()) else {
            continue;
        };
        if rule.is_alone(0.0) {
            continue;
        }
        tests.extend(rule.rates().into_iter().map(|rate| Test {
            rps,
            rate,
            ratio: question.ratio,
            leniency: question.leniency(),
            share: rule.is_load().then_some(HALF),
        }));
    }
    tests
}
