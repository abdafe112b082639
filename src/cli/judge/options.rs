//! The options of `sluice judge`: values as people write them, and what they come to together.
//!
//! Shares are fractions or percentages, times seconds or durations. What is given by itself wins over
//! the rule file, which wins over the preset. Not here: the options' names.

use std::path::Path;

use super::{Arguments, Error, Preset};
use crate::rollout::evidence::judge::{Kinds, Terms};
use crate::rollout::evidence::{Counted, Question};
use crate::rollout::rule::{self, Rule};

/// A fraction or a percentage.
fn fraction(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.trim().parse().map_err(|_| wanted("0.001 or 0.1%"))?;
    Ok(value / unit)
}

fn wanted(what: &str) -> String {
    format!("wanted {what}")
}

fn within(value: f64, fine: bool, what: &str) -> Result<f64, String> {
    if fine { Ok(value) } else { Err(wanted(what)) }
}

/// Above 0 and below 1.
pub(super) fn chance(text: &str) -> Result<f64, String> {
    let value = fraction(text)?;
    within(
        value,
        value > 0.0 && value < 1.0,
        "more than 0 and less than 1",
    )
}

/// From 0 to below 1.
pub(in crate::cli) fn share(text: &str) -> Result<f64, String> {
    let value = fraction(text)?;
    within(
        value,
        (0.0..1.0).contains(&value),
        "0 or more and less than 1",
    )
}

pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let value = text.parse().map_err(|_| wanted("a number as 1.2"))?;
    within(
        value,
        (1.0..=100.0).contains(&value),
        "a number from 1 to 100",
    )
}

pub(super) fn weight(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let value = number.parse().map_err(|_| wanted("a weight as 25"))?;
    within(
        value,
        value > 0.0 && value <= 100.0,
        "more than 0 and at most 100",
    )
}

/// Seconds, 0 or more.
pub(super) fn time(text: &str) -> Result<f64, String> {
    let value = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| wanted("seconds, or a duration as 5s"))?
            .as_secs_f64(),
    };
    within(value, (0.0..=1e9).contains(&value), "0 or more seconds")
}

/// Seconds, at least a thousandth.
pub(super) fn length(text: &str) -> Result<f64, String> {
    let value = time(text)?;
    within(value, value >= 0.001, "a millisecond at least")
}

/// What all options come to.
pub(super) fn terms(arguments: &Arguments) -> Result<Terms, Error> {
    let mut terms = preset(arguments.preset);
    if let Some(file) = &arguments.rule {
        follow(&mut terms, file)?;
    }
    for question in [&mut terms.errors, &mut terms.times] {
        question.ratio = arguments.rho.unwrap_or(question.ratio);
        question.absolute = arguments.delta.unwrap_or(question.absolute);
    }
    terms.events.ratio = arguments.rho.unwrap_or(terms.events.ratio);
    Ok(Terms {
        alpha: arguments.alpha,
        block: arguments.block.unwrap_or(terms.block),
        margin: arguments.blast / (arguments.next_weight / 100.0),
        settle: arguments.settle,
        ..terms
    })
}

fn preset(preset: Preset) -> Terms {
    let mut terms = Terms::default();
    let (ratio, absolute, block) = match preset {
        Preset::Default => (1.2, 0.001, 2.0),
        Preset::Strict => (1.0, 0.0, 2.0),
        Preset::Robust => (1.5, 0.001, 5.0),
    };
    for question in [&mut terms.errors, &mut terms.times] {
        (question.ratio, question.absolute) = (ratio, absolute);
    }
    terms.events.ratio = ratio;
    terms.block = block;
    terms
}

/// Takes the questions of a rule file; then every run has the kinds that it has.
fn follow(terms: &mut Terms, file: &Path) -> Result<(), Error> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    let rules = rule::lint(&text, &name).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Usage(lines.join("\n"))
    })?;
    terms.kinds = Some(kinds(terms, &rules).map_err(|why| Error::Usage(format!("{name}: {why}")))?);
    Ok(())
}

fn kinds(terms: &mut Terms, rules: &[Rule]) -> Result<Kinds, String> {
    let mut kinds = Kinds::default();
    for rule in rules {
        let (there, question) = match &rule.kind {
            rule::Kind::Compare(compare) if compare.higher => {
                kinds.samples = true;
                continue;
            }
            rule::Kind::Events(_) => (&mut kinds.events, &mut terms.events),
            rule::Kind::Compare(_) | rule::Kind::Value(_) | rule::Kind::Load(_) => {
                let why = "no rule for a stream: counts, buckets, events, and samples of which higher ones are worse are judged";
                return Err(format!("{} is {why}", rule.name));
            }
            rule::Kind::Proportion(_) => (&mut kinds.errors, &mut terms.errors),
            rule::Kind::Latency(_) => (&mut kinds.times, &mut terms.times),
        };
        if std::mem::replace(there, true) {
            let why = "a second rule of its kind; a stream has one count of each";
            return Err(format!("{} is {why}", rule.name));
        }
        *question = Question {
            of: Counted::Any,
            max: None,
            ..rule.question()
        };
    }
    if kinds == Kinds::default() {
        return Err("there is no rule".to_owned());
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let near =
            |got: Result<f64, String>, want: f64| assert!((got.unwrap() - want).abs() < 1e-12);
        near(chance("1%"), 0.01);
        near(chance("0.01"), 0.01);
        near(share("0"), 0.0);
        near(ratio("1"), 1.0);
        near(weight("25%"), 25.0);
        near(time("1m"), 60.0);
        near(length("2"), 2.0);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for refused in [
            chance("0"),
            chance("100%"),
            chance("x"),
            share("-1%"),
            ratio("0.9"),
            ratio("NaN"),
            weight("0"),
            time("-1"),
            length("0"),
            length("inf"),
        ] {
            assert!(refused.unwrap_err().starts_with("wanted "));
        }
    }

    #[test]
    fn rules_say_kinds_and_margins() {
        let shipped = include_str!("../../../rules/ingress-nginx.yaml");
        let rules = rule::lint(shipped, "r").unwrap();
        let mut terms = preset(Preset::Strict);
        let found = kinds(&mut terms, &rules).unwrap();
        assert!(found.errors && found.times && !found.samples);
        assert_eq!(
            (terms.errors.name.as_str(), terms.errors.ratio),
            ("error-rate", 1.2)
        );
        let twice = [rules[0].clone(), rules[0].clone()];
        assert!(
            kinds(&mut terms, &twice)
                .unwrap_err()
                .contains("second rule")
        );
        assert!(kinds(&mut terms, &[]).is_err());
    }
}
