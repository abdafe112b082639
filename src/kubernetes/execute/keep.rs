//! Templates that are kept as `ControllerRevisions`, so that they can be put back or given back.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::{Error, Executor, Order};
use crate::kubernetes::canary;
use crate::kubernetes::labels;
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
        // What a ControllerRevision holds cannot be changed, nor need it be: the hash says what it is.
        let known = order
            .scene
            .kept
            .iter()
            .any(|kept| keeps(kept, what) && scene::kept_revision(kept).hash == revision.hash);
        if !known && let Some(kept) = kept_object(order, revision, what, &template) {
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
            keeps(kept, what) && except != Some(scene::kept_revision(kept).hash.as_str())
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

fn keeps(kept: &ControllerRevision, what: &str) -> bool {
    kept.labels().get(KEEPS).map(String::as_str) == Some(what)
}

/// The name of a kept template; a long one of a Rollout is shortened.
fn kept_name(rollout: &str, what: &str, hash: &str) -> String {
    const NAME_MAX: usize = 253;
    let rest = format!("-{what}-{hash}");
    let room = NAME_MAX.saturating_sub(rest.len());
    format!("{}{rest}", labels::shortened(rollout, room))
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
            name: Some(kept_name(&order.plan.name, what, &revision.hash)),
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
