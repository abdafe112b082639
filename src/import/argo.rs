//! Argo Rollouts' Rollout, `AnalysisTemplate` and `ClusterAnalysisTemplate`.

use serde_json::{Value, json};

use super::condition::{bound, duration, filled};
use super::rules::{rule_name, value};
use super::{Converted, applied, in_namespace, list, metadata, of_kind, rising, step, text};

pub(super) fn converted(resources: &[Value]) -> Converted {
    let mut all = Converted::default();
    for rollout in of_kind(resources, &["Rollout"]) {
        if text(rollout, "/apiVersion").starts_with("argoproj.io/") {
            one(rollout, resources, &mut all);
        }
    }
    if all.objects.is_empty() && all.notes.is_empty() {
        all.note("nothing", "no Rollout of argoproj.io was found");
    }
    all
}

fn one(rollout: &Value, resources: &[Value], all: &mut Converted) {
    let name = text(rollout, "/metadata/name");
    let about = format!("Rollout {name}");
    let target = match text(rollout, "/spec/workloadRef/name") {
        "" => {
            all.objects.push(deployment(rollout));
            name
        }
        target if text(rollout, "/spec/workloadRef/kind") == "Deployment" => target,
        _ => {
            all.note(&about, "spec.workloadRef: only Deployments are guarded");
            return;
        }
    };
    let strategy = &rollout["spec"]["strategy"];
    let ours = if strategy["blueGreen"].is_object() {
        json!({"blueGreen": blue_green(&strategy["blueGreen"], &about, all)})
    } else {
        json!({"canary": {"steps": canary_steps(&strategy["canary"], &about, all)}})
    };
    let rules = rules(rollout, resources, &about, all);
    let mut spec = json!({
        "target": {"kind": "Deployment", "name": target},
        "route": {"ingressNginx": route(strategy, target, &about, all)},
        "strategy": ours,
        "analysis": {"rules": rules},
    });
    if let Some(deadline) = duration(&rollout["spec"]["progressDeadlineSeconds"]) {
        spec["progressDeadline"] = json!(deadline);
    }
    leftovers(rollout, &about, all);
    all.objects.push(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata(rollout),
        "spec": spec,
    }));
    switch(rollout, target, all);
}

/// The same pods as a Deployment.
fn deployment(rollout: &Value) -> Value {
    let kept = [
        "replicas",
        "selector",
        "template",
        "minReadySeconds",
        "revisionHistoryLimit",
    ];
    let kept = kept
        .into_iter()
        .filter(|key| !rollout["spec"][key].is_null());
    let mut spec: serde_json::Map<String, Value> = kept
        .map(|key| (key.to_owned(), rollout["spec"][key].clone()))
        .collect();
    let canary = &rollout["spec"]["strategy"]["canary"];
    let rolling = ["maxSurge", "maxUnavailable"]
        .into_iter()
        .filter(|key| !canary[key].is_null());
    let rolling: serde_json::Map<String, Value> = rolling
        .map(|key| (key.to_owned(), canary[key].clone()))
        .collect();
    if !rolling.is_empty() {
        spec.insert("strategy".to_owned(), json!({"rollingUpdate": rolling}));
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(rollout), "spec": spec})
}

fn route(strategy: &Value, target: &str, about: &str, all: &mut Converted) -> Value {
    let canary = &strategy["canary"];
    let nginx = &canary["trafficRouting"]["nginx"];
    let ingress = text(nginx, "/stableIngress");
    let others = canary["trafficRouting"].as_object().into_iter().flatten();
    for (kind, _) in others.filter(|(kind, _)| *kind != "nginx") {
        let text = format!(
            "spec.strategy.canary.trafficRouting.{kind} has no counterpart; traffic is split at an Ingress"
        );
        all.note(about, &text);
    }
    if !list(nginx, "/additionalStableIngresses").is_empty()
        || list(nginx, "/stableIngresses").len() > 1
    {
        all.note(
            about,
            "trafficRouting.nginx: one Ingress is split, others go on leading to stable",
        );
    }
    if ingress.is_empty() {
        let text = format!(
            "no stable Ingress is named; {target} is written, name the Ingress that leads to it"
        );
        all.note(about, &text);
    }
    let name = if ingress.is_empty() { target } else { ingress };
    let mut route = json!({"ingress": name});
    if let Some(service) = stable_service(strategy) {
        route["service"] = json!(service);
    }
    let prefix = text(nginx, "/annotationPrefix");
    if !prefix.is_empty() {
        route["annotationPrefix"] = json!(prefix);
    }
    route
}

fn canary_steps(canary: &Value, about: &str, all: &mut Converted) -> Vec<Value> {
    let mut steps: Vec<Value> = Vec::new();
    for (at, step) in list(canary, "/steps").iter().enumerate() {
        if let Some(weight) = step["setWeight"].as_i64() {
            steps.push(json!({"weight": weight}));
        } else if step["pause"].is_object() {
            paused(&mut steps, &step["pause"], at, about, all);
        } else if let Some(kind) = step.as_object().and_then(|step| step.keys().next()) {
            let words = match kind.as_str() {
                "analysis" => "its rules are asked in every step",
                "setCanaryScale" => "the canary grows with its weight",
                _ => "has no counterpart",
            };
            all.note(
                about,
                &format!("spec.strategy.canary.steps[{at}].{kind}: {words}"),
            );
        }
    }
    let given = steps.len();
    let mut steps = rising(steps);
    if steps.len() < given {
        all.note(about, "spec.strategy.canary.steps: weights that do not rise, of 0 or 100, or after 32 steps are left out");
    }
    if steps.is_empty() {
        all.note(
            about,
            "spec.strategy.canary.steps: none; steps of 5, 25 and 50% are written",
        );
        steps = [5, 25, 50].map(|weight| json!({"weight": weight})).to_vec();
    }
    steps
}

/// A pause without a duration waits for a person.
fn paused(steps: &mut [Value], pause: &Value, at: usize, about: &str, all: &mut Converted) {
    let Some(step) = steps.last_mut() else {
        let text = format!(
            "spec.strategy.canary.steps[{at}].pause: before any weight it has no counterpart"
        );
        all.note(about, &text);
        return;
    };
    if pause["duration"].is_null() {
        step["approval"] = json!(true);
        return;
    }
    let Some(hold) = duration(&pause["duration"]) else {
        all.note(
            about,
            &format!(
                "spec.strategy.canary.steps[{at}].pause: {} is no duration",
                pause["duration"]
            ),
        );
        return;
    };
    // Pauses after one weight add up.
    step["hold"] = match step["hold"].as_str() {
        Some(before) => json!(format!("{before} {hold}")),
        None => json!(hold),
    };
}

/// One switch, which a person approves where Argo waited for one.
fn blue_green(blue_green: &Value, about: &str, all: &mut Converted) -> Value {
    let said = [
        (
            "autoPromotionSeconds",
            "who approves is asked for without an end; leave `approval` out where nobody is",
        ),
        (
            "previewReplicaCount",
            "the new pods are as many as stable's before the switch",
        ),
        (
            "scaleDownDelaySeconds",
            "stable's pods stay for `hold`, 10m unless it is given",
        ),
        (
            "scaleDownDelayRevisionLimit",
            "one revision is kept, the stable one",
        ),
    ];
    for (key, words) in said {
        if !blue_green[key].is_null() {
            all.note(about, &format!("spec.strategy.blueGreen.{key}: {words}"));
        }
    }
    if blue_green["autoPromotionEnabled"] == false {
        json!({"approval": true})
    } else {
        json!({})
    }
}

/// The Service whose selector Argo changes so that it leads to stable only.
fn stable_service(strategy: &Value) -> Option<&str> {
    let named = ["/canary/stableService", "/blueGreen/activeService"];
    let mut named = named.into_iter().map(|pointer| text(strategy, pointer));
    named.find(|service| !service.is_empty())
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

fn rules(rollout: &Value, resources: &[Value], about: &str, all: &mut Converted) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for analysis in analyses(rollout) {
        for named in list(analysis, "/templates") {
            let template = text(named, "/templateName");
            let kinds = ["AnalysisTemplate", "ClusterAnalysisTemplate"];
            let found = of_kind(resources, &kinds).find(|r| text(r, "/metadata/name") == template);
            let Some(found) = found else {
                all.note(about, &format!("give the AnalysisTemplate {template} too"));
                continue;
            };
            for metric in list(found, "/spec/metrics") {
                let name = text(metric, "/name");
                match of_metric(rollout, template, metric, &arguments(found, analysis)) {
                    Ok(rule) => {
                        names.push(text(&rule, "/name").to_owned());
                        all.rules.push(rule);
                    }
                    Err(why) => all.note(
                        about,
                        &format!("AnalysisTemplate {template}, metric {name}: {why}"),
                    ),
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

/// Values of arguments, the Rollout's before the template's.
fn arguments(template: &Value, analysis: &Value) -> Vec<(String, String)> {
    let given = list(analysis, "/args")
        .iter()
        .chain(list(template, "/spec/args"));
    let valued = given.filter_map(|argument| {
        let value = argument["value"].as_str()?;
        Some((
            format!("args.{}", text(argument, "/name")),
            value.to_owned(),
        ))
    });
    valued.collect()
}

fn of_metric(
    rollout: &Value,
    template: &str,
    metric: &Value,
    arguments: &[(String, String)],
) -> Result<Value, String> {
    let Some(query) = metric
        .pointer("/provider/prometheus/query")
        .and_then(Value::as_str)
    else {
        let provider = metric["provider"]
            .as_object()
            .and_then(|provider| provider.keys().next());
        let provider = provider.map_or("no provider", String::as_str);
        return Err(format!("{provider} is not asked, only Prometheus"));
    };
    let known: Vec<(&str, String)> = arguments
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    let query = filled(query, &known).map_err(|name| {
        format!("{{{{{name}}}}} has no value that is known here; write the rule by hand")
    })?;
    let mut bounds = Vec::new();
    for (key, fails) in [("successCondition", false), ("failureCondition", true)] {
        let condition = text(metric, &format!("/{key}"));
        if condition.is_empty() {
            continue;
        }
        let found =
            bound(condition, fails).ok_or(format!("{key} {condition:?} is not one comparison"))?;
        if !bounds.iter().any(|(side, _)| *side == found.0) {
            bounds.push(found);
        }
    }
    if bounds.is_empty() {
        return Err("want a successCondition or a failureCondition".to_owned());
    }
    let every = text(metric, "/interval");
    let every = Some(every).filter(|every| humantime::parse_duration(every).is_ok());
    let failures = metric["failureLimit"].as_u64().unwrap_or(0) + 1;
    let own = text(rollout, "/metadata/name");
    let name = rule_name(&[own, template, text(metric, "/name")]);
    Ok(value(&name, &query, &bounds, every, failures))
}

fn leftovers(rollout: &Value, about: &str, all: &mut Converted) {
    let said = [
        (
            "/spec/paused",
            "spec.paused: set `suspended: true` where nothing is to be guarded",
        ),
        (
            "/spec/analysis",
            "spec.analysis: finished runs are kept by the history, not as objects",
        ),
        (
            "/spec/rollbackWindow",
            "spec.rollbackWindow: `knownGood: promote` lets what was promoted before through",
        ),
        (
            "/spec/strategy/canary/canaryService",
            "canaryService: Sluice makes one for each run; remove yours after the switch",
        ),
        (
            "/spec/strategy/canary/antiAffinity",
            "antiAffinity has no counterpart",
        ),
        (
            "/spec/strategy/canary/dynamicStableScale",
            "dynamicStableScale: stable keeps its replicas, so that the way back needs none",
        ),
        (
            "/spec/strategy/canary/pingPong",
            "pingPong has no counterpart",
        ),
        (
            "/spec/strategy/blueGreen/previewService",
            "previewService: Sluice makes a Service for each run",
        ),
    ];
    for (pointer, words) in said {
        if rollout
            .pointer(pointer)
            .is_some_and(|value| *value != false && !value.is_null())
        {
            all.note(about, words);
        }
    }
}

fn switch(rollout: &Value, target: &str, all: &mut Converted) {
    let (name, space) = (text(rollout, "/metadata/name"), in_namespace(rollout));
    let service = stable_service(&rollout["spec"]["strategy"]);
    let service = service.map_or_else(
        || "Services select both sets of pods by their labels: Argo has changed none of their selectors.".to_owned(),
        |service| step(
            "Let the Service select both sets of pods, which serve from here on.",
            &format!("kubectl patch service {service}{space} --type json -p '[{{\"op\":\"remove\",\"path\":\"/spec/selector/rollouts-pod-template-hash\"}}]'"),
        ),
    );
    let referred = !text(rollout, "/spec/workloadRef/name").is_empty();
    let given = if referred {
        format!("Scale the Deployment {target} to as many replicas as the Rollout has, and wait.")
    } else {
        format!("Apply the Deployment {target} with the image that serves, and wait.")
    };
    all.steps.extend([
        step(
            "Wait until no release is under way: Healthy.",
            &format!("kubectl argo rollouts status {name}{space}"),
        ),
        step(
            &given,
            &format!("kubectl rollout status deploy/{target}{space}"),
        ),
        service,
        step(
            "Remove Argo's Rollout: its pods go, those of the Deployment serve on.",
            &format!("kubectl delete rollouts.argoproj.io {name}{space}"),
        ),
        "Let autoscalers and PodDisruptionBudgets name the Deployment instead of the Rollout."
            .to_owned(),
        applied(
            &format!("Check and apply the Rollout of sluice.dev; adopting {target} moves no pod."),
            &all.rules,
        ),
    ]);
}
