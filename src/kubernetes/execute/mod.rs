//! Actions as requests to the API server.
//!
//! Guarantees: each is idempotent; whatever opens the gate or overwrites a template reads the
//! workload first and patches it under the resourceVersion that it read, so that a template
//! which was applied in between is never touched; every request has a deadline; what takes load
//! off a canary is sent at once, and everything else in turn, after all that is ready to be sent.
//!
//! Not here: the order of actions and when they are due (`rollout::decide`).

mod canary;
mod keep;
mod past;
mod pending;
mod target;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::crd::{FINALIZER, MANAGER, REQUEST_PREFIX, Rollout};
use super::fence;
use super::scene::{self, DESIRED, Mark, STABLE, Scene};
use crate::rollout::action::Action;
use crate::rollout::plan::Plan;
use crate::rollout::revision::short;

/// A request that takes longer has failed; the next pass tries again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests at one time, besides those that take load off a canary.
const AT_ONCE: usize = 32;
/// How often a patch is tried again when the Deployment changed in between.
const TRIES: usize = 4;
/// What Sluice's last restart was for.
pub const RESTARTED_FOR: &str = "sluice.dev/restarted-for";

#[allow(missing_debug_implementations)] // kube's Client has none
/// Executes actions.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    turns: Arc<Semaphore>,
}

/// What an action is executed for.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub scene: &'a Scene,
    /// The Rollout as it was written last: newer than the scene's once its status is saved.
    pub rollout: &'a Rollout,
    pub plan: &'a Plan,
    /// The run's id; empty outside of one.
    pub run: &'a str,
    /// What the canary's objects are marked with.
    pub mark: &'a str,
}

impl<'a> Order<'a> {
    /// Outside of a run.
    pub fn outside(scene: &'a Scene, plan: &'a Plan) -> Self {
        Self {
            scene,
            rollout: &scene.rollout,
            plan,
            run: "",
            mark: "",
        }
    }
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
    #[error("{doing}: the template changed to {} meanwhile", short(found))]
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
            Self::Request { source, .. } if fence::is_shut(source) => "not-leading",
            Self::Request { .. } => "connection",
            Self::Deadline { .. } => "deadline",
            Self::Overtaken { .. } => "overtaken",
            Self::Build(_) => "build",
        }
    }

    /// Whether somebody else was faster: the next pass sees what they did.
    pub fn is_conflict(&self) -> bool {
        matches!(self.category(), "conflict" | "overtaken" | "not-leading")
    }

    /// Whether the API server answers, and does not let this be done: a role, a policy, a webhook that refuses
    /// or hangs.
    fn is_refusal(&self) -> bool {
        matches!(
            self.category(),
            "forbidden" | "invalid" | "api" | "deadline"
        )
    }
}

impl Error {
    /// Whether the API server says that this may not be done, and will say so again.
    pub fn is_denied(&self) -> bool {
        let Self::Request {
            source: kube::Error::Api(status),
            ..
        } = self
        else {
            return false;
        };
        (400..500).contains(&status.code) && !matches!(status.code, 404 | 409 | 429)
    }
}

type Done = Result<Option<Rollout>, Error>;

impl Executor {
    /// Executes with this client, which should not retry by itself.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Executes one action; gives back the Rollout where that was written.
    pub async fn execute(&self, order: Order<'_>, action: &Action) -> Done {
        let _turn = if action.relieves() {
            None
        } else {
            self.turn().await
        };
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
            // Made beside the passes; nothing of it is written.
            Action::Smoke { .. } => Ok(None),
            Action::ClearRequest { id } => self.clear_request(order, id).await,
            Action::Guard => self.guard(order).await.map(|()| None),
            Action::Unguard => self.unguard(order).await.map(|()| None),
            Action::Pause { expect } => self.set_paused(order, expect, true).await.map(|()| None),
            Action::Unpause { expect } => {
                self.set_paused(order, expect, false).await.map(|()| None)
            }
            Action::RestoreTemplate {
                to,
                expect,
                paused,
                restarted_at,
            } => self
                .restore(order, to, expect, (*paused, *restarted_at))
                .await
                .map(|()| None),
            Action::KeepStable { revision } => {
                self.keep(order, revision, STABLE).await.map(|()| None)
            }
            Action::KeepDesired { revision } => {
                self.keep(order, revision, DESIRED).await.map(|()| None)
            }
            Action::DropDesired => self.drop_kept(order, DESIRED, None).await.map(|()| None),
            Action::RemoveStuck { expect } => self.remove_stuck(order, expect).await.map(|()| None),
            Action::Restart { id, at, expect } => {
                let restarted = self.restart(order, expect, (id, *at)).await;
                restarted.map(|()| None)
            }
        }
    }

    /// Waits until it is the turn of something that may wait.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Whoever found at the same moment that load must be taken off goes first.
        tokio::task::yield_now().await;
        // The semaphore is never closed.
        self.turns.clone().acquire_owned().await.ok()
    }

    /// Writes a status under the resourceVersion that it was made from.
    pub async fn save(&self, rollout: &Rollout) -> Result<Rollout, Error> {
        let _turn = self.turn().await;
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

    async fn take_custody(&self, order: Order<'_>) -> Done {
        let mut finalizers = order.rollout.finalizers().to_vec();
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(None);
        }
        finalizers.push(FINALIZER.to_owned());
        self.patch_finalizers(order, finalizers).await
    }

    async fn release_custody(&self, order: Order<'_>) -> Done {
        let mut finalizers = order.rollout.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        self.patch_finalizers(order, finalizers).await.map(|_| None)
    }

    async fn patch_finalizers(&self, order: Order<'_>, finalizers: Vec<String>) -> Done {
        // The whole list is written, so it must be the one that was read.
        let read = order.rollout.resource_version();
        let metadata = json!({"metadata": {
            "uid": order.plan.uid, "resourceVersion": read, "finalizers": finalizers,
        }});
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

    async fn apply<K>(&self, doing: &'static str, object: &K) -> Result<K, Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(&object.namespace().unwrap_or_default());
        let patch = Patch::Apply(object);
        within(doing, api.patch(&object.name_any(), &forced(), &patch)).await
    }

    /// Deletes the object that was seen, not one that was made since under its name: a request
    /// that is under way for long may arrive in another run.
    async fn delete<K>(
        &self,
        doing: &'static str,
        namespace: &str,
        named: (&str, Option<String>),
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.delete_by::<K>(PropagationPolicy::Background, doing, namespace, named)
            .await
    }

    async fn delete_by<K>(
        &self,
        policy: PropagationPolicy,
        doing: &'static str,
        namespace: &str,
        (name, uid): (&str, Option<String>),
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
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

/// A JSON patch, whose tests say when it may be applied.
fn conditional<T: Serialize>(doing: &'static str, patch: Value) -> Result<Patch<T>, Error> {
    let built = serde_json::from_value(patch);
    built.map(Patch::Json).map_err(|error| Error::Request {
        doing,
        source: kube::Error::SerdeError(error),
    })
}

/// What is gone needs no more.
fn gone_is_done<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.category() == "not-found" => Ok(()),
        Err(error) => Err(error),
    }
}
