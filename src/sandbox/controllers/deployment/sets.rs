//! The `ReplicaSets` of one Deployment as the plan sees and changes them.
//!
//! A [`Set`] starts as what the API server has and is changed in place by the plan; what is
//! written is the difference. Not here: which changes are wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::sandbox::controllers::template::{HASH_LABEL, hash};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// One `ReplicaSet`: what is observed of it and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Set {
    pub name: String,
    /// `spec.replicas`, as wanted.
    pub replicas: i32,
    /// `status.replicas`, `.readyReplicas`, `.availableReplicas`.
    pub present: i32,
    pub ready: i32,
    pub available: i32,
    pub annotations: BTreeMap<String, String>,
    pub min_ready_seconds: i32,
    /// None for one that is to be created.
    pub source: Option<Arc<ReplicaSet>>,
}

impl Set {
    pub fn read(source: &Arc<ReplicaSet>) -> Self {
        let spec = &source.spec;
        let status = source.status.clone().unwrap_or_default();
        Self {
            name: source.name_any(),
            replicas: spec.replicas.unwrap_or(1),
            present: status.replicas,
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            annotations: source.annotations().clone(),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            source: Some(source.clone()),
        }
    }

    /// One that does not exist yet, without replicas.
    pub fn planned(name: String, min_ready_seconds: i32) -> Self {
        Self {
            name,
            replicas: 0,
            present: 0,
            ready: 0,
            available: 0,
            annotations: BTreeMap::new(),
            min_ready_seconds,
            source: None,
        }
    }

    pub fn revision(&self) -> i64 {
        number(&self.annotations, REVISION).unwrap_or(0)
    }

    /// The Deployment's replicas when this set was last scaled.
    pub fn desired(&self) -> Option<i64> {
        number(&self.annotations, DESIRED)
    }

    pub fn max(&self) -> Option<i64> {
        number(&self.annotations, MAX)
    }

    /// Whether it may be forgotten: nothing runs and nothing is being started.
    pub fn is_idle(&self) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let observed = source
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        let seen = observed >= source.metadata.generation;
        let deleting = source.metadata.deletion_timestamp.is_some();
        self.replicas == 0 && self.present == 0 && seen && !deleting
    }

    /// The merge patch that makes the stored set the wanted one, if they differ.
    pub fn patch(&self) -> Option<Value> {
        let before = Self::read(self.source.as_ref()?);
        let mut spec = serde_json::Map::new();
        if before.replicas != self.replicas {
            spec.insert("replicas".into(), json!(self.replicas));
        }
        if before.min_ready_seconds != self.min_ready_seconds {
            spec.insert("minReadySeconds".into(), json!(self.min_ready_seconds));
        }
        let changed =
            |(name, value): &(&String, &String)| before.annotations.get(*name) != Some(value);
        let annotations: BTreeMap<_, _> = self.annotations.iter().filter(changed).collect();
        if spec.is_empty() && annotations.is_empty() {
            return None;
        }
        Some(json!({"metadata": {"annotations": annotations}, "spec": spec}))
    }
}

fn number(annotations: &BTreeMap<String, String>, name: &str) -> Option<i64> {
    annotations.get(name)?.parse().ok()
}

/// The name that a new `ReplicaSet` for the Deployment's template gets, and its hash.
pub fn new_name(deployment: &Deployment, spec: &DeploymentSpec) -> (String, String) {
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    let hash = hash(&spec.template, collisions);
    (format!("{}-{hash}", deployment.name_any()), hash)
}

/// The object to create for a planned set.
pub fn object(deployment: &Deployment, spec: &DeploymentSpec, set: &Set, hash: &str) -> ReplicaSet {
    let mut template: PodTemplateSpec = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(HASH_LABEL.into(), hash.into());
    let labels = meta.labels.clone();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(set.name.clone()),
            namespace: deployment.namespace(),
            labels,
            annotations: Some(set.annotations.clone()),
            owner_references: deployment.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(set.replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector: hashed(&spec.selector, hash),
            template: Some(template),
        },
        status: None,
    }
}

fn hashed(selector: &LabelSelector, hash: &str) -> LabelSelector {
    let mut selector = selector.clone();
    let labels = selector.match_labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.into());
    selector
}
