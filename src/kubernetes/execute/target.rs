//! The guarded workload: its gate, its template, its restart; the pods that stand in its way.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{DynamicObject, Patch};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{
    Error, Executor, Order, RESTARTED_FOR, TRIES, conditional, forced, gone_is_done, manager,
    within,
};
use crate::causes;
use crate::kubernetes::crd::{GUARDED, HELD_BY};
use crate::kubernetes::{observe, ownership, template, workload};
use crate::rollout::revision::Revision;

impl Executor {
    pub(super) async fn guard(&self, order: Order<'_>) -> Result<(), Error> {
        let patch = json!({
            "apiVersion": "apps/v1",
            "kind": order.plan.kind.name(),
            "metadata": {
                "name": order.plan.target,
                "labels": {GUARDED: "true"},
                "annotations": {HELD_BY: order.plan.name},
            },
        });
        let api = self.target(order);
        // A workload that is gone must not be made by an apply: the uid makes that a conflict.
        let uid = order
            .scene
            .target
            .as_ref()
            .and_then(|target| target.object.uid());
        let mut patch = patch;
        patch["metadata"]["uid"] = json!(uid);
        let (params, patch) = (forced(), Patch::Apply(patch));
        let request = api.patch(&order.plan.target, &params, &patch);
        within("putting the workload behind the gate", request)
            .await
            .map(|_| ())
    }

    pub(super) async fn unguard(&self, order: Order<'_>) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": {
            "labels": {GUARDED: null},
            "annotations": {HELD_BY: null, RESTARTED_FOR: null},
        }}));
        let api = self.target(order);
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
            "holding the workload"
        } else {
            "opening the gate"
        };
        self.change(doing, order, expect, |present| {
            workload::hold(order.plan.kind, &present.data["spec"], paused)
        })
        .await
        .map(drop)
    }

    pub(super) async fn restore(
        &self,
        order: Order<'_>,
        to: &Revision,
        expect: &Revision,
        (paused, restarted_at): (bool, Option<Timestamp>),
    ) -> Result<(), Error> {
        let mut template = self.known_template(order, to).await?;
        if let Some(at) = restarted_at {
            let meta = template.metadata.get_or_insert_default();
            let notes = meta.annotations.get_or_insert_default();
            notes.insert(template::RESTARTED_AT.to_owned(), stamp(at));
        }
        let written = self
            .change("putting the template back", order, expect, |present| {
                let mut patch =
                    vec![json!({"op": "replace", "path": "/spec/template", "value": template})];
                let spec = &present.data["spec"];
                patch.extend(workload::hold(order.plan.kind, spec, paused));
                patch
            })
            .await?;
        self.hand_back(order, &written).await;
        Ok(())
    }

    /// Hands the template's fields to whoever applies it, again if the workload's controller wrote its
    /// status in between. Without that only the next apply is harder.
    async fn hand_back(&self, order: Order<'_>, written: &DynamicObject) {
        let api = self.target(order);
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
                Ok(now) if now.data["spec"]["template"] == written.data["spec"]["template"] => {
                    seen = now;
                }
                _ => return,
            }
        }
    }

    pub(super) async fn restart(
        &self,
        order: Order<'_>,
        expect: &Revision,
        (id, at): (&str, Timestamp),
    ) -> Result<(), Error> {
        self.change("restarting the workload", order, expect, |present| {
            restarted(present, (id, at))
        })
        .await
        .map(drop)
    }

    /// Deletes the pods that were seen to stand in the way of the template, not others of their names.
    pub(super) async fn remove_stuck(
        &self,
        order: Order<'_>,
        expect: &Revision,
    ) -> Result<(), Error> {
        let doing = "deleting a pod that is in the way";
        let present = within(doing, self.target(order).get(&order.plan.target)).await?;
        let found = revision(doing, &present)?;
        if found != expect.hash {
            return Err(Error::Overtaken { doing, found });
        }
        for pod in observe::stuck(order.scene, order.plan) {
            let named = (&*pod.name, Some(pod.uid.to_string()));
            self.delete::<Pod>(doing, &order.plan.namespace, named)
                .await?;
        }
        Ok(())
    }

    fn target(&self, order: Order<'_>) -> Api<DynamicObject> {
        let plan = order.plan;
        workload::api(&self.client, plan.kind, &plan.namespace)
    }

    /// Patches the workload under the resourceVersion that was read, if its template is still
    /// the expected one.
    async fn change(
        &self,
        doing: &'static str,
        order: Order<'_>,
        expect: &Revision,
        operations: impl Fn(&DynamicObject) -> Vec<Value>,
    ) -> Result<DynamicObject, Error> {
        let api = self.target(order);
        let mut tries = 0;
        loop {
            tries += 1;
            let present = within(doing, api.get(&order.plan.target)).await?;
            let found = revision(doing, &present)?;
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
        api: &Api<DynamicObject>,
        order: Order<'_>,
        patch: &[Value],
    ) -> Result<DynamicObject, Error> {
        let patch = conditional::<()>(doing, Value::Array(patch.to_vec()))?;
        within(doing, api.patch(&order.plan.target, &manager(), &patch)).await
    }
}

/// What restarts it. One that is restarted for this already is left alone: watches may lag behind that, and it is
/// asked for again with another time.
fn restarted(present: &DynamicObject, (id, at): (&str, Timestamp)) -> Vec<Value> {
    let mut own = present.annotations().clone();
    if own.get(RESTARTED_FOR).is_some_and(|known| known == id) {
        return Vec::new();
    }
    own.insert(RESTARTED_FOR.to_owned(), id.to_owned());
    let template = &present.data["spec"]["template"]["metadata"]["annotations"];
    let mut template = template.as_object().cloned().unwrap_or_default();
    template.insert(template::RESTARTED_AT.to_owned(), json!(stamp(at)));
    vec![
        json!({"op": "add", "path": "/metadata/annotations", "value": own}),
        json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": template}),
    ]
}

/// A restart's time, as `kubectl rollout restart` writes it.
fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The revision of the template that is in force.
fn revision(doing: &'static str, present: &DynamicObject) -> Result<String, Error> {
    let template = present.data["spec"]["template"].clone();
    let read = serde_json::from_value::<PodTemplateSpec>(template);
    let read = read.map_err(|error| Error::Request {
        doing,
        source: kube::Error::SerdeError(error),
    })?;
    Ok(template::revision(&read).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_restarted_once_for_one_request() {
        let restarted = |annotations: Value| {
            let present = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "shop", "annotations": annotations},
                "spec": {"template": {"metadata": {"annotations": {"team": "shop"}}}},
            });
            let present: DynamicObject = serde_json::from_value(present).unwrap();
            restarted(&present, ("two", Timestamp::UNIX_EPOCH))
        };
        assert_eq!(
            restarted(json!({RESTARTED_FOR: "two"})),
            Vec::<Value>::new()
        );
        let first = restarted(json!({RESTARTED_FOR: "one"}));
        assert_eq!(first[0]["value"], json!({RESTARTED_FOR: "two"}));
        let template = json!({"team": "shop", template::RESTARTED_AT: "1970-01-01T00:00:00Z"});
        assert_eq!(first[1]["value"], template);
    }
}
