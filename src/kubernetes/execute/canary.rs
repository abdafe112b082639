//! The canary's objects: made, sized, routed, removed. An `HTTPRoute` is no object of the canary's; it is
//! split and made whole again.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{ObjectMeta, Patch, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Error, Executor, Order, conditional, gone_is_done, manager, mark, within};
use crate::causes;
use crate::kubernetes::canary::{self, http_route};
use crate::kubernetes::http_route::HttpRoute;
use crate::kubernetes::scene::{self, Services};
use crate::rollout::plan::Route;
use crate::rollout::revision::Revision;

const LOWERING: &str = "lowering the weight";

impl Executor {
    pub(super) async fn lower(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        match &order.plan.route {
            Route::IngressNginx {
                ingress, prefix, ..
            } => self.lower_ingress(order, ingress, prefix, weight).await,
            Route::GatewayApi { http_route, .. } => {
                self.lower_split(order, http_route, weight).await
            }
        }
    }

    async fn lower_ingress(
        &self,
        order: Order<'_>,
        ingress: &str,
        prefix: &str,
        weight: u8,
    ) -> Result<(), Error> {
        let present = order.scene.canary_ingress(order.plan, ingress);
        let lowered = || canary::ingress::lowering_patch(present?, prefix, weight);
        let patch = if weight == 0 {
            Patch::Merge(canary::ingress::off_patch(
                present.map(|present| &**present),
                prefix,
            ))
        } else if let Some(lowered) = lowered() {
            conditional(LOWERING, lowered)?
        } else {
            Patch::Merge(canary::ingress::weight_patch(prefix, weight))
        };
        let api: Api<Ingress> = self.api(&order.plan.namespace);
        let name = canary::ingress_name(ingress);
        let params = manager();
        let lowered = gone_is_done(within(LOWERING, api.patch(&name, &params, &patch)).await);
        match lowered {
            Err(error) if present.is_some() && error.is_refusal() => {
                // Controllers' webhooks look at what is written, and not at what is deleted.
                let error = causes::told(&error);
                tracing::warn!(
                    namespace = order.plan.namespace,
                    rollout = order.plan.name,
                    error,
                    "the canary's Ingress is removed, since its weight cannot be lowered"
                );
                self.remove_ingress(order, ingress).await
            }
            lowered => lowered,
        }
    }

    async fn lower_split(&self, order: Order<'_>, name: &str, weight: u8) -> Result<(), Error> {
        let Some((present, services)) = split_in(order, name) else {
            return Ok(());
        };
        let arms = services.arms(order.plan);
        let patch = http_route::lowering_patch(&present.spec.rules, arms, weight);
        let api: Api<HttpRoute> = self.api(&order.plan.namespace);
        let patch: Patch<HttpRoute> = conditional(LOWERING, patch)?;
        gone_is_done(within(LOWERING, api.patch(name, &manager(), &patch)).await)
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

    pub(super) async fn ensure_route(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        match &order.plan.route {
            Route::IngressNginx {
                ingress, prefix, ..
            } => self.ensure_ingress(order, ingress, prefix, weight).await,
            Route::GatewayApi { http_route, .. } => {
                self.ensure_split(order, http_route, weight).await
            }
        }
    }

    /// A share is given only to the Ingress as it was seen; one that is new has none at first. So
    /// a request that is under way for long cannot bring back a share that was taken away.
    async fn ensure_ingress(
        &self,
        order: Order<'_>,
        main: &str,
        prefix: &str,
        weight: u8,
    ) -> Result<(), Error> {
        let present = order.scene.canary_ingress(order.plan, main);
        let seen = match present {
            Some(present) => self.without_strays(order, present, prefix, weight).await?,
            None => self
                .ingress(order, prefix, 0, None)
                .await?
                .resource_version(),
        };
        self.ingress(order, prefix, weight, seen).await.map(drop)
    }

    /// Takes away what an apply leaves, since others own it; the version afterwards.
    async fn without_strays(
        &self,
        order: Order<'_>,
        present: &Ingress,
        prefix: &str,
        weight: u8,
    ) -> Result<Option<String>, Error> {
        let scene = order.scene;
        let wanted = scene.wanted_ingress(order.plan, prefix, mark(order), weight)?;
        let Some(patch) = canary::ingress::stray_patch(&wanted, present, prefix) else {
            return Ok(present.resource_version());
        };
        let api: Api<Ingress> = self.api(&order.plan.namespace);
        let (name, params, patch) = (present.name_any(), manager(), Patch::Merge(patch));
        let request = api.patch(&name, &params, &patch);
        let mended = within("mending the canary's Ingress", request).await?;
        Ok(mended.resource_version())
    }

    async fn ingress(
        &self,
        order: Order<'_>,
        prefix: &str,
        weight: u8,
        seen: Option<String>,
    ) -> Result<Ingress, Error> {
        let mut ingress = order
            .scene
            .wanted_ingress(order.plan, prefix, mark(order), weight)?;
        ingress.metadata.resource_version = seen;
        self.apply("making the canary's Ingress", &ingress).await
    }

    /// Splits the route as it was seen, and no other.
    async fn ensure_split(&self, order: Order<'_>, name: &str, weight: u8) -> Result<(), Error> {
        let title = order.plan.route.title();
        let (present, services) = split_in(order, name).ok_or(scene::Error::NoRoute(title))?;
        let matching = order.plan.matching.as_ref();
        let arms = services.arms(order.plan);
        let rules = http_route::split(&present.spec.rules, arms, weight, matching);
        self.write_rules("splitting the HTTPRoute", present, &rules)
            .await
    }

    async fn remove_split(&self, order: Order<'_>, name: &str) -> Result<(), Error> {
        let Some((present, services)) = split_in(order, name) else {
            return Ok(());
        };
        let rules = http_route::whole(&present.spec.rules, services.arms(order.plan));
        gone_is_done(
            self.write_rules("taking the canary from the HTTPRoute", present, &rules)
                .await,
        )
    }

    async fn write_rules(
        &self,
        doing: &'static str,
        present: &HttpRoute,
        rules: &[Value],
    ) -> Result<(), Error> {
        let api: Api<HttpRoute> = self.api(&present.namespace().unwrap_or_default());
        let patch = Patch::Merge(json!({
            "metadata": {"uid": present.uid(), "resourceVersion": present.resource_version()},
            "spec": {"rules": rules},
        }));
        within(doing, api.patch(&present.name_any(), &manager(), &patch))
            .await
            .map(drop)
    }

    pub(super) async fn remove_route(&self, order: Order<'_>) -> Result<(), Error> {
        match &order.plan.route {
            Route::IngressNginx { ingress, .. } => self.remove_ingress(order, ingress).await,
            Route::GatewayApi { http_route, .. } => self.remove_split(order, http_route).await,
        }
    }

    async fn remove_ingress(&self, order: Order<'_>, main: &str) -> Result<(), Error> {
        let name = canary::ingress_name(main);
        let present = order.scene.canary_ingress(order.plan, main);
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

/// The route of a plan, and the Services between which it is split or to be split.
fn split_in<'a>(order: Order<'a>, name: &str) -> Option<(&'a HttpRoute, Services)> {
    let present = order.scene.http_route(name)?;
    Some((present, order.scene.arms(order.plan, present)?))
}
