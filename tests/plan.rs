//! `sluice plan` as a process: the documented example, JSON, warnings, exit codes, named fields.
//!
//! Not here: the figures; `rollout::forecast` holds them against the decision itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "servers/binary.rs"]
mod binary;

use binary::{Ended, sluice};
use serde_json::Value;

fn plan(arguments: &[&str], input: &str) -> Ended {
    sluice(&[&["plan"][..], arguments].concat(), input)
}

const GIVEN: [&str; 6] = ["--rps", "100", "--error-rate", "0.1%", "--runs", "20"];

fn rollout(rest: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {{name: backend, namespace: shop}}
spec:
  target: {{name: backend}}
  route: {{ingressNginx: {{ingress: backend}}}}
  analysis: {{rules: [error-rate]}}
{rest}"
    )
}

/// The command of the page, with fewer runs.
#[test]
fn the_documented_example_runs() {
    let page = include_str!("../docs/concepts/plan.md");
    let (_, block) = page.split_once("```sh\nsluice plan ").unwrap();
    let (line, _) = block.split_once("\n```").unwrap();
    let arguments: Vec<&str> = line.split(' ').chain(["--runs", "20"]).collect();
    let ended = plan(&arguments, "");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    for word in [
        "A healthy release is promoted after",
        "STEP",
        "A BAD RELEASE",
    ] {
        assert!(ended.stdout.contains(word), "{word}\n{}", ended.stdout);
    }
}

#[test]
fn machines_get_every_figure() {
    let arguments: Vec<&str> = [&["-", "-o", "json"][..], &GIVEN].concat();
    let ended = plan(&arguments, &rollout(""));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["rollout"], "backend");
    assert_eq!(report["traffic"]["rules"][0]["rate"], 0.001);
    assert_eq!(report["steps"].as_array().unwrap().len(), 3);
    assert!(
        report["steps"][2]["rules"][0]["inTime"]["p80"]["ratio"]
            .as_f64()
            .unwrap()
            > 1.0
    );
    assert_eq!(report["harms"].as_array().unwrap().len(), 3);
    assert!(report["harms"][2]["extraBad"].as_f64().unwrap() > 0.0);
    assert!(report["healthy"]["seconds"]["median"].as_f64().unwrap() > 30.0);
}

#[test]
fn a_step_that_shows_nothing_is_a_warning_and_with_check_a_failure() {
    let steps = "  strategy: {canary: {steps: [{weight: 1}, {weight: 50}]}}\n";
    let arguments: Vec<&str> = [&["-f", "-", "--check"][..], &GIVEN].concat();
    let ended = plan(&arguments, &rollout(steps));
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("warning: step 1 (1%) shows"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("  - {weight: "), "{}", ended.stdout);
}

#[test]
fn mistakes_are_told_with_their_field() {
    let steps = "  strategy: {canary: {steps: [{weight: 500}]}}\n";
    let missing = "  progressDeadline: soon\n";
    let cases: [(&[&str], String, &str); 7] = [
        (
            &["-", "--rps", "0", "--error-rate", "1%"],
            rollout(""),
            "--rps",
        ),
        (&["-", "--rps", "10"], rollout(""), "--error-rate"),
        (
            &["-", "--rps", "10", "--error-rate", "2"],
            rollout(""),
            "--error-rate",
        ),
        (
            &[
                "-",
                "--rps",
                "10",
                "--error-rate",
                "1%",
                "--latency",
                "fast",
            ],
            rollout(""),
            "--latency",
        ),
        (
            &["-", "--rps", "10", "--error-rate", "1%"],
            rollout(steps),
            "spec.strategy.canary.steps[0].weight",
        ),
        (
            &["-", "--rps", "10", "--error-rate", "1%"],
            rollout(missing),
            "spec.progressDeadline",
        ),
        (
            &["-", "--prometheus", "http://127.0.0.1:1"],
            rollout(""),
            "spec.route.ingressNginx.service",
        ),
    ];
    for (arguments, text, field) in cases {
        let ended = plan(arguments, &text);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(field),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn metrics_that_cannot_be_read_are_no_traffic() {
    let text = rollout("").replace("ingress: backend}", "ingress: backend, service: backend}");
    let ended = plan(&["-", "--prometheus", "http://127.0.0.1:1"], &text);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("cannot tell the present traffic: error-rate: could not reach"),
        "{}",
        ended.stderr
    );
}
