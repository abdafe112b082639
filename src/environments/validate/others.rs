//! Objects of which others make pods: releases of Helm charts, Applications of Argo CD, operators' resources.
//!
//! What a chart makes is not known here, so that nobody takes a folder of releases for one that was looked at, each
//! is told. And where such an object is, a Service may select pods that are not in the folder.

use serde_json::Value;

use super::{Tell, text};

/// Kinds that give something to a chart or to another folder, and what is not looked at then.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    (
        "helm.toolkit.fluxcd.io",
        "HelmRelease",
        "what its chart makes",
    ),
    ("helm.cattle.io", "HelmChart", "what its chart makes"),
    ("argoproj.io", "Application", "what its source deploys"),
    ("argoproj.io", "ApplicationSet", "what its source deploys"),
];
/// Groups none of whose kinds makes pods; those of Kubernetes itself are looked at.
const WITHOUT_PODS: [&str; 20] = [
    "",
    "apps",
    "batch",
    "policy",
    "autoscaling",
    "extensions",
    "sluice.dev",
    "cert-manager.io",
    "external-secrets.io",
    "bitnami.com",
    "keda.sh",
    "kyverno.io",
    "networking.istio.io",
    "security.istio.io",
    "split.smi-spec.io",
    "traefik.io",
    "traefik.containo.us",
    "image.toolkit.fluxcd.io",
    "notification.toolkit.fluxcd.io",
    "source.toolkit.fluxcd.io",
];
/// Kinds that make no pods, of groups that have others.
const KINDS_WITHOUT_PODS: [&str; 9] = [
    "AlertProvider",
    "AnalysisTemplate",
    "AppProject",
    "ClusterAnalysisTemplate",
    "MetricTemplate",
    "PodMonitor",
    "Probe",
    "PrometheusRule",
    "ServiceMonitor",
];

pub(super) fn check(objects: &[Value], tell: &mut Tell<'_>) {
    for object in objects {
        let own = (group(object), text(object, "/kind"));
        let mut known = ELSEWHERE.iter().filter(|known| (known.0, known.1) == own);
        if let Some((.., what)) = known.next() {
            let message = format!("{what} is not looked at");
            tell.warning("not-checked", object, "spec", message);
        }
    }
}

/// Whether it may make pods that are not in the folder.
pub(super) fn may_make_pods(object: &Value) -> bool {
    let group = group(object);
    let seen = group == "argoproj.io" && object["kind"] == "Rollout";
    let quiet = WITHOUT_PODS.contains(&group)
        || group.ends_with(".k8s.io") && group != "autoscaling.k8s.io"
        || KINDS_WITHOUT_PODS.contains(&text(object, "/kind"));
    !seen && !quiet
}

fn group(object: &Value) -> &str {
    let version = text(object, "/apiVersion");
    version.split_once('/').map_or("", |(group, _)| group)
}
