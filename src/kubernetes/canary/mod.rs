//! The canary arm's objects, built from the user's own: Deployment, Service, Ingress, and copies
//! of the network policies that would leave it out. An `HTTPRoute` is split in place instead.
//!
//! Every builder is a pure function of what is observed, and has a `differs` beside it that says
//! whether what exists is still what would be built: that is how a hand edit is put back. All
//! objects are owned by the Rollout and carry the role, the Rollout's name, run and revision.
//!
//! Not here: applying them, their order, and the weight to be had.

pub mod deployment;
pub mod http_route;
pub mod ingress;
pub mod network_policy;
pub mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::crd::{GUARDED, HELD_BY, OPEN, Rollout};
use super::labels::{Labels, shortened, suffixed};

pub use super::labels::ArmLabel;

/// The label that says what an object is for.
pub const ROLE: &str = "sluice.dev/role";
/// Its value on everything that this module builds.
pub const CANARY: &str = "canary";
/// The label that names the Rollout (shortened to 63 characters).
pub const ROLLOUT: &str = "sluice.dev/rollout";
/// The annotation that names the run.
pub const RUN: &str = "sluice.dev/run";
/// The annotation that names the revision under trial.
pub const REVISION: &str = "sluice.dev/revision";

const NAME_MAX: usize = 253;
/// What of a name precedes the five characters that Kubernetes makes up.
const POD_PREFIX_MAX: usize = 58;
/// The longest hash in the name of a `ReplicaSet`.
const HASH_MAX: usize = 10;
const SERVICE_NAME_MAX: usize = 63;

/// What all objects of one run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Name of the Rollout.
    pub rollout: &'a str,
    /// Reference to the Rollout.
    pub owner: &'a OwnerReference,
    /// Id of the run.
    pub run: &'a str,
    /// The revision under trial.
    pub revision: &'a str,
    /// The label by which its pods differ.
    pub label: &'a ArmLabel,
}

/// An object that cannot be built from the user's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The canary's labels are not what its selector wants.
    #[error(
        "building the canary of Deployment {deployment}: its selector would not select pods with {key}={value}"
    )]
    Selector {
        /// The target.
        deployment: String,
        /// The label's key.
        key: String,
        /// The canary's value.
        value: String,
    },
    /// The Ingress has no path that leads to the stable Service.
    #[error("building the canary of Ingress {ingress}: no rule of it leads to Service {service}")]
    NoPath {
        /// The main Ingress.
        ingress: String,
        /// The stable Service.
        service: String,
    },
}

/// The reference that makes a Rollout the owner; None for one that is not stored.
pub fn owner(rollout: &Rollout) -> Option<OwnerReference> {
    rollout.controller_owner_ref(&())
}

/// Whether the Rollout with this uid owns an object.
pub fn is_owned(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == uid)
}

/// Name of the canary Deployment of a target.
pub fn deployment_name(target: &str) -> String {
    suffixed(target, NAME_MAX)
}

/// A regular expression for the names of a Deployment's pods, which no other Deployment's or
/// `StatefulSet`'s pods have: hash and suffix are of an alphabet without vowels. It needs no escapes,
/// so that it can stand in a query's quotes. Kubernetes cuts what precedes the suffix at 58 characters.
pub fn pods(deployment: &str) -> String {
    const OF: &str = "[bcdfghjklmnpqrstvwxz2456789]";
    let left = POD_PREFIX_MAX.saturating_sub(deployment.len() + 1);
    let cut = deployment.get(..POD_PREFIX_MAX).unwrap_or(deployment);
    let name = cut.replace('.', "[.]");
    match left {
        0 if cut.len() == POD_PREFIX_MAX => format!("{name}{OF}{{5}}"),
        0 => format!("{name}-{OF}{{5}}"),
        1 => format!("{name}-{OF}{{6}}"),
        2..=HASH_MAX => {
            let (whole, all) = (left - 1, left + 5);
            format!("{name}-({OF}{{1,{whole}}}-{OF}{{5}}|{OF}{{{all}}})")
        }
        _ => format!("{name}-{OF}{{1,10}}-{OF}{{5}}"),
    }
}

/// Whether the names of pods tell a target's from its canary's: of long names they do not, since they are cut.
pub fn pods_differ(target: &str) -> bool {
    // The letter after the cut name's hyphen may be of a hash as well as of `canary`.
    target.len() + "-c".len() < POD_PREFIX_MAX
}

/// Name of the canary Service of a stable one.
pub fn service_name(stable: &str) -> String {
    suffixed(stable, SERVICE_NAME_MAX)
}

/// Name of the canary Ingress of a main one.
pub fn ingress_name(main: &str) -> String {
    suffixed(main, NAME_MAX)
}

/// Value of the label [`ROLLOUT`] for a Rollout of this name.
pub fn rollout_label(rollout: &str) -> String {
    shortened(rollout, 63)
}

impl Trial<'_> {
    /// The metadata of an object that stands beside `from`.
    fn meta(&self, name: String, from: &ObjectMeta, annotations: Labels) -> ObjectMeta {
        let mut labels = without_ownership(from.labels.as_ref());
        labels.insert(ROLE.to_owned(), CANARY.to_owned());
        labels.insert(ROLLOUT.to_owned(), rollout_label(self.rollout));
        let mut annotations = annotations;
        annotations.insert(RUN.to_owned(), self.run.to_owned());
        annotations.insert(REVISION.to_owned(), self.revision.to_owned());
        ObjectMeta {
            name: Some(name),
            namespace: from.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// What would make Flux, Argo CD, Helm or Sluice itself take a copy for its own.
fn is_ownership(key: &str) -> bool {
    const KEYS: [&str; 8] = [
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/instance", // Argo CD tracks by it
        "applyset.kubernetes.io/part-of",
        "config.k8s.io/owning-inventory",
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "helm.sh/chart",
        "helm.sh/resource-policy",
    ];
    const DOMAINS: [&str; 4] = [
        "argocd.argoproj.io",
        "meta.helm.sh",
        "objectset.rio.cattle.io",
        "kapp.k14s.io",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    KEYS.contains(&key)
        || [GUARDED, HELD_BY, OPEN].contains(&key)
        || DOMAINS.contains(&domain)
        || domain.ends_with(".toolkit.fluxcd.io")
        || domain == "fluxcd.controlplane.io"
}

fn without_ownership(all: Option<&BTreeMap<String, String>>) -> Labels {
    all.into_iter()
        .flatten()
        .filter(|(key, _)| !is_ownership(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether the labels, annotations and owner that were set are no longer there.
fn meta_differs(desired: &ObjectMeta, observed: &ObjectMeta) -> bool {
    let lacks = |part: Option<&Labels>, whole: Option<&Labels>| {
        part.into_iter()
            .flatten()
            .any(|(key, value)| whole.and_then(|all| all.get(key)) != Some(value))
    };
    lacks(desired.labels.as_ref(), observed.labels.as_ref())
        || lacks(desired.annotations.as_ref(), observed.annotations.as_ref())
        || desired
            .owner_references
            .iter()
            .flatten()
            .any(|owner| !is_owned(observed, &owner.uid))
}

/// Whether two lists differ, where no list is an empty one.
fn lists_differ<T: PartialEq>(one: Option<&Vec<T>>, other: Option<&Vec<T>>) -> bool {
    one.map_or(&[][..], Vec::as_slice) != other.map_or(&[][..], Vec::as_slice)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_known_by_their_names_however_long_and_those_of_the_other_arm_are_not() {
        // As Kubernetes makes them: ReplicaSet's name, hyphen, cut at 58, five characters.
        let pod = |deployment: &str, hash: &str| {
            let prefix = format!("{deployment}-{hash}-");
            format!("{}x4vbz", prefix.get(..58).unwrap_or(&prefix))
        };
        let matches = |pattern: &str, name: &str| {
            let whole = format!("^(?:{pattern})$");
            regex::Regex::new(&whole).unwrap().is_match(name)
        };
        for length in 1..=70 {
            let target = "s".repeat(length);
            let canary = deployment_name(&target);
            for hash in ["c", "5d8f9c", "5d8f9c7b4", "ccccccbbbb"] {
                assert!(matches(&pods(&target), &pod(&target, hash)), "{length}");
                assert!(matches(&pods(&canary), &pod(&canary, hash)), "{length}");
                let mixed = matches(&pods(&target), &pod(&canary, hash))
                    || matches(&pods(&canary), &pod(&target, hash));
                assert_eq!(mixed, !pods_differ(&target), "{length} {hash}");
            }
        }
    }

    pub fn owner_reference() -> OwnerReference {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "rollout-uid", "controller": true,
        }))
        .unwrap()
    }

    /// Builds with the label `app: shop` and gives what a server would store of it.
    pub fn with_trial<T>(build: impl FnOnce(&Trial<'_>) -> T) -> T {
        let (owner, label) = (owner_reference(), ArmLabel::new("app", "shop"));
        build(&Trial {
            rollout: "shop",
            owner: &owner,
            run: "run-1",
            revision: "abc",
            label: &label,
        })
    }

    #[test]
    fn nothing_by_which_another_tool_would_claim_a_copy_is_copied() {
        for key in [
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/namespace",
            "app.kubernetes.io/managed-by",
            "app.kubernetes.io/instance",
            "argocd.argoproj.io/tracking-id",
            "meta.helm.sh/release-name",
            "kubectl.kubernetes.io/last-applied-configuration",
            "sluice.dev/guarded",
            "sluice.dev/held-by",
            "sluice.dev/open",
        ] {
            assert!(is_ownership(key), "{key}");
        }
        for key in ["app", "app.kubernetes.io/name", "team", "example.com/owner"] {
            assert!(!is_ownership(key), "{key}");
        }
    }
}
