//! The steps from Flagger to Sluice, with every request answered on the way.
//!
//! Flagger serves from a copy of the Deployment, `-primary`, to which it leads the Service; the Deployment
//! itself has no pods between releases. So its pods come first, the Service follows them, and the copy goes
//! last. Flagger is suspended meanwhile: it would lead the Service back within one interval. Its own way
//! out (`revertOnDeletion`) is not taken: it does not insist on ready pods, and a Service that Flagger
//! made is deleted with the Canary. Flagger marks Services so that Flux leaves them alone, users' own too.
//!
//! Each step is a sentence and, below it, its command: a test types these at a running Flagger. Not here:
//! what becomes of the Canary (`flagger`).

use serde_json::Value;

use super::route;
use crate::import::{applied, in_namespace, step, text};

/// The steps, in order; `rules` come with the Rollout.
pub fn steps(canary: &Value, target: &str, rules: &[Value]) -> Vec<String> {
    let (name, space) = (text(canary, "/metadata/name"), in_namespace(canary));
    let mut all = vec![
        "Let nothing apply the Canary or the Deployment from Git until the last step: flux suspend kustomization NAME, or Argo CD without automated sync.".to_owned(),
        step(
            "Wait until no release is under way: Succeeded or Initialized. After Failed, take the change back first and let Flagger bring that through.",
            &format!("kubectl get canary {name}{space}"),
        ),
        step(
            "Suspend Flagger, which from here on changes nothing, nor when the Canary goes.",
            &format!("kubectl patch canary {name}{space} --type merge -p '{{\"spec\":{{\"suspend\":true,\"revertOnDeletion\":false}}}}'"),
        ),
    ];
    all.extend(pods(canary, target));
    all.extend(traffic(canary, target));
    all.push(step(
        &format!("Remove what is Flagger's. With the Canary go {target}-primary and the copies of its autoscaler, ConfigMaps and Secrets; {target} serves on."),
        &format!("kubectl delete canary {name}{space}"),
    ));
    all.push(step(
        "Wait until that is gone: Sluice's canary has names of Flagger's.",
        &format!(
            "kubectl wait --for=delete{space} --timeout 2m {}",
            leftovers(canary, target).join(" ")
        ),
    ));
    all.push(applied(
        &format!("Check and apply the Rollout; adopting {target} moves no pod."),
        rules,
    ));
    all.push(committed(canary, target));
    all
}

/// The Deployment gets pods beside those of its copy.
fn pods(canary: &Value, target: &str) -> Vec<String> {
    let space = in_namespace(canary);
    let mut all = vec![step(
        &format!(
            "See that both have the same images: those of {target} will serve. If a release began meanwhile, set suspend to false, and begin again."
        ),
        &format!("kubectl get deploy {target} {target}-primary{space} -o wide"),
    )];
    let scaler = text(canary, "/spec/autoscalerRef/name");
    if text(canary, "/spec/autoscalerRef/kind") == "ScaledObject" {
        all.push(step(
            "Let KEDA scale the Deployment again, which Flagger forbids it.",
            &format!(
                "kubectl annotate scaledobject {scaler}{space} autoscaling.keda.sh/paused-replicas-"
            ),
        ));
    }
    let idle = if scaler.is_empty() {
        String::new()
    } else {
        format!(" Go on soon: {scaler} takes them away again while they have no requests.")
    };
    all.push(step(
        &format!("Give {target} as many pods as {target}-primary has. Nothing reaches them yet.{idle}"),
        &format!("kubectl scale deploy {target}{space} --replicas \"$(kubectl get deploy {target}-primary{space} -o jsonpath='{{.spec.replicas}}')\""),
    ));
    all.push(step(
        "Wait until they are ready.",
        &format!("kubectl rollout status deploy {target}{space} --timeout 10m"),
    ));
    all
}

/// The requests go to the Deployment's pods, and what leads them there stays when the Canary goes.
fn traffic(canary: &Value, target: &str) -> Vec<String> {
    let (space, apex) = (in_namespace(canary), route::apex(canary));
    let selector = format!(
        "$(kubectl get deploy {target}{space} -o jsonpath='{{.spec.selector.matchLabels}}')"
    );
    let own = r#"\"ownerReferences\":null,\"annotations\":{\"kustomize.toolkit.fluxcd.io/reconcile\":null,\"helm.toolkit.fluxcd.io/driftDetection\":null}"#;
    let mut all = vec![step(
        &format!(
            "Lead the Service {apex} to them, and take it from the Canary, with which it would be deleted if Flagger made it, as well as the marks by which Flux leaves it alone. Then look at errors and latency: {target}-primary is still there to lead it back to."
        ),
        &format!(
            "kubectl patch service {apex}{space} --type merge -p \"{{\\\"metadata\\\":{{{own}}},\\\"spec\\\":{{\\\"selector\\\":{selector}}}}}\""
        ),
    )];
    if route::by_gateway(canary) {
        all.push(step(
            &format!("Apply the HTTPRoute {apex}-route, and wait until its Gateway has accepted it. Flagger's own, {apex}, is older and so takes all requests until it goes. See that both have the same rules, but for the backends."),
            &format!("kubectl get httproute {apex} {apex}-route{space} -o yaml"),
        ));
        all.push(step(
            &format!(
                "Remove Flagger's route: the requests go by {apex}-route, to the same Service."
            ),
            &format!("kubectl delete httproute {apex}{space}"),
        ));
    } else if route::is_flaggers(canary) {
        all.push(format!("Lead the requests to the Service {apex} by an Ingress or HTTPRoute of your own, and see that they come that way: the route that Flagger made goes with the Canary."));
    }
    all
}

/// What goes with the Canary and would be in the way.
fn leftovers(canary: &Value, target: &str) -> Vec<String> {
    let apex = route::apex(canary);
    let mut all = vec![
        format!("deploy/{target}-primary"),
        format!("service/{apex}-primary"),
        format!("service/{apex}-canary"),
    ];
    let ingress = text(canary, "/spec/ingressRef/name");
    if !ingress.is_empty() {
        all.push(format!("ingress/{ingress}-canary"));
    }
    all
}

fn committed(canary: &Value, target: &str) -> String {
    let apex = route::apex(canary);
    let route = if route::by_gateway(canary) {
        format!("the HTTPRoute {apex}-route")
    } else {
        "its Ingress".to_owned()
    };
    format!(
        "Commit what is now: no Canary; the Service {apex} with its selector, which Flagger may have made; {route}; {target} without replicas: 0; the Rollout. Then let it be applied from Git again."
    )
}
