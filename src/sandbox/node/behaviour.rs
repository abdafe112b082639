//! How an application behaves, as said by annotations on its pod template.
//!
//! One parser for `sandbox.sluice.dev/*`, which reports every mistake with the text that
//! caused it; then one draw per request. A value may change with the share of its ingress'
//! traffic that the pod's arm gets (`0.001, 0.3 above 40%`; with `once above` for good) or with
//! the time since the pod became ready (`0.001, 0.3 after 60s`). Not here: clocks, pods, waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sandbox::random::Random;

/// What the annotations' names begin with.
pub const PREFIX: &str = "sandbox.sluice.dev/";

const KNOWN: [&str; 6] = ["errors", "latency", "slow", "tail", "start-after", "fate"];

/// The 95th percentile of the standard normal distribution: where the tail begins.
const TAIL_FROM: f64 = 1.644_853_627;

/// One or more annotations that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Misunderstood(Vec<String>);

/// How an application behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Share of requests that are answered with 500.
    pub errors: Changing<f64>,
    pub latency: Changing<Latency>,
    /// All times are multiplied by this.
    pub slow: Changing<f64>,
    /// The slowest 5% of times are multiplied by this.
    pub tail: Changing<f64>,
    /// From the container's start to readiness.
    pub start_after: Duration,
    pub fate: Option<Doom>,
}

/// A log-normal distribution of times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub median: Duration,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
}

/// What goes wrong with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The process ends with exit code 1.
    Crash,
    /// The process is killed for want of memory.
    Oom,
    /// The image cannot be pulled.
    Pull,
    /// The process runs and never becomes ready.
    Hang,
}

/// A fate, and how long after readiness it strikes; none: at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doom {
    pub fate: Fate,
    pub after: Option<Duration>,
}

/// A value that may change with traffic or time. The last condition that holds counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Changing<T> {
    first: T,
    then: Vec<(T, When)>,
}

/// The part (0 to 1) of its ingress' traffic that a pod's arm gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    pub now: f64,
    /// The greatest that this pod has seen.
    pub most: f64,
}

/// When a value replaces the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// The share of traffic is above this (0 to 1).
    Above(f64),
    /// The share of traffic was above this (0 to 1) at least once: the damage stays.
    OnceAbove(f64),
    /// The pod has been ready for this long.
    After(Duration),
}

impl<T> Changing<T> {
    fn constant(value: T) -> Self {
        Self {
            first: value,
            then: Vec::new(),
        }
    }

    /// The value at this share of the traffic and this time since readiness.
    pub fn at(&self, share: Share, age: Duration) -> &T {
        let holds = |when: &When| match *when {
            When::Above(bound) => share.now > bound,
            When::OnceAbove(bound) => share.most > bound,
            When::After(bound) => age >= bound,
        };
        let changed = self.then.iter().rev().find(|(_, when)| holds(when));
        changed.map_or(&self.first, |(value, _)| value)
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        let latency = Latency {
            median: Duration::from_millis(20),
            sigma: 0.5,
        };
        Self {
            errors: Changing::constant(0.0),
            latency: Changing::constant(latency),
            slow: Changing::constant(1.0),
            tail: Changing::constant(1.0),
            start_after: Duration::from_secs(1),
            fate: None,
        }
    }
}

impl Behaviour {
    /// Reads a pod's annotations; others than the sandbox's are ignored.
    ///
    /// # Errors
    /// All that cannot be understood, each with its text.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, Misunderstood> {
        let mut behaviour = Self::default();
        let mut problems = Vec::new();
        for (name, text) in annotations {
            let Some(short) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if let Err(problem) = behaviour.set(short, text) {
                problems.push(format!("{name}: {text:?}: {problem}"));
            }
        }
        if problems.is_empty() {
            Ok(behaviour)
        } else {
            Err(Misunderstood(problems))
        }
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "errors" => self.errors = changing(text, share)?,
            "latency" => self.latency = changing(text, latency)?,
            "slow" => self.slow = changing(text, factor)?,
            "tail" => self.tail = changing(text, factor)?,
            "start-after" => self.start_after = duration(text)?,
            "fate" => self.fate = Some(doom(text)?),
            _ => {
                return Err(format!(
                    "there is no such annotation; there are {}",
                    KNOWN.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Draws one answer: the HTTP status and the time it takes.
    pub fn draw(&self, share: Share, age: Duration, random: &mut Random) -> (u16, Duration) {
        let fails = random.uniform() < *self.errors.at(share, age);
        let latency = self.latency.at(share, age);
        let z = random.normal();
        let tail = if z > TAIL_FROM {
            *self.tail.at(share, age)
        } else {
            1.0
        };
        let factor = (latency.sigma * z).exp() * tail * self.slow.at(share, age);
        let seconds = (latency.median.as_secs_f64() * factor).min(3600.0);
        (
            if fails { 500 } else { 200 },
            Duration::from_secs_f64(seconds),
        )
    }
}

/// Whatever is understood can be acted by.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing(annotations: &BTreeMap<String, String>) -> bool {
    let Ok(behaviour) = Behaviour::parse(annotations) else {
        return false;
    };
    let mut random = Random::new(1);
    for age in [0, 60, 3_600] {
        for now in [0.0, 0.5, 1.0] {
            let share = Share { now, most: 1.0 };
            let (_, time) = behaviour.draw(share, Duration::from_secs(age), &mut random);
            assert!(time <= Duration::from_secs(3_600), "{time:?}");
        }
    }
    true
}

/// Parses `value[, value ([once] above SHARE | after DURATION)]...`.
fn changing<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<Changing<T>, String> {
    let mut parts = text.split(',').map(str::trim);
    let first = parse(parts.next().unwrap_or_default())?;
    let then = parts.map(|part| {
        let (value, when) = condition(part)?;
        let when =
            when.ok_or_else(|| format!("{part:?} needs `above SHARE` or `after DURATION`"))?;
        Ok((parse(value)?, when))
    });
    let then = then.collect::<Result<_, String>>()?;
    Ok(Changing { first, then })
}

/// Splits the condition off a value.
fn condition(part: &str) -> Result<(&str, Option<When>), String> {
    if let Some((value, bound)) = part.split_once(" once above ") {
        return Ok((value, Some(When::OnceAbove(share(bound)?))));
    }
    if let Some((value, bound)) = part.split_once(" above ") {
        return Ok((value, Some(When::Above(share(bound)?))));
    }
    if let Some((value, bound)) = part.split_once(" after ") {
        return Ok((value, Some(When::After(duration(bound)?))));
    }
    Ok((part, None))
}

fn number(text: &str) -> Result<f64, String> {
    let parsed = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    parsed.ok_or_else(|| format!("{:?} is not a number", text.trim()))
}

/// A share between 0 and 1, or as a percentage.
fn share(text: &str) -> Result<f64, String> {
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(format!(
        "{:?} is not between 0 and 1 (or 0% and 100%)",
        text.trim()
    ))
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = number(text)?;
    if (0.0..=1e6).contains(&factor) {
        return Ok(factor);
    }
    Err(format!("{factor} is not between 0 and a million"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration such as 60ms: {error}"))
}

fn latency(text: &str) -> Result<Latency, String> {
    let mut words = text.split_whitespace();
    let median = duration(words.next().unwrap_or_default())?;
    let sigma = words.next().map_or(Ok(0.5), factor)?;
    match words.next() {
        None => Ok(Latency { median, sigma }),
        Some(more) => Err(format!(
            "{more:?} is too much: a median and a sigma are enough"
        )),
    }
}

fn doom(text: &str) -> Result<Doom, String> {
    let (word, when) = condition(text)?;
    let after = match when {
        None => None,
        Some(When::After(after)) => Some(after),
        Some(When::Above(_) | When::OnceAbove(_)) => {
            return Err("a fate can come `after` a time only".into());
        }
    };
    let fate = match word.trim() {
        "crash" => Fate::Crash,
        "oom" => Fate::Oom,
        "pull" => Fate::Pull,
        "hang" => Fate::Hang,
        other => return Err(format!("{other:?} is none of crash, oom, pull, hang")),
    };
    if after.is_some() && !matches!(fate, Fate::Crash | Fate::Oom) {
        return Err("only crash and oom can come later".into());
    }
    Ok(Doom { fate, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Behaviour, String> {
        let named = pairs
            .iter()
            .map(|(name, text)| (format!("{PREFIX}{name}"), (*text).to_owned()));
        Behaviour::parse(&named.collect()).map_err(|error| error.to_string())
    }

    fn share(now: f64) -> Share {
        Share { now, most: now }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn values_change_with_traffic_and_time() {
        let behaviour = parse(&[("errors", "0.001, 0.3 above 40%, 0.5 after 60s")]).unwrap();
        let table = [
            (0.05, 0, 0.001),
            (0.4, 0, 0.001),
            (0.5, 0, 0.3),
            (0.05, 60, 0.5),
            (0.5, 59, 0.3),
        ];
        for (part, age, expected) in table {
            let errors = *behaviour.errors.at(share(part), seconds(age));
            assert!(
                (errors - expected).abs() < 1e-9,
                "share {part}, age {age}: {errors}"
            );
        }
    }

    #[test]
    fn what_came_once_above_a_share_stays() {
        let behaviour = parse(&[("errors", "0.001, 0.3 once above 40%")]).unwrap();
        for (now, most, expected) in [(0.05, 0.05, 0.001), (0.5, 0.5, 0.3), (0.05, 0.5, 0.3)] {
            let errors = *behaviour.errors.at(Share { now, most }, seconds(0));
            assert!(
                (errors - expected).abs() < 1e-9,
                "{now} of {most}: {errors}"
            );
        }
    }

    #[test]
    fn every_annotation_is_read() {
        let all = [
            ("latency", "60ms 0.8"),
            ("slow", "1.5"),
            ("tail", "3"),
            ("start-after", "2s"),
            ("fate", "crash after 30s"),
        ];
        let behaviour = parse(&all).unwrap();
        let expected = Latency {
            median: Duration::from_millis(60),
            sigma: 0.8,
        };
        assert_eq!(*behaviour.latency.at(share(1.0), seconds(0)), expected);
        assert_eq!(behaviour.start_after, seconds(2));
        assert_eq!(
            behaviour.fate,
            Some(Doom {
                fate: Fate::Crash,
                after: Some(seconds(30))
            })
        );
        assert_eq!(parse(&[]).unwrap(), Behaviour::default());
    }

    #[test]
    fn mistakes_quote_what_they_are_about() {
        let table = [
            ("errors", "5", "\"5\" is not between"),
            ("errors", "0.1, 0.2", "\"0.2\" needs `above SHARE`"),
            ("errors", "much", "\"much\" is not a number"),
            ("latency", "fast", "\"fast\" is not a duration"),
            ("latency", "1s 0.5 7", "\"7\" is too much"),
            ("tail", "-1", "-1 is not between"),
            ("fate", "explode", "\"explode\" is none of"),
            ("fate", "hang after 3s", "only crash and oom"),
            ("eror", "0.1", "there is no such annotation"),
        ];
        for (name, text, expected) in table {
            let error = parse(&[(name, text)]).unwrap_err();
            assert!(error.contains(expected), "{name}: {text}: {error}");
        }
        let both = parse(&[("errors", "x"), ("tail", "y")]).unwrap_err();
        assert!(both.contains("errors") && both.contains("tail"), "{both}");
    }

    #[test]
    fn draws_follow_the_annotations() {
        let behaviour =
            parse(&[("errors", "5%"), ("latency", "100ms 0.5"), ("tail", "10")]).unwrap();
        let mut random = Random::new(3);
        let mut draws: Vec<_> = (0..10_000)
            .map(|_| behaviour.draw(share(1.0), seconds(0), &mut random))
            .collect();
        let bad = draws.iter().filter(|(status, _)| *status == 500).count();
        assert!((400..600).contains(&bad), "{bad}");
        draws.sort_by_key(|(_, time)| *time);
        let median = draws[5_000].1.as_secs_f64();
        assert!((median - 0.1).abs() < 0.005, "{median}");
        // e^(0.5 * 1.645) * 100 ms = 228 ms at the 95th percentile; ten times that beyond it.
        assert!(draws[9_400].1.as_secs_f64() < 0.24);
        assert!(draws[9_600].1.as_secs_f64() > 2.2);
    }
}
