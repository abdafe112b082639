//! Manifests as they were applied last, and the ways in which they reach the API server.
//!
//! The player keeps what "Git" says: a release changes that and applies it again, as a commit
//! followed by a sync would. Each way has its account, field manager and verb, since the
//! gate must hold against all of them.
//!
//! Caveat: the client-side three-way patch removes map keys only, not list elements.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::{Map, Value, json};

use super::format::Way;
use super::kinds;

/// kubectl's and Helm's note of what was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Way {
    /// The account that applies.
    pub(super) fn account(self) -> &'static str {
        match self {
            Self::Flux => "system:serviceaccount:flux-system:kustomize-controller",
            Self::ArgoCd => "system:serviceaccount:argocd:argocd-application-controller",
            Self::Kubectl | Self::ServerSide | Self::Helm | Self::Replace | Self::Create => {
                "kubernetes-admin"
            }
        }
    }

    /// The field manager that owns what was applied.
    pub(super) fn manager(self) -> &'static str {
        match self {
            Self::Flux => "kustomize-controller",
            Self::ArgoCd => "argocd-controller",
            Self::Kubectl => "kubectl-client-side-apply",
            Self::ServerSide => "kubectl",
            Self::Helm => "helm",
            Self::Replace => "kubectl-replace",
            Self::Create => "kubectl-create",
        }
    }
}

/// What was applied last, by kind, namespace and name.
#[derive(Debug, Default)]
pub struct Git(BTreeMap<(String, String, String), (Way, Value)>);

impl Git {
    /// Notes a manifest.
    pub fn keep(&mut self, way: Way, manifest: &Value) {
        self.0.insert(key(manifest), (way, manifest.clone()));
    }

    /// The manifest of a workload, and how it was applied.
    pub fn workload(&self, kind: &str, (namespace, name): (&str, &str)) -> Option<(Way, Value)> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.get(&key).cloned()
    }

    /// Namespaces and names of all Deployments.
    pub fn deployments(&self) -> Vec<(String, String)> {
        let deployments = self.0.keys().filter(|(kind, _, _)| kind == "Deployment");
        deployments
            .map(|(_, namespace, name)| (namespace.clone(), name.clone()))
            .collect()
    }
}

fn key(manifest: &Value) -> (String, String, String) {
    let part = |pointer| {
        kinds::text(manifest, pointer)
            .unwrap_or_default()
            .to_owned()
    };
    (part("/kind"), namespace(manifest), part("/metadata/name"))
}

/// The namespace that a manifest names, else `default`.
pub fn namespace(manifest: &Value) -> String {
    kinds::text(manifest, "/metadata/namespace")
        .unwrap_or("default")
        .to_owned()
}

/// Sends a manifest in the given way; `client` acts as the way's account.
pub async fn send(client: Client, way: Way, manifest: &Value) -> Result<(), Error> {
    let kind = kinds::text(manifest, "/kind").unwrap_or_default();
    let name = kinds::text(manifest, "/metadata/name").unwrap_or_default();
    let version = kinds::text(manifest, "/apiVersion");
    let api = kinds::api(client, kind, version, &namespace(manifest));
    match way {
        Way::Flux | Way::ArgoCd => apply(&api, name, way, true, manifest).await,
        Way::ServerSide => apply(&api, name, way, false, manifest).await,
        Way::Kubectl | Way::Helm => three_way(&api, name, way, manifest).await,
        Way::Replace => replace(&api, name, manifest).await,
        Way::Create => create(&api, way, manifest).await,
    }
}

async fn apply(
    api: &Api<DynamicObject>,
    name: &str,
    way: Way,
    force: bool,
    manifest: &Value,
) -> Result<(), Error> {
    let mut params = PatchParams::apply(way.manager());
    params.force = force;
    if way == Way::ServerSide {
        params = params.validation_strict();
    }
    api.patch(name, &params, &Patch::Apply(manifest))
        .await
        .map(drop)
}

async fn create(api: &Api<DynamicObject>, way: Way, manifest: &Value) -> Result<(), Error> {
    let params = PostParams {
        field_manager: Some(way.manager().to_owned()),
        ..PostParams::default()
    };
    let object = object(manifest)?;
    api.create(&params, &object).await.map(drop)
}

async fn replace(api: &Api<DynamicObject>, name: &str, manifest: &Value) -> Result<(), Error> {
    let mut object = object(manifest)?;
    let params = PostParams {
        field_manager: Some(Way::Replace.manager().to_owned()),
        ..PostParams::default()
    };
    let mut left = REPLACES;
    loop {
        left -= 1;
        object.metadata.resource_version = api.get(name).await?.metadata.resource_version;
        match api.replace(name, &params, &object).await {
            // A controller wrote a status in between.
            Err(Error::Api(status)) if status.code == 409 && left > 0 => {}
            other => return other.map(drop),
        }
    }
}

/// How often a replace is tried before the conflict is believed.
const REPLACES: u32 = 5;

fn object(manifest: &Value) -> Result<DynamicObject, Error> {
    serde_json::from_value(manifest.clone()).map_err(Error::SerdeError)
}

async fn three_way(
    api: &Api<DynamicObject>,
    name: &str,
    way: Way,
    manifest: &Value,
) -> Result<(), Error> {
    let noted = if way == Way::Kubectl {
        with_note(manifest)
    } else {
        manifest.clone()
    };
    let Some(present) = api.get_opt(name).await? else {
        return create(api, way, &noted).await;
    };
    let last = present
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(LAST_APPLIED))
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null);
    let patch = removing(&last, &noted);
    let params = PatchParams {
        field_manager: Some(way.manager().to_owned()),
        ..PatchParams::default()
    };
    // Custom resources know no strategic merge: kubectl and Helm send them a merge patch.
    if kinds::text(manifest, "/apiVersion").is_some_and(|version| version.contains("sluice.dev")) {
        return api
            .patch(name, &params, &Patch::Merge(patch))
            .await
            .map(drop);
    }
    api.patch(name, &params, &Patch::Strategic(patch))
        .await
        .map(drop)
}

fn with_note(manifest: &Value) -> Value {
    let mut noted = manifest.clone();
    let note = json!({"metadata": {"annotations": {LAST_APPLIED: manifest.to_string()}}});
    json_patch::merge(&mut noted, &note);
    noted
}

/// `new` as a patch that also removes the map keys which only `last` had.
fn removing(last: &Value, new: &Value) -> Value {
    let (Value::Object(last), Value::Object(new)) = (last, new) else {
        return new.clone();
    };
    let mut patch: Map<String, Value> = new
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                removing(last.get(key).unwrap_or(&Value::Null), value),
            )
        })
        .collect();
    for key in last.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_three_way_patch_removes_what_is_no_longer_said() {
        let last = json!({"spec": {"a": 1, "b": 2}, "metadata": {"labels": {"x": "y"}}});
        let new = json!({"spec": {"a": 3}, "metadata": {"labels": {"x": "y"}}});
        let patch = json!({"spec": {"a": 3, "b": null}, "metadata": {"labels": {"x": "y"}}});
        assert_eq!(removing(&last, &new), patch);
    }

    #[test]
    fn a_manifest_is_found_again_as_it_was_applied() {
        let mut git = Git::default();
        let manifest = json!({"kind": "Deployment", "metadata": {"name": "shop"}});
        git.keep(Way::Helm, &manifest);
        assert_eq!(
            git.workload("Deployment", ("default", "shop")),
            Some((Way::Helm, manifest))
        );
        assert_eq!(git.workload("Deployment", ("other", "shop")), None);
        assert_eq!(git.workload("StatefulSet", ("default", "shop")), None);
    }
}
