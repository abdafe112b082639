//! `ControllerRevisions`: what a `StatefulSet` or `DaemonSet` keeps of the templates it had.
//!
//! The newest number is the present template's; one that comes back is renumbered, not kept twice.
//! Not here: forgetting the oldest (`revisionHistoryLimit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::sandbox::controllers::template::hash;

/// The label that names a revision's hash, and on a pod its revision.
pub const HASH: &str = "controller-revision-hash";

/// What a workload's revisions are made from.
#[derive(Debug)]
pub struct Source<'a> {
    pub name: String,
    pub namespace: Option<String>,
    pub owner: OwnerReference,
    pub template: &'a PodTemplateSpec,
}

/// What to write so that the present template's revision is the newest: `None` if it is.
pub fn due(source: &Source<'_>, kept: &[Arc<ControllerRevision>]) -> Option<ControllerRevision> {
    let newest = kept.iter().map(|kept| number(kept)).max().unwrap_or(0);
    let data = data(source.template);
    let Some(same) = kept.iter().find(|kept| kept.data.0 == data) else {
        return Some(made(source, data, newest + 1));
    };
    (number(same) < newest).then(|| {
        let mut renumbered = (**same).clone();
        renumbered.revision = Some(newest + 1);
        renumbered
    })
}

/// The present template's: the newest.
pub fn newest(kept: &[Arc<ControllerRevision>]) -> Option<&Arc<ControllerRevision>> {
    kept.iter().max_by_key(|kept| number(kept))
}

/// The template that a revision holds.
pub fn template(kept: &ControllerRevision) -> PodTemplateSpec {
    let mut template = kept.data.0["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    serde_json::from_value(template).unwrap_or_default()
}

fn number(kept: &ControllerRevision) -> i64 {
    kept.revision.unwrap_or(0)
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn made(source: &Source<'_>, data: Value, number: i64) -> ControllerRevision {
    let hash = hash(source.template, None);
    let template = source.template.metadata.as_ref();
    let labels = template.and_then(|meta| meta.labels.clone());
    let mut labels: BTreeMap<String, String> = labels.unwrap_or_default();
    labels.insert(HASH.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", source.name)),
            namespace: source.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![source.owner.clone()]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(number),
    }
}

/// The hash by which a `DaemonSet`'s pods name a revision.
pub fn hash_of(kept: &ControllerRevision) -> String {
    kept.labels().get(HASH).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        let spec = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
        serde_json::from_value(spec).unwrap()
    }

    fn source(template: &PodTemplateSpec) -> Source<'_> {
        Source {
            name: "db".into(),
            namespace: None,
            owner: OwnerReference::default(),
            template,
        }
    }

    #[test]
    fn a_template_that_comes_back_is_renumbered_and_not_kept_twice() {
        let (one, two) = (template("db:1"), template("db:2"));
        let first = Arc::new(due(&source(&one), &[]).unwrap());
        let kept = [first.clone()];
        assert_eq!(due(&source(&one), &kept), None);
        let second = Arc::new(due(&source(&two), &kept).unwrap());
        assert_eq!((number(&first), number(&second)), (1, 2));
        let kept = [first.clone(), second];
        assert_eq!(due(&source(&two), &kept), None);
        let back = due(&source(&one), &kept).unwrap();
        assert_eq!(
            (back.name_any(), back.revision),
            (first.name_any(), Some(3))
        );
        assert_eq!(super::template(&back), one);
    }
}
