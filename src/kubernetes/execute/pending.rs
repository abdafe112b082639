//! Pods of the target that find no node: not watched, since thousands lie about, but listed when a promotion makes
//! no progress. That there is no room is not the revision's doing.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::past::selected;
use super::{Error, Executor, within};
use crate::kubernetes::fate;
use crate::kubernetes::scene::Scene;

impl Executor {
    /// Why a pod of the target finds no node; none where each has one.
    ///
    /// # Errors
    ///
    /// The list failed or took too long.
    pub async fn unplaced(&self, scene: &Scene) -> Result<Option<String>, Error> {
        let Some(target) = &scene.target else {
            return Ok(None);
        };
        let _turn = self.turn().await;
        let target = &target.object;
        let api: Api<Pod> = self.api(&target.namespace().unwrap_or_default());
        let pending = selected(target).fields("status.phase=Pending");
        let pods = within("listing pending pods", api.list(&pending)).await?;
        Ok(fate::unschedulable(&pods.items))
    }
}
