//! Flagger's metrics as rules: its two own ones as limits, `MetricTemplate`s as queries with bounds.
//!
//! Not here: how rules are written (`import::rules`), the templates in queries (`templates`).

use serde_json::Value;

use super::templates;
use crate::import::condition::Bound;
use crate::import::fields::{self, Field};
use crate::import::rules::{NO_ERRORS_PERCENT, error_limit, latency_limit, rule_name, value};
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
        for rule in of_metric(canary, metric, resources, about, all) {
            if !names.contains(&rule) {
                names.push(rule);
            }
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

/// The names of one metric's rules: Flagger asks what it knows by the metric's name, its template and its query, each
/// that there is.
fn of_metric(
    canary: &Value,
    metric: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Vec<String> {
    let (name, inline) = (text(metric, "/name"), text(metric, "/query"));
    let mut asked = Vec::new();
    match name {
        "request-success-rate" => asked.push(success(canary, metric, about, all)),
        "request-duration" => asked.push(duration(canary, metric, about, all)),
        _ => {}
    }
    if metric["templateRef"].is_object() {
        let query = of_template(canary, metric, resources, about, all);
        asked.push(query.and_then(|query| of_query(canary, metric, &query, about, all)));
    }
    if !inline.is_empty() || asked.is_empty() {
        asked.push(of_query(canary, metric, inline, about, all));
    }
    let mut names = Vec::new();
    for one in asked {
        match one {
            Ok(Asked::Shipped(rule)) => names.push(rule.to_owned()),
            Ok(Asked::Own(rule)) => names.push(all.rule(rule)),
            Err(why) => all.note(about, &format!("spec.analysis.metrics {name}: {why}")),
        }
    }
    names
}

/// What a metric asks for.
enum Asked {
    /// A rule that is shipped, by its name.
    Shipped(&'static str),
    /// A rule of its own.
    Own(Value),
}

/// The name of a rule: of one namespace's Canary only.
fn own(canary: &Value, what: &str) -> String {
    let namespace = text(canary, "/metadata/namespace");
    rule_name(&[namespace, text(canary, "/metadata/name"), what])
}

/// The errors: by a limit of its own if it has one, else against stable's.
fn success(
    canary: &Value,
    metric: &Value,
    about: &str,
    all: &mut Converted,
) -> Result<Asked, String> {
    let about = format!("{about}: spec.analysis.metrics request-success-rate");
    let range = &metric["thresholdRange"];
    if range["max"].is_number() {
        let text = format!(
            "thresholdRange.max: {} has no counterpart: too few errors are no fault",
            range["max"]
        );
        all.note(&about, &text);
    }
    let Some(least) = range["min"].as_f64().or(metric["threshold"].as_f64()) else {
        return Ok(Asked::Shipped("error-rate"));
    };
    if !(0.0 < least && least <= 100.0) {
        return Err(format!(
            "found at least {least}%, wanted more than 0 and at most 100; no rule says that"
        ));
    }
    let mut limit = 100.0 - least;
    if limit < 1e-6 {
        limit = NO_ERRORS_PERCENT;
        let text = format!(
            "no error was let pass; a limit is above 0%, so at most {limit}% are let pass now, which some 3000 requests of the \
             canary can show: write less where there are more"
        );
        all.note(&about, &text);
    }
    let rule = error_limit(&own(canary, "errors"), limit);
    Ok(Asked::Own(rule))
}

/// The time that requests take: by a limit of its own if it has one, else against stable's.
fn duration(
    canary: &Value,
    metric: &Value,
    about: &str,
    all: &mut Converted,
) -> Result<Asked, String> {
    let about = format!("{about}: spec.analysis.metrics request-duration");
    let range = &metric["thresholdRange"];
    if range["min"].is_number() {
        let text = format!(
            "thresholdRange.min: {} has no counterpart: quick answers are no fault",
            range["min"]
        );
        all.note(&about, &text);
    }
    let Some(most) = range["max"].as_f64().or(metric["threshold"].as_f64()) else {
        return Ok(Asked::Shipped("latency-p99"));
    };
    if most <= 0.0 {
        return Err(format!("found at most {most} ms, wanted more than 0"));
    }
    if is_a_mean(canary) {
        let text = "Flagger asks ingress-nginx for the mean time of the pods' answers; the rule holds the slowest \
             1% of whole requests to it, which fails where the mean did not: raise its seconds to what the 99th percentile may be";
        all.note(&about, text);
    }
    let rule = latency_limit(&own(canary, "latency"), most / 1000.0);
    Ok(Asked::Own(rule))
}

/// Whether Flagger takes its times from ingress-nginx, of which it asks the mean; of others the 99th percentile.
fn is_a_mean(canary: &Value) -> bool {
    match text(canary, "/spec/provider") {
        "" => !text(canary, "/spec/ingressRef/name").is_empty(),
        provider => provider == "nginx",
    }
}

/// The query of the template that a metric names.
fn of_template(
    canary: &Value,
    metric: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Result<String, String> {
    let template = text(metric, "/templateRef/name");
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
    Ok(text(found, "/spec/query").to_owned())
}

/// A query of one's own, with bounds.
fn of_query(
    canary: &Value,
    metric: &Value,
    query: &str,
    about: &str,
    all: &mut Converted,
) -> Result<Asked, String> {
    let name = text(metric, "/name");
    let about = format!("{about}: spec.analysis.metrics {name}");
    let query = templates::filled_in(canary, metric, query, &about, all)
        .map_err(|name| format!("{{{{ {name} }}}} is not known here"))?;
    let bounds = bounds(metric);
    if query.is_empty() || bounds.is_empty() {
        return Err("want a query and a thresholdRange".to_owned());
    }
    let threshold = canary
        .pointer("/spec/analysis/threshold")
        .and_then(Value::as_u64);
    let rule = value(
        &own(canary, name),
        &query,
        &bounds,
        None,
        threshold.unwrap_or(3),
    );
    Ok(Asked::Own(rule))
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
