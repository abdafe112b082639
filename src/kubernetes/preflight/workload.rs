//! The workload side: strategy, volumes, host ports, and who selects pods by the label that a
//! canary changes.
//!
//! Whatever names the label does not see canary pods: that is wanted of the stable Service, and
//! said of everything else.
//!
//! Not here: the traffic (`traffic`).

use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, PodSpec};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Refusal, Seen, name, service_selector};
use crate::kubernetes::canary;
use crate::kubernetes::labels::{ArmLabel, Labels, names, plain, selects};

/// What no canary can be had with.
pub(super) fn refusals(seen: &Seen<'_>) -> Vec<Refusal> {
    let strategy = seen
        .target
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    let recreate = strategy == Some("Recreate");
    recreate
        .then(|| Refusal::Recreate(seen.target_name().to_owned()))
        .into_iter()
        .collect()
}

/// What people should know about the pods; `behind` are the Services behind the Ingress or `HTTPRoute`.
pub(super) fn warnings(seen: &Seen<'_>, label: &ArmLabel, behind: &[&str]) -> Vec<String> {
    let labels = seen.template_labels();
    let mut all = Vec::new();
    if let Some(spec) = &seen.template.spec {
        all.extend(volumes(seen, spec));
        all.extend(host_ports(spec));
    }
    all.extend(long_name(seen));
    all.extend(gap(seen));
    all.extend(autoscaler(seen, label));
    all.extend(budgets(seen, label, &labels));
    all.extend(policies(seen, label, &labels));
    all.extend(services(seen, behind, label, &labels));
    all
}

/// A rolling update that may take all pods away before others are ready.
fn gap(seen: &Seen<'_>) -> Option<String> {
    let spec = &seen.target.spec;
    let wanted = spec.replicas.unwrap_or(1);
    let rolling = spec.strategy.as_ref();
    let rolling = rolling.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let surge = pods_of(surge, wanted, f64::ceil);
    let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let missing = match pods_of(missing, wanted, f64::floor) {
        // So does Kubernetes: something must give.
        0 if surge == 0 => 1,
        missing => missing,
    };
    (wanted > 0 && missing >= wanted).then(|| {
        format!(
            "{} may lose all of its pods at once in a promotion (maxUnavailable is {missing} of {wanted}): nothing would serve for a moment; set maxUnavailable: 0 and maxSurge: 1",
            seen.target_title()
        )
    })
}

/// How many pods a number or a percentage of `wanted` is; a quarter by default.
fn pods_of(said: Option<&IntOrString>, wanted: i32, round: fn(f64) -> f64) -> i32 {
    let share = match said {
        Some(IntOrString::Int(pods)) => return *pods,
        Some(IntOrString::String(share)) => share.trim_end_matches('%').parse().unwrap_or(0.0),
        None => 25.0,
    };
    round(f64::from(wanted) * share / 100.0) as i32
}

/// Kubernetes cuts long names of pods, so that those of the two arms look alike.
fn long_name(seen: &Seen<'_>) -> Option<String> {
    let target = seen.target_name();
    (!canary::pods_differ(target)).then(|| {
        format!(
            "the name {target} is so long that names of pods do not tell it from its canary: rules that go by pods (`{{{{canaryPods}}}}`, `{{{{stablePods}}}}`) do not see the canary"
        )
    })
}

/// Every selector of pods in a network policy.
pub(super) fn policy_selectors(policy: &NetworkPolicy) -> Vec<LabelSelector> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    peers(policy)
        .filter_map(|peer| peer.pod_selector.clone())
        .chain(spec.pod_selector.clone())
        .collect()
}

fn peers(policy: &NetworkPolicy) -> impl Iterator<Item = &NetworkPolicyPeer> {
    policy.spec.iter().flat_map(|spec| {
        let from = spec
            .ingress
            .iter()
            .flatten()
            .flat_map(|rule| rule.from.iter().flatten());
        from.chain(
            spec.egress
                .iter()
                .flatten()
                .flat_map(|rule| rule.to.iter().flatten()),
        )
    })
}

fn volumes(seen: &Seen<'_>, spec: &PodSpec) -> Vec<String> {
    let claimed = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claimed
        .filter_map(|source| seen.claims.iter().find(|claim| name(&claim.metadata) == source.claim_name))
        .filter(|claim| is_exclusive(claim))
        .map(|claim| {
            let claim = name(&claim.metadata);
            format!("volume claim {claim} can be mounted on one node only: canary pods may not start, or share its data")
        })
        .collect()
}

fn is_exclusive(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.access_modes.as_ref());
    modes.is_some_and(|modes| {
        !modes.is_empty() && modes.iter().all(|mode| mode.starts_with("ReadWriteOnce"))
    })
}

fn host_ports(spec: &PodSpec) -> Option<String> {
    let taken = |container: &Container| {
        container
            .ports
            .iter()
            .flatten()
            .any(|port| port.host_port.is_some_and(|port| port > 0))
    };
    let held = spec.host_network == Some(true) || spec.containers.iter().any(taken);
    held.then(|| {
        "the pods take ports of their node: canary pods need nodes without a stable pod".to_owned()
    })
}

fn autoscaler(seen: &Seen<'_>, label: &ArmLabel) -> Option<String> {
    let apart = names(&seen.target.spec.selector, &label.key);
    (!apart).then(|| {
        format!(
            "the Deployment's selector does not have {}: an autoscaler of it would count canary pods as well",
            label.key
        )
    })
}

fn budgets(seen: &Seen<'_>, label: &ArmLabel, labels: &Labels) -> Vec<String> {
    let naming = seen.budgets.iter().filter(|budget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| label.parts(selector, labels))
    });
    naming
        .map(|budget| {
            let budget = name(&budget.metadata);
            format!(
                "PodDisruptionBudget {budget} names {}={}: it does not cover canary pods",
                label.key, label.stable
            )
        })
        .collect()
}

fn policies(seen: &Seen<'_>, label: &ArmLabel, labels: &Labels) -> Vec<String> {
    let mut all = Vec::new();
    for policy in seen
        .policies
        .iter()
        .filter(|policy| !seen.is_own(&policy.metadata))
    {
        let title = name(&policy.metadata);
        let any = policy_selectors(policy);
        if any.iter().any(|selector| label.parts(selector, labels)) {
            all.push(format!(
                "NetworkPolicy {title} names {}={}: a copy for canary pods is added during a run",
                label.key, label.stable
            ));
        }
        let canary = label.on(labels);
        let own = policy
            .spec
            .as_ref()
            .and_then(|spec| spec.pod_selector.as_ref());
        if own.is_some_and(|selector| selects(selector, &canary) && !selects(selector, labels)) {
            all.push(format!(
                "NetworkPolicy {title} restricts canary pods but not stable ones: a canary may lack what stable pods reach"
            ));
        }
    }
    all
}

/// Other Services (of metrics, say) that will not have canary pods behind them.
fn services(seen: &Seen<'_>, behind: &[&str], label: &ArmLabel, labels: &Labels) -> Vec<String> {
    let parted = seen.services.iter().filter(|service| {
        let selector = service_selector(service).filter(|selector| !selector.is_empty());
        selector.is_some_and(|selector| label.parts(&plain(selector), labels))
            && !seen.is_own(&service.metadata)
            && !behind.contains(&name(&service.metadata))
    });
    parted
        .map(|service| {
            let service = name(&service.metadata);
            format!(
                "Service {service} selects by {}={}: canary pods are not behind it",
                label.key, label.stable
            )
        })
        .collect()
}
