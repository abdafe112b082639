//! The plan's figures as people read them: sentences, two tables, warnings, steps to copy.
//!
//! Not here: any figure.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Report, RuleTraffic};
use crate::cli::text::{STRONG, age, count, lines, styled, table};
use crate::rollout::forecast::{
    Forecast, HarmForecast, Outcome, Proposed, RuleForecast, Size, Times,
};
use crate::rollout::plan::Plan;

/// The whole report.
pub(super) fn text(report: &Report, width: Option<u16>) -> String {
    let forecast = &report.forecast;
    let mut out = heading(report);
    let _ = writeln!(out, "{}\n", promise(forecast));
    let _ = writeln!(out, "{}\n", healthy(&forecast.healthy));
    out += &lines(&steps(forecast, width));
    out.push('\n');
    out += &lines(&harms(&forecast.harms, width));
    for note in &report.traffic.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    if let Some(proposal) = &forecast.proposal {
        out += "\nSteps that would show it (spec.strategy.canary):\n";
        out += &yaml(proposal);
    }
    out
}

/// What a promotion excludes, or what a release is held to without shares.
fn promise(forecast: &Forecast) -> String {
    if forecast.limits.is_empty() {
        return forecast.patience.sentence();
    }
    let each: Vec<String> = forecast.limits.iter().map(ToString::to_string).collect();
    format!("With all of the traffic: {}", each.join("; "))
}

fn heading(report: &Report) -> String {
    let name = styled(STRONG, &format!("{}/{}", report.namespace, report.rollout));
    let rules: Vec<String> = report.traffic.rules.iter().map(traffic).collect();
    let (from, every) = (&report.traffic.from, report.traffic.every);
    let pods = report.traffic.pods;
    let rules = rules.join("; ");
    format!("{name}: {rules} (traffic: {from}; a sample each {every:.0} s; {pods} pods)\n")
}

fn traffic(rule: &RuleTraffic) -> String {
    if let Some(per_hour) = rule.per_hour {
        return format!("{} {} an hour of each pod", rule.rule, number(per_hour));
    }
    let usual = match (rule.rate, rule.seconds) {
        (Some(rate), _) => format!("{} bad", percent(rate)),
        (None, Some(seconds)) => short(seconds),
        (None, None) => "times unknown".to_owned(),
    };
    format!("{} {usual} of {} a second", rule.rule, number(rule.rps))
}

fn healthy(outcome: &Outcome) -> String {
    let rest = format!(
        "{} rolled back, {} left to a person",
        percent(outcome.rolled_back),
        percent(outcome.held)
    );
    match outcome.seconds {
        Some(times) => format!(
            "A healthy release is promoted after {} (9 of 10 by {}): {} promoted, {rest}",
            time(times.median),
            time(times.p90),
            percent(outcome.promoted)
        ),
        None => format!("No healthy release is promoted: {rest}"),
    }
}

fn steps(forecast: &Forecast, width: Option<u16>) -> comfy_table::Table {
    let header = [
        "STEP",
        "WEIGHT",
        "HOLD",
        "TAKES",
        "RULE",
        "IN HOLD: 80%",
        "95%",
        "BEFORE IT ENDS: 80%",
        "95%",
    ];
    let mut table = table(&header, width);
    for (at, step) in forecast.steps.iter().enumerate() {
        for rule in &step.rules {
            let size = |found: Option<Size>| found.map_or("-".to_owned(), size);
            table.add_row(vec![
                format!("{}", at + 1),
                format!("{}%", step.weight),
                time(step.hold),
                step.spent
                    .map_or("-".to_owned(), |spent| time(spent.median)),
                rule.rule.clone(),
                size(rule.in_hold.p80),
                size(rule.in_hold.p95),
                size(rule.in_time.p80),
                size(rule.in_time.p95),
            ]);
        }
    }
    table
}

fn harms(harms: &[HarmForecast], width: Option<u16>) -> comfy_table::Table {
    let header = [
        "A BAD RELEASE",
        "",
        "ROLLED BACK",
        "AFTER",
        "9 OF 10 BY",
        "PROMOTED",
        "LEFT TO A PERSON",
        "EXTRA BAD ANSWERS",
    ];
    let mut table = table(&header, width);
    for harm in harms {
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
        table.add_row(vec![
            harm.rule.clone(),
            told,
            percent(outcome.rolled_back),
            at(|times| times.median),
            at(|times| times.p90),
            percent(outcome.promoted),
            percent(outcome.held),
            harm.extra_bad.map_or("-".to_owned(), count),
        ]);
    }
    table
}

/// The steps as they stand in a Rollout.
pub fn yaml(steps: &[Proposed]) -> String {
    let mut out = "steps:\n".to_owned();
    for step in steps {
        let _ = write!(out, "  - {{weight: {}", step.weight);
        if let Some(hold) = &step.hold {
            let _ = write!(out, ", hold: {hold}");
        }
        out += if step.approval {
            ", approval: true}\n"
        } else {
            "}\n"
        };
    }
    out
}

/// What people should know before they rely on the plan.
pub fn warnings(plan: &Plan, forecast: &Forecast) -> Vec<String> {
    let mut all = Vec::new();
    for (at, (step, forecast)) in plan.steps.iter().zip(&forecast.steps).enumerate() {
        let name = format!("step {} ({}%)", at + 1, step.weight);
        all.extend(forecast.rules.iter().filter_map(|rule| blind(&name, rule)));
    }
    let within = plan.analysis.within;
    let promoted = forecast.healthy.promoted;
    if promoted < 0.9 {
        all.push(format!(
            "only {} of the healthy releases are promoted",
            percent(promoted)
        ));
    }
    if let Some(times) = forecast.healthy.seconds
        && times.p90 > within.as_secs_f64() * 1.1
        && promoted >= 0.9
    {
        all.push(format!(
            "9 of 10 healthy releases need up to {}, more than analysis.within ({})",
            time(times.p90),
            humantime::format_duration(within)
        ));
    }
    let blind = |step: &&crate::rollout::forecast::StepForecast| {
        step.rules.first().is_some_and(|rule| !rule.shows)
    };
    if forecast.proposal.is_none() && forecast.steps.iter().any(|step| blind(&step)) {
        all.push(format!(
            "at this traffic no steps would show it within analysis.within ({})",
            humantime::format_duration(within)
        ));
    }
    all
}

fn blind(step: &str, rule: &RuleForecast) -> Option<String> {
    if rule.shows {
        return None;
    }
    let (name, seconds) = (&rule.rule, time(rule.in_time.seconds));
    let found = match rule.in_time.p80 {
        None => format!(
            "{step} shows nothing by {name} in its {seconds}: not even half of the canary's answers bad, all 20 times as slow, or each pod hit every second, would be found"
        ),
        Some(found) if size(found) == size(rule.reference) => format!(
            "{step} shows little by {name} in its {seconds}: it finds {} with a little less than 80% probability",
            size(found)
        ),
        Some(found) => format!(
            "{step} shows little by {name} in its {seconds}: with 80% probability it finds {}, not {}",
            size(found),
            size(rule.reference)
        ),
    };
    Some(match rule.to_show {
        Some(needed) => format!("{found}; that takes {} at this weight", time(needed)),
        None => found,
    })
}

pub(in crate::cli) fn size(size: Size) -> String {
    if let Some(per_hour) = size.per_hour {
        return format!("{} an hour of each pod", number(per_hour));
    }
    match (size.ratio, size.rate) {
        (Some(ratio), Some(rate)) => format!("{} ({})", times(ratio), percent(rate)),
        (Some(ratio), None) => format!("{} as slow", times(ratio)),
        (None, Some(rate)) => percent(rate),
        (None, None) => "-".to_owned(),
    }
}

fn times(ratio: f64) -> String {
    match ratio {
        r if (r - r.round()).abs() < 0.05 && r < 10.0 => format!("{r:.0}x"),
        r if r < 10.0 => format!("{r:.1}x"),
        r => format!("{}x", count(r)),
    }
}

pub(in crate::cli) fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p <= 0.0 => "0%".to_owned(),
        p if p >= 99.95 => "100%".to_owned(),
        p if p < 0.095 => format!("{p:.3}%"),
        p if p < 9.95 => format!("{p:.2}%"),
        p => format!("{p:.1}%"),
    }
}

fn number(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        count(value)
    }
}

pub(in crate::cli) fn time(seconds: f64) -> String {
    age(Duration::from_secs_f64(seconds.clamp(0.0, 1e9).round()))
}

fn short(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harms_are_told_by_their_ratio_and_rate() {
        let rate = |ratio, rate| {
            size(Size {
                ratio,
                rate,
                per_hour: None,
            })
        };
        assert_eq!(rate(Some(2.0), Some(0.002)), "2x (0.20%)");
        assert_eq!(rate(Some(36.4), Some(0.0364)), "36x (3.64%)");
        assert_eq!(rate(None, Some(0.05)), "5.00%");
        assert_eq!(rate(Some(1.51), None), "1.5x as slow");
    }

    #[test]
    fn proposed_steps_can_be_copied() {
        let step = |weight, hold: Option<&str>, approval| Proposed {
            weight,
            hold: hold.map(str::to_owned),
            approval,
        };
        let steps = [step(10, Some("3m"), false), step(50, None, true)];
        let wanted = "steps:\n  - {weight: 10, hold: 3m}\n  - {weight: 50, approval: true}\n";
        assert_eq!(yaml(&steps), wanted);
    }
}
