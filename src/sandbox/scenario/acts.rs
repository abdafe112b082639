//! Doing: steps that change the cluster, as the person or tool that would do it.
//!
//! Each returns the refusal as a sentence; whether a refusal was wanted is decided by
//! [`settled`]. Not here: releases that are measured (`player`).

use kube::api::{DeleteParams, Patch as KubePatch, PatchParams, PostParams};
use regex::Regex;
use serde_json::{Value, json};

use super::format::{Apply, Ask, Delete, Load, Patch, PatchType, Release, Scale, Way};
use super::kinds::{self, text};
use super::look::one;
use super::manifests::{self, Git};
use super::release::changed;
use super::stage::Stage;
use super::verbs::told;

const ADMIN: &str = "kubernetes-admin";
const AUTOSCALER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
/// How often a scale is tried while others write, too.
const TRIES: u32 = 20;

/// What a refusal means for the step: as wanted, or a problem.
pub fn settled(done: Result<(), String>, refused: Option<&Regex>) -> Result<(), String> {
    match (done, refused) {
        (done, None) => done,
        (Ok(()), Some(wanted)) => Err(format!("was accepted, wanted a refusal like /{wanted}/")),
        (Err(said), Some(wanted)) if wanted.is_match(&said) => Ok(()),
        (Err(said), Some(wanted)) => Err(format!("was refused with {said:?}, wanted /{wanted}/")),
    }
}

/// The manifests that are to be applied, with the patch upon them.
pub fn manifests(apply: &Apply) -> Vec<Value> {
    let mut objects = apply.objects.clone();
    for (object, with) in objects.iter_mut().zip(apply.with.iter().cycle()) {
        json_patch::merge(object, with);
    }
    objects
}

/// Applies manifests in their order and remembers them.
pub async fn apply(stage: &dyn Stage, git: &mut Git, apply: &Apply) -> Result<(), String> {
    for object in manifests(apply) {
        let done = send(stage, apply.by, &object).await;
        settled(done, apply.refused.as_ref())?;
        git.keep(apply.by, &object);
    }
    Ok(())
}

async fn send(stage: &dyn Stage, way: Way, object: &Value) -> Result<(), String> {
    let name = text(object, "/metadata/name").unwrap_or_default();
    let kind = text(object, "/kind").unwrap_or_default();
    manifests::send(stage.client(way.account()), way, object)
        .await
        .map_err(|error| format!("{kind} {name}: {}", told(&error)))
}

/// The last manifest of a workload with the release's changes, and how it is applied.
pub fn released(git: &Git, release: &Release) -> Result<(Way, Value), String> {
    let (way, manifest) = git
        .workload(&release.kind, (&release.namespace, &release.deployment))
        .ok_or_else(|| {
            format!(
                "{} {} was not applied by this scenario",
                release.kind, release.deployment
            )
        })?;
    let manifest = changed(manifest, release)?;
    Ok((release.by.unwrap_or(way), manifest))
}

/// Applies that; returns the image that it now names.
pub async fn release(
    stage: &dyn Stage,
    git: &mut Git,
    (way, manifest): (Way, Value),
) -> Result<String, String> {
    git.keep(way, &manifest);
    send(stage, way, &manifest).await?;
    let image = text(&manifest, "/spec/template/spec/containers/0/image");
    Ok(image.unwrap_or_default().to_owned())
}

/// Patches one object.
pub async fn patch(stage: &dyn Stage, patch: &Patch) -> Result<(), String> {
    let api = kinds::api(
        stage.client(&patch.r#as),
        &patch.kind,
        None,
        &patch.namespace,
    );
    let params = PatchParams {
        field_manager: Some("kubectl-patch".to_owned()),
        ..PatchParams::default()
    };
    let body = match patch.r#type {
        PatchType::Merge => KubePatch::Merge(patch.body.clone()),
        PatchType::Strategic => KubePatch::Strategic(patch.body.clone()),
        PatchType::Json => KubePatch::Json(
            serde_json::from_value(patch.body.clone()).map_err(|error| error.to_string())?,
        ),
    };
    let done = api.patch(&patch.name, &params, &body).await;
    settled(
        done.map(drop).map_err(|error| told(&error)),
        patch.refused.as_ref(),
    )
}

/// Deletes one object, its dependents in the background.
pub async fn delete(stage: &dyn Stage, delete: &Delete) -> Result<(), String> {
    let api = kinds::api(
        stage.client(&delete.r#as),
        &delete.kind,
        None,
        &delete.namespace,
    );
    api.delete(&delete.name, &DeleteParams::background())
        .await
        .map(drop)
        .map_err(|error| told(&error))
}

/// Scales a Deployment as an autoscaler does: its scale is read and put back with another number.
pub async fn scale(stage: &dyn Stage, scale: &Scale) -> Result<(), String> {
    let api = kinds::api(
        stage.client(AUTOSCALER),
        "Deployment",
        None,
        &scale.namespace,
    );
    let scaled = async || {
        let mut now = api.get_scale(&scale.deployment).await?;
        now.spec.get_or_insert_default().replicas = i32::try_from(scale.replicas).ok();
        api.replace_scale(&scale.deployment, &PostParams::default(), &now)
            .await
    };
    for _ in 0..TRIES {
        match scaled().await {
            // Somebody wrote meanwhile: it tries again with what is there now.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            done => return done.map(drop).map_err(|error| told(&error)),
        }
    }
    Err(format!("conflicts, {TRIES} times"))
}

/// Says the load on an Ingress.
pub async fn load(stage: &dyn Stage, load: &Load) -> Result<(), String> {
    let note =
        json!({"metadata": {"annotations": {"sandbox.sluice.dev/rps": load.rps.to_string()}}});
    merge(stage, "Ingress", &load.namespace, &load.ingress, note).await
}

async fn merge(
    stage: &dyn Stage,
    kind: &str,
    namespace: &str,
    name: &str,
    patch: Value,
) -> Result<(), String> {
    kinds::api(stage.client(ADMIN), kind, None, namespace)
        .patch(name, &PatchParams::default(), &KubePatch::Merge(patch))
        .await
        .map(drop)
        .map_err(|error| format!("{kind} {name}: {}", told(&error)))
}

/// Writes a person's request upon a Rollout, as the CLI does.
pub async fn ask(stage: &dyn Stage, ask: &Ask, id: &str) -> Result<(), String> {
    let revision = match &ask.revision {
        Some(revision) => Some(revision.clone()),
        None => one(stage, "Rollout", &ask.namespace, &ask.rollout)
            .await?
            .and_then(|rollout| text(&rollout, "/status/run/revision/hash").map(str::to_owned)),
    };
    let to = ask.to.as_ref().map(|to| format!("to={to}"));
    let words = [Some(ask.act.clone()), revision, to].into_iter().flatten();
    let request = words.collect::<Vec<_>>().join(" ");
    let note = json!({"metadata": {"annotations": {format!("request.sluice.dev/{id}"): request}}});
    merge(stage, "Rollout", &ask.namespace, &ask.rollout, note).await
}

/// The daemon's answer to a request: done, or its refusal.
pub async fn answer(
    stage: &dyn Stage,
    ask: &Ask,
    id: &str,
) -> Result<Option<Result<(), String>>, String> {
    let rollout = one(stage, "Rollout", &ask.namespace, &ask.rollout)
        .await?
        .unwrap_or_default();
    let answers = rollout.pointer("/status/answers").and_then(Value::as_array);
    let own = answers
        .into_iter()
        .flatten()
        .find(|answer| text(answer, "/id") == Some(id));
    Ok(own.map(|answer| match answer.pointer("/done") {
        Some(Value::Bool(true)) => Ok(()),
        _ => Err(text(answer, "/message").unwrap_or("refused").to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_refusal_is_success_and_its_absence_a_problem() {
        let wanted = Regex::new("must rise").unwrap();
        let refusal = || Err("the weights of the steps must rise".to_owned());
        assert_eq!(settled(refusal(), Some(&wanted)), Ok(()));
        assert!(settled(Ok(()), Some(&wanted)).is_err());
        assert!(settled(Err("conflict".to_owned()), Some(&wanted)).is_err());
        assert!(settled(refusal(), None).is_err());
    }
}
