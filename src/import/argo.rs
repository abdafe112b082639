//! Argo Rollouts' Rollout, `AnalysisTemplate` and `ClusterAnalysisTemplate`.

mod analysis;
mod arguments;
mod left;
mod route;
mod strategy;
mod switch;

use serde_json::{Map, Value, json};

use super::condition::duration;
use super::{Converted, metadata, of_kind, text};

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
    let about = format!("Rollout {}", text(rollout, "/metadata/name"));
    let target = match target(rollout) {
        Ok(target) => target,
        Err(why) => return all.note(&about, &format!("{why}; it is not converted")),
    };
    let scalers = switch::autoscalers(rollout, resources);
    if !is_referring(rollout) {
        all.objects.push(deployment(rollout, scalers.is_empty()));
    }
    let given = &rollout["spec"]["strategy"];
    let mut spec = json!({
        "target": {"kind": "Deployment", "name": target},
        "route": route::of(rollout, target, &about, all),
        "strategy": strategy::of(given, &about, all),
        "analysis": {"rules": analysis::rules(rollout, resources, &about, all)},
    });
    if let Some(deadline) = duration(&rollout["spec"]["progressDeadlineSeconds"]) {
        spec["progressDeadline"] = json!(deadline);
    }
    left::told(rollout, &about, all);
    for scaler in &scalers {
        let text = format!(
            "{scaler} names it: the switch lets it name the Deployment; write that into Git"
        );
        all.note(&about, &text);
    }
    all.objects.push(json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": metadata(rollout),
        "spec": spec,
    }));
    let steps = switch::steps(rollout, target, &scalers, &all.rules);
    all.steps.extend(steps);
}

/// The Deployment that is to be guarded; `Err` says what is missing.
fn target(rollout: &Value) -> Result<&str, String> {
    let name = text(rollout, "/metadata/name");
    if name.is_empty() {
        return Err("metadata.name: found nothing, wanted a name".to_owned());
    }
    if rollout["spec"]["strategy"]["canary"]["pingPong"].is_object() {
        return Err("spec.strategy.canary.pingPong: which of its Services is stable's changes with each release, so neither can be written; give it a stableService and a canaryService instead, and convert that".to_owned());
    }
    if rollout["spec"]["workloadRef"].is_object() {
        let kind = text(rollout, "/spec/workloadRef/kind");
        let target = text(rollout, "/spec/workloadRef/name");
        return match (kind, target) {
            ("Deployment", "") => {
                Err("spec.workloadRef.name: found nothing, wanted the Deployment's name".to_owned())
            }
            ("Deployment", target) => Ok(target),
            (kind, _) => Err(format!(
                "spec.workloadRef.kind: found {kind:?}: only Deployments are guarded"
            )),
        };
    }
    for field in ["selector", "template"] {
        if !rollout["spec"][field].is_object() {
            return Err(format!(
                "spec.{field}: found nothing, wanted that of its pods, or a spec.workloadRef"
            ));
        }
    }
    Ok(name)
}

/// Whether its pods are described by a Deployment that it names.
fn is_referring(rollout: &Value) -> bool {
    rollout["spec"]["workloadRef"].is_object()
}

/// The same pods as a Deployment; how many is left to an autoscaler where there is one.
fn deployment(rollout: &Value, counted: bool) -> Value {
    let kept = [
        "replicas",
        "selector",
        "template",
        "minReadySeconds",
        "revisionHistoryLimit",
    ];
    let kept = kept
        .into_iter()
        .filter(|key| (*key != "replicas" || counted) && !rollout["spec"][*key].is_null());
    let mut spec: Map<String, Value> = kept
        .map(|key| (key.to_owned(), rollout["spec"][key].clone()))
        .collect();
    let canary = &rollout["spec"]["strategy"]["canary"];
    let rolling = ["maxSurge", "maxUnavailable"]
        .into_iter()
        .filter(|key| !canary[key].is_null());
    let rolling: Map<String, Value> = rolling
        .map(|key| (key.to_owned(), canary[key].clone()))
        .collect();
    if !rolling.is_empty() {
        spec.insert("strategy".to_owned(), json!({"rollingUpdate": rolling}));
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": described(rollout), "spec": spec})
}

/// Name, labels and annotations, without the marks that tools have made for the Rollout itself.
fn described(rollout: &Value) -> Value {
    const MARKS: [&str; 3] = [
        "rollout.argoproj.io/",
        "kubectl.kubernetes.io/last-applied-configuration",
        "argocd.argoproj.io/tracking-id",
    ];
    let mut metadata = metadata(rollout);
    for key in ["labels", "annotations"] {
        let given = rollout["metadata"][key].as_object().into_iter().flatten();
        let kept: Map<String, Value> = given
            .filter(|(name, _)| !MARKS.iter().any(|mark| name.starts_with(mark)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !kept.is_empty() {
            metadata[key] = json!(kept);
        }
    }
    metadata
}

/// The Service whose selector Argo changes so that it leads to stable only.
fn stable_service(rollout: &Value) -> Option<&str> {
    service(rollout, ["canary/stableService", "blueGreen/activeService"])
}

/// The Service that Argo leads to the new pods.
fn canary_service(rollout: &Value) -> Option<&str> {
    service(
        rollout,
        ["canary/canaryService", "blueGreen/previewService"],
    )
}

fn service<'a>(rollout: &'a Value, fields: [&str; 2]) -> Option<&'a str> {
    let named = fields.map(|field| text(rollout, &format!("/spec/strategy/{field}")));
    named.into_iter().find(|service| !service.is_empty())
}
