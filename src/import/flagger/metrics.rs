//! Flagger's metrics as rules: its two own ones as limits, `MetricTemplate`s as queries with bounds.
//!
//! Not here: how rules are written (`import::rules`).

use serde_json::Value;

use crate::import::condition::{Bound, filled};
use crate::import::fields::{self, Field};
use crate::import::rules::{error_limit, latency_limit, rule_name, value};
use crate::import::{Converted, list, named, text};

/// Fields of a `MetricTemplate`.
const OF_TEMPLATES: [Field; 9] = [
    ("apiVersion", ""),
    ("kind", ""),
    ("metadata", ""),
    ("status", ""),
    ("spec.query", ""),
    ("spec.provider.type", ""),
    (
        "spec.provider.address",
        "asked at {}; the Prometheus of the environment (evidence.prometheus) is asked now, and must have the same series",
    ),
    (
        "spec.provider.secretRef",
        "the environment's evidence.prometheus says how it is asked, with a token of its own",
    ),
    (
        "spec.provider.insecureSkipVerify",
        "the environment's evidence.prometheus says how it is asked",
    ),
];

/// The names of the rules that the metrics become.
pub fn rules(
    canary: &Value,
    analysis: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Vec<String> {
    let mut names = Vec::new();
    for metric in list(analysis, "/metrics") {
        let name = text(metric, "/name");
        let rule = match name {
            "request-success-rate" => success(canary, metric, about, all),
            "request-duration" => duration(canary, metric, about, all),
            _ => match of_template(canary, metric, resources, about, all) {
                Ok(rule) => Some(rule),
                Err(why) => {
                    all.note(about, &format!("spec.analysis.metrics {name}: {why}"));
                    continue;
                }
            },
        };
        let rule = match (rule, name) {
            (Some(rule), _) => all.rule(rule),
            (None, "request-duration") => "latency-p99".to_owned(),
            (None, _) => "error-rate".to_owned(),
        };
        if !names.contains(&rule) {
            names.push(rule);
        }
    }
    if names.is_empty() {
        all.note(
            about,
            "spec.analysis.metrics: none is a rule now; error-rate and latency-p99 are asked",
        );
        names = vec!["error-rate".to_owned(), "latency-p99".to_owned()];
    }
    names
}

/// The name of a rule: of one namespace's Canary only.
fn own(canary: &Value, what: &str) -> String {
    let namespace = text(canary, "/metadata/namespace");
    rule_name(&[namespace, text(canary, "/metadata/name"), what])
}

fn success(canary: &Value, metric: &Value, about: &str, all: &mut Converted) -> Option<Value> {
    let range = &metric["thresholdRange"];
    if range["max"].is_number() {
        let text = format!(
            "spec.analysis.metrics request-success-rate: thresholdRange.max: {} has no counterpart: too few errors are no fault",
            range["max"]
        );
        all.note(about, &text);
    }
    let least = range["min"].as_f64().or(metric["threshold"].as_f64())?;
    Some(error_limit(&own(canary, "errors"), 100.0 - least))
}

fn duration(canary: &Value, metric: &Value, about: &str, all: &mut Converted) -> Option<Value> {
    let range = &metric["thresholdRange"];
    if range["min"].is_number() {
        let text = format!(
            "spec.analysis.metrics request-duration: thresholdRange.min: {} has no counterpart: quick answers are no fault",
            range["min"]
        );
        all.note(about, &text);
    }
    let most = range["max"].as_f64().or(metric["threshold"].as_f64())?;
    Some(latency_limit(&own(canary, "latency"), most / 1000.0))
}

/// A query of one's own, with bounds.
fn of_template(
    canary: &Value,
    metric: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Result<Value, String> {
    let (name, template) = (text(metric, "/name"), text(metric, "/templateRef/name"));
    let query = if template.is_empty() {
        text(metric, "/query")
    } else {
        let namespace = match text(metric, "/templateRef/namespace") {
            "" => text(canary, "/metadata/namespace"),
            namespace => namespace,
        };
        let found = named(resources, "MetricTemplate", template, namespace)
            .ok_or_else(|| missing(template, namespace))?;
        let provider = text(found, "/spec/provider/type");
        if provider != "prometheus" {
            return Err(format!("{provider} is not asked, only Prometheus"));
        }
        let about = format!("{about}: MetricTemplate {template}");
        fields::told(found, "", &OF_TEMPLATES, &about, all);
        text(found, "/spec/query")
    };
    let query =
        filled_in(metric, query).map_err(|name| format!("{{{{ {name} }}}} is not known here"))?;
    let bounds = bounds(metric);
    if query.is_empty() || bounds.is_empty() {
        return Err("want a query and a thresholdRange".to_owned());
    }
    let threshold = canary
        .pointer("/spec/analysis/threshold")
        .and_then(Value::as_u64);
    Ok(value(
        &own(canary, name),
        &query,
        &bounds,
        None,
        threshold.unwrap_or(3),
    ))
}

fn missing(template: &str, namespace: &str) -> String {
    let of = match namespace {
        "" => String::new(),
        namespace => format!(" of the namespace {namespace}"),
    };
    format!("give its MetricTemplate {template}{of} too")
}

/// Where its number should be: a `threshold` alone is the largest that is right.
fn bounds(metric: &Value) -> Vec<Bound> {
    let range = &metric["thresholdRange"];
    if range.is_null() {
        let most = metric["threshold"].as_f64().map(|most| ("max", most));
        return most.into_iter().collect();
    }
    ["min", "max"]
        .into_iter()
        .filter_map(|key| Some((key, range[key].as_f64()?)))
        .collect()
}

/// Flagger's analysed pods are those of the target; here they are those of its canary.
fn filled_in(metric: &Value, query: &str) -> Result<String, String> {
    let interval = match text(metric, "/interval") {
        "" => "1m",
        interval => interval,
    };
    let as_ours = |name: &str| format!("{{{{{name}}}}}");
    let mut known = vec![
        ("namespace", as_ours("namespace")),
        ("name", as_ours("name")),
        ("ingress", as_ours("ingress")),
        ("service", as_ours("service")),
        ("target", as_ours("canaryWorkload")),
        ("interval", interval.to_owned()),
    ];
    let variables = metric["templateVariables"]
        .as_object()
        .into_iter()
        .flatten();
    let variables: Vec<(String, String)> = variables
        .map(|(key, value)| {
            (
                format!("variables.{key}"),
                value.as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    known.extend(
        variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone())),
    );
    filled(query, &known)
}
