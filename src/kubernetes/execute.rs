//! Actions as requests to the API server.
//!
//! Guarantees: each is idempotent; whatever opens the gate or overwrites a template reads the
//! Deployment first and patches it under the resourceVersion that it read, so that a template
//! which was applied in between is never touched; every request has a deadline.
//!
//! Not here: the order of actions and when they are due (`rollout::decide`).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::canary;
use super::crd::{FINALIZER, GUARDED, HELD_BY, MANAGER, REQUEST_PREFIX, Rollout};
use super::scene::{self, DESIRED, KEEPS, Mark, STABLE, Scene};
use super::template;
use crate::clock::Clock;
use crate::rollout::action::Action;
use crate::rollout::plan::{Plan, Route};
use crate::rollout::revision::Revision;

/// A request that takes longer has failed; the next pass tries again.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a patch is tried again when the Deployment changed in between.
const TRIES: usize = 4;
/// What Sluice's last restart was for.
pub const RESTARTED_FOR: &str = "sluice.dev/restarted-for";

#[allow(missing_debug_implementations)] // kube's Client has none
/// Executes actions.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    clock: Clock,
}

/// What an action is executed for.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub scene: &'a Scene,
    pub plan: &'a Plan,
    /// The run's id; empty outside of one.
    pub run: &'a str,
    /// What the canary's objects are marked with.
    pub mark: &'a str,
}

/// An action that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{doing}")]
    Request {
        doing: &'static str,
        #[source]
        source: kube::Error,
    },
    #[error("{doing}: no answer within {DEADLINE:?}")]
    Deadline { doing: &'static str },
    #[error("{doing}: the template changed to {found} meanwhile")]
    Overtaken { doing: &'static str, found: String },
    #[error("building the canary")]
    Build(#[from] scene::Error),
}

impl Error {
    /// A bounded category for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Request {
                source: kube::Error::Api(status),
                ..
            } => match status.code {
                409 => "conflict",
                403 => "forbidden",
                404 => "not-found",
                422 => "invalid",
                429 => "throttled",
                _ => "api",
            },
            Self::Request { .. } => "connection",
            Self::Deadline { .. } => "deadline",
            Self::Overtaken { .. } => "overtaken",
            Self::Build(_) => "build",
        }
    }

    /// Whether somebody else was faster: the next pass sees what they did.
    pub fn is_conflict(&self) -> bool {
        matches!(self.category(), "conflict" | "overtaken")
    }
}

type Done = Result<Option<Rollout>, Error>;

impl Executor {
    /// Executes with this client, which should not retry by itself.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock }
    }

    /// Executes one action; gives back the Rollout where that was written.
    pub async fn execute(&self, order: Order<'_>, action: &Action) -> Done {
        match action {
            Action::LowerWeight { weight } => self.lower(order, *weight).await.map(|()| None),
            Action::EnsureCanary {
                template,
                mark,
                replicas,
            } => {
                let order = Order { mark, ..order };
                self.ensure_canary(order, template, *replicas)
                    .await
                    .map(|()| None)
            }
            Action::ScaleCanary { replicas } => {
                self.scale_canary(order, *replicas).await.map(|()| None)
            }
            Action::EnsureRoute { weight } => {
                self.ensure_route(order, *weight).await.map(|()| None)
            }
            Action::RemoveRoute => self.remove_route(order).await.map(|()| None),
            Action::RemoveCanary => self.remove_canary(order).await.map(|()| None),
            Action::TakeCustody => self.take_custody(order).await,
            Action::ReleaseCustody => self.release_custody(order).await,
            Action::ClearRequest { id } => self.clear_request(order, id).await,
            Action::Guard => self.guard(order).await.map(|()| None),
            Action::Unguard => self.unguard(order).await.map(|()| None),
            Action::Pause { expect } => self.set_paused(order, expect, true).await.map(|()| None),
            Action::Unpause { expect } => {
                self.set_paused(order, expect, false).await.map(|()| None)
            }
            Action::RestoreTemplate { to, expect, paused } => self
                .restore(order, to, expect, *paused)
                .await
                .map(|()| None),
            Action::KeepStable { revision } => {
                self.keep(order, revision, STABLE).await.map(|()| None)
            }
            Action::KeepDesired { revision } => {
                self.keep(order, revision, DESIRED).await.map(|()| None)
            }
            Action::DropDesired => self.drop_kept(order, DESIRED, None).await.map(|()| None),
            Action::Restart { id } => self.restart(order, id).await.map(|()| None),
        }
    }

    /// Writes a status under the resourceVersion that it was made from.
    pub async fn save(&self, rollout: &Rollout) -> Result<Rollout, Error> {
        let api: Api<Rollout> = self.api(&rollout.namespace().unwrap_or_default());
        let name = rollout.name_any();
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        within(
            "saving the status",
            api.replace_status(&name, &params, rollout),
        )
        .await
    }

    async fn lower(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        let Route::IngressNginx {
            ingress, prefix, ..
        } = &order.plan.route;
        let patch = match weight {
            0 => canary::ingress::off_patch(prefix),
            weight => canary::ingress::weight_patch(prefix, weight),
        };
        let api: Api<Ingress> = self.api(&order.plan.namespace);
        let name = canary::ingress_name(ingress);
        let params = PatchParams::apply(MANAGER);
        let params = PatchParams {
            force: false,
            ..params
        };
        let patch = Patch::Merge(patch);
        gone_is_done(within("lowering the weight", api.patch(&name, &params, &patch)).await)
    }

    async fn ensure_canary(
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
    }

    async fn scale_canary(&self, order: Order<'_>, replicas: i32) -> Result<(), Error> {
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let name = canary::deployment_name(&order.plan.target);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        gone_is_done(within("scaling the canary", api.patch(&name, &manager(), &patch)).await)
    }

    async fn ensure_route(&self, order: Order<'_>, weight: u8) -> Result<(), Error> {
        let ingress = order
            .scene
            .wanted_ingress(order.plan, mark(order), weight)?;
        self.apply("making the canary's Ingress", &ingress).await
    }

    async fn remove_route(&self, order: Order<'_>) -> Result<(), Error> {
        let Route::IngressNginx { ingress, .. } = &order.plan.route;
        let name = canary::ingress_name(ingress);
        self.delete::<Ingress>(
            "removing the canary's Ingress",
            &order.plan.namespace,
            &name,
        )
        .await
    }

    async fn remove_canary(&self, order: Order<'_>) -> Result<(), Error> {
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
                &service.name_any(),
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
                &policy.name_any(),
            )
            .await?;
        }
        self.remove_deployment(order).await
    }

    async fn remove_deployment(&self, order: Order<'_>) -> Result<(), Error> {
        let name = canary::deployment_name(&order.plan.target);
        self.delete::<Deployment>(
            "removing the canary's Deployment",
            &order.plan.namespace,
            &name,
        )
        .await
    }

    async fn take_custody(&self, order: Order<'_>) -> Done {
        let mut finalizers = order.scene.rollout.finalizers().to_vec();
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(None);
        }
        finalizers.push(FINALIZER.to_owned());
        self.patch_finalizers(order, finalizers).await
    }

    async fn release_custody(&self, order: Order<'_>) -> Done {
        let mut finalizers = order.scene.rollout.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        self.patch_finalizers(order, finalizers).await.map(|_| None)
    }

    async fn patch_finalizers(&self, order: Order<'_>, finalizers: Vec<String>) -> Done {
        let metadata = json!({"metadata": {"uid": order.plan.uid, "finalizers": finalizers}});
        self.patch_rollout("writing the finalizer", order, metadata)
            .await
    }

    async fn clear_request(&self, order: Order<'_>, id: &str) -> Done {
        let key = format!("{REQUEST_PREFIX}{id}");
        let patch = json!({"metadata": {"annotations": {key: null}}});
        self.patch_rollout("clearing a request", order, patch).await
    }

    async fn patch_rollout(&self, doing: &'static str, order: Order<'_>, patch: Value) -> Done {
        let api: Api<Rollout> = self.api(&order.plan.namespace);
        let patch = Patch::Merge(patch);
        within(doing, api.patch(&order.plan.name, &manager(), &patch))
            .await
            .map(Some)
    }

    async fn guard(&self, order: Order<'_>) -> Result<(), Error> {
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

    async fn unguard(&self, order: Order<'_>) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": {
            "labels": {GUARDED: null},
            "annotations": {HELD_BY: null, RESTARTED_FOR: null},
        }}));
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let params = manager();
        let request = api.patch(&order.plan.target, &params, &patch);
        gone_is_done(within("taking the gate away", request).await)
    }

    async fn set_paused(
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
    }

    async fn restore(
        &self,
        order: Order<'_>,
        to: &Revision,
        expect: &Revision,
        paused: bool,
    ) -> Result<(), Error> {
        let template = order
            .scene
            .template(&to.hash)
            .ok_or_else(|| scene::Error::NoTemplate(to.hash.clone()))?;
        self.change("putting the template back", order, expect, |_| {
            vec![
                json!({"op": "replace", "path": "/spec/template", "value": template}),
                json!({"op": "add", "path": "/spec/paused", "value": paused}),
            ]
        })
        .await
    }

    async fn restart(&self, order: Order<'_>, id: &str) -> Result<(), Error> {
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
    ) -> Result<(), Error> {
        let api: Api<Deployment> = self.api(&order.plan.namespace);
        let mut conflict = None;
        for _ in 0..TRIES {
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
                Err(error) if matches!(error.category(), "conflict" | "invalid") => {
                    conflict = Some(error);
                }
                done => return done,
            }
        }
        conflict.map_or(Ok(()), Err)
    }

    async fn json_patch(
        &self,
        doing: &'static str,
        api: &Api<Deployment>,
        order: Order<'_>,
        patch: &[Value],
    ) -> Result<(), Error> {
        let built = serde_json::from_value(Value::Array(patch.to_vec()));
        let patch = built.map_err(|error| Error::Request {
            doing,
            source: kube::Error::SerdeError(error),
        })?;
        let patch = Patch::Json::<()>(patch);
        within(doing, api.patch(&order.plan.target, &manager(), &patch))
            .await
            .map(|_| ())
    }

    /// Keeps a template under its hash, then forgets the older ones that were kept for the same.
    async fn keep(&self, order: Order<'_>, revision: &Revision, what: &str) -> Result<(), Error> {
        let template = order
            .scene
            .template(&revision.hash)
            .ok_or_else(|| scene::Error::NoTemplate(revision.hash.clone()))?;
        if let Some(kept) = kept_object(order, revision, what, &template) {
            self.apply("keeping a template", &kept).await?;
        }
        self.drop_kept(order, what, Some(&revision.hash)).await
    }

    async fn drop_kept(
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
                &kept.name_any(),
            )
            .await?;
        }
        Ok(())
    }

    async fn apply<K>(&self, doing: &'static str, object: &K) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(&object.namespace().unwrap_or_default());
        let patch = Patch::Apply(object);
        within(doing, api.patch(&object.name_any(), &forced(), &patch))
            .await
            .map(|_| ())
    }

    async fn delete<K>(&self, doing: &'static str, namespace: &str, name: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        gone_is_done(within(doing, api.delete(name, &params)).await)
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn mark(order: Order<'_>) -> Mark<'_> {
    Mark {
        run: order.run,
        revision: order.mark,
    }
}

fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn forced() -> PatchParams {
    PatchParams::apply(MANAGER).force()
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

/// Runs a request under the deadline.
async fn within<T>(
    doing: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Request { doing, source }),
        Err(_) => Err(Error::Deadline { doing }),
    }
}

/// What is gone needs no more.
fn gone_is_done<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.category() == "not-found" => Ok(()),
        Err(error) => Err(error),
    }
}
