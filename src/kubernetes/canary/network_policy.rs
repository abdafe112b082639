//! Copies of network policies that would leave canary pods out.
//!
//! Policies only add permissions. One that selects stable pods by the label that was changed does
//! not cover canary pods, and one that lets stable pods in (or out) by it does not let them:
//! a good release would look bad. For the run there is a copy for each of the two.
//!
//! Not here: policies that select canary pods but not stable ones (`NotIn`): no addition mends
//! that, so `preflight` says it; nor policies of other namespaces.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    ArmLabel, CANARY, Labels, NAME_MAX, ROLE, Trial, lists_differ, meta_differs, suffixed,
};

/// The copies that the pods of `template_labels` need to reach, as a canary, what they reach now.
///
/// `all` are the policies of the namespace; copies among them are passed over.
pub fn network_policies<'a>(
    all: impl IntoIterator<Item = &'a NetworkPolicy>,
    template_labels: &Labels,
    trial: &Trial<'_>,
) -> Vec<NetworkPolicy> {
    all.into_iter()
        .filter(|policy| !is_copy(policy))
        .flat_map(|policy| copies(policy, template_labels, trial))
        .collect()
}

/// Whether the copy that exists is not the one that is wanted.
pub fn differs(desired: &NetworkPolicy, observed: &NetworkPolicy) -> bool {
    let (Some(want), Some(have)) = (&desired.spec, &observed.spec) else {
        return true;
    };
    meta_differs(&desired.metadata, &observed.metadata)
        || want.pod_selector != have.pod_selector
        || lists_differ(want.ingress.as_ref(), have.ingress.as_ref())
        || lists_differ(want.egress.as_ref(), have.egress.as_ref())
        || want
            .policy_types
            .iter()
            .flatten()
            .any(|kind| !have.policy_types.iter().flatten().any(|k| k == kind))
}

fn is_copy(policy: &NetworkPolicy) -> bool {
    let labels = policy.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(ROLE))
        .is_some_and(|role| role == CANARY)
}

fn copies(policy: &NetworkPolicy, labels: &Labels, trial: &Trial<'_>) -> Vec<NetworkPolicy> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    let all_pods = LabelSelector::default();
    let selector = spec.pod_selector.as_ref().unwrap_or(&all_pods);
    let mut widened = spec.clone();
    let lets_in = widen(&mut widened, trial.label, labels);
    let mut found = Vec::new();
    if trial.label.parts(selector, labels)
        && let Some(canary) = trial.label.in_selector(selector)
    {
        let spec = NetworkPolicySpec {
            pod_selector: Some(canary),
            ..widened.clone()
        };
        found.push(copy(policy, "", spec, trial));
    }
    if lets_in {
        found.push(copy(policy, "-peers", widened, trial));
    }
    found
}

/// Adds a canary peer beside each peer that means stable pods only; says whether there was one.
fn widen(spec: &mut NetworkPolicySpec, label: &ArmLabel, labels: &Labels) -> bool {
    let from = spec
        .ingress
        .iter_mut()
        .flatten()
        .filter_map(|rule| rule.from.as_mut());
    let to = spec
        .egress
        .iter_mut()
        .flatten()
        .filter_map(|rule| rule.to.as_mut());
    let mut any = false;
    for peers in from.chain(to) {
        let added: Vec<NetworkPolicyPeer> = peers
            .iter()
            .filter_map(|peer| canary_peer(peer, label, labels))
            .collect();
        any |= !added.is_empty();
        peers.extend(added);
    }
    any
}

fn canary_peer(
    peer: &NetworkPolicyPeer,
    label: &ArmLabel,
    labels: &Labels,
) -> Option<NetworkPolicyPeer> {
    let selector = peer
        .pod_selector
        .as_ref()
        .filter(|selector| label.parts(selector, labels))?;
    Some(NetworkPolicyPeer {
        pod_selector: Some(label.in_selector(selector)?),
        ..peer.clone()
    })
}

fn copy(
    policy: &NetworkPolicy,
    kind: &str,
    spec: NetworkPolicySpec,
    trial: &Trial<'_>,
) -> NetworkPolicy {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    // Two Rollouts may need a copy of the same policy each.
    let name = suffixed(&format!("{name}-{}{kind}", trial.rollout), NAME_MAX);
    NetworkPolicy {
        metadata: trial.meta(name, &policy.metadata, Labels::new()),
        spec: Some(spec),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_trial;
    use super::*;
    use serde_json::{Value, json};

    fn policy(spec: &Value) -> NetworkPolicy {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "production"}, "spec": spec}),
        )
        .unwrap()
    }

    fn build(spec: &Value) -> Vec<NetworkPolicy> {
        let labels = Labels::from([("app".into(), "shop".into()), ("tier".into(), "web".into())]);
        with_trial(|trial| network_policies(&[policy(spec)], &labels, trial))
    }

    fn app(name: &str) -> Value {
        json!({"matchLabels": {"app": name}})
    }

    fn peer(name: &str) -> Value {
        json!({"podSelector": app(name)})
    }

    #[test]
    fn the_canary_reaches_what_the_stable_pods_reach() {
        let database = json!({"podSelector": app("db"), "ingress": [{"from": [peer("shop"), peer("admin")], "ports": [{"port": 5432}]}], "policyTypes": ["Ingress"]});
        let database_copy = json!({"podSelector": app("db"), "ingress": [{"from": [peer("shop"), peer("admin"), peer("shop-canary")], "ports": [{"port": 5432}]}], "policyTypes": ["Ingress"]});
        let own = json!({"podSelector": app("shop"), "egress": [{"to": [peer("db")]}], "policyTypes": ["Egress"]});
        let own_copy = json!({"podSelector": app("shop-canary"), "egress": [{"to": [peer("db")]}], "policyTypes": ["Egress"]});
        let mesh = json!({"podSelector": app("shop"), "ingress": [{"from": [peer("shop")]}]});
        let mesh_own = json!({"podSelector": app("shop-canary"), "ingress": [{"from": [peer("shop"), peer("shop-canary")]}]});
        let mesh_peers = json!({"podSelector": app("shop"), "ingress": [{"from": [peer("shop"), peer("shop-canary")]}]});
        let table = [
            (database, vec![("p-shop-peers-canary", database_copy)]),
            (own, vec![("p-shop-canary", own_copy)]),
            (
                mesh,
                vec![
                    ("p-shop-canary", mesh_own),
                    ("p-shop-peers-canary", mesh_peers),
                ],
            ),
            (json!({"podSelector": {}}), vec![]),
            (
                json!({"podSelector": app("other"), "ingress": [{}]}),
                vec![],
            ),
            (
                json!({"podSelector": {"matchLabels": {"tier": "web"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
                vec![],
            ),
        ];
        for (spec, expected) in table {
            let found: Vec<(String, Value)> = build(&spec)
                .into_iter()
                .map(|copy| {
                    (
                        copy.metadata.name.unwrap(),
                        serde_json::to_value(copy.spec).unwrap(),
                    )
                })
                .collect();
            let expected: Vec<(String, Value)> = expected
                .into_iter()
                .map(|(name, spec)| (name.to_owned(), spec))
                .collect();
            assert_eq!(found, expected, "{spec}");
        }
    }

    #[test]
    fn a_copy_is_not_copied_and_does_not_differ_from_itself() {
        let copies = build(&json!({"podSelector": app("shop")}));
        assert_eq!(copies.len(), 1);
        assert!(!differs(&copies[0], &copies[0]));
        assert!(differs(
            &copies[0],
            &policy(&json!({"podSelector": app("shop-canary")}))
        ));
        let labels = Labels::from([("app".into(), "shop".into())]);
        assert_eq!(
            with_trial(|trial| network_policies(&copies, &labels, trial)),
            []
        );
    }
}
