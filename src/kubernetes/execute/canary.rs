//! The canary's objects: made, sized, routed, removed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{ObjectMeta, Patch, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Error, Executor, Order, conditional, gone_is_done, manager, mark, within};
use crate::kubernetes::canary;
use crate::kubernetes::scene;
use crate::rollout::plan::Route;
use crate::rollout::revision::Revision;

impl Executor {
    pub(super) async fn lower(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        const DOING: &str = "lowering the weight";
        let Route::IngressNginx {
            ingress, prefix, ..
        } = &order.plan.route;
        let present = order.scene.canary_ingress(order.plan);
        let lowered = || canary::ingress::lowering_patch(present?, prefix, weight);
        let patch = if weight == 0 {
            Patch::Merge(canary::ingress::off_patch(prefix))
        } else if let Some(lowered) = lowered() {
            conditional(DOING, lowered)?
        } else {
            Patch::Merge(canary::ingress::weight_patch(prefix, weight))
        };
        let api: Api<Ingress> = self.api(&order.plan.namespace);
        let name = canary::ingress_name(ingress);
        let params = manager();
        gone_is_done(within(DOING, api.patch(&name, &params, &patch)).await)
    }

    pub(super) async fn ensure_canary(
        &self,
        order: Order<'_>,
        revision: &Revision,
        replicas: i32,
    ) -> Result<(), Error> {
        let template = order
            .scene
            .template(&revision.hash)
            .ok_or_else(|| scene::Error::NoTemplate(revision.hash.clone()))?;
        let wanted = order
            .scene
            .wanted(order.plan, mark(order), &template, replicas)?;
        if let Some(present) = &order.scene.canary
            && canary::deployment::must_be_replaced(&wanted.deployment, &present.object)
        {
            return self.remove_deployment(order).await;
        }
        for policy in &wanted.policies {
            self.apply("copying a NetworkPolicy for the canary", policy)
                .await?;
        }
        self.apply("making the canary's Service", &wanted.service)
            .await?;
        self.apply("making the canary's Deployment", &wanted.deployment)
            .await
            .map(drop)
    }

    pub(super) async fn scale_canary(&self, order: Order<'_>, replicas: i32) -> Result<(), Error> {
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let name = canary::deployment_name(&order.plan.target);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        gone_is_done(within("scaling the canary", api.patch(&name, &manager(), &patch)).await)
    }

    /// A share is given only to the Ingress as it was seen; one that is new has none at first. So
    /// a request that is under way for long cannot bring back a share that was taken away.
    pub(super) async fn ensure_route(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        let present = order.scene.canary_ingress(order.plan);
        let seen = match present {
            Some(present) => present.resource_version(),
            None => self.route(order, 0, None).await?.resource_version(),
        };
        self.route(order, weight, seen).await.map(drop)
    }

    async fn route(
        &self,
        order: Order<'_>,
        weight: u8,
        seen: Option<String>,
    ) -> Result<Ingress, Error> {
        let mut ingress = order
            .scene
            .wanted_ingress(order.plan, mark(order), weight)?;
        ingress.metadata.resource_version = seen;
        self.apply("making the canary's Ingress", &ingress).await
    }

    pub(super) async fn remove_route(&self, order: Order<'_>) -> Result<(), Error> {
        let Route::IngressNginx { ingress, .. } = &order.plan.route;
        let name = canary::ingress_name(ingress);
        let present = order.scene.canary_ingress(order.plan);
        self.delete::<Ingress>(
            "removing the canary's Ingress",
            &order.plan.namespace,
            (&name, present.and_then(|present| present.uid())),
        )
        .await
    }

    pub(super) async fn remove_canary(&self, order: Order<'_>) -> Result<(), Error> {
        let namespace = &order.plan.namespace;
        let ours = |meta: &ObjectMeta| canary::is_owned(meta, &order.plan.uid);
        for service in order
            .scene
            .services
            .iter()
            .filter(|service| ours(&service.metadata))
        {
            self.delete::<Service>(
                "removing the canary's Service",
                namespace,
                (&service.name_any(), service.uid()),
            )
            .await?;
        }
        for policy in order
            .scene
            .policies
            .iter()
            .filter(|policy| ours(&policy.metadata))
        {
            self.delete::<NetworkPolicy>(
                "removing a copied NetworkPolicy",
                namespace,
                (&policy.name_any(), policy.uid()),
            )
            .await?;
        }
        self.remove_deployment(order).await
    }

    /// The Deployment stays until its pods are gone, so that none of them gets requests of the next
    /// run; if it is asked again they are not waited for.
    async fn remove_deployment(&self, order: Order<'_>) -> Result<(), Error> {
        let name = canary::deployment_name(&order.plan.target);
        let present = order.scene.canary.as_ref().map(|present| &present.object);
        let leaves = present.is_some_and(|present| present.metadata.deletion_timestamp.is_some());
        let policy = if leaves {
            PropagationPolicy::Background
        } else {
            PropagationPolicy::Foreground
        };
        self.delete_by::<Deployment>(
            policy,
            "removing the canary's Deployment",
            &order.plan.namespace,
            (&name, present.and_then(ResourceExt::uid)),
        )
        .await
    }
}
