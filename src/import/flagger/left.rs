//! What of a Canary has no counterpart, each with its field and what to do.
//!
//! Not here: what is converted.

use serde_json::Value;

use super::{analysis, http_route, route};
use crate::import::fields::{self, Field};
use crate::import::{Converted, list, text};

/// Fields of a Canary, but for its Service's and its analysis'.
const OF_CANARIES: [Field; 16] = [
    ("apiVersion", ""),
    ("kind", ""),
    ("metadata", ""),
    ("status", ""),
    ("spec.provider", ""),
    (
        "spec.metricsServer",
        "asked at {}; the Prometheus of the environment (evidence.prometheus) is asked now, and must have the same series",
    ),
    ("spec.targetRef", ""),
    ("spec.ingressRef", ""),
    (
        "spec.autoscalerRef",
        "the autoscaler stays on the Deployment; nothing is to be named",
    ),
    ("spec.progressDeadlineSeconds", ""),
    ("spec.suspend", ""),
    ("spec.revertOnDeletion", ""),
    (
        "spec.skipAnalysis",
        "`sluice promote` brings one revision through unjudged",
    ),
    ("spec.service", ""),
    ("spec.analysis", ""),
    ("spec.canaryAnalysis", ""),
];

/// Fields of its Service: what the Service has stays with it.
const OF_SERVICES: [Field; 23] = [
    ("name", ""),
    ("port", ""),
    ("portName", ""),
    ("targetPort", ""),
    ("appProtocol", ""),
    ("portDiscovery", ""),
    ("headless", ""),
    ("apex.labels", ""),
    ("apex.annotations", ""),
    ("gatewayRefs", ""),
    ("gateways", ""),
    ("hosts", ""),
    ("match", ""),
    ("rewrite", ""),
    ("timeout", ""),
    ("retries", ""),
    ("headers", ""),
    ("corsPolicy", ""),
    ("mirror", ""),
    ("trafficPolicy", ""),
    ("backends", ""),
    ("meshName", ""),
    ("delegation", ""),
];

/// Fields of its analysis.
const OF_ANALYSES: [Field; 21] = [
    ("interval", ""),
    ("iterations", ""),
    ("maxWeight", ""),
    ("stepWeight", ""),
    ("stepWeights", ""),
    ("metrics[].name", ""),
    ("metrics[].interval", ""),
    ("metrics[].threshold", ""),
    ("metrics[].thresholdRange", ""),
    ("metrics[].query", ""),
    ("metrics[].templateRef", ""),
    ("metrics[].templateVariables", ""),
    ("match[].headers", ""),
    ("webhooks", ""),
    (
        "threshold",
        "failed checks are not counted; the evidence decides, see docs/concepts/evidence.md",
    ),
    ("mirror", "mirrored traffic has no counterpart"),
    ("mirrorWeight", "mirrored traffic has no counterpart"),
    (
        "sessionAffinity",
        "set it on the Ingress, whose annotations the canary's gets; a route of the Gateway API has none that is standard",
    ),
    (
        "stepWeightPromotion",
        "promotion is the Deployment's own rolling update",
    ),
    (
        "primaryReadyThreshold",
        "the Deployment's maxUnavailable says it",
    ),
    ("alerts", "providers have no counterpart"),
];

/// Says what is left over.
pub fn told(canary: &Value, about: &str, all: &mut Converted) {
    let service = &canary["spec"]["service"];
    fields::told(canary, "", &OF_CANARIES, about, all);
    fields::told(service, "spec.service", &OF_SERVICES, about, all);
    of_routes(canary, about, all);
    fields::told(analysis(canary), "spec.analysis", &OF_ANALYSES, about, all);
    for webhook in list(analysis(canary), "/webhooks") {
        let (name, words) = (text(webhook, "/name"), of_webhook(webhook));
        all.note(about, &format!("spec.analysis.webhooks {name}: {words}"));
    }
}

/// What becomes of a webhook. Without a type it is asked in every step, and a failure counts as one of a metric does.
fn of_webhook(webhook: &Value) -> &'static str {
    match text(webhook, "/type") {
        "confirm-traffic-increase" | "confirm-promotion" => "is `approval: true` now",
        "confirm-rollout" => "has no counterpart: a run begins when the template changes",
        "pre-rollout" => {
            "write it as a smoke test (docs/concepts/smoke-tests.md) and name it in smoke.beforeTraffic"
        }
        "rollback" => "name its alert in spec.alerts, or call `sluice rollback`",
        "post-rollout" | "event" => "has no counterpart",
        "" | "rollout" => {
            "is left out: asked in every step, and its failures rolled back. If it was a check, write it as a smoke test and name that in a rule of kind `load` (docs/reference/rules.md); load tests are yours to run"
        }
        _ => "is of a type that is not known here",
    }
}

/// What Flagger writes into the route that it makes: that route goes with the Canary.
fn of_routes(canary: &Value, about: &str, all: &mut Converted) {
    const OF_ROUTES: [&str; 13] = [
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
        "meshName",
        "delegation",
    ];
    let service = &canary["spec"]["service"];
    let by_gateway = route::by_gateway(canary);
    let kept = |key: &&str| by_gateway && http_route::CONVERTED.contains(key);
    let found = OF_ROUTES
        .into_iter()
        .filter(|key| !service[*key].is_null() && service[*key] != false && !kept(key));
    let found = found.collect::<Vec<&str>>().join(", ");
    if !found.is_empty() {
        let words = if by_gateway {
            "Flagger's HTTPRoute has nothing of them, nor has the one that is written"
        } else {
            "Flagger's route has them and goes with the Canary; write them into your own"
        };
        all.note(about, &format!("spec.service: {found}: {words}"));
    }
    if !by_gateway && !list(service, "/gatewayRefs").is_empty() {
        let text = format!(
            "spec.service.gatewayRefs: with spec.provider {} no Gateway is asked, nor is one here",
            text(canary, "/spec/provider")
        );
        all.note(about, &text);
    }
}
