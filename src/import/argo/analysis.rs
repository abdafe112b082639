//! `AnalysisTemplate`s as rules with bounds.
//!
//! A metric becomes a rule only where the rule says the same; every other is left out and said. Not here: how
//! conditions are read (`import::condition`), how rules are written (`import::rules`).
//!
//! Source: Argo Rollouts 1.9, `utils/analysis`.

use regex::Regex;
use serde_json::{Value, json};

use super::arguments::{arguments, words};
use super::{canary_service, stable_service};
use crate::import::condition::{Bound, bound, filled};
use crate::import::fields::{self, Field};
use crate::import::rules::{WINDOW_MOST, rule_name, value};
use crate::import::{Converted, list, named, text};

/// Fields of a template.
const OF_TEMPLATES: &[Field] = &[
    ("apiVersion", ""),
    ("kind", ""),
    ("metadata", ""),
    ("status", ""),
    ("spec.args", ""),
    ("spec.templates", ""),
    ("spec.dryRun", ""),
    ("spec.metrics", ""),
    (
        "spec.measurementRetention",
        "what a run showed is kept by the history",
    ),
];

/// Fields of a metric that Prometheus is asked for.
const OF_METRICS: &[Field] = &[
    ("name", ""),
    ("interval", ""),
    ("successCondition", ""),
    ("failureCondition", ""),
    ("failureLimit", ""),
    ("provider.prometheus.query", ""),
    (
        "provider.prometheus.address",
        "asked at {}; the Prometheus of the environment (evidence.prometheus) is asked now, and must have the same series",
    ),
    (
        "provider.prometheus.authentication",
        "the environment's evidence.prometheus says how it is asked",
    ),
    (
        "provider.prometheus.headers",
        "the environment's evidence.prometheus says how it is asked",
    ),
    (
        "provider.prometheus.insecure",
        "the environment's evidence.prometheus says how it is asked",
    ),
    (
        "provider.prometheus.timeout",
        "the environment's evidence.prometheus says how it is asked",
    ),
    (
        "count",
        "found {}: the rule is asked as long as the run goes on",
    ),
    (
        "initialDelay",
        "found {}: a number counts once all that its query looks back on is the canary's",
    ),
    (
        "inconclusiveLimit",
        "found {}: a number is right or outside, and nothing else",
    ),
    (
        "consecutiveErrorLimit",
        "found {}: a query that fails is no data, for which analysis.noData says what then",
    ),
    (
        "consecutiveSuccessLimit",
        "found {}: successes are not counted, what is outside is",
    ),
];

/// The names of the rules.
pub fn rules(
    rollout: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for analysis in analyses(rollout) {
        let asked = Asked::new(rollout, analysis, resources, about, all);
        for template in &asked.templates {
            let name = text(template, "/metadata/name");
            let about = format!("{about}: {} {name}", text(template, "/kind"));
            fields::told(template, "", OF_TEMPLATES, &about, all);
            for metric in list(template, "/spec/metrics") {
                let about = format!("{about}, metric {}", text(metric, "/name"));
                match asked.rule(rollout, name, metric, &about, all) {
                    Ok(rule) => {
                        fields::told(metric, "", OF_METRICS, &about, all);
                        names.push(all.rule(rule));
                    }
                    Err(why) => all.note(&about, &why),
                }
            }
        }
    }
    names.sort();
    names.dedup();
    // The arms are compared in any case.
    names.splice(0..0, ["error-rate".to_owned(), "latency-p99".to_owned()]);
    names
}

/// Every analysis that a Rollout names, wherever it names it.
fn analyses(rollout: &Value) -> Vec<&Value> {
    let strategy = &rollout["spec"]["strategy"];
    let steps = list(strategy, "/canary/steps")
        .iter()
        .map(|step| &step["analysis"]);
    let others = [
        &strategy["canary"]["analysis"],
        &strategy["blueGreen"]["prePromotionAnalysis"],
        &strategy["blueGreen"]["postPromotionAnalysis"],
    ];
    steps
        .chain(others)
        .filter(|analysis| analysis.is_object())
        .collect()
}

/// What one analysis asks for: its templates with those that they name, and what stands in their queries.
struct Asked<'a> {
    templates: Vec<&'a Value>,
    /// Values of arguments that are known here.
    arguments: Vec<(String, String)>,
    /// Names of metrics that fail nothing.
    dry: Vec<Regex>,
}

impl<'a> Asked<'a> {
    fn new(
        rollout: &Value,
        analysis: &Value,
        resources: &'a [Value],
        about: &str,
        all: &mut Converted,
    ) -> Self {
        let mut templates = Vec::new();
        let namespace = text(rollout, "/metadata/namespace");
        let refs = list(analysis, "/templates");
        gather(refs, resources, namespace, &mut templates, about, all);
        let mut dry = Vec::new();
        let of_templates = templates
            .iter()
            .flat_map(|template| list(template, "/spec/dryRun"));
        for one in list(analysis, "/dryRun").iter().chain(of_templates) {
            match pattern(text(one, "/metricName")) {
                Ok(pattern) => dry.push(pattern),
                Err(why) => all.note(about, &why),
            }
        }
        Self {
            arguments: arguments(rollout, analysis, &templates),
            templates,
            dry,
        }
    }

    /// The rule of a metric; `Err` says why there is none.
    fn rule(
        &self,
        rollout: &Value,
        template: &str,
        metric: &Value,
        about: &str,
        all: &mut Converted,
    ) -> Result<Value, String> {
        let name = text(metric, "/name");
        if self.dry.iter().any(|pattern| pattern.is_match(name)) {
            return Err(
                "dryRun: it fails nothing there, and no rule is so; it is left out".to_owned(),
            );
        }
        let query = self.query(metric)?;
        let (bound, said) = bounded(metric)?;
        let failures = failures(metric)?;
        remarks(rollout, metric, &query, failures, about, all);
        let (namespace, own) = (
            text(rollout, "/metadata/namespace"),
            text(rollout, "/metadata/name"),
        );
        let name = rule_name(&[namespace, own, template, name]);
        let every = Some(text(metric, "/interval")).filter(|every| is_duration(every));
        let mut rule = value(&name, &query, &[bound], every, failures);
        rule["about"] = json!(said);
        Ok(rule)
    }

    fn query(&self, metric: &Value) -> Result<String, String> {
        let provider = &metric["provider"];
        let Some(query) = provider["prometheus"]["query"].as_str() else {
            let kind = provider.as_object().and_then(|kinds| kinds.keys().next());
            let kind = kind.map_or("no provider", String::as_str);
            return Err(format!("{kind} is not asked, only Prometheus"));
        };
        if !provider["prometheus"]["rangeQuery"].is_null() {
            return Err("provider.prometheus.rangeQuery: a rule's query is asked for one moment; write the rule by hand".to_owned());
        }
        let known: Vec<(&str, String)> = self
            .arguments
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        filled(query, &known).map_err(|name| {
            format!("{{{{{name}}}}} has no value that is known here; write the rule by hand")
        })
    }
}

/// What differs a little between a metric and its rule.
fn remarks(
    rollout: &Value,
    metric: &Value,
    query: &str,
    failures: u64,
    about: &str,
    all: &mut Converted,
) {
    let every = text(metric, "/interval");
    if !every.is_empty() && !is_duration(every) {
        all.note(
            about,
            &format!("interval: {every} is no duration; 15s is taken"),
        );
    }
    if failures > 1 {
        let text = format!(
            "failureLimit: {}: failures of the whole analysis there; here of the newest numbers (`window`)",
            failures - 1
        );
        all.note(about, &text);
    }
    let services = [canary_service(rollout), stable_service(rollout)];
    for service in services.into_iter().flatten() {
        if words(query).any(|(word, _)| word == service) {
            let text = format!(
                "its query names the Service {service}: write {{{{canaryService}}}} or {{{{service}}}} where it stands for the arm's"
            );
            all.note(about, &text);
        }
    }
}

fn is_duration(text: &str) -> bool {
    humantime::parse_duration(text).is_ok()
}

/// The templates that are named, and those that they name, each once.
fn gather<'a>(
    refs: &[Value],
    resources: &'a [Value],
    namespace: &str,
    into: &mut Vec<&'a Value>,
    about: &str,
    all: &mut Converted,
) {
    for one in refs {
        let name = text(one, "/templateName");
        let found = if one["clusterScope"] == true {
            let kind = "ClusterAnalysisTemplate";
            named(resources, kind, name, "").ok_or(kind)
        } else {
            let kind = "AnalysisTemplate";
            named(resources, kind, name, namespace).ok_or(kind)
        };
        match found {
            Err(kind) => all.note(about, &format!("give the {kind} {name} too")),
            Ok(found) if into.iter().any(|known| std::ptr::eq(*known, found)) => {}
            Ok(found) => {
                into.push(found);
                let further = list(found, "/spec/templates");
                gather(further, resources, namespace, into, about, all);
            }
        }
    }
}

/// Names of metrics as `dryRun` has them: an expression that some part of the name fulfils, or `*` for all.
fn pattern(name: &str) -> Result<Regex, String> {
    let name = if name == "*" { ".*" } else { name };
    Regex::new(name).map_err(|_| {
        format!("dryRun: {name} is no expression that is known here; take what it means out of analysis.rules")
    })
}

/// The one bound that both conditions come to, and what they say.
fn bounded(metric: &Value) -> Result<(Bound, String), String> {
    let mut bounds = Vec::new();
    let mut said = Vec::new();
    for (key, fails) in [("successCondition", false), ("failureCondition", true)] {
        let condition = text(metric, &format!("/{key}"));
        if !condition.is_empty() {
            let found = bound(condition, fails)
                .ok_or_else(|| format!("{key} {condition:?} is not one comparison"))?;
            bounds.push(found);
            said.push(format!("{key}: {condition}"));
        }
    }
    match bounds.as_slice() {
        [] => Err("want a successCondition or a failureCondition".to_owned()),
        [one] => Ok((*one, said.join(", "))),
        [one, other] if one == other => Ok((*one, said.join(", "))),
        _ => Err(format!(
            "{}: between them Argo waits for a person, which no rule does; write the rule by hand, with the bound at which a release is to fail",
            said.join(", ")
        )),
    }
}

/// How many failures fail it.
fn failures(metric: &Value) -> Result<u64, String> {
    let limit = &metric["failureLimit"];
    let whole = match limit {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        limit => limit.as_i64(),
    };
    match whole.map(u64::try_from) {
        None => Err(format!(
            "failureLimit: found {limit}, wanted a whole number"
        )),
        Some(Err(_)) => Err(format!(
            "failureLimit: {limit}: no failures are too many, and successes in a row are not counted here; it is left out"
        )),
        Some(Ok(limit)) if limit >= WINDOW_MOST => Err(format!(
            "failureLimit: {limit}: a rule counts the newest {WINDOW_MOST} numbers at most; write it by hand"
        )),
        Some(Ok(limit)) => Ok(limit + 1),
    }
}
