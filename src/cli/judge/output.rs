//! What a run comes to, written: a line of JSON, a YAML document, or a row of a table.
//!
//! Numbers at the top of a line are those of the kind that is nearest to worse; where a run has
//! several kinds, each has its own under `rules`. Not here: what they mean.

use std::io::{StdoutLock, Write};

use serde::Serialize;

use crate::cli::text;
use crate::cli::{Error, Format, Screen};
use crate::rollout::evidence::Verdict;
use crate::rollout::evidence::judge::{Judge, Numbers, Report};

/// Writes results; buffered.
pub(super) struct Writer {
    out: std::io::BufWriter<StdoutLock<'static>>,
    format: Format,
    each: bool,
}

/// A run as JSON and YAML have it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    run: &'a str,
    verdict: &'static str,
    at: Option<f64>,
    requests: Count,
    log_evidence: Option<Witnesses>,
    log_not_worse: Option<f64>,
    share: &'static str,
    log_share: f64,
    t: f64,
    weight: f64,
    ticks: u64,
    sentence: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<OfRule<'a>>,
}

/// One kind of a run that has several, or a rank test.
#[derive(Debug, Serialize)]
struct OfRule<'a> {
    rule: &'a str,
    verdict: &'static str,
    log_evidence: Option<Witnesses>,
    log_bound: f64,
    log_not_worse: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Witnesses {
    exact: f64,
    block: f64,
}

/// A number of requests: whole where it is.
#[derive(Debug, Clone, Copy)]
struct Count(f64);

impl Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl Writer {
    pub(super) fn new(format: Format, each: bool) -> Self {
        Self {
            out: std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock()),
            format,
            each,
        }
    }

    /// The run with this number has taken a tick.
    pub(super) fn tick(&mut self, judge: &Judge, place: usize) -> Result<(), Error> {
        if !self.each {
            return Ok(());
        }
        match judge.report(place) {
            Some(report) => self.write(&report),
            None => Ok(()),
        }
    }

    /// The stream has ended.
    pub(super) fn end(mut self, screen: &mut Screen, judge: &Judge) -> Result<(), Error> {
        if !self.each {
            if self.format == Format::Text {
                drop(self.out);
                let table = table(judge.reports(), screen.width());
                return screen.print(&table);
            }
            for report in judge.reports() {
                self.write(&report)?;
            }
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Output)
    }

    fn write(&mut self, report: &Report<'_>) -> Result<(), Error> {
        match self.format {
            Format::Text => {
                let (t, run, why) = (report.t, report.run, &report.sentence);
                let told = word(report.verdict).replace('_', " ");
                writeln!(self.out, "{t}  {run}  {told}  {why}").map_err(Error::Output)
            }
            Format::Json => {
                serde_json::to_writer(&mut self.out, &line(report)).map_err(|error| match error
                    .io_error_kind()
                {
                    Some(kind) => Error::Output(kind.into()),
                    None => Error::Format(error.to_string()),
                })?;
                self.out.write_all(b"\n").map_err(Error::Output)
            }
            Format::Yaml => {
                let document = serde_saphyr::to_string(&line(report))
                    .map_err(|error| Error::Format(error.to_string()))?;
                write!(self.out, "---\n{document}").map_err(Error::Output)
            }
        }
    }
}

fn line<'a>(report: &'a Report<'a>) -> Line<'a> {
    let leading = report.leading();
    let alone = report.rules.len() == 1 && leading.is_some();
    Line {
        run: report.run,
        verdict: word(report.verdict),
        at: report.at,
        requests: Count(report.requests),
        log_evidence: leading.and_then(witnesses),
        log_not_worse: leading.and_then(|numbers| numbers.log_not_worse),
        share: share(report),
        log_share: report.log_share,
        t: report.t,
        weight: report.weight,
        ticks: report.ticks,
        sentence: &report.sentence,
        rules: if alone {
            Vec::new()
        } else {
            report.rules.iter().map(of_rule).collect()
        },
    }
}

fn of_rule(numbers: &Numbers) -> OfRule<'_> {
    OfRule {
        rule: &numbers.rule,
        verdict: word(numbers.verdict),
        log_evidence: witnesses(numbers),
        log_bound: numbers.bound,
        log_not_worse: numbers.log_not_worse,
        p: numbers.look.map(|look| look.p),
        samples: numbers.look.map(|look| look.size),
    }
}

fn witnesses(numbers: &Numbers) -> Option<Witnesses> {
    let (exact, block) = numbers.evidence?;
    Some(Witnesses { exact, block })
}

fn share(report: &Report<'_>) -> &'static str {
    if report.share_ok { "ok" } else { "wrong" }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "worse",
        Verdict::NotWorse => "not_worse",
        Verdict::Undecided | Verdict::Suspect => "undecided",
    }
}

/// What is known of a verdict where no weight can be lowered: a suspicion is nothing yet.
fn judged(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Suspect => Verdict::Undecided,
        Verdict::Undecided | Verdict::NotWorse | Verdict::Worse => verdict,
    }
}

/// A row a run.
fn table<'a>(reports: impl Iterator<Item = Report<'a>>, width: Option<u16>) -> String {
    let header = ["RUN", "VERDICT", "AT", "REQUESTS", "SHARE", "WHY"];
    let mut table = text::table(&header, width);
    for report in reports {
        table.add_row(vec![
            comfy_table::Cell::new(report.run),
            text::cell(judged(report.verdict).name()),
            comfy_table::Cell::new(report.at.map_or("-".to_owned(), |at| at.to_string())),
            comfy_table::Cell::new(text::count(report.requests)),
            comfy_table::Cell::new(share(&report)),
            comfy_table::Cell::new(&report.sentence),
        ]);
    }
    text::lines(&table)
}
