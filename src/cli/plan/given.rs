//! The traffic as it is given by options: a rate, a share of errors, and times by quantiles.
//!
//! Times are spread between the quantiles as a log-normal's would be. Where none are given they are
//! assumed, and that is said. Not here: the traffic that is read (`present`).

use std::sync::Arc;
use std::time::Duration;

use statrs::function::erf::{erf_inv, erfc};

use super::{Known, RuleTraffic};
use crate::cli::subject::Chosen;
use crate::rollout::evidence::{Kind, Settings};
use crate::rollout::forecast::{Stream, Traffic, Usual};
use crate::stats::quantile;

/// Prometheus' default boundaries in seconds, which are those of ingress-nginx too.
const BOUNDARIES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Where nothing is said of the times: the median in seconds ...
const MEDIAN: f64 = 0.06;
/// ... and the deviation of their logarithm.
const DEVIATION: f64 = 0.8;
/// The requests that the assumed shares count for.
const REQUESTS: f64 = 1e6;

/// A share of the requests takes no longer than this.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    share: f64,
    seconds: f64,
}

pub fn rps(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "wanted a number as 100")?;
    if value > 0.0 && value <= 1e7 {
        Ok(value)
    } else {
        Err("wanted more than 0 and at most 10000000 requests a second".to_owned())
    }
}

pub fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| "wanted a duration as 15s")?;
    if (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&time) {
        Ok(time)
    } else {
        Err("wanted 100ms to 10m".to_owned())
    }
}

/// `p99=400ms`.
pub fn quantile(text: &str) -> Result<Quantile, String> {
    let wanted = || "wanted a quantile and its time, as p99=400ms".to_owned();
    let (name, time) = text.trim().split_once('=').ok_or_else(wanted)?;
    let percent = name.trim().strip_prefix('p').ok_or_else(wanted)?;
    let share = percent.parse::<f64>().map_err(|_| wanted())? / 100.0;
    let time = humantime::parse_duration(time.trim()).map_err(|_| wanted())?;
    if share > 0.0 && share < 1.0 && !time.is_zero() {
        let seconds = time.as_secs_f64();
        Ok(Quantile { share, seconds })
    } else {
        Err("wanted a quantile above p0 and below p100, and a time above 0".to_owned())
    }
}

/// The same traffic for all rules.
pub fn traffic(chosen: &Chosen, rps: f64, rate: f64, quantiles: &[Quantile]) -> Known {
    let mut notes = chosen.left_out.clone();
    let mut streams = Vec::new();
    for question in &chosen.terms.evidence.questions {
        let usual = match question.kind {
            Kind::Proportion => Usual::Errors(rate),
            Kind::Latency { .. } => {
                if quantiles.is_empty() {
                    let rule = &question.name;
                    notes.push(format!("{rule}: a median of 60 ms with a tail to 390 ms (p99) is assumed; say the times with --latency"));
                }
                times(quantiles)
            }
            Kind::Events => {
                let rule = &question.name;
                if chosen.pods == 0 {
                    notes.push(format!(
                        "{rule}: how many pods there are is not known, so it is left out here"
                    ));
                    continue;
                }
                notes.push(format!("{rule}: it is assumed that there are usually none"));
                Usual::Events {
                    often: 0.0,
                    pods: chosen.pods,
                }
            }
            // Left out when the Rollout was chosen.
            Kind::Compare { .. } | Kind::Value { .. } | Kind::Load { .. } => continue,
        };
        let rps = if question.kind == Kind::Events {
            0.0
        } else {
            rps
        };
        streams.push(Stream {
            rule: question.name.clone(),
            rps,
            usual,
        });
    }
    let every = chosen.every.as_secs_f64();
    Known {
        traffic: Traffic {
            every,
            pods: chosen.pods,
            streams,
        },
        from: "given".to_owned(),
        notes,
    }
}

/// Times that have these quantiles.
fn times(quantiles: &[Quantile]) -> Usual {
    let mut points: Vec<(f64, f64)> = quantiles.iter().map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 <= b.0);
    if points.is_empty() {
        points.push((MEDIAN.ln(), 0.0));
    }
    let mut below = 0.0;
    let mut counts: Vec<f64> = BOUNDARIES
        .iter()
        .map(|limit| {
            let up_to = share_below(&points, limit.ln()).max(below);
            REQUESTS * (up_to - std::mem::replace(&mut below, up_to))
        })
        .collect();
    counts.push(REQUESTS * (1.0 - below));
    Usual::times(Arc::from(BOUNDARIES), &counts)
}

/// The logarithm of the time, and how many deviations a normal number's quantile is off.
fn point(quantile: &Quantile) -> (f64, f64) {
    let z = std::f64::consts::SQRT_2 * erf_inv(2.0 * quantile.share - 1.0);
    (quantile.seconds.ln(), z)
}

/// The share of times whose logarithm is below `x`: normal between the points and beyond them.
fn share_below(points: &[(f64, f64)], x: f64) -> f64 {
    let usual = 1.0 / DEVIATION;
    let slope = |pair: &[(f64, f64)]| ((pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0)).max(0.0);
    let near = points.partition_point(|point| point.0 < x);
    let at = near.clamp(1, points.len().max(2) - 1);
    let slope = points.get(at - 1..=at).map_or(usual, slope);
    let from = points.get(at - 1).copied().unwrap_or((MEDIAN.ln(), 0.0));
    let z = from.1 + slope * (x - from.0);
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// What a rule sees, for people.
pub fn told(settings: &Settings, stream: &Stream) -> RuleTraffic {
    let question = settings.question(&stream.rule);
    let (rate, seconds) = match (&stream.usual, question.map(|question| question.kind)) {
        (Usual::Errors(rate), _) => (Some(*rate), None),
        (Usual::Times { boundaries, shares }, Some(Kind::Latency { quantile: q })) => {
            let value = quantile::quantile(boundaries, shares, q);
            (None, value.map(|value| value.value))
        }
        (Usual::Times { .. } | Usual::Events { .. }, _) => (None, None),
    };
    let per_hour = match &stream.usual {
        Usual::Events { often, .. } => Some(often * 3600.0),
        Usual::Errors(_) | Usual::Times { .. } => None,
    };
    RuleTraffic {
        rule: stream.rule.clone(),
        rps: stream.rps,
        rate,
        seconds,
        per_hour,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles_of(texts: &[&str], asked: &[f64]) -> Vec<f64> {
        let given: Vec<Quantile> = texts.iter().map(|text| quantile(text).unwrap()).collect();
        let Usual::Times { boundaries, shares } = times(&given) else {
            panic!("no times")
        };
        let value = |q: &f64| quantile::quantile(&boundaries, &shares, *q).unwrap().value;
        asked.iter().map(value).collect()
    }

    #[test]
    fn times_have_the_quantiles_that_were_given() {
        let got = quantiles_of(&["p50=100ms", "p99=1s"], &[0.5, 0.99]);
        assert!(
            (got[0] - 0.1).abs() < 0.001 && (got[1] - 1.0).abs() < 0.01,
            "{got:?}"
        );
        let one = quantiles_of(&["p95=250ms"], &[0.95]);
        assert!((one[0] - 0.25).abs() < 0.001, "{one:?}");
        let none = quantiles_of(&[], &[0.5, 0.99]);
        assert!(
            none[0] > 0.05 && none[0] < 0.08 && none[1] > 0.3 && none[1] < 0.5,
            "{none:?}"
        );
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for refused in [
            rps("0").is_err(),
            rps("many").is_err(),
            time("1ms").is_err(),
            quantile("p100=1s").is_err(),
            quantile("99=1s").is_err(),
            quantile("p50=0s").is_err(),
        ] {
            assert!(refused);
        }
    }
}
