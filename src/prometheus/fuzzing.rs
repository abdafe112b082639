//! What fuzzing calls of this module: a router's text and a Prometheus' reply, from bytes to
//! samples, with the properties that must hold whatever was written.
//!
//! Compiled for fuzzing and for tests only; `crate::fuzzing` says which inputs there are.

use std::sync::Arc;

use jiff::Timestamp;

use super::Subject;
use super::counters::{Batch, Counters};
use super::cursor::{Cursor, RuleCursor};
use super::exposition::Scanner;
use super::reply::{self, Fetched, Share};
use super::scrape::read_text;
use super::sorting::{Arms, Ask, Member};
use crate::rollout::evidence::{ArmCounts, Sample};
use crate::rollout::rule::Rule;

/// A row as it was read: name, labels and the value's bits.
type Row = (String, Vec<(String, String)>, u64);

/// The exposition format. The first byte says in which pieces the text arrives.
pub(crate) fn exposition(data: &[u8], rules: &[Arc<Rule>]) -> bool {
    let (size, text) = split(data);
    let size = usize::from(size).max(1);
    let (rows, malformed) = scan(text, size);
    assert_eq!(
        (&rows, malformed),
        (&scan(text, text.len().max(1)).0, scan(text, 7).1),
        "the pieces in which a text arrives change what is read"
    );
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(rows.len() + malformed <= lines, "more rows than lines");
    let printed: String = rows.iter().map(printed).collect();
    assert_eq!(scan(printed.as_bytes(), 64).0, rows, "{printed}");
    scrapes(text, &asks(rules));
    !rows.is_empty()
}

/// Several texts, one after the other from the same target, parted by zero bytes.
fn scrapes(text: &[u8], asks: &[Ask]) {
    let mut all: Vec<Fetched> = asks.iter().map(|_| Fetched::default()).collect();
    for (text, at) in text.split(|byte| *byte == 0).take(8).zip(1i64..) {
        for (all, one) in all.iter_mut().zip(read_text(asks, "pod", text, at * 1_000)) {
            all.shares.resize_with(one.shares.len(), Share::default);
            for (all, one) in all.shares.iter_mut().zip(one.shares) {
                all.batch.points.extend(one.batch.points);
                all.batch.scraped.extend(one.batch.scraped);
            }
        }
    }
    fold(asks, &all, text.len());
}

/// A Prometheus' reply. The first byte says whether the status is 200.
pub(crate) fn reply(data: &[u8], rules: &[Arc<Rule>]) -> bool {
    let (code, body) = split(data);
    let code = if code == b'e' { 503 } else { 200 };
    let mut accepted = false;
    for ask in asks(rules) {
        if let Ok(fetched) = reply::read(code, body, &ask) {
            assert!(code == 200, "an error was read as an answer");
            fold(&[ask], &[fetched], body.len());
            accepted = true;
        }
    }
    accepted
}

/// Where counting went on, as a checkpoint has it: counting resumes from any of them.
pub(crate) fn bookmark(cursor: &Cursor) {
    let saved = serde_json::to_string(cursor).unwrap_or_default();
    let again: Cursor = serde_json::from_str(&saved).unwrap_or_default();
    assert_eq!(again.rules.len(), cursor.rules.len());
    let _ = cursor.until();
    for (name, rule) in &cursor.rules {
        let mut counters = Counters::resume(name, 0, rule);
        let _ = counters.newest();
        let processes = rule.of.iter().filter_map(|(id, at)| {
            Some((
                u64::from_str_radix(id, 16).ok()?,
                at.at.saturating_add(1_000),
            ))
        });
        let scraped = processes.collect();
        let batch = Batch {
            points: Vec::new(),
            scraped,
        };
        sound(&counters.fold(batch, &mut Vec::new()));
        let _ = counters.with_sums(true).cursor();
    }
}

/// Folds answers and looks at what comes out: sound counts at rising times, and nothing more
/// when the same is read again.
fn fold(asks: &[Ask], fetched: &[Fetched], size: usize) {
    for (ask, fetched) in asks.iter().zip(fetched) {
        for Share { batch, .. } in &fetched.shares {
            assert!(batch.points.len() <= size, "more points than bytes");
            let mut problems = Vec::new();
            let mut counters = Counters::start(&ask.rule.name, i64::MIN);
            sound(&counters.fold(batch.clone(), &mut problems));
            let again = counters.fold(batch.clone(), &mut problems);
            assert_eq!(again, [], "an answer was counted twice");
            for sums in [true, false] {
                let cursor = counters.clone().with_sums(sums).cursor();
                let saved = serde_json::to_string(&cursor).unwrap_or_default();
                let saved: Result<RuleCursor, _> = serde_json::from_str(&saved);
                assert!(
                    saved.is_ok(),
                    "a cursor that cannot be read back: {saved:?}"
                );
                let mut resumed = Counters::resume(&ask.rule.name, i64::MIN, &cursor);
                let again = resumed.fold(batch.clone(), &mut problems);
                assert_eq!(again, [], "an answer was counted again from a cursor");
            }
        }
    }
}

fn sound(samples: &[Sample]) {
    let rising = samples.windows(2).all(|pair| pair[0].to < pair[1].to);
    assert!(rising, "samples whose ends do not rise: {samples:?}");
    for sample in samples {
        assert!(sample.from < sample.to, "{sample:?}");
        for arm in [&sample.canary, &sample.stable] {
            let counts = match arm {
                ArmCounts::Proportion { total, bad } => vec![*total, *bad],
                ArmCounts::Buckets { counts, .. } => counts.clone(),
                ArmCounts::Events { seconds, events } => vec![*seconds, *events],
                ArmCounts::Numbers(_) => Vec::new(),
            };
            assert!(!counts.iter().any(|count| *count < 0.0), "{sample:?}");
        }
    }
}

fn split(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((1, data), |(first, rest)| (*first, rest))
}

fn scan(text: &[u8], size: usize) -> (Vec<Row>, usize) {
    let mut scanner = Scanner::new(names());
    let mut rows = Vec::new();
    let mut take = |line: &super::exposition::Line<'_>| {
        let labels = line.labels.iter();
        let labels = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        // A NaN is printed without its sign.
        let value = if line.value.is_nan() {
            f64::NAN
        } else {
            line.value
        };
        rows.push((line.name.to_owned(), labels.collect(), value.to_bits()));
    };
    for piece in text.chunks(size) {
        scanner.feed(piece, &mut take);
    }
    scanner.finish(&mut take);
    (rows, scanner.malformed)
}

fn names() -> Vec<String> {
    [
        "m",
        "nginx_ingress_controller_requests",
        "nginx_ingress_controller_request_duration_seconds_bucket",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A row in the format that it was read from.
fn printed((name, labels, value): &Row) -> String {
    let escaped = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\n', "\\n")
    };
    let labels = labels.iter();
    let labels =
        labels.map(|(name, value)| format!("\"{}\"=\"{}\"", escaped(name), escaped(value)));
    let labels: Vec<String> = labels.collect();
    format!(
        "{name}{{{}}} {}\n",
        labels.join(","),
        f64::from_bits(*value)
    )
}

fn asks(rules: &[Arc<Rule>]) -> Vec<Ask> {
    let subjects = ["api", "web"].map(|name| Subject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        ingress: name.to_owned(),
        service: name.to_owned(),
        canary_service: format!("{name}-canary"),
        other_ingresses: Vec::new(),
        port: "80".to_owned(),
        other_ports: Vec::new(),
        workload: name.to_owned(),
        canary_workload: format!("{name}-canary"),
        canary_pods: format!("{name}-canary-.*"),
        stable_pods: format!("{name}-.*"),
        rules: Vec::new(),
        cursor: None,
        since: Timestamp::UNIX_EPOCH,
    });
    let ask = |rule: &Arc<Rule>| {
        let mut ask = Ask::new(Arc::clone(rule))?;
        for (position, subject) in subjects.iter().enumerate() {
            let Ok(arms) = Arms::of(&ask.series, subject) else {
                continue;
            };
            let member = Member {
                subject: position,
                start: 0,
                arms,
            };
            ask.add(subject, member);
        }
        Some(ask)
    };
    rules.iter().filter_map(ask).collect()
}
