//! `sluice judge` as a process: the documented example, formats, bad lines, exit codes.
//!
//! Not here: the statistics; the judge's own tests have the reference values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test
#![allow(clippy::unreadable_literal)] // reference values stand as they were given

#[path = "servers/binary.rs"]
mod binary;

use std::fmt::Write as _;

use binary::{Ended, sluice};
use serde_json::{Value, json};

fn judge(arguments: &[&str], input: &str) -> Ended {
    sluice(&[&["judge"][..], arguments].concat(), input)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn near(value: &Value, want: f64) {
    let got = value.as_f64().unwrap();
    assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
}

/// The reference's second sequence: `(x_c, x_b, n_c, n_b)`.
const T2: [(f64, f64, f64, f64); 6] = [
    (1., 0., 1., 99.),
    (0., 3., 1.2, 118.8),
    (1., 2., 4., 76.),
    (4., 2., 18., 72.),
    (6., 3., 50., 50.),
    (0., 0., 50., 50.),
];

fn t2() -> String {
    let mut text = String::new();
    for (i, (x_c, x_b, n_c, n_b)) in T2.into_iter().enumerate() {
        // A canary of 1.2 requests without a bad one is fine; one bad of 1 is at the edge.
        writeln!(
            text,
            r#"{{"run": "T2", "t": {}, "weight": 10, "canary": {{"total": {n_c}, "bad": {x_c}}}, "stable": {{"total": {n_b}, "bad": {x_b}}}}}"#,
            2 * i
        )
        .unwrap();
    }
    text
}

#[test]
fn the_reference_sequence_is_judged_tick_by_tick() {
    let ended = judge(&["-o", "json", "--each"], &t2());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let want = [
        2.473247516608,
        1.151766362225,
        1.806849777453,
        3.912938102579,
        2.850024227751,
        2.825697378838,
    ];
    let found = lines(&ended.stdout);
    assert_eq!(found.len(), want.len());
    for (line, want) in found.iter().zip(want) {
        near(&line["log_evidence"]["exact"], want);
    }
}

#[test]
fn the_end_of_the_stream_is_the_last_tick() {
    let each = lines(&judge(&["-o", "json", "--each"], &t2()).stdout);
    let end = lines(&judge(&["-o", "json"], &t2()).stdout);
    assert_eq!(end, each[5..]);
    assert_eq!(end[0]["verdict"], "undecided");
    assert_eq!(end[0]["at"], Value::Null);
    near(&end[0]["requests"], 590.0);
}

#[test]
fn presets_and_options_change_the_margins() {
    let exact = |arguments: &[&str]| {
        let all: Vec<&str> = ["-o", "json"].iter().chain(arguments).copied().collect();
        let line = lines(&judge(&all, &t2()).stdout).remove(0);
        line["log_evidence"]["exact"].as_f64().unwrap()
    };
    let strict = exact(&["--preset", "strict"]);
    assert!((strict - exact(&["--rho", "1", "--delta", "0"])).abs() < 1e-12);
    assert!(strict > exact(&[]) && exact(&[]) > exact(&["--preset", "robust"]));
    let by_rule = exact(&["--rule", "docs/judge-rule.yaml"]);
    assert!((by_rule - exact(&["--rho", "1.5", "--delta", "0.2%"])).abs() < 1e-12);
}

#[test]
fn bad_lines_are_told_and_change_nothing() {
    let mut text = "\u{feff}\r\n".to_owned();
    for (i, line) in t2().lines().enumerate() {
        writeln!(text, "{line}\r").unwrap();
        if i == 2 {
            text.push_str("{\"run\": \n\nnonsense\n");
            writeln!(text, "{}", line.replace("\"bad\": 1", "\"bad\": 99")).unwrap();
            writeln!(text, "{line}").unwrap();
        }
    }
    let ended = judge(&["-o", "json"], &text);
    assert_eq!(ended.stdout, judge(&["-o", "json"], &t2()).stdout);
    assert_eq!(ended.code, 0);
    let told = "\
line 5: byte 8: found the end of the line, wanted a value
line 7: byte 1: found `nonsense`, wanted a value
line 8: canary.bad: found 99, wanted at most canary.total, 4
line 9: t: found 4, wanted more than 4, the run's newest
4 of 12 lines were bad and left out
";
    assert_eq!(ended.stderr, told);
}

#[test]
fn a_rule_file_says_which_kinds_there_are() {
    let buckets = r#"{"run": "a", "t": 1, "weight": 10, "canary": {"buckets": {"+Inf": 1}}, "stable": {"buckets": {"+Inf": 1}}}"#;
    let ended = judge(&["--rule", "docs/judge-rule.yaml"], buckets);
    assert!(
        ended
            .stderr
            .starts_with("line 1: buckets: found counts of another kind"),
        "{}",
        ended.stderr
    );
}

#[test]
fn wrong_options_are_code_2() {
    for arguments in [
        &["--alpha", "2"][..],
        &["--rho", "0.5"],
        &["--block", "0"],
        &["--preset", "bold"],
        &["no-such-file"],
        &["--rule", "no-such-file"],
    ] {
        let ended = judge(arguments, "");
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn nothing_in_is_nothing_out() {
    let ended = judge(&["-o", "json"], "");
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (0, "", "")
    );
}

#[test]
fn samples_may_hold_what_is_no_number() {
    let numbers: Vec<String> = (0..8).map(|i| (i + 20).to_string()).collect();
    let line = format!(
        r#"{{"run": "a", "t": 1, "weight": 10, "samples": {{"canary": [NaN, {}], "stable": [1, 2, 3, 4, 5, 6, 7, 8, null]}}}}"#,
        numbers.join(", ")
    );
    let found = lines(&judge(&["-o", "json"], &line).stdout).remove(0);
    assert_eq!(found["verdict"], "worse");
    assert_eq!(found["log_evidence"], Value::Null);
    assert_eq!(found["rules"][0]["samples"], json!(8));
}

#[test]
fn the_example_of_the_page_runs_as_written() {
    let page = include_str!("../docs/judge.md");
    let (_, rest) = page
        .split_once("sluice judge docs/judge.jsonl\n```\n\n```text\n")
        .unwrap();
    let (want, _) = rest.split_once("```").unwrap();
    let ended = judge(&["docs/judge.jsonl"], "");
    assert_eq!(ended.stdout, want);
}

/// Half a minute of eleven pods; the canary's one is restarted in every tick, or never.
fn restarts(run: &str, each: u32) -> String {
    let mut text = String::new();
    for i in 0..20 {
        writeln!(
            text,
            r#"{{"run": "{run}", "t": {}, "weight": 10, "events": {{"canary": {{"seconds": 15, "events": {each}}}, "stable": {{"seconds": 150, "events": 0}}}}}}"#,
            15 * i
        )
        .unwrap();
    }
    text
}

#[test]
fn events_of_pods_are_judged_by_the_time_that_they_lived() {
    let ended = judge(
        &["-o", "json"],
        &(restarts("bad", 1) + &restarts("good", 0)),
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let found = lines(&ended.stdout);
    assert_eq!(
        (&found[0]["verdict"], &found[1]["verdict"]),
        (&json!("worse"), &json!("not_worse"))
    );
    // Four restarts of one pod of eleven, one after another.
    assert!(found[0]["at"].as_f64().unwrap() <= 75.0, "{}", found[0]);
    assert!(
        found[0]["sentence"]
            .as_str()
            .unwrap()
            .contains("odds against chance")
    );
    let lacking = r#"{"run": "a", "t": 1, "weight": 10, "events": {"canary": {"seconds": 15}}}"#;
    let ended = judge(&[], lacking);
    assert!(
        ended.stderr.contains("events.canary.events: found nothing"),
        "{}",
        ended.stderr
    );
}
