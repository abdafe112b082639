//! Flagger's Canary and `MetricTemplate`.

mod http_route;
mod left;
mod metrics;
mod route;
mod switch;
mod templates;

use serde_json::{Value, json};

use super::condition::duration;
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
    match rollout(canary, resources, &about, all) {
        Err(why) => all.note(&about, &format!("{why}; it is not converted")),
        Ok(rollout) => {
            left::told(canary, &about, all);
            all.objects.push(rollout);
            let target = text(canary, "/spec/targetRef/name");
            let steps = switch::steps(canary, target, &all.rules);
            all.steps.extend(steps);
        }
    }
}

/// Its Rollout.
fn rollout(
    canary: &Value,
    resources: &[Value],
    about: &str,
    all: &mut Converted,
) -> Result<Value, String> {
    wanted(canary)?;
    let analysis = analysis(canary);
    let mut spec = json!({
        "target": {"kind": "Deployment", "name": canary["spec"]["targetRef"]["name"]},
        "route": route::of(canary, about, all)?,
        "strategy": strategy(analysis, about, all),
    });
    spec["analysis"] = json!({"rules": metrics::rules(canary, analysis, resources, about, all)});
    if let Some(deadline) = duration(&canary["spec"]["progressDeadlineSeconds"]) {
        spec["progressDeadline"] = json!(deadline);
    }
    if canary["spec"]["suspend"] == true {
        spec["suspended"] = json!(true);
    }
    Ok(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata(canary),
        "spec": spec,
    }))
}

/// That it says what no Rollout can be without.
fn wanted(canary: &Value) -> Result<(), String> {
    for (field, what) in [
        ("metadata.name", "a name"),
        ("spec.targetRef.kind", "Deployment"),
        ("spec.targetRef.name", "the Deployment's name"),
    ] {
        if text(canary, &format!("/{}", field.replace('.', "/"))).is_empty() {
            return Err(format!("{field}: found nothing, wanted {what}"));
        }
    }
    match text(canary, "/spec/targetRef/kind") {
        "Deployment" => Ok(()),
        kind => Err(format!(
            "spec.targetRef: a {kind} has no canary; a DaemonSet or StatefulSet can be guarded with strategy.rolling (docs/concepts/rolling.md)"
        )),
    }
}

/// Its analysis, where older ones have it too.
fn analysis(canary: &Value) -> &Value {
    let spec = &canary["spec"];
    if spec["analysis"].is_object() {
        &spec["analysis"]
    } else {
        &spec["canaryAnalysis"]
    }
}

fn strategy(analysis: &Value, about: &str, all: &mut Converted) -> Value {
    let by_weight = !analysis["stepWeight"].is_null() || !analysis["stepWeights"].is_null();
    let told_apart = !list(analysis, "/match").is_empty();
    if analysis["iterations"].is_number() && !by_weight && !told_apart {
        let interval = duration(&analysis["interval"]).unwrap_or_else(|| "1m".to_owned());
        let text = format!(
            "spec.analysis.iterations: blue/green: Flagger judges the new pods {} times, each {interval}, before anybody is \
             switched to them; here all are switched once the pods are ready, and then it is judged, with stable kept for `hold`, 10m unless \
             it is given. Test them without users by smoke.beforeTraffic (docs/concepts/smoke-tests.md), or begin with few by canary steps",
            analysis["iterations"]
        );
        all.note(about, &text);
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
    let mut steps = rising(steps.collect(), "spec.analysis", about, all);
    if steps.is_empty() {
        let text = "spec.analysis: no weights (A/B by iterations): testers reach the canary by match at any weight; steps of 5, 25 and 50% for the others are written";
        all.note(about, text);
        steps = [5, 25, 50]
            .map(|weight| json!({"weight": weight, "hold": interval}))
            .to_vec();
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
