//! The present traffic, read by the rules' own queries as the daemon reads it.
//!
//! From a Prometheus server the last half hour at once; from metrics pages, which know nothing of
//! what was before, for a few seconds. Stable and canary are added up: it is asked how much comes
//! in and what is usual, and between runs there is no canary.
//!
//! Not here: the traffic that is given (`given`).

use std::time::Duration;

use jiff::Timestamp;

use super::Known;
use crate::cli::Error;
use crate::cli::subject::Chosen;
use crate::clock::Clock;
use crate::prometheus::{Reading, Source, Subject};
use crate::rollout::evidence::{ArmCounts, Sample};
use crate::rollout::forecast::traffic::sum;
use crate::rollout::forecast::{Stream, Traffic, Usual};

/// How long metrics pages are read.
const LOOK: Duration = Duration::from_secs(20);
/// Furthest that can be asked at once.
const FURTHEST: Duration = Duration::from_secs(55 * 60);

/// How far back is read.
pub fn window(text: &str) -> Result<Duration, String> {
    let window = humantime::parse_duration(text).map_err(|_| "wanted a duration as 30m")?;
    if (Duration::from_secs(60)..=FURTHEST).contains(&window) {
        Ok(window)
    } else {
        Err("wanted 1m to 55m".to_owned())
    }
}

/// The traffic now.
pub async fn traffic(chosen: &Chosen, window: Duration) -> Result<Known, Error> {
    let (mut source, place) = chosen.source()?;
    let clock = Clock::machine();
    let now = clock.now();
    let window = if place.looks_back { window } else { LOOK };
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let mut subject = chosen.subject(if place.looks_back { since } else { now })?;
    let mut reading = look(&mut source, &subject, now).await;
    if !place.looks_back {
        anstream::eprintln!("reading the metrics for {} s", LOOK.as_secs());
        subject.cursor = Some(reading.cursor);
        clock.sleep(LOOK).await;
        reading = look(&mut source, &subject, clock.now()).await;
    }
    known(chosen, &reading, place.name)
}

async fn look(source: &mut Source, subject: &Subject, now: Timestamp) -> Reading {
    let mut readings = source.read(std::slice::from_ref(subject), now).await;
    readings.remove(&subject.key()).unwrap_or_default()
}

fn known(chosen: &Chosen, reading: &Reading, from: String) -> Result<Known, Error> {
    let mut notes = reading.problems.clone();
    notes.extend(chosen.left_out.clone());
    notes.extend(reading.absent.clone());
    let questions = &chosen.terms.evidence.questions;
    let sums: Vec<(&str, Option<Sum>)> = questions
        .iter()
        .map(|question| {
            let own = reading.samples.iter().filter(|s| s.rule == question.name);
            let own: Vec<&Sample> = own.collect();
            (question.name.as_str(), Sum::of(&own))
        })
        .collect();
    let every = sums
        .iter()
        .filter_map(|(_, sum)| Some(sum.as_ref()?.spacing()));
    let every = every.fold(chosen.every.as_secs_f64(), f64::max);
    let mut streams = Vec::new();
    for (rule, sum) in sums {
        match sum.and_then(|sum| sum.stream(rule)) {
            Some(stream) => streams.push(stream),
            None => notes.push(format!(
                "{rule}: nothing was counted, so it is left out here; in a run nothing would rise"
            )),
        }
    }
    if streams.is_empty() {
        let why = reading.absent.clone();
        let why = why.unwrap_or_else(|| "no request was counted".to_owned());
        return Err(Error::Refused(format!(
            "cannot tell the present traffic: {why}"
        )));
    }
    Ok(Known {
        traffic: Traffic {
            every,
            pods: chosen.pods,
            streams,
        },
        from,
        notes,
    })
}

/// A rule's samples together.
struct Sum {
    seconds: f64,
    samples: usize,
    counts: ArmCounts,
}

impl Sum {
    fn of(samples: &[&Sample]) -> Option<Self> {
        let arms = samples.iter().flat_map(|s| [&s.canary, &s.stable]);
        let counts = sum(arms)?;
        let (mut seconds, mut until) = (0.0, Timestamp::MIN);
        for sample in samples {
            let fresh = sample.to.duration_since(sample.from.max(until));
            until = until.max(sample.to);
            seconds += fresh.as_secs_f64().max(0.0);
        }
        Some(Self {
            seconds,
            samples: samples.len(),
            counts,
        })
    }

    /// Seconds between two samples.
    fn spacing(&self) -> f64 {
        (self.seconds / self.samples.max(1) as f64).clamp(0.1, 600.0)
    }

    fn stream(self, rule: &str) -> Option<Stream> {
        let requests = self.counts.total();
        let pods = matches!(self.counts, ArmCounts::Events { seconds, .. } if seconds > 0.0);
        if (requests <= 0.0 && !pods) || self.seconds <= 0.0 {
            return None;
        }
        let usual = match self.counts {
            ArmCounts::Proportion { total, bad } => Usual::Errors(bad / total),
            ArmCounts::Buckets { boundaries, counts } => Usual::times(boundaries, &counts),
            ArmCounts::Events { seconds, events } => Usual::Events {
                often: events / seconds,
                pods: (seconds / self.seconds).round().max(1.0) as u32,
            },
            ArmCounts::Numbers(_) => return None,
        };
        Some(Stream {
            rule: rule.to_owned(),
            rps: requests / self.seconds,
            usual,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: i64, to: i64, stable: (f64, f64)) -> Sample {
        let at = |second| Timestamp::from_second(second).unwrap();
        let arm = |(total, bad)| ArmCounts::Proportion { total, bad };
        Sample {
            rule: "errors".to_owned(),
            from: at(from),
            to: at(to),
            canary: arm((1.0, 1.0)),
            stable: arm(stable),
        }
    }

    #[test]
    fn both_arms_are_added_and_no_second_is_counted_twice() {
        let samples = [
            sample(0, 15, (149.0, 0.0)),
            sample(10, 30, (149.0, 1.0)),
            sample(30, 40, (99.0, 0.0)),
        ];
        let samples: Vec<&Sample> = samples.iter().collect();
        let sum = Sum::of(&samples).unwrap();
        assert!((sum.seconds - 40.0).abs() < 1e-9);
        let stream = sum.stream("errors").unwrap();
        assert!((stream.rps - 10.0).abs() < 1e-9);
        assert_eq!(stream.usual, Usual::Errors(0.01));
    }

    #[test]
    fn without_a_request_there_is_no_traffic() {
        assert!(Sum::of(&[]).is_none());
        let mut none = sample(0, 10, (0.0, 0.0));
        none.canary = none.stable.clone();
        assert_eq!(Sum::of(&[&none]).unwrap().stream("errors"), None);
    }
}
