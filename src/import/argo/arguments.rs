//! What stands for the arguments in the queries of an analysis.
//!
//! Names of the Services that go with Argo become names for Sluice's. An argument whose value is not known here stays
//! unknown: the template's own value does not stand in for it. Not here: the queries (`analysis`).

use serde_json::Value;

use super::{canary_service, stable_service};
use crate::import::{list, text};

/// Values of arguments, the analysis' before the templates'.
pub fn arguments(rollout: &Value, analysis: &Value, templates: &[&Value]) -> Vec<(String, String)> {
    let of_templates = templates
        .iter()
        .flat_map(|template| list(template, "/spec/args"));
    let mut seen: Vec<&str> = Vec::new();
    let mut known = Vec::new();
    for argument in list(analysis, "/args").iter().chain(of_templates) {
        let name = text(argument, "/name");
        let is_said = !argument["value"].is_null() || !argument["valueFrom"].is_null();
        if !is_said || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if let Some(value) = argument_value(rollout, argument) {
            known.push((format!("args.{name}"), value));
        }
    }
    known
}

/// What an argument comes to: names of the arms' Services go with Argo, so they become names for them.
fn argument_value(rollout: &Value, argument: &Value) -> Option<String> {
    if let Some(value) = argument["value"].as_str() {
        return Some(with_services(rollout, value));
    }
    match text(argument, "/valueFrom/fieldRef/fieldPath") {
        "metadata.namespace" => Some("{{namespace}}".to_owned()),
        "metadata.name" => Some("{{name}}".to_owned()),
        _ => None,
    }
}

fn with_services(rollout: &Value, value: &str) -> String {
    let mut whole = String::new();
    for (word, rest) in words(value) {
        match word {
            "" => {}
            word if canary_service(rollout) == Some(word) => whole.push_str("{{canaryService}}"),
            word if stable_service(rollout) == Some(word) => whole.push_str("{{service}}"),
            word => whole.push_str(word),
        }
        whole.push_str(rest);
    }
    whole
}

/// The parts of a text that may be names of Services, each with what stands behind it.
pub fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let within = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut left = text;
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let end = left.find(|c| !within(c)).unwrap_or(left.len());
        let (word, rest) = left.split_at(end);
        let next = rest.find(within).unwrap_or(rest.len());
        let (rest, further) = rest.split_at(next);
        left = further;
        Some((word, rest))
    })
}
