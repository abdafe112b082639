//! The guarded Deployment: its gate, its template, its restart.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Patch;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{
    Error, Executor, Order, RESTARTED_FOR, TRIES, conditional, forced, gone_is_done, manager,
    within,
};
use crate::causes;
use crate::kubernetes::crd::{GUARDED, HELD_BY};
use crate::kubernetes::{ownership, template};
use crate::rollout::revision::Revision;

impl Executor {
    pub(super) async fn guard(&self, order: Order<'_>) -> Result<(), Error> {
        let patch = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": order.plan.target,
                "labels": {GUARDED: "true"},
                "annotations": {HELD_BY: order.plan.name},
            },
        });
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        // A Deployment that is gone must not be made by an apply: the uid makes that a conflict.
        let uid = order
            .scene
            .target
            .as_ref()
            .and_then(|target| target.object.uid());
        let mut patch = patch;
        patch["metadata"]["uid"] = json!(uid);
        let (params, patch) = (forced(), Patch::Apply(patch));
        let request = api.patch(&order.plan.target, &params, &patch);
        within("putting the Deployment behind the gate", request)
            .await
            .map(|_| ())
    }

    pub(super) async fn unguard(&self, order: Order<'_>) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": {
            "labels": {GUARDED: null},
            "annotations": {HELD_BY: null, RESTARTED_FOR: null},
        }}));
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let params = manager();
        let request = api.patch(&order.plan.target, &params, &patch);
        gone_is_done(within("taking the gate away", request).await)
    }

    pub(super) async fn set_paused(
        &self,
        order: Order<'_>,
        expect: &Revision,
        paused: bool,
    ) -> Result<(), Error> {
        let doing = if paused {
            "pausing the Deployment"
        } else {
            "opening the gate"
        };
        self.change(doing, order, expect, |_| {
            vec![json!({"op": "add", "path": "/spec/paused", "value": paused})]
        })
        .await
        .map(drop)
    }

    pub(super) async fn restore(
        &self,
        order: Order<'_>,
        to: &Revision,
        expect: &Revision,
        paused: bool,
    ) -> Result<(), Error> {
        let template = self.known_template(order, to).await?;
        let written = self
            .change("putting the template back", order, expect, |_| {
                vec![
                    json!({"op": "replace", "path": "/spec/template", "value": template}),
                    json!({"op": "add", "path": "/spec/paused", "value": paused}),
                ]
            })
            .await?;
        self.hand_back(order, &written).await;
        Ok(())
    }

    /// Hands the template's fields to whoever applies it, again if the Deployment's controller wrote its
    /// status in between. Without that only the next apply is harder.
    async fn hand_back(&self, order: Order<'_>, written: &Deployment) {
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let doing = "handing the template's fields back";
        let mut seen = written.clone();
        for _ in 0..TRIES {
            let Some(managers) = ownership::handed_back(seen.managed_fields()) else {
                return;
            };
            let patch = [
                json!({
                    "op": "test", "path": "/metadata/resourceVersion", "value": seen.resource_version(),
                }),
                json!({"op": "replace", "path": "/metadata/managedFields", "value": managers}),
            ];
            let Err(error) = self.json_patch(doing, &api, order, &patch).await else {
                return;
            };
            let error = causes::told(&error);
            tracing::debug!(
                namespace = order.plan.namespace,
                rollout = order.plan.name,
                error
            );
            match within(doing, api.get(&order.plan.target)).await {
                Ok(now) if now.spec.template == written.spec.template => seen = now,
                _ => return,
            }
        }
    }

    pub(super) async fn restart(&self, order: Order<'_>, id: &str) -> Result<(), Error> {
        let at = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let restart = json!({template::RESTARTED_AT: at});
        let patch = Patch::Strategic(json!({
            "metadata": {"annotations": {RESTARTED_FOR: id}},
            "spec": {"template": {"metadata": {"annotations": restart}}},
        }));
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let params = manager();
        let request = api.patch(&order.plan.target, &params, &patch);
        within("restarting the Deployment", request)
            .await
            .map(|_| ())
    }

    /// Patches the Deployment under the resourceVersion that was read, if its template is still
    /// the expected one.
    async fn change(
        &self,
        doing: &'static str,
        order: Order<'_>,
        expect: &Revision,
        operations: impl Fn(&Deployment) -> Vec<Value>,
    ) -> Result<Deployment, Error> {
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let mut tries = 0;
        loop {
            tries += 1;
            let present = within(doing, api.get(&order.plan.target)).await?;
            let found = String::from(template::revision(&present.spec.template));
            if found != expect.hash {
                return Err(Error::Overtaken { doing, found });
            }
            let mut patch = vec![json!({
                "op": "test", "path": "/metadata/resourceVersion", "value": present.resource_version(),
            })];
            patch.extend(operations(&present));
            match self.json_patch(doing, &api, order, &patch).await {
                Err(error)
                    if tries < TRIES && matches!(error.category(), "conflict" | "invalid") => {}
                done => return done,
            }
        }
    }

    async fn json_patch(
        &self,
        doing: &'static str,
        api: &Api<Deployment>,
        order: Order<'_>,
        patch: &[Value],
    ) -> Result<Deployment, Error> {
        let patch = conditional::<()>(doing, Value::Array(patch.to_vec()))?;
        within(doing, api.patch(&order.plan.target, &manager(), &patch)).await
    }
}
