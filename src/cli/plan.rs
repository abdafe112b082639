//! `sluice plan ROLLOUT`: what its steps can show at the present traffic, before a release is tried.
//!
//! The traffic is read as the daemon reads it, from Prometheus or the metrics pages, or given by
//! options. What follows from it is played on the daemon's own evidence (`rollout::forecast`).
//!
//! Not here: the playing, and which Rollout is meant (`subject`).

mod given;
mod present;
pub(super) mod text;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::subject::Which;
use super::{Error, Global, Screen};
use crate::rollout::forecast::{Effort, Forecast, Traffic, forecast};
use given::Quantile;

/// Ticks that a story may take, to a run: enough for figures within a tenth.
const TICKS_A_RUN: u64 = 250;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Requests a second, instead of asking the metrics
    #[arg(long, value_name = "NUMBER", value_parser = given::rps, requires = "error_rate")]
    rps: Option<f64>,
    /// The usual share of bad requests: 0.001 or 0.1%
    #[arg(long, value_name = "SHARE", value_parser = super::judge::options::share, requires = "rps")]
    error_rate: Option<f64>,
    /// The usual times by quantiles, as p50=60ms,p99=400ms
    #[arg(long, value_name = "QUANTILES", value_delimiter = ',', value_parser = given::quantile, requires = "rps")]
    latency: Vec<Quantile>,
    /// The time between two samples [default: as the settings say, or as it is seen]
    #[arg(long, value_name = "TIME", value_parser = given::time)]
    every: Option<Duration>,
    /// How far back the present traffic is read
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = present::window)]
    window: Duration,
    /// Runs that are played of each story at most
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    runs: u64,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Code 1 where there is a warning
    #[arg(long)]
    check: bool,
}

/// All that is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespace: String,
    rollout: String,
    traffic: Told,
    #[serde(flatten)]
    forecast: Forecast,
    warnings: Vec<String>,
}

/// The traffic, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    /// Where it was read, or that it was given.
    from: String,
    /// Seconds between two samples.
    every: f64,
    /// Pods of the Deployment.
    pods: u32,
    rules: Vec<RuleTraffic>,
    /// What was taken for granted, or is missing.
    notes: Vec<String>,
}

/// What one rule sees.
#[derive(Debug, Serialize)]
struct RuleTraffic {
    rule: String,
    rps: f64,
    /// The usual share of bad requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// The rule's quantile in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Events an hour and pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_hour: Option<f64>,
}

/// The traffic and how it is known.
struct Known {
    traffic: Traffic,
    from: String,
    notes: Vec<String>,
}

/// Prints what the plan can show.
pub async fn plan(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    let chosen = arguments.which.choose(global).await?;
    let mut known = match (arguments.rps, arguments.error_rate) {
        (Some(rps), Some(rate)) => given::traffic(&chosen, rps, rate, &arguments.latency),
        _ => present::traffic(&chosen, arguments.window).await?,
    };
    if let Some(every) = arguments.every {
        known.traffic.every = every.as_secs_f64();
    }
    let terms = &chosen.terms;
    let effort = Effort {
        runs: arguments.runs,
        ticks: arguments.runs * TICKS_A_RUN,
        seed: arguments.seed,
    };
    let forecast = forecast(&terms.plan, &terms.evidence, &known.traffic, effort);
    let report = Report {
        namespace: terms.plan.namespace.clone(),
        rollout: terms.plan.name.clone(),
        traffic: told(&chosen.terms.evidence, known),
        warnings: text::warnings(&terms.plan, &forecast),
        forecast,
    };
    let width = screen.width();
    screen.value(&report, |report| text::text(report, width))?;
    match report.warnings.len() {
        count if arguments.check && count > 0 => Err(Error::Problems(match count {
            1 => "1 warning".to_owned(),
            count => format!("{count} warnings"),
        })),
        _ => Ok(()),
    }
}

fn told(settings: &crate::rollout::evidence::Settings, known: Known) -> Told {
    let rules = known.traffic.streams.iter();
    Told {
        from: known.from,
        every: known.traffic.every,
        pods: known.traffic.pods,
        rules: rules.map(|stream| given::told(settings, stream)).collect(),
        notes: known.notes,
    }
}
