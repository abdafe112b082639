//! The canary Deployment: the target with the new template and one label changed.
//!
//! The changed label is in the template, in the selector, and in the affinity and spread terms
//! that name it, so that the stable Service, `ReplicaSet` and autoscaler do not see canary pods
//! and canary pods spread among themselves. Nothing else of the template is touched.
//!
//! Not here: how many replicas a weight needs (`super::replicas`).

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Affinity, PodAffinityTerm, PodSpec, PodTemplateSpec, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    ArmLabel, Error, Trial, deployment_name, lists_differ, meta_differs, without_ownership,
};
use crate::kubernetes::labels::selects;
use crate::kubernetes::template::{revision_with_restart, without_hash};

/// The Deployment that tries `template` beside `target`.
pub fn deployment(
    target: &Deployment,
    template: &PodTemplateSpec,
    replicas: i32,
    trial: &Trial<'_>,
) -> Result<Deployment, Error> {
    let name = target.metadata.name.as_deref().unwrap_or_default();
    let annotations = without_ownership(target.metadata.annotations.as_ref());
    let template = arm_template(template, trial.label);
    let selector = arm_selector(&target.spec.selector, trial.label);
    let labels = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    if !selects(&selector, &labels) {
        let ArmLabel { key, canary, .. } = trial.label.clone();
        return Err(Error::Selector {
            deployment: name.to_owned(),
            key,
            value: canary,
        });
    }
    Ok(Deployment {
        metadata: trial.meta(deployment_name(name), &target.metadata, annotations),
        spec: DeploymentSpec {
            min_ready_seconds: target.spec.min_ready_seconds,
            paused: None,
            progress_deadline_seconds: target.spec.progress_deadline_seconds,
            replicas: Some(replicas),
            revision_history_limit: Some(0),
            selector,
            strategy: target.spec.strategy.clone(),
            template,
        },
        status: None,
    })
}

/// Whether the canary that exists is not the one that is wanted, in the fields that were set.
pub fn differs(desired: &Deployment, observed: &Deployment) -> bool {
    let (want, have) = (&desired.spec, &observed.spec);
    meta_differs(&desired.metadata, &observed.metadata)
        || have.paused == Some(true)
        || want.replicas != have.replicas
        || want.min_ready_seconds.unwrap_or(0) != have.min_ready_seconds.unwrap_or(0)
        || selector_differs(&want.selector, &have.selector)
        || revision_with_restart(&want.template) != revision_with_restart(&have.template)
}

/// Whether the canary that exists cannot be patched into the wanted one: selectors are immutable.
pub fn must_be_replaced(desired: &Deployment, observed: &Deployment) -> bool {
    selector_differs(&desired.spec.selector, &observed.spec.selector)
}

fn selector_differs(one: &LabelSelector, other: &LabelSelector) -> bool {
    one.match_labels.clone().unwrap_or_default() != other.match_labels.clone().unwrap_or_default()
        || lists_differ(
            one.match_expressions.as_ref(),
            other.match_expressions.as_ref(),
        )
}

fn arm_selector(selector: &LabelSelector, label: &ArmLabel) -> LabelSelector {
    let mut selector = selector.clone();
    label.rewrite(Some(&mut selector));
    let labels = selector.match_labels.get_or_insert_default();
    labels.insert(label.key.clone(), label.canary.clone());
    selector
}

fn arm_template(template: &PodTemplateSpec, label: &ArmLabel) -> PodTemplateSpec {
    let mut template = without_hash(template);
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(label.key.clone(), label.canary.clone());
    if let Some(spec) = &mut template.spec {
        rewrite_terms(spec, label);
    }
    template
}

fn rewrite_terms(spec: &mut PodSpec, label: &ArmLabel) {
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        label.rewrite(constraint.label_selector.as_mut());
    }
    if let Some(affinity) = &mut spec.affinity {
        each_term(affinity, |term| label.rewrite(term.label_selector.as_mut()));
    }
}

fn each_term(affinity: &mut Affinity, mut act: impl FnMut(&mut PodAffinityTerm)) {
    let weighted = |terms: &mut Option<Vec<WeightedPodAffinityTerm>>,
                    act: &mut dyn FnMut(&mut PodAffinityTerm)| {
        terms
            .iter_mut()
            .flatten()
            .for_each(|term| act(&mut term.pod_affinity_term));
    };
    if let Some(attract) = &mut affinity.pod_affinity {
        attract
            .required_during_scheduling_ignored_during_execution
            .iter_mut()
            .flatten()
            .for_each(&mut act);
        weighted(
            &mut attract.preferred_during_scheduling_ignored_during_execution,
            &mut act,
        );
    }
    if let Some(repel) = &mut affinity.pod_anti_affinity {
        repel
            .required_during_scheduling_ignored_during_execution
            .iter_mut()
            .flatten()
            .for_each(&mut act);
        weighted(
            &mut repel.preferred_during_scheduling_ignored_during_execution,
            &mut act,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_trial;
    use super::*;
    use serde_json::{Value, json};

    fn term(app: &str) -> Value {
        json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}})
    }

    fn template(app: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": app, "tier": "web", "app.kubernetes.io/instance": "shop"}},
            "spec": {
                "containers": [{"name": "main", "image": "shop:2"}],
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [term(app)],
                        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term(app)}],
                    },
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("cache")]},
                },
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": app}},
                }],
            },
        })
    }

    fn target(selector: &Value) -> Deployment {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "shop", "namespace": "production", "uid": "u", "resourceVersion": "7", "generation": 4,
                "labels": {"team": "a", "sluice.dev/guarded": "true", "kustomize.toolkit.fluxcd.io/name": "apps"},
                "annotations": {"deployment.kubernetes.io/revision": "3", "note": "n", "sluice.dev/held-by": "shop"},
            },
            "spec": {
                "replicas": 10, "paused": true, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "selector": selector,
                "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "main", "image": "shop:1"}]}},
            },
            "status": {"replicas": 10},
        }))
        .unwrap()
    }

    fn build(selector: &Value) -> Result<Deployment, Error> {
        let new = serde_json::from_value(template("shop")).unwrap();
        with_trial(|trial| deployment(&target(selector), &new, 2, trial))
    }

    #[test]
    fn one_label_and_what_names_it_changes_and_nothing_of_the_owner_is_taken() {
        let built = build(&json!({"matchLabels": {"app": "shop", "tier": "web"}})).unwrap();
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "shop-canary", "namespace": "production",
                "labels": {"team": "a", "sluice.dev/role": "canary", "sluice.dev/rollout": "shop"},
                "annotations": {"note": "n", "sluice.dev/run": "run-1", "sluice.dev/revision": "abc"},
                "ownerReferences": [{
                    "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "rollout-uid", "controller": true,
                }],
            },
            "spec": {
                "replicas": 2, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 0,
                "selector": {"matchLabels": {"app": "shop-canary", "tier": "web"}},
                "template": template("shop-canary"),
            },
        });
        assert_eq!(serde_json::to_value(built).unwrap(), expected);
    }

    #[test]
    fn a_selector_that_does_not_have_the_label_gets_it() {
        let built = build(&json!({"matchLabels": {"tier": "web"}})).unwrap();
        let expected = json!({"matchLabels": {"app": "shop-canary", "tier": "web"}});
        assert_eq!(serde_json::to_value(built.spec.selector).unwrap(), expected);
    }

    #[test]
    fn a_selector_by_expression_is_rewritten_or_refused() {
        let by = |operator: &str, value: &str| {
            build(
                &json!({"matchExpressions": [{"key": "app", "operator": operator, "values": [value]}]}),
            )
        };
        assert!(by("In", "shop").is_ok());
        assert!(matches!(
            by("NotIn", "shop-canary"),
            Err(Error::Selector { .. })
        ));
    }

    #[test]
    fn a_hand_edit_is_seen_and_what_the_server_adds_is_not() {
        let wanted = build(&json!({"matchLabels": {"app": "shop"}})).unwrap();
        let mut stored = wanted.clone();
        stored.metadata.uid = Some("c".into());
        stored
            .metadata
            .annotations
            .get_or_insert_default()
            .insert("deployment.kubernetes.io/revision".into(), "1".into());
        stored.spec.paused = Some(false);
        assert!(!differs(&wanted, &stored));
        let edits: [fn(&mut Deployment); 5] = [
            |d| d.spec.replicas = Some(0),
            |d| d.spec.paused = Some(true),
            |d| d.spec.template.spec.as_mut().unwrap().containers[0].image = Some("other".into()),
            |d| d.metadata.owner_references = None,
            |d| {
                d.metadata
                    .annotations
                    .as_mut()
                    .unwrap()
                    .insert("sluice.dev/run".into(), "old".into());
            },
        ];
        for (index, edit) in edits.iter().enumerate() {
            let mut edited = stored.clone();
            edit(&mut edited);
            assert!(differs(&wanted, &edited), "edit {index}");
        }
    }
}
