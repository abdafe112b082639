//! `kubectl rollout restart`, `undo` and `resume`, refusals included.
//!
//! kubectl itself refuses the first two for a paused Deployment, and that is part of what
//! people meet at the gate, so it is played here as kubectl does it.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};

use super::format::Verb;
use super::kinds::{self, text};
use super::look::{all, one};
use super::stage::Stage;

const ADMIN: &str = "kubernetes-admin";

/// `kubectl rollout restart deployment/NAME`.
pub async fn restart(stage: &dyn Stage, verb: &Verb) -> Result<(), String> {
    let deployment = deployment(stage, verb).await?;
    if paused(&deployment) {
        return Err("can't restart paused deployment (run rollout resume first)".to_owned());
    }
    let at = stage.clock().now().to_string();
    let patch = json!({"spec": {"template": {"metadata": {"annotations":
        {"kubectl.kubernetes.io/restartedAt": at}}}}});
    send(stage, verb, "kubectl-rollout", Patch::Strategic(patch)).await
}

/// `kubectl rollout undo deployment/NAME`: the template of the revision before the present one.
pub async fn undo(stage: &dyn Stage, verb: &Verb) -> Result<(), String> {
    let deployment = deployment(stage, verb).await?;
    if paused(&deployment) {
        return Err("cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again".to_owned());
    }
    let mut template = previous(
        &deployment,
        &all(stage, "ReplicaSet", &verb.namespace).await?,
    )
    .ok_or("no rollout history found")?;
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("pod-template-hash");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let patch: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| error.to_string())?;
    send(stage, verb, "kubectl-rollout", Patch::Json::<()>(patch)).await
}

/// `kubectl rollout resume deployment/NAME`.
pub async fn resume(stage: &dyn Stage, verb: &Verb) -> Result<(), String> {
    if !paused(&deployment(stage, verb).await?) {
        return Err("is not paused".to_owned());
    }
    let patch = json!({"spec": {"paused": null}});
    send(stage, verb, "kubectl-rollout", Patch::Strategic(patch)).await
}

fn previous(deployment: &Value, sets: &[Value]) -> Option<Value> {
    let uid = text(deployment, "/metadata/uid");
    let revision = |set: &&Value| {
        text(
            set,
            "/metadata/annotations/deployment.kubernetes.io~1revision",
        )
        .and_then(|revision| revision.parse::<u64>().ok())
    };
    let mut own: Vec<&Value> = sets
        .iter()
        .filter(|set| text(set, "/metadata/ownerReferences/0/uid") == uid)
        .collect();
    own.sort_by_key(revision);
    own.iter()
        .rev()
        .nth(1)
        .and_then(|set| set.pointer("/spec/template").cloned())
}

fn paused(deployment: &Value) -> bool {
    deployment.pointer("/spec/paused") == Some(&Value::Bool(true))
}

async fn deployment(stage: &dyn Stage, verb: &Verb) -> Result<Value, String> {
    one(stage, "Deployment", &verb.namespace, &verb.deployment)
        .await?
        .ok_or_else(|| format!("there is no Deployment {}", verb.deployment))
}

async fn send<P: serde::Serialize + std::fmt::Debug>(
    stage: &dyn Stage,
    verb: &Verb,
    manager: &str,
    patch: Patch<P>,
) -> Result<(), String> {
    let api: Api<DynamicObject> =
        kinds::api(stage.client(ADMIN), "Deployment", None, &verb.namespace);
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    api.patch(&verb.deployment, &params, &patch)
        .await
        .map(drop)
        .map_err(|error| told(&error))
}

/// An API error as people see it: the server's message.
pub fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => message(status),
        other => other.to_string(),
    }
}

fn message(status: &Status) -> String {
    format!("{} ({} {})", status.message, status.code, status.reason)
}
