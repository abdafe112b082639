//! Flagger's Canary and `MetricTemplate`.

mod route;
mod switch;

use serde_json::{Value, json};

use super::condition::{duration, filled};
use super::rules::{error_limit, latency_limit, rule_name, value};
use super::{Converted, list, metadata, of_kind, rising, text};

pub(super) fn converted(resources: &[Value]) -> Converted {
    let mut all = Converted::default();
    for canary in of_kind(resources, &["Canary"]) {
        one(canary, resources, &mut all);
    }
    if all.objects.is_empty() && all.notes.is_empty() {
        all.note("nothing", "no Canary was found");
    }
    all
}

fn one(canary: &Value, resources: &[Value], all: &mut Converted) {
    let about = format!("Canary {}", text(canary, "/metadata/name"));
    let target = text(canary, "/spec/targetRef/name");
    let kind = text(canary, "/spec/targetRef/kind");
    if kind != "Deployment" {
        all.note(
            &about,
            &format!(
                "spec.targetRef: a {kind} has no canary; a DaemonSet or StatefulSet can be guarded with strategy.rolling (docs/concepts/rolling.md)"
            ),
        );
        return;
    }
    let analysis = if canary["spec"]["analysis"].is_object() {
        &canary["spec"]["analysis"]
    } else {
        &canary["spec"]["canaryAnalysis"]
    };
    let mut spec = json!({
        "target": {"kind": "Deployment", "name": target},
        "route": route::of(canary, &about, all),
        "strategy": strategy(analysis, &about, all),
    });
    spec["analysis"] = json!({"rules": metrics(canary, analysis, resources, &about, all)});
    if let Some(deadline) = duration(&canary["spec"]["progressDeadlineSeconds"]) {
        spec["progressDeadline"] = json!(deadline);
    }
    if canary["spec"]["suspend"] == true {
        spec["suspended"] = json!(true);
    }
    leftovers(canary, analysis, &about, all);
    all.objects.push(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata(canary),
        "spec": spec,
    }));
    let steps = switch::steps(canary, target, &all.rules);
    all.steps.extend(steps);
}

fn strategy(analysis: &Value, about: &str, all: &mut Converted) -> Value {
    let by_weight = !analysis["stepWeight"].is_null() || !analysis["stepWeights"].is_null();
    let told_apart = !list(analysis, "/match").is_empty();
    if analysis["iterations"].is_number() && !by_weight && !told_apart {
        all.note(
            about,
            "spec.analysis.iterations: blue/green; after the switch stable is kept for `hold`, 10m unless it is given",
        );
        let asked = asks(analysis, "confirm-promotion");
        return json!({"blueGreen": if asked { json!({"approval": true}) } else { json!({}) }});
    }
    json!({"canary": canary_strategy(analysis, about, all)})
}

fn canary_strategy(analysis: &Value, about: &str, all: &mut Converted) -> Value {
    let interval = duration(&analysis["interval"]).unwrap_or_else(|| "1m".to_owned());
    let weights: Vec<i64> = match list(analysis, "/stepWeights") {
        [] => stepped(analysis),
        weights => weights.iter().filter_map(Value::as_i64).collect(),
    };
    let steps = weights
        .iter()
        .map(|weight| json!({"weight": weight, "hold": interval}));
    let mut steps = rising(steps.collect());
    if steps.is_empty() {
        let text = "spec.analysis: no weights (A/B by iterations): testers reach the canary by match at any weight; steps of 5, 25 and 50% for the others are written";
        all.note(about, text);
        steps = [5, 25, 50]
            .map(|weight| json!({"weight": weight, "hold": interval}))
            .to_vec();
    } else if steps.len() < weights.len() {
        all.note(
            about,
            "spec.analysis: weights that do not rise, from 100 on, or after 32 steps are left out",
        );
    }
    approvals(analysis, &mut steps);
    let mut strategy = json!({"steps": steps});
    if let Some(found) = matching(list(analysis, "/match"), about, all) {
        strategy["match"] = found;
    }
    strategy
}

fn stepped(analysis: &Value) -> Vec<i64> {
    let Some(step) = analysis["stepWeight"].as_i64().filter(|step| *step > 0) else {
        return Vec::new();
    };
    let most = analysis["maxWeight"].as_i64().unwrap_or(100).min(100);
    let whole = (1..)
        .map(|count| count * step)
        .take_while(|weight| *weight <= most);
    whole.collect()
}

/// Whether a webhook of this kind is asked.
fn asks(analysis: &Value, kind: &str) -> bool {
    let webhooks = list(analysis, "/webhooks");
    webhooks
        .iter()
        .any(|webhook| text(webhook, "/type") == kind)
}

fn approvals(analysis: &Value, steps: &mut [Value]) {
    let asks = |kind: &str| asks(analysis, kind);
    let last = steps.len().saturating_sub(1);
    for (at, step) in steps.iter_mut().enumerate() {
        if asks("confirm-traffic-increase") || (at == last && asks("confirm-promotion")) {
            step["approval"] = json!(true);
        }
    }
}

/// The first header or cookie by which testers are told.
fn matching(conditions: &[Value], about: &str, all: &mut Converted) -> Option<Value> {
    let mut found = json!({});
    for (name, how) in conditions
        .iter()
        .filter_map(|one| one["headers"].as_object())
        .flatten()
    {
        match (name.as_str(), how["exact"].as_str(), how["regex"].as_str()) {
            ("cookie", Some(cookie), _) => found["cookie"] = json!(cookie),
            (header, Some(value), _) if header != "cookie" && found["header"].is_null() => {
                found["header"] = json!(header);
                found["value"] = json!(value);
            }
            (header, _, Some(pattern)) if header != "cookie" && found["header"].is_null() => {
                found["header"] = json!(header);
                found["pattern"] = json!(pattern);
            }
            (header, ..) => {
                let text = format!(
                    "spec.analysis.match: {header} has no counterpart; one header and one cookie do"
                );
                all.note(about, &text);
            }
        }
    }
    found
        .as_object()
        .is_some_and(|found| !found.is_empty())
        .then_some(found)
}

/// The names of the rules that the metrics become.
fn metrics(
    canary: &Value,
    analysis: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Vec<String> {
    let own = text(canary, "/metadata/name");
    let mut names = Vec::new();
    for metric in list(analysis, "/metrics") {
        let name = text(metric, "/name");
        let range = &metric["thresholdRange"];
        let least = range["min"].as_f64().or(metric["threshold"].as_f64());
        let most = range["max"].as_f64().or(metric["threshold"].as_f64());
        let rule = match name {
            "request-success-rate" => {
                least.map(|least| error_limit(&rule_name(&[own, "errors"]), 100.0 - least))
            }
            "request-duration" => {
                most.map(|millis| latency_limit(&rule_name(&[own, "latency"]), millis / 1000.0))
            }
            _ => match of_template(canary, metric, resources) {
                Ok(rule) => Some(rule),
                Err(why) => {
                    all.note(about, &format!("spec.analysis.metrics {name}: {why}"));
                    continue;
                }
            },
        };
        names.push(match (rule, name) {
            (Some(rule), _) => {
                let name = rule["name"].as_str().unwrap_or_default().to_owned();
                all.rules.push(rule);
                name
            }
            (None, "request-duration") => "latency-p99".to_owned(),
            (None, _) => "error-rate".to_owned(),
        });
    }
    if names.is_empty() {
        all.note(
            about,
            "spec.analysis.metrics: none; error-rate and latency-p99 are asked",
        );
        names = vec!["error-rate".to_owned(), "latency-p99".to_owned()];
    }
    names
}

/// A query of one's own, with bounds.
fn of_template(canary: &Value, metric: &Value, resources: &[Value]) -> Result<Value, String> {
    let (name, template) = (text(metric, "/name"), text(metric, "/templateRef/name"));
    let query = if template.is_empty() {
        text(metric, "/query")
    } else {
        let found = of_kind(resources, &["MetricTemplate"])
            .find(|resource| text(resource, "/metadata/name") == template)
            .ok_or(format!("give its MetricTemplate {template} too"))?;
        let provider = text(found, "/spec/provider/type");
        if provider != "prometheus" {
            return Err(format!("{provider} is not asked, only Prometheus"));
        }
        text(found, "/spec/query")
    };
    let query = filled_in(canary, metric, query)
        .map_err(|name| format!("{{{{ {name} }}}} is not known here"))?;
    let range = &metric["thresholdRange"];
    let bounds = ["min", "max"]
        .into_iter()
        .filter_map(|key| Some((key, range[key].as_f64()?)));
    let bounds: Vec<_> = bounds.collect();
    if query.is_empty() || bounds.is_empty() {
        return Err("want a query and a thresholdRange".to_owned());
    }
    let own = text(canary, "/metadata/name");
    let threshold = canary
        .pointer("/spec/analysis/threshold")
        .and_then(Value::as_u64);
    let rule = value(
        &rule_name(&[own, name]),
        &query,
        &bounds,
        None,
        threshold.unwrap_or(3),
    );
    Ok(rule)
}

/// Flagger's analysed pods are those of the target; here they are those of its canary.
fn filled_in(canary: &Value, metric: &Value, query: &str) -> Result<String, String> {
    let target = text(canary, "/spec/targetRef/name");
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
        ("target", format!("{target}-canary")),
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

/// What is read over, each with what to do.
fn leftovers(canary: &Value, analysis: &Value, about: &str, all: &mut Converted) {
    let said = [
        (
            "/spec/skipAnalysis",
            "spec.skipAnalysis: `sluice promote` brings one revision through unjudged",
        ),
        (
            "/spec/autoscalerRef",
            "spec.autoscalerRef: the autoscaler stays on the Deployment; nothing is to be named",
        ),
        (
            "/spec/service/gatewayRefs",
            "spec.service: a Gateway has no counterpart; traffic is split at an Ingress",
        ),
    ];
    for (pointer, words) in said {
        let kept = route::by_gateway(canary) && pointer == "/spec/service/gatewayRefs";
        if canary
            .pointer(pointer)
            .is_some_and(|value| *value != false && !value.is_null() && !kept)
        {
            all.note(about, words);
        }
    }
    served(canary, about, all);
    let said = [
        (
            "threshold",
            "spec.analysis.threshold: failed checks are not counted; the evidence decides, see docs/concepts/evidence.md",
        ),
        (
            "mirror",
            "spec.analysis.mirror: mirrored traffic has no counterpart",
        ),
        (
            "sessionAffinity",
            "spec.analysis.sessionAffinity: set it on the Ingress; it is copied to the canary's",
        ),
        (
            "stepWeightPromotion",
            "spec.analysis.stepWeightPromotion: promotion is the Deployment's own rolling update",
        ),
        (
            "primaryReadyThreshold",
            "spec.analysis.primaryReadyThreshold: the Deployment's maxUnavailable says it",
        ),
        (
            "alerts",
            "spec.analysis.alerts: providers have no counterpart",
        ),
    ];
    for (key, words) in said {
        if analysis
            .get(key)
            .is_some_and(|value| *value != false && !value.is_null())
        {
            all.note(about, words);
        }
    }
    for webhook in list(analysis, "/webhooks") {
        let name = text(webhook, "/name");
        let words = match text(webhook, "/type") {
            "confirm-traffic-increase" | "confirm-promotion" => "is `approval: true` now",
            "confirm-rollout" => "has no counterpart: a run begins when the template changes",
            "pre-rollout" => {
                "write it as a smoke test (docs/concepts/smoke-tests.md) and name it in smoke.beforeTraffic"
            }
            "rollback" => "name its alert in spec.alerts, or call `sluice rollback`",
            "post-rollout" | "event" => "has no counterpart",
            _ => "is left out: load tests are yours to run",
        };
        all.note(about, &format!("spec.analysis.webhooks {name}: {words}"));
    }
}

/// What Flagger writes into the route that it makes: that route goes with the Canary.
fn served(canary: &Value, about: &str, all: &mut Converted) {
    const OF_ROUTES: [&str; 12] = [
        "gateways",
        "hosts",
        "match",
        "rewrite",
        "timeout",
        "retries",
        "headers",
        "corsPolicy",
        "mirror",
        "trafficPolicy",
        "backends",
        "delegation",
    ];
    if route::by_gateway(canary) {
        return;
    }
    let service = &canary["spec"]["service"];
    let found = OF_ROUTES.into_iter().filter(|key| !service[key].is_null());
    let found: Vec<&str> = found.collect();
    if !found.is_empty() {
        let text = format!(
            "spec.service: {}: Flagger's route has them and goes with the Canary; write them into your own",
            found.join(", ")
        );
        all.note(about, &text);
    }
}
