//! The metrics task: each tick reads for every Rollout on the watchlist at once, and reloads the
//! rules when their files changed.
//!
//! Nothing is asked while no Rollout has evidence to gather.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::context::Context;
use super::load::Loads;
use super::queue::Key;
use super::rules::{Reload, Rules};
use crate::clock::elapsed;
use crate::prometheus::{self, Reading, Readings, Source};
use crate::web::{Check, Readiness};

/// Time between two looks at the rule files.
const RULES_EVERY: Duration = Duration::from_secs(5);

/// Reads metrics for ever.
pub async fn metrics(
    context: Context,
    (mut source, mut loads): (Source, Loads),
    kind: &'static str,
    fresh: mpsc::UnboundedSender<Key>,
    ready: Readiness,
) {
    let mut said = Said::Nothing;
    loop {
        context.clock.sleep(context.timing.every).await;
        let wanted = context.watchlist.wanted();
        let epochs: BTreeMap<_, _> = wanted.iter().map(|w| (w.subject.key(), w.epoch)).collect();
        let subjects: Vec<_> = wanted.into_iter().map(|wanted| wanted.subject).collect();
        loads.follow(&subjects);
        if subjects.is_empty() {
            continue;
        }
        let began = context.clock.now();
        let mut readings = source.read(&subjects, began).await;
        loads.hand_in(&mut readings);
        let took = elapsed(began, context.clock.now());
        let absent = readings.values().find_map(|reading| reading.absent.clone());
        context
            .metrics
            .source_read(kind, if absent.is_some() { "absent" } else { "ok" }, took);
        tell_source(&ready, &mut said, absent, began);
        for (key, reading) in by_suspicion(readings) {
            for problem in &reading.problems {
                tracing::debug!(
                    namespace = key.namespace,
                    rollout = key.name,
                    problem,
                    "metrics"
                );
            }
            let epoch = epochs.get(&key).copied().unwrap_or_default();
            let name = (key.namespace.clone(), key.name.clone());
            if context.watchlist.hand_in(&key, epoch, reading) && fresh.send(name).is_err() {
                return;
            }
        }
    }
}

/// The worst first: a weight that must fall waits for no other Rollout's pass.
fn by_suspicion(readings: Readings) -> impl Iterator<Item = (prometheus::Key, Reading)> {
    let with = |(key, reading): (_, Reading)| (reading.suspicion(), key, reading);
    let mut all: Vec<_> = readings.into_iter().map(with).collect();
    all.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    all.into_iter().map(|(_, key, reading)| (key, reading))
}

/// What was told of the source last.
#[derive(Debug, PartialEq)]
enum Said {
    Nothing,
    /// That it is well, or why it is not.
    Told(Option<String>),
}

/// Notes each look at the source; says a change of its state once.
fn tell_source(ready: &Readiness, said: &mut Said, absent: Option<String>, at: Timestamp) {
    let now = Said::Told(absent.clone());
    let news = *said != now;
    let check = if let Some(why) = absent {
        if news {
            tracing::warn!(why, "metrics are absent");
        }
        Check::Bad(why)
    } else {
        if news && *said != Said::Nothing {
            tracing::info!("metrics are read again");
        }
        Check::Good("were read".to_owned())
    };
    ready.looked("metrics", check, at);
    *said = now;
}

/// Reloads the rules for ever; each change touches every Rollout.
pub async fn rules(context: Context, mut rules: Rules, changed: mpsc::UnboundedSender<()>) {
    loop {
        context.clock.sleep(RULES_EVERY).await;
        match rules.reload() {
            Reload::Unchanged => {}
            Reload::Loaded { changed: names } => {
                context.metrics.rules_reloaded("loaded");
                tracing::info!(rules = names.join(", "), "rules were reloaded");
                *context
                    .rules
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = rules.all().clone();
                if changed.send(()).is_err() {
                    return;
                }
            }
            Reload::Refused(problems) => {
                context.metrics.rules_reloaded("refused");
                for problem in problems {
                    tracing::error!(%problem, "rules were refused; the last good ones stay in force");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::evidence::{ArmCounts, Sample};

    fn reading(canary: ArmCounts, stable: ArmCounts) -> Reading {
        let sample = Sample {
            rule: "any".to_owned(),
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            canary,
            stable,
        };
        Reading {
            samples: vec![sample],
            ..Reading::default()
        }
    }

    #[test]
    fn what_looks_worst_is_looked_at_first() {
        let answers = |total, bad| ArmCounts::Proportion { total, bad };
        let times = |quick, slow| ArmCounts::Buckets {
            boundaries: [0.1].into(),
            counts: vec![quick, slow],
        };
        let all = [
            ("a-nothing-read", Reading::default()),
            (
                "b-as-bad-as-stable",
                reading(answers(50.0, 5.0), answers(950.0, 95.0)),
            ),
            (
                "c-one-of-one",
                reading(answers(1.0, 1.0), answers(99.0, 0.0)),
            ),
            ("d-slow", reading(times(10.0, 10.0), times(190.0, 10.0))),
            (
                "e-all-bad",
                reading(answers(50.0, 50.0), answers(950.0, 0.0)),
            ),
        ];
        let named = all.map(|(name, reading)| {
            let (namespace, name) = ("shop".to_owned(), name.to_owned());
            (prometheus::Key { namespace, name }, reading)
        });
        let order: Vec<_> = by_suspicion(named.into())
            .map(|(key, _)| key.name)
            .collect();
        let wanted = [
            "e-all-bad",
            "d-slow",
            "c-one-of-one",
            "a-nothing-read",
            "b-as-bad-as-stable",
        ];
        assert_eq!(order, wanted);
    }
}
