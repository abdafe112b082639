//! What a run comes to: the verdict, when and after how many requests, and the numbers behind it.
//!
//! The sentence is the one that a status or an Event would have. Numbers are those after the newest
//! tick, as if the stream ended there: the open block has voted. Not here: JSON and tables.

use crate::stats::rank::Look;

use super::super::events::Events;
use super::super::report::{RuleReport, Verdict};
use super::super::sample::Question;
use super::super::words::count;
use super::run::Run;
use super::terms::Terms;

/// A verdict that was reached, as it was in that moment.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) verdict: Verdict,
    pub(super) at: f64,
    pub(super) requests: f64,
    pub(super) sentence: Box<str>,
}

impl Reached {
    pub(super) fn now(run: &Run, terms: &Terms, verdict: Verdict) -> Self {
        Self {
            verdict,
            at: run.t,
            requests: run.requests,
            sentence: sentence(run, terms, verdict).into(),
        }
    }
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report<'a> {
    /// The run's name.
    pub run: &'a str,
    /// Worse, not worse or undecided; the first that was reached, but worse wins.
    pub verdict: Verdict,
    /// Time of the tick that brought the verdict.
    pub at: Option<f64>,
    /// Requests of both arms counted up to then; all of them while undecided.
    pub requests: f64,
    /// Time of the newest tick.
    pub t: f64,
    /// Number of ticks.
    pub ticks: u64,
    /// The configured weight in percent.
    pub weight: f64,
    /// Whether the arms' share of the requests is what the weight says.
    pub share_ok: bool,
    /// Natural logarithm of the e-value against the configured share.
    pub log_share: f64,
    /// The numbers of each kind of count; never empty.
    pub rules: Vec<Numbers>,
    /// The evidence in words: when the verdict was reached, or now.
    pub sentence: String,
}

/// The numbers of one kind of count.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Its name: errors, latency, samples, or as the rule file says.
    pub rule: String,
    /// What it comes to now.
    pub verdict: Verdict,
    /// Natural logarithms of both witnesses' e-values; a rank test has none.
    pub evidence: Option<(f64, f64)>,
    /// What both must reach.
    pub bound: f64,
    /// Natural logarithm of the promotion test's e-value in this step, as it is now.
    pub log_not_worse: Option<f64>,
    /// The newest look of a rank test.
    pub look: Option<Look>,
}

impl<'a> Report<'a> {
    pub(super) fn of(run: &'a Run, terms: &Terms) -> Self {
        let reached = run.reached.as_ref();
        let verdict = reached.map_or(Verdict::Undecided, |reached| reached.verdict);
        Self {
            run: &run.name,
            verdict,
            at: reached.map(|reached| reached.at),
            requests: reached.map_or(run.requests, |reached| reached.requests),
            t: run.t,
            ticks: run.ticks,
            weight: run.weight,
            share_ok: !run.guard.is_wrong(),
            log_share: run.guard.log(run.share()),
            rules: numbers(run, terms),
            sentence: match reached {
                Some(reached) => reached.sentence.to_string(),
                None => sentence(run, terms, verdict),
            },
        }
    }

    /// The kind that is nearest to its bound for worse.
    pub fn leading(&self) -> Option<&Numbers> {
        let distance = |n: &Numbers| n.evidence.map(|(e, b)| e.min(b) - n.bound);
        let measured = self.rules.iter().filter(|n| n.evidence.is_some());
        measured.max_by(|a, b| {
            let (a, b) = (distance(a), distance(b));
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

fn numbers(run: &Run, terms: &Terms) -> Vec<Numbers> {
    let (kinds, mut all) = (run.kinds, Vec::new());
    if kinds.errors {
        let report = errors(run, terms);
        all.push(of_report(&report, run.errors.tail.log_not_worse_now()));
    }
    if let Some(times) = &run.times {
        all.push(of_report(&latency(run, terms), times.log_not_worse_now()));
    }
    if let Some(ranks) = &run.ranks {
        all.push(Numbers {
            rule: "samples".to_owned(),
            verdict: if run.ranks_worse {
                Verdict::Worse
            } else {
                Verdict::Undecided
            },
            evidence: None,
            bound: run.bounds.1,
            log_not_worse: None,
            look: ranks.last(),
        });
    }
    if let Some(events) = &run.events {
        let report = rare(run, events, terms);
        all.push(Numbers {
            log_not_worse: None,
            ..of_report(&report, 0.0)
        });
    }
    all
}

fn of_report(report: &RuleReport, log_not_worse: f64) -> Numbers {
    Numbers {
        rule: report.rule.clone(),
        verdict: report.verdict,
        evidence: Some((report.log_exact, report.log_block)),
        bound: report.bound,
        log_not_worse: Some(log_not_worse),
        look: None,
    }
}

/// The report of the errors, as if the open block had voted.
fn errors(run: &Run, terms: &Terms) -> RuleReport {
    let mut report = blank(terms, &terms.errors, run.bounds.0);
    report.log_exact = run.errors.log_exact();
    report.log_block = if run.guard.is_wrong() {
        run.errors.tail.log_block()
    } else {
        let ratio = terms.errors.ratio;
        run.errors.tail.log_block_if_closed(run.share(), ratio)
    };
    report.log_not_worse = run.errors.tail.log_not_worse();
    report.fill_errors(run.errors.run, run.errors.step);
    report.decide(true);
    report
}

/// The same of the latencies.
fn latency(run: &Run, terms: &Terms) -> RuleReport {
    let mut report = blank(terms, &terms.times, run.bounds.1);
    let Some(times) = &run.times else {
        return report;
    };
    report.log_exact = times.log_exact();
    report.log_block = if run.guard.is_wrong() {
        times.log_block()
    } else {
        times.log_block_if_closed(run.share(), terms.times.ratio)
    };
    report.log_not_worse = times.log_not_worse();
    report.fill_times(times, terms.times.told_quantile());
    report.decide(true);
    report
}

/// The same of pods' events.
fn rare(run: &Run, events: &Events, terms: &Terms) -> RuleReport {
    let mut report = blank(terms, &terms.events, run.bounds.1);
    report.log_exact = events.log_exact();
    report.log_block = events.log_block_if_closed(terms.events.ratio);
    report.fill_errors(events.run, events.step);
    let said = events.report(&terms.events.margin());
    if said.passes() {
        report.log_not_worse = report.bound_not_worse;
    }
    report.events = Some(said);
    report.decide(true);
    report
}

fn blank(terms: &Terms, question: &Question, bound: f64) -> RuleReport {
    let mut report = RuleReport::blank(&question.name);
    report.ratio = question.ratio;
    report.bound = bound;
    report.bound_not_worse = terms.bound_not_worse();
    report.margin = terms.not_worse(question).absolute;
    report.blast = report.margin;
    report
}

/// The sentence of the kind that brought the verdict; of several, all that did.
fn sentence(run: &Run, terms: &Terms, verdict: Verdict) -> String {
    let mut all = Vec::new();
    if run.kinds.errors {
        all.push(errors(run, terms));
    }
    if run.kinds.times {
        all.push(latency(run, terms));
    }
    if let Some(events) = &run.events {
        all.push(rare(run, events, terms));
    }
    let several = all.len() + usize::from(run.kinds.samples) > 1;
    let mut told: Vec<String> = all
        .iter()
        .filter(|report| verdict != Verdict::Worse || report.verdict == Verdict::Worse)
        .map(|report| told(several, &report.rule, &report.sentence()))
        .collect();
    if let Some(ranks) = &run.ranks
        && (verdict != Verdict::Worse || run.ranks_worse)
    {
        let alpha = terms.alpha * run.kinds.other_part();
        told.push(told_ranks(several, ranks.size(), ranks.last(), alpha));
    }
    told.join("; ")
}

fn told(several: bool, rule: &str, sentence: &str) -> String {
    if several {
        format!("{rule}: {sentence}")
    } else {
        sentence.to_owned()
    }
}

fn told_ranks(several: bool, size: usize, look: Option<Look>, alpha: f64) -> String {
    let sentence = match look {
        None => format!(
            "{} samples of the smaller arm, none are judged below 8",
            count(size as f64)
        ),
        Some(look) => format!(
            "of {} samples an arm, chance alone would part the arms so far with probability {:.2e}, \
             needed at most {:.2e}",
            count(look.size as f64),
            look.p,
            alpha * look.part
        ),
    };
    told(several, "samples", &sentence)
}
