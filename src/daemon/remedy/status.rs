//! `status.git` of a Rollout: how it is written, and what is in it.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::error::Error;
use super::source::By;
use crate::kubernetes::crd::{GitPoint, GitRemedy, GitStatus, MANAGER, Rollout};

/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

/// Changes a Rollout's status by a JSON patch, whose tests say for which one it is meant.
pub async fn patch(writes: &Client, rollout: &Rollout, operations: Value) -> Result<(), Error> {
    let namespace = rollout.namespace().unwrap_or_default();
    let rollouts: Api<Rollout> = Api::namespaced(writes.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let operations = serde_json::from_value(operations).map_err(Error::Encode)?;
    let (name, patch) = (rollout.name_any(), Patch::<()>::Json(operations));
    let request = rollouts.patch_status(&name, &params, &patch);
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map(|_| ()).map_err(Error::Write),
        Err(_) => Err(Error::Silent),
    }
}

/// A commit that was deployed.
pub fn point(
    by: &By,
    commit: Option<String>,
    run: Option<String>,
    revision: String,
) -> Result<GitPoint, Error> {
    let told = || Error::NoRevision(by.to_string());
    Ok(GitPoint {
        commit: commit.ok_or_else(told)?,
        revision,
        run,
        authors: None,
    })
}

/// Without the names of what was let go.
pub fn without(mut git: GitStatus, let_go: &[String]) -> GitStatus {
    if let Some(remedy) = &mut git.remedy {
        remedy.suspended.retain(|name| !let_go.contains(name));
    }
    git
}

/// What the remedy before suspended or excluded is still to be let go, though it is not the last one any more.
pub fn still_suspending(mut remedy: GitRemedy, before: Option<&GitRemedy>) -> GitRemedy {
    let names = before.into_iter().flat_map(|before| &before.suspended);
    for name in names {
        if !remedy.suspended.contains(name) {
            remedy.suspended.push(name.clone());
        }
    }
    remedy
}
