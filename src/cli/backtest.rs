//! `sluice backtest ROLLOUT --since 14d`: what the rules would have said about what was.
//!
//! History is read from Prometheus by the rules' own queries and cut into pseudo-releases
//! (`rollout::backtest`): healthy ones, which should pass, and harmed ones, which should not.
//!
//! Not here: the cutting and playing, and which Rollout is meant (`subject`).

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::plan::text::{percent, size, time};
use super::subject::Which;
use super::text::{STRONG, count, lines, styled, table};
use super::{Error, Global, Screen};
use crate::clock::Clock;
use crate::prometheus;
use crate::rollout::backtest::{Backtest, Effort, HarmBacktest, History, RuleBacktest, backtest};
use crate::rollout::forecast::Times;
use crate::rollout::plan::Strategy;

/// How sure it must be that false rollbacks are too many before that is a failure.
const SURE: f64 = 0.01;
/// The part of a harm that should be found.
const FOUND: f64 = 0.8;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// How far back history is read
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = span)]
    since: Duration,
    /// Pseudo-releases at most, of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    runs: u64,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Code 1 where there is a warning
    #[arg(long)]
    check: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|_| "wanted a duration as 14d")?;
    if (Duration::from_secs(120)..=Duration::from_secs(400 * 86_400)).contains(&span) {
        Ok(span)
    } else {
        Err("wanted 2m to 400d".to_owned())
    }
}

/// All that is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespace: String,
    rollout: String,
    source: String,
    #[serde(flatten)]
    backtest: Backtest,
    warnings: Vec<String>,
}

/// Prints what the rules would have said.
pub async fn run(global: &Global, screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let chosen = arguments.which.choose(global).await?;
    let found = match chosen.terms.plan.strategy {
        Strategy::Canary => None,
        Strategy::BlueGreen { .. } => Some("blueGreen"),
        Strategy::Rolling { .. } => Some("rolling"),
    };
    if let Some(found) = found {
        let told = format!(
            "spec.strategy: found {found}, wanted canary: without shares there is no second arm, \
             which a backtest plays; `sluice plan` says what can be shown against what was before"
        );
        return Err(Error::Usage(told));
    }
    let (mut source, place) = chosen.source()?;
    if !place.looks_back {
        let found = "evidence.scrape: found metrics pages, which know nothing of what was; \
                     wanted a Prometheus server: give --prometheus URL";
        return Err(Error::Usage(found.to_owned()));
    }
    let now = Clock::machine().now();
    let back = SignedDuration::try_from(arguments.since).unwrap_or(SignedDuration::MAX);
    let since = now.checked_sub(back).unwrap_or(Timestamp::MIN);
    let subject = chosen.subject(since)?;
    let history = source
        .history(&subject, now, progress("reading history"))
        .await
        .map_err(|error| Error::Refused(format!("cannot read history: {error}")))?;
    let effort = Effort {
        runs: arguments.runs,
        seed: arguments.seed,
        pods: chosen.pods,
    };
    let (plan, settings) = (&chosen.terms.plan, &chosen.terms.evidence);
    let notes = notes(&history);
    let samples = History::new(history.samples);
    let told = progress("playing releases");
    let Some(backtest) = backtest(plan, settings, &samples, effort, told) else {
        let why = history
            .absent
            .unwrap_or_else(|| "too little was counted".to_owned());
        return Err(Error::Refused(format!(
            "nothing to play releases on: {why}"
        )));
    };
    let mut warnings = warnings(plan.analysis.false_rollback_rate, &backtest);
    warnings.extend(notes);
    warnings.extend(chosen.left_out.clone());
    let report = Report {
        namespace: plan.namespace.clone(),
        rollout: plan.name.clone(),
        source: place.name,
        backtest,
        warnings,
    };
    let width = screen.width();
    screen.value(&report, |report| text(report, width))?;
    match report.warnings.len() {
        count if arguments.check && count > 0 => {
            let s = if count == 1 { "" } else { "s" };
            Err(Error::Problems(format!("{count} warning{s}")))
        }
        _ => Ok(()),
    }
}

/// Tells on a terminal how far it is, on one line of stderr.
fn progress(what: &'static str) -> impl FnMut(f64) {
    let live = std::io::stderr().is_terminal();
    let mut last = -1;
    move |part| {
        let percent = (part * 100.0) as i32;
        if live && percent != last {
            last = percent;
            anstream::eprint!("\r{what}: {percent}%");
            if part >= 1.0 {
                anstream::eprint!("\r\x1b[K");
            }
        }
    }
}

fn notes(history: &prometheus::History) -> Vec<String> {
    let all = history.problems.iter().chain(&history.absent);
    all.map(|problem| format!("history: {problem}")).collect()
}

fn warnings(alpha: f64, backtest: &Backtest) -> Vec<String> {
    let mut all = Vec::new();
    let healthy = &backtest.healthy;
    let false_ones = (healthy.rolled_back * healthy.runs as f64).round();
    if false_ones > 0.0 && chance_of(false_ones, healthy.runs as f64 * alpha) < SURE {
        all.push(format!(
            "{} of {} healthy releases would have been rolled back, more than falseRollbackRate ({}) explains",
            count(false_ones),
            healthy.runs,
            percent(alpha)
        ));
    }
    if healthy.runs > 0 && healthy.promoted < 0.9 {
        all.push(format!(
            "only {} of the healthy releases would have been promoted",
            percent(healthy.promoted)
        ));
    }
    if healthy.runs == 0 {
        all.push(
            "no release came to its end before the history did: read more of it with --since"
                .to_owned(),
        );
    }
    for rule in &backtest.rules {
        let last = rule
            .harms
            .iter()
            .rfind(|harm| !harm.tolerated && harm.outcome.runs > 0);
        if let Some(harm) = last
            && harm.outcome.rolled_back < FOUND
        {
            all.push(format!(
                "{}: of releases with {} only {} would have been rolled back",
                rule.rule,
                size(harm.size),
                percent(harm.outcome.rolled_back)
            ));
        }
    }
    all
}

/// The probability of so many or more, where `mean` are expected (Poisson).
fn chance_of(found: f64, mean: f64) -> f64 {
    let (mut term, mut below) = ((-mean).exp(), 0.0);
    for n in 0..found as u64 {
        below += term;
        term *= mean / (n + 1) as f64;
    }
    1.0 - below
}

fn text(report: &Report, width: Option<u16>) -> String {
    let backtest = &report.backtest;
    let name = format!("{}/{}", report.namespace, report.rollout);
    let (from, to) = (second(backtest.from), second(backtest.to));
    let mut out = format!(
        "{}: {from} to {to}, {}\n",
        styled(STRONG, &name),
        report.source
    );
    out += "Each request goes to a pseudo-canary with the probability of the weight in force; harm is added to its part.\n\n";
    let _ = writeln!(out, "{}\n", healthy(backtest));
    out += &lines(&rules(&backtest.rules, width));
    for warning in &report.warnings {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    out
}

fn second(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

fn healthy(backtest: &Backtest) -> String {
    let healthy = &backtest.healthy;
    let after = healthy.seconds.map_or(String::new(), |times| {
        format!(
            " after {} (9 of 10 by {})",
            time(times.median),
            time(times.p90)
        )
    });
    let cut = match backtest.cut_off {
        0 => String::new(),
        cut => format!("; {cut} more were cut off"),
    };
    format!(
        "{} healthy releases: {} promoted{after}, {} rolled back, {} left to a person{cut}",
        healthy.runs,
        percent(healthy.promoted),
        percent(healthy.rolled_back),
        percent(healthy.held)
    )
}

fn rules(rules: &[RuleBacktest], width: Option<u16>) -> comfy_table::Table {
    let header = [
        "RULE",
        "REQUESTS",
        "USUALLY BAD",
        "RELEASES",
        "",
        "ROLLED BACK",
        "AFTER",
        "9 OF 10 BY",
        "EXTRA BAD ANSWERS",
    ];
    let mut table = table(&header, width);
    for rule in rules {
        let an_hour = |often: f64| format!("{often:.1} an hour and pod");
        let usual = rule.rate.map(percent).or(rule.per_hour.map(an_hour));
        let usual = usual.unwrap_or_else(|| "-".to_owned());
        table.add_row(vec![
            rule.rule.clone(),
            count(rule.requests),
            usual,
            String::new(),
            "healthy".to_owned(),
            count(rule.false_rollbacks as f64),
        ]);
        for harm in &rule.harms {
            table.add_row(row(rule, harm));
        }
    }
    table
}

fn row(rule: &RuleBacktest, harm: &HarmBacktest) -> Vec<String> {
    let outcome = &harm.outcome;
    let at = |pick: fn(&Times) -> f64| {
        let seconds = outcome.seconds.as_ref().map(pick);
        seconds.map_or("-".to_owned(), time)
    };
    let told = if harm.tolerated {
        format!("{} (tolerated)", size(harm.size))
    } else {
        size(harm.size)
    };
    vec![
        rule.rule.clone(),
        String::new(),
        String::new(),
        count(outcome.runs as f64),
        told,
        percent(outcome.rolled_back),
        at(|times| times.median),
        at(|times| times.p90),
        harm.extra_bad.map_or("-".to_owned(), count),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_false_rollback_of_a_hundred_is_what_was_agreed_on() {
        assert!(chance_of(1.0, 1.0) > 0.6);
        assert!(chance_of(6.0, 1.0) < 0.001);
        assert!((chance_of(0.0, 3.0) - 1.0).abs() < 1e-12);
    }
}
