//! The steps from Argo Rollouts to Sluice, with pods that serve at every moment.
//!
//! Argo's pods belong to its Rollout and go with it. So the Deployment gets as many beside them first; then Argo lets the
//! Service go, which leads to both from there on; the Rollout goes last. A Service that Argo manages cannot be led anywhere by hand: it is led back
//! in the next pass. Argo takes its label out of the selector itself, though, as soon as the Rollout's strategy names no Service, and a
//! strategy without steps moves no pod of a release that is complete. An autoscaler counts the pods of both meanwhile, so it may take none away, and
//! it names the Deployment before the Rollout goes.
//!
//! Not here: what becomes of the Rollout (`argo`). Source: Argo Rollouts 1.9, `rollout/service.go`,
//! `service/service.go`, `rollout/sync.go`.

use std::fmt;

use serde_json::Value;

use super::route::{by_gateway, http_routes};
use super::{canary_service, is_referring, stable_service};
use crate::import::{applied, in_namespace, of_kind, step, text};

/// What scales the Rollout.
pub struct Autoscaler<'a> {
    kind: &'a str,
    name: &'a str,
}

impl fmt::Display for Autoscaler<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

impl Autoscaler<'_> {
    fn patched(&self, space: &str, spec: &str) -> String {
        let kind = self.kind.to_ascii_lowercase();
        let name = self.name;
        format!("kubectl patch {kind} {name}{space} --type merge -p '{{\"spec\":{spec}}}'")
    }

    /// The command by which it takes pods away by this policy: `"Disabled"`, or `null` for its own.
    fn shrinks(&self, space: &str, policy: &str) -> String {
        let behavior = format!("{{\"behavior\":{{\"scaleDown\":{{\"selectPolicy\":{policy}}}}}}}");
        match self.kind {
            "ScaledObject" => {
                let spec =
                    format!("{{\"advanced\":{{\"horizontalPodAutoscalerConfig\":{behavior}}}}}");
                self.patched(space, &spec)
            }
            _ => self.patched(space, &behavior),
        }
    }
}

/// Those of the given resources that name the Rollout.
pub fn autoscalers<'a>(rollout: &Value, resources: &'a [Value]) -> Vec<Autoscaler<'a>> {
    let (name, space) = ("/metadata/name", "/metadata/namespace");
    let is_one = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
    let is_its = |scaler: &&Value| {
        text(scaler, "/spec/scaleTargetRef/kind") == "Rollout"
            && text(scaler, "/spec/scaleTargetRef/name") == text(rollout, name)
            && is_one(text(scaler, space), text(rollout, space))
    };
    of_kind(resources, &["HorizontalPodAutoscaler", "ScaledObject"])
        .filter(is_its)
        .map(|scaler| Autoscaler {
            kind: text(scaler, "/kind"),
            name: text(scaler, name),
        })
        .collect()
}

/// The steps, in order; `rules` come with the Rollout.
pub fn steps(
    rollout: &Value,
    target: &str,
    scalers: &[Autoscaler],
    rules: &[Value],
) -> Vec<String> {
    let (name, space) = (text(rollout, "/metadata/name"), in_namespace(rollout));
    let mut all = begun(name, &space, scalers);
    all.extend(pods(rollout, target));
    all.extend(traffic(rollout));
    all.extend(scaled(target, &space, scalers));
    all.push(step(
        &format!("See, right before the next step, that {target} has as many available pods as the Rollout. If not, give it as many again."),
        &format!("kubectl get rollouts.argoproj.io/{name} deploy/{target}{space} -o custom-columns=KIND:.kind,AVAILABLE:.status.availableReplicas"),
    ));
    all.push(step(
        "Remove Argo's Rollout: its pods go, those of the Deployment serve on.",
        &format!("kubectl delete rollouts.argoproj.io {name}{space}"),
    ));
    all.extend(removed(rollout));
    let without = if is_referring(rollout) {
        ""
    } else {
        ", without the Deployment in its file, which is there"
    };
    all.push(applied(
        &format!(
            "Check and apply the Rollout of sluice.dev{without}; adopting {target} moves no pod."
        ),
        rules,
    ));
    for scaler in scalers {
        all.push(step(
            &format!(
                "Let {scaler} take pods away again: by the policy that it had, if it had one."
            ),
            &scaler.shrinks(&space, "null"),
        ));
    }
    all.push(committed(rollout, target));
    all
}

/// Nothing else changes anything from here on.
fn begun(name: &str, space: &str, scalers: &[Autoscaler]) -> Vec<String> {
    let mut all = vec![
        "Let nothing apply the Rollout, the Deployment, their Services or autoscaler from Git until the last step: Argo CD without automated sync, or flux suspend kustomization NAME.".to_owned(),
        step(
            "Wait until no release is under way: Healthy.",
            &format!("kubectl wait rollouts.argoproj.io/{name}{space} --for=jsonpath='{{.status.phase}}'=Healthy --timeout 10m"),
        ),
    ];
    if scalers.is_empty() {
        all.push("Where an autoscaler scales the Rollout, let it take no pods away until the last step, since it will count those of both: behavior.scaleDown.selectPolicy: Disabled.".to_owned());
    }
    for scaler in scalers {
        all.push(step(
            &format!("Let {scaler} take no pods away meanwhile: it will count those of both."),
            &scaler.shrinks(space, "\"Disabled\""),
        ));
    }
    all
}

/// The Deployment gets as many pods as serve.
fn pods(rollout: &Value, target: &str) -> Vec<String> {
    let (name, space) = (text(rollout, "/metadata/name"), in_namespace(rollout));
    let mut all = Vec::new();
    let scale_down = text(rollout, "/spec/workloadRef/scaleDown");
    if !matches!(scale_down, "" | "never") {
        all.push(step(
            &format!("Let Argo leave {target}'s pods alone, which it takes away again by scaleDown: {scale_down}."),
            &format!("kubectl patch rollouts.argoproj.io {name}{space} --type merge -p '{{\"spec\":{{\"workloadRef\":{{\"scaleDown\":\"never\"}}}}}}'"),
        ));
    }
    if !is_referring(rollout) {
        all.push(step(
            &format!("Apply the Deployment {target}, and nothing else yet. DEPLOYMENT is a file with it alone, with the images that serve."),
            "kubectl apply -f DEPLOYMENT",
        ));
    }
    all.push(step(
        &format!("Give {target} as many pods as the Rollout has, whatever a file says."),
        &format!("kubectl scale deploy {target}{space} --replicas \"$(kubectl get rollouts.argoproj.io {name}{space} -o jsonpath='{{.status.availableReplicas}}')\""),
    ));
    all.push(step(
        "Wait until they are ready.",
        &format!("kubectl rollout status deploy/{target}{space} --timeout 10m"),
    ));
    all
}

/// What selected Argo's pods alone leads to both sets of pods.
fn traffic(rollout: &Value) -> Vec<String> {
    const SUBSETS: &str = "/spec/strategy/canary/trafficRouting/istio/destinationRule/name";
    let (name, space) = (text(rollout, "/metadata/name"), in_namespace(rollout));
    let service = stable_service(rollout).map(|service| ("service", service, "selector"));
    let subsets = Some(("destinationrule", text(rollout, SUBSETS), "subsets"));
    let subsets = subsets.filter(|(_, name, _)| !name.is_empty());
    let managed: Vec<_> = service.into_iter().chain(subsets).collect();
    if managed.is_empty() {
        return vec!["Services select both sets of pods by their labels: Argo has changed none of their selectors.".to_owned()];
    }
    let mut all = vec![step(
        "Let Argo take its label out of what selects its pods alone, which leads to both sets of pods then. Its controller must run.",
        &format!(
            "kubectl patch rollouts.argoproj.io {name}{space} --type json -p '[{{\"op\":\"replace\",\"path\":\"/spec/strategy\",\"value\":{{\"canary\":{{}}}}}}]'"
        ),
    )];
    let seen = managed.into_iter().map(|(kind, name, field)| step(
        &format!("See that the {kind} {name} names no rollouts-pod-template-hash any more. Before that go no further: it would lead nowhere when Argo's pods go."),
        &format!("kubectl get {kind} {name}{space} -o jsonpath='{{.spec.{field}}}'"),
    ));
    all.extend(seen);
    all
}

/// Autoscalers follow, before Argo's pods go.
fn scaled(target: &str, space: &str, scalers: &[Autoscaler]) -> Vec<String> {
    if scalers.is_empty() {
        return vec!["Let autoscalers name the Deployment instead of the Rollout (scaleTargetRef: apps/v1, Deployment).".to_owned()];
    }
    let reference = format!(
        "{{\"scaleTargetRef\":{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"{target}\"}}}}"
    );
    let all = scalers.iter().map(|scaler| {
        step(
            &format!("Let {scaler} scale the Deployment instead of the Rollout."),
            &scaler.patched(space, &reference),
        )
    });
    all.collect()
}

/// What was for Argo's canary and would be in the way of Sluice's.
fn removed(rollout: &Value) -> Vec<String> {
    let space = in_namespace(rollout);
    let Some(service) = canary_service(rollout).filter(|one| Some(*one) != stable_service(rollout))
    else {
        return Vec::new();
    };
    let routes = by_gateway(&rollout["spec"]["strategy"]["canary"]).map(http_routes);
    let mut all = Vec::new();
    for route in routes.unwrap_or_default() {
        all.push(step(
            &format!("Take the backend {service} out of the HTTPRoute {route}: all requests go to the other one already."),
            &format!("kubectl edit httproute {route}{space}"),
        ));
    }
    all.push(step(
        &format!("Remove the Service {service}, which was for Argo's new pods. Sluice makes one for each run, and cannot where one of its name is yours. Where a route of yours still names it, take it out there first."),
        &format!("kubectl delete service {service}{space}"),
    ));
    all
}

fn committed(rollout: &Value, target: &str) -> String {
    let name = text(rollout, "/metadata/name");
    let deployment = if is_referring(rollout) {
        format!("{target} without replicas: 0")
    } else {
        format!("the Deployment {target}")
    };
    format!(
        "Commit what is now: no Rollout {name} of argoproj.io; {deployment}; autoscalers that name it; the Rollout of sluice.dev. Then let it be applied from Git again."
    )
}
