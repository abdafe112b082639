//! Templates that are kept as `ControllerRevisions`, so that they can be put back or given back.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::{Error, Executor, Order};
use crate::kubernetes::canary;
use crate::kubernetes::scene::{self, KEEPS};
use crate::rollout::revision::Revision;

impl Executor {
    /// Keeps a template under its hash, then forgets the older ones that were kept for the same.
    pub(super) async fn keep(
        &self,
        order: Order<'_>,
        revision: &Revision,
        what: &str,
    ) -> Result<(), Error> {
        let template = order
            .scene
            .template(&revision.hash)
            .ok_or_else(|| scene::Error::NoTemplate(revision.hash.clone()))?;
        if let Some(kept) = kept_object(order, revision, what, &template) {
            self.apply("keeping a template", &kept).await?;
        }
        self.drop_kept(order, what, Some(&revision.hash)).await
    }

    pub(super) async fn drop_kept(
        &self,
        order: Order<'_>,
        what: &str,
        except: Option<&str>,
    ) -> Result<(), Error> {
        let old = order.scene.kept.iter().filter(|kept| {
            kept.labels().get(KEEPS).map(String::as_str) == Some(what)
                && except != Some(scene::kept_revision(kept).hash.as_str())
        });
        for kept in old {
            let namespace = &order.plan.namespace;
            self.delete::<ControllerRevision>(
                "forgetting a kept template",
                namespace,
                (&kept.name_any(), kept.uid()),
            )
            .await?;
        }
        Ok(())
    }
}

fn kept_object(
    order: Order<'_>,
    revision: &Revision,
    what: &str,
    template: &PodTemplateSpec,
) -> Option<ControllerRevision> {
    let owner = canary::owner(&order.scene.rollout)?;
    let labels = [
        (KEEPS.to_owned(), what.to_owned()),
        (
            canary::ROLLOUT.to_owned(),
            canary::rollout_label(&order.plan.name),
        ),
    ];
    let annotations = [
        (canary::REVISION.to_owned(), revision.hash.clone()),
        ("sluice.dev/images".to_owned(), revision.images.join(",")),
    ];
    Some(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{what}-{}", order.plan.name, revision.hash)),
            namespace: Some(order.plan.namespace.clone()),
            labels: Some(BTreeMap::from(labels)),
            annotations: Some(BTreeMap::from(annotations)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: RawExtension(serde_json::to_value(template).ok()?),
        revision: Some(1),
    })
}
