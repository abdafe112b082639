//! Names in documents, dashboards and alerts are names in the code, and references are complete.
//!
//! Metrics are taken from the registry, fields from the resource's schema; phases, reasons and
//! settings from the lines of the source that name them. Not here: what they mean.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;
use kube::CustomResourceExt;
use regex::Regex;
use serde_json::Value;
use sluice::daemon::settings::Settings;
use sluice::kubernetes::crd::Rollout;
use sluice::rollout::reason::ENDS;
use sluice::telemetry::{Metrics, RolloutSeries, RuleSeries};

use super::{documents, files, none, root, text};

/// The names of all series that the daemon can export, with those of their families.
fn metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let rules = vec![RuleSeries::default()];
    let series = RolloutSeries {
        rules,
        ..RolloutSeries::default()
    };
    metrics.rollout("namespace", "name", series);
    metrics.run_ended("Promoted", "Promoted");
    metrics.bypassed();
    metrics.alerted("counts");
    metrics.smoked("passed");
    metrics.messaged("deploys", "sent");
    metrics.spans("sent", 1);
    metrics.gate_ready(true);
    metrics.namespace_seen("shop", true);
    metrics.source_read("prometheus", "ok", Duration::ZERO);
    metrics.reconciled();
    metrics.reconcile_failed("conflict");
    metrics.reacted(Duration::ZERO);
    metrics.detected(Duration::ZERO);
    metrics.rules_reloaded("loaded");
    metrics.reviewed("changed", Duration::ZERO);
    metrics.certificate_ends("host", 0);
    let name = Regex::new(r"(?m)^(?:# TYPE )?(sluice_[a-z_]+)").unwrap();
    let text = metrics.text().unwrap();
    name.captures_iter(&text)
        .map(|found| found[1].to_owned())
        .collect()
}

/// Places where metrics are named.
fn that_name_metrics() -> Vec<(String, String)> {
    let mut all = documents();
    let mut paths = files("dashboards", "json");
    paths.extend(files("rules/prometheus", "yaml"));
    assert!(paths.len() >= 2);
    all.extend(paths.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, text(path))
    }));
    all
}

#[test]
fn every_metric_that_is_named_exists() {
    let known = metrics();
    let named = Regex::new(r"\bsluice_[a-z_]+[a-z]").unwrap();
    let mut problems = Vec::new();
    for (name, document) in that_name_metrics() {
        for found in named.find_iter(&document) {
            if !known.contains(found.as_str()) {
                problems.push(format!("{name}: {}", found.as_str()));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_metric_is_in_the_reference() {
    let reference = text("docs/reference/metrics.md");
    let part = Regex::new("_(total|bucket|count|sum)$").unwrap();
    let missing: Vec<String> = metrics()
        .into_iter()
        .filter(|name| !reference.contains(part.replace(name, "").as_ref()))
        .collect();
    none(&missing);
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_something() {
    for path in files("dashboards", "json") {
        let board: Value = serde_json::from_str(&text(&path)).unwrap();
        let panels = board["panels"].as_array().unwrap();
        assert!(!panels.is_empty());
        for panel in panels {
            let asked = panel["targets"][0]["expr"].as_str().unwrap_or_default();
            assert!(asked.contains("sluice_"), "{}", panel["title"]);
        }
    }
}

/// The paths of all fields below a schema.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        if schema["items"]["properties"].is_object() {
            found.push(path.to_owned());
            fields(&schema["items"], &format!("{path}[]"), found);
        } else {
            found.push(path.to_owned());
        }
        return;
    };
    for (name, schema) in properties {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        fields(schema, &path, found);
    }
}

fn schema(part: &str) -> Value {
    let crd = serde_json::to_value(Rollout::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
}

#[test]
fn every_field_of_the_spec_is_in_the_reference() {
    let reference = text("docs/reference/rollout.md");
    let mut all = Vec::new();
    fields(&schema("spec"), "", &mut all);
    assert!(all.len() > 20, "{all:?}");
    all.retain(|field| !reference.contains(&format!("| `{field}` |")));
    none(&all);
}

#[test]
fn every_field_in_the_reference_is_in_the_spec() {
    let reference = text("docs/reference/rollout.md");
    let (_, table) = reference.split_once("## Fields of `spec`").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut known = Vec::new();
    fields(&schema("spec"), "", &mut known);
    let row = Regex::new(r"(?m)^\| `([^`]+)` \|").unwrap();
    let strange: Vec<String> = row
        .captures_iter(table)
        .map(|found| found[1].to_owned())
        .filter(|field| !known.contains(field))
        .collect();
    none(&strange);
}

#[test]
fn every_part_of_the_status_is_in_the_reference() {
    let reference = text("docs/reference/status.md");
    let status = schema("status");
    let parts = status["properties"].as_object().unwrap().keys();
    let missing: Vec<String> = parts
        .filter(|part| *part != "conditions" && !reference.contains(&format!("`{part}")))
        .cloned()
        .collect();
    none(&missing);
}

/// The words in quotes behind an arrow below a path: names of phases, verdicts and reasons, not of actions, which spans alone have.
fn words(source: &str) -> BTreeSet<String> {
    let word = Regex::new(r#"=> "([A-Z][A-Za-z]+)""#).unwrap();
    let mut all = BTreeSet::new();
    let paths = files("src/rollout", "rs");
    let source = root().join(source);
    let told = paths.iter().filter(|path| !path.ends_with("action.rs"));
    for path in told.filter(|path| path.starts_with(&source)) {
        let text = text(path);
        all.extend(word.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    all
}

#[test]
fn every_phase_and_reason_is_in_the_reference() {
    let reference = text("docs/reference/status.md");
    let names = words("src/rollout");
    for known in ["Stepping", "CrashLoop", "RolledBack"] {
        assert!(names.contains(known), "{known} is not found");
    }
    let missing: Vec<String> = names
        .into_iter()
        .filter(|word| !reference.contains(&format!("`{word}`")))
        .collect();
    none(&missing);
}

#[test]
fn the_ends_of_a_run_are_those_of_the_reference() {
    let reference = text("docs/reference/status.md");
    let (_, rest) = reference.split_once("## Why a run ended").unwrap();
    let part = rest.split("\n## ").next().unwrap();
    let row = Regex::new(r"(?m)^\| `(\w+)` \| (\w+) \|").unwrap();
    let written: BTreeSet<(String, String)> = row
        .captures_iter(part)
        .map(|found| (found[2].to_owned(), found[1].to_owned()))
        .collect();
    let ends = ENDS.map(|(outcome, reason)| (outcome.to_string(), reason.to_owned()));
    assert_eq!(written, BTreeSet::from(ends));
}

#[test]
fn every_setting_is_in_the_reference() {
    let key = Regex::new(r#"\("([a-zA-Z.\[\]]+)", (?:true|false)\)"#).unwrap();
    let source = text("src/daemon/settings.rs");
    let keys: Vec<String> = key
        .captures_iter(&source)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(keys.len() > 15, "{keys:?}");
    let reference = text("docs/reference/settings.md");
    let missing: Vec<String> = keys
        .into_iter()
        .filter(|key| !reference.contains(&format!("| `{key}` |")))
        .collect();
    none(&missing);
}

#[test]
fn defaults_in_the_reference_are_those_of_the_code() {
    let least = "evidence: {prometheus: {url: 'http://prometheus:9090'}}";
    let settings = Settings::parse(least, Path::new("sluice.yaml"), &[]).unwrap();
    let evidence = &settings.evidence;
    let rows = [
        ("environment", settings.environment.clone()),
        (
            "evidence.every",
            format_duration(evidence.every).to_string(),
        ),
        (
            "evidence.settle",
            format_duration(evidence.settle).to_string(),
        ),
        ("listen", settings.listen.to_string()),
        ("log.level", settings.log.level.clone()),
    ];
    let reference = text("docs/reference/settings.md");
    for (key, default) in rows {
        let row = reference
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_default();
        assert!(
            row.contains(&format!("| `{default}` |")),
            "{default}: {row}"
        );
    }
}

#[test]
fn every_phase_in_an_alert_exists() {
    let phases = words("src/rollout/state.rs");
    let asked = Regex::new(r#"phase=~?"([A-Za-z|]+)""#).unwrap();
    for path in files("rules/prometheus", "yaml") {
        for found in asked.captures_iter(&text(&path)) {
            for phase in found[1].split('|') {
                assert!(phases.contains(phase), "{phase}");
            }
        }
    }
}

/// Comments and mutations name the invariants by number: each is in the list, and each of the list is broken on purpose.
#[test]
fn every_invariant_that_is_cited_is_written_down() {
    let design = text("docs/design.md");
    let heading = "\n## The nine invariants\n";
    let (_, section) = design.split_once(heading).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let item = Regex::new(r"(?m)^(\d)\. ").unwrap();
    let items = item.captures_iter(section);
    let written: BTreeSet<String> = items.map(|found| found[1].to_owned()).collect();

    let cited = Regex::new(r"/// Invariants? (\d)(?: and (\d))?").unwrap();
    let sources = ["src", "tests"].map(|folder| files(folder, "rs")).concat();
    let mut problems = Vec::new();
    for path in sources {
        for found in cited.captures_iter(&text(&path)) {
            let numbers = found.iter().skip(1).flatten();
            let lost = numbers.filter(|number| !written.contains(number.as_str()));
            problems.extend(lost.map(|number| format!("{}: {}", path.display(), number.as_str())));
        }
    }
    none(&problems);

    let patches = files("tests/faults/mutations", "patch");
    let names = patches.iter().filter_map(|path| path.file_name()?.to_str());
    let broken: BTreeSet<String> = names
        .filter_map(|name| Some(name.split_once('-')?.0.to_owned()))
        .collect();
    assert_eq!(broken, written);
}
