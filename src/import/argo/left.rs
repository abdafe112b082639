//! What of an Argo Rollout has no counterpart, each with its field and what to do.
//!
//! Not here: what is converted.

use serde_json::Value;

use super::is_referring;
use crate::import::Converted;
use crate::import::fields::{self, Field};

const ROUTED: &str = "has no counterpart; traffic is split at an Ingress or an HTTPRoute";
const OF_DEPLOYMENTS: &str = "found {}: write it into the Deployment, whose matter it is now";

/// Fields of a Rollout.
const KNOWN: &[Field] = &[
    ("apiVersion", ""),
    ("kind", ""),
    ("metadata", ""),
    ("status", ""),
    ("spec.replicas", ""),
    ("spec.selector", ""),
    ("spec.template", ""),
    ("spec.workloadRef", ""),
    ("spec.minReadySeconds", ""),
    ("spec.revisionHistoryLimit", ""),
    ("spec.progressDeadlineSeconds", ""),
    (
        "spec.progressDeadlineAbort",
        "pods that are not ready by then fail the run in any case",
    ),
    (
        "spec.paused",
        "set `suspended: true` where nothing is to be guarded",
    ),
    (
        "spec.restartAt",
        "`kubectl rollout restart` restarts a Deployment",
    ),
    (
        "spec.analysis",
        "finished runs are kept by the history, not as objects",
    ),
    (
        "spec.rollbackWindow",
        "`knownGood: promote` lets what was promoted before through",
    ),
    ("spec.strategy.canary.steps[].setWeight", ""),
    ("spec.strategy.canary.steps[].pause", ""),
    (
        "spec.strategy.canary.steps[].analysis",
        "its rules are asked in every step",
    ),
    (
        "spec.strategy.canary.steps[].setCanaryScale",
        "the canary grows with its weight",
    ),
    (
        "spec.strategy.canary.steps[].experiment",
        "has no counterpart, nor are its analyses asked",
    ),
    (
        "spec.strategy.canary.steps[].setHeaderRoute",
        "has no counterpart as a step; strategy.canary.match leads testers to the canary in the whole run",
    ),
    (
        "spec.strategy.canary.steps[].setMirrorRoute",
        "mirrored traffic has no counterpart",
    ),
    (
        "spec.strategy.canary.steps[].plugin",
        "plugins have no counterpart",
    ),
    ("spec.strategy.canary.maxSurge", ""),
    ("spec.strategy.canary.maxUnavailable", ""),
    ("spec.strategy.canary.stableService", ""),
    (
        "spec.strategy.canary.canaryService",
        "Sluice makes one for each run; the switch removes yours",
    ),
    ("spec.strategy.canary.analysis.templates", ""),
    ("spec.strategy.canary.analysis.args", ""),
    ("spec.strategy.canary.analysis.dryRun", ""),
    (
        "spec.strategy.canary.analysis.startingStep",
        "found {}: its rules are asked from the first step on",
    ),
    (
        "spec.strategy.canary.dynamicStableScale",
        "stable keeps its replicas, so that the way back needs none",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.stableIngress",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.stableIngresses",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.additionalStableIngresses",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.annotationPrefix",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.additionalIngressAnnotations",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.nginx.canaryIngressAnnotations",
        "",
    ),
    (
        "spec.strategy.canary.trafficRouting.plugins.argoproj-labs/gatewayAPI",
        "",
    ),
    ("spec.strategy.canary.trafficRouting.maxTrafficWeight", ""),
    (
        "spec.strategy.canary.trafficRouting.managedRoutes",
        "the steps that need them have no counterpart",
    ),
    ("spec.strategy.canary.trafficRouting.istio", ROUTED),
    ("spec.strategy.canary.trafficRouting.alb", ROUTED),
    ("spec.strategy.canary.trafficRouting.smi", ROUTED),
    ("spec.strategy.canary.trafficRouting.ambassador", ROUTED),
    ("spec.strategy.canary.trafficRouting.appMesh", ROUTED),
    ("spec.strategy.canary.trafficRouting.traefik", ROUTED),
    ("spec.strategy.canary.trafficRouting.apisix", ROUTED),
    ("spec.strategy.blueGreen.activeService", ""),
    (
        "spec.strategy.blueGreen.previewService",
        "Sluice makes a Service for each run; the switch removes yours",
    ),
    ("spec.strategy.blueGreen.autoPromotionEnabled", ""),
    ("spec.strategy.blueGreen.prePromotionAnalysis.templates", ""),
    ("spec.strategy.blueGreen.prePromotionAnalysis.args", ""),
    ("spec.strategy.blueGreen.prePromotionAnalysis.dryRun", ""),
    (
        "spec.strategy.blueGreen.postPromotionAnalysis.templates",
        "",
    ),
    ("spec.strategy.blueGreen.postPromotionAnalysis.args", ""),
    ("spec.strategy.blueGreen.postPromotionAnalysis.dryRun", ""),
    (
        "spec.strategy.blueGreen.autoPromotionSeconds",
        "who approves is asked for without an end; leave `approval` out where nobody is",
    ),
    (
        "spec.strategy.blueGreen.previewReplicaCount",
        "the new pods are as many as stable's before the switch",
    ),
    (
        "spec.strategy.blueGreen.scaleDownDelaySeconds",
        "stable's pods stay for `hold`, 10m unless it is given",
    ),
    (
        "spec.strategy.blueGreen.scaleDownDelayRevisionLimit",
        "one revision is kept, the stable one",
    ),
];

/// Fields that a Deployment of the user's own must say itself.
const OF_A_REFERRED: &[Field] = &[
    ("minReadySeconds", OF_DEPLOYMENTS),
    ("revisionHistoryLimit", OF_DEPLOYMENTS),
    ("strategy.canary.maxSurge", OF_DEPLOYMENTS),
    ("strategy.canary.maxUnavailable", OF_DEPLOYMENTS),
];

/// Says what is left over.
pub fn told(rollout: &Value, about: &str, all: &mut Converted) {
    fields::told(rollout, "", KNOWN, about, all);
    if is_referring(rollout) {
        for (field, words) in OF_A_REFERRED {
            let pointer = format!("/spec/{}", field.replace('.', "/"));
            if let Some(value) = rollout.pointer(&pointer) {
                let place = format!("spec.{field}");
                fields::told(value, &place, &[("", words)], about, all);
            }
        }
    }
}
