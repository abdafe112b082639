//! One run: how it stands or ended, its numbers, its curves, and what was decided when.
//!
//! The same parts make the live page, the page of a past run and the report that stands alone.
//! Not here: buttons and the list of runs.

use jiff::Timestamp;
use maud::{Markup, html};

use super::chart::{Chart, Line, ceiling};
use super::frame;
use super::words::{class_of, clock, count, moment, percent, sentence, share, spaced, span};
use crate::history::{Curve, Record, Told};
use crate::kubernetes::crd::{GitPoint, GitStatus, RevisionStatus, RuleStatus, besides};
use crate::rollout::revision::short;

/// Lines of rates have at most so many points: fewer would hide a burst, more would show chance.
const RATES: usize = 60;

/// A report of a run that needs nothing but itself.
pub fn report(record: &Record) -> Markup {
    let summary = &record.summary;
    let title = format!(
        "{}/{}: run {}",
        summary.namespace, summary.name, summary.run
    );
    frame::alone(&title, &past(record))
}

/// A run that ended (or was broken off).
pub fn past(record: &Record) -> Markup {
    let summary = &record.summary;
    let outcome = summary.outcome.as_deref().unwrap_or("Goes on");
    let tone = class_of(outcome);
    let ended = summary.ended.unwrap_or(summary.started);
    html! {
        section class={ "banner " (tone) } aria-label="Outcome" {
            h1 { (summary.namespace) "/" (summary.name) }
            p.state { strong { (spaced(outcome)) } @if summary.reason != outcome && !summary.reason.is_empty() { " · " (spaced(&summary.reason)) } }
            p { (sentence(&summary.message)) }
        }
        dl.facts {
            dt { "Environment" } dd { (summary.environment) }
            dt { "Run" } dd { code { (summary.run) } }
            dt { "Began" } dd { (moment(summary.started)) " UTC" }
            @if let Some(ended) = summary.ended {
                dt { "Ended" } dd { (moment(ended)) " UTC, after " (span(summary.started, ended)) }
            }
            dt { "Tried" } dd { (revision(&summary.revision)) }
            (author(record.git.as_ref().and_then(|git| git.bad.as_ref()), &record.authors))
            @if let Some(stable) = &record.stable { dt { "Stable" } dd { (revision(stable)) } }
            dt { "Greatest weight" } dd { (summary.peak) "%" }
            @if let Some(saved) = record.saved { dt { "Saved" } dd { (saved) " bad answers, by stepping down early" } }
        }
        @if let Some(git) = &record.git { (commits(git)) }
        (rules(&record.rules))
        (charts(&record.curve, ended))
        (decisions(&record.decisions))
    }
}

/// A revision: its images, and its hash.
pub fn revision(revision: &RevisionStatus) -> Markup {
    html! {
        @for image in &revision.images { code { (image) } " " }
        code.faint title=(revision.hash) { (short(&revision.hash)) }
    }
}

/// Whom the workload names as those who made the change, and the commit does not.
pub fn author(commit: Option<&GitPoint>, said: &[String]) -> Markup {
    let authors = besides(commit, said);
    html! { @if !authors.is_empty() { dt { "Author" } dd { (authors.join(", ")) } } }
}

/// The commits behind the templates, and what was done in Git.
pub fn commits(git: &GitStatus) -> Markup {
    html! {
        dl.facts {
            @if let Some(good) = &git.good { dt { "Stable's commit" } dd { (commit(good)) } }
            @if let Some(bad) = &git.bad { dt { "Tried commit" } dd { (commit(bad)) } }
            @if let Some(remedy) = &git.remedy {
                dt { "In Git" }
                dd {
                    (spaced(&remedy.outcome)) ": " (remedy.message)
                    @if let Some(commit) = &remedy.commit { " " code { (commit) } }
                    @if let Some(applied) = &remedy.applied { ", applied at " (clock(applied.0)) " UTC" }
                }
            }
        }
    }
}

/// A commit, and who wrote it.
fn commit(point: &GitPoint) -> Markup {
    html! {
        code { (point.commit) }
        @if let Some(by) = point.by() { " by " (by) }
    }
}

/// Each rule's verdict, both arms' counts and the evidence against its bound.
pub fn rules(rules: &[RuleStatus]) -> Markup {
    html! {
        @if !rules.is_empty() {
            section aria-labelledby="rules" {
                h2 #rules { "Evidence" }
                div.scroll tabindex="0" role="region" aria-labelledby="rules" {
                    table {
                        thead { tr {
                            th scope="col" { "Rule" } th scope="col" { "Verdict" }
                            th.number scope="col" { "Canary" } th.number scope="col" { "Stable" }
                            th.wide scope="col" { "Worse" } th.wide scope="col" { "Not worse" }
                        } }
                        tbody { @for rule in rules { (row(rule)) } }
                    }
                }
                @for rule in rules { p.sentence { strong { (rule.name) } ": " (rule.sentence) } }
            }
        }
    }
}

fn row(rule: &RuleStatus) -> Markup {
    let tone = class_of(&rule.verdict);
    let arm = |bad: f64, total: f64| {
        if rule.pods {
            let minutes = format!("in {} minutes of pods", count((total / 60.0).round()));
            return html! { td.number { strong { (count(bad)) } br; span.faint { (minutes) } } };
        }
        html! { td.number { strong { (share(bad, total)) } br; span.faint { (count(bad)) " of " (count(total)) } } }
    };
    html! {
        tr {
            th scope="row" { (rule.name) }
            td { span class={ "badge " (tone) } { (spaced(&rule.verdict)) } }
            (arm(rule.canary_bad, rule.canary_total))
            (arm(rule.stable_bad, rule.stable_total))
            td.wide { (meter(rule.exact.min(rule.block), rule.bound, "worse")) }
            td.wide { (meter(rule.not_worse, rule.not_worse_bound, "notworse")) }
        }
    }
}

/// How far a value has come towards its bound.
pub fn meter(value: f64, bound: f64, class: &str) -> Markup {
    let part = if bound > 0.0 { value / bound } else { 0.0 };
    let width = (part.clamp(0.0, 1.0) * 100.0).round();
    html! {
        svg class={ "meter " (class) } aria-hidden="true" { rect width={ (width) "%" } height="8" {} }
        span.faint { (format!("{:.1} of {:.1}", value.max(0.0), bound)) }
    }
}

/// The curves: weight, and for each rule both arms' rates and the evidence.
pub fn charts(curve: &Curve, until: Timestamp) -> Markup {
    let charts = all(curve, until.as_millisecond());
    html! {
        @if !charts.is_empty() {
            section aria-labelledby="curves" {
                h2 #curves { "Over time " small { "UTC" } }
                div.charts { @for chart in charts { (chart.html()) } }
            }
        }
    }
}

fn all(curve: &Curve, until: i64) -> Vec<Chart> {
    let (Some(first), Some(last)) = (curve.at.first(), curve.at.last()) else {
        return Vec::new();
    };
    let range = (*first, until.max(*last));
    let mut charts = vec![weight(curve, range)];
    for index in 0..curve.rules.len() {
        charts.extend(rates(curve, index, range));
        charts.extend(evidence(curve, index, range));
    }
    charts
}

fn weight(curve: &Curve, (from, to): (i64, i64)) -> Chart {
    let mut points: Vec<(i64, f64)> = curve
        .at
        .iter()
        .copied()
        .zip(curve.weight.iter().map(|w| f64::from(*w)))
        .collect();
    if let Some((_, last)) = points.last().copied() {
        points.push((to, last));
    }
    Chart {
        title: "Weight".to_owned(),
        told: format!("at most {}%", curve.peak()),
        from,
        to,
        top: 100.0,
        marks: 100.0,
        unit: |value| format!("{value:.0}%"),
        lines: vec![Line {
            class: "weight",
            label: "share of the requests".to_owned(),
            points,
            steps: true,
        }],
    }
}

/// Both arms' shares of bad requests, each over some of the curve's points.
fn rates(curve: &Curve, index: usize, (from, to): (i64, i64)) -> Option<Chart> {
    let rule = &curve.rules[index];
    let canary = rate_line(curve, index, 0);
    let stable = rate_line(curve, index, 2);
    let values = canary.iter().chain(&stable).map(|(_, value)| *value);
    let top = values.fold(f64::NAN, f64::max);
    if top.is_nan() {
        return None;
    }
    let line = |class, label: &str, points| Line {
        class,
        label: label.to_owned(),
        points,
        steps: false,
    };
    Some(Chart {
        title: format!("{}: bad requests", rule.name),
        told: format!("at most {} of either arm's", percent(top)),
        from,
        to,
        top: ceiling(top.max(0.001)),
        marks: ceiling(top.max(0.001)),
        unit: percent,
        lines: vec![
            line("stable", "stable", stable),
            line("canary", "canary", canary),
        ],
    })
}

/// Bad of all between points that are far enough apart; counters that fell began anew.
fn rate_line(curve: &Curve, index: usize, arm: usize) -> Vec<(i64, f64)> {
    let values = &curve.rules[index].values;
    let stride = curve.len().div_ceil(RATES).max(1);
    let mut line = Vec::new();
    let mut before = [0.0, 0.0];
    for point in
        (0..curve.len()).filter(|point| (point + 1) % stride == 0 || point + 1 == curve.len())
    {
        let now = [
            f64::from(values[point][arm]),
            f64::from(values[point][arm + 1]),
        ];
        let (total, bad) = (now[0] - before[0], now[1] - before[1]);
        if total > 0.0 && bad >= 0.0 {
            line.push((curve.at[point], (bad / total).min(1.0)));
        }
        before = now;
    }
    line
}

/// The evidence as a part of what it must reach; none where there is none.
fn evidence(curve: &Curve, index: usize, (from, to): (i64, i64)) -> Option<Chart> {
    let rule = &curve.rules[index];
    let line = |column: usize, bound: f32| {
        let part = |value: f32| {
            if bound > 0.0 {
                f64::from(value / bound).clamp(0.0, 1.25)
            } else {
                0.0
            }
        };
        let parts = rule.values.iter().map(|values| part(values[column]));
        curve.at.iter().copied().zip(parts).collect::<Vec<_>>()
    };
    let worse = line(4, rule.bound);
    let not_worse = line(5, rule.not_worse_bound);
    let most = |line: &[(i64, f64)]| line.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if most(&worse).max(most(&not_worse)) <= 0.0 {
        return None;
    }
    Some(Chart {
        title: format!("{}: evidence", rule.name),
        told: format!(
            "for worse it came to {} of its bound, for not worse to {}",
            percent(most(&worse)),
            percent(most(&not_worse))
        ),
        from,
        to,
        top: 1.25,
        marks: 1.0,
        unit: |value| format!("{:.0}%", value * 100.0),
        lines: vec![
            Line {
                class: "bound",
                label: "bound".to_owned(),
                points: vec![(from, 1.0), (to, 1.0)],
                steps: false,
            },
            Line {
                class: "notworse",
                label: "not worse".to_owned(),
                points: not_worse,
                steps: false,
            },
            Line {
                class: "worse",
                label: "worse".to_owned(),
                points: worse,
                steps: false,
            },
        ],
    })
}

/// What was told, newest first.
pub fn decisions(decisions: &[Told]) -> Markup {
    html! {
        @if !decisions.is_empty() {
            section aria-labelledby="timeline" {
                h2 #timeline { "Timeline " small { "UTC" } }
                ol.timeline {
                    @for told in decisions.iter().rev() {
                        li.warns[told.warns] {
                            time datetime=(told.at) { (clock(told.at)) }
                            strong { (spaced(&told.reason)) }
                            span { (sentence(&told.message)) }
                        }
                    }
                }
            }
        }
    }
}
