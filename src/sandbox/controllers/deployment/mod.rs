//! The Deployment controller: watches, and writes what `plan` says.
//!
//! `ReplicaSets` are filed by the uid of their Deployment. A matching orphan is adopted, as
//! after `kubectl delete --cascade=orphan`. Not here: any decision.

mod plan;
mod scaling;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{Selector, SelectorExt};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::{Plan, Seen as Looked, Write, plan};
use self::sets::REVISION;
use crate::clock::Clock;
use crate::sandbox::cache::{
    Cache, Change, Index, Key, controller_of, controller_uid, key_of, title, watch,
};
use crate::sandbox::drive::{Agenda, Part, after, drive};
use crate::sandbox::events::{Note, tell};

const COMPONENT: &str = "deployment-controller";

/// Where sets without a controller are filed.
const ORPHANS: &str = "";

enum Seen {
    Deployment(Event<Deployment>),
    ReplicaSet(Event<ReplicaSet>),
    Pod(Event<Pod>),
}

/// Runs until `shutdown`.
pub async fn run(client: Client, clock: Clock, shutdown: CancellationToken) {
    let events = select_all([
        watch(&client).map(Seen::Deployment).boxed(),
        watch(&client).map(Seen::ReplicaSet).boxed(),
        watch(&client).map(Seen::Pod).boxed(),
    ]);
    drive(Controller::new(client, clock), events, clock, shutdown).await;
}

struct Controller {
    client: Client,
    clock: Clock,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    sets_by_owner: Index,
    pods_by_owner: Index,
    agenda: Agenda<Key>,
}

impl Part for Controller {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        match seen {
            Seen::Deployment(event) => {
                for change in self.deployments.seen(event) {
                    change
                        .sides()
                        .for_each(|object| self.agenda.add(key_of(object.as_ref())));
                }
            }
            Seen::ReplicaSet(event) => {
                for change in self.sets.seen(event) {
                    self.set_changed(&change);
                }
            }
            Seen::Pod(event) => {
                for change in self.pods.seen(event) {
                    self.pods_by_owner
                        .refile(&change, |pod| owner(pod, "ReplicaSet"));
                    if change.after.is_none() {
                        self.pod_gone(&change);
                    }
                }
            }
        }
    }

    async fn work(&mut self) {
        if !(self.deployments.is_listed() && self.sets.is_listed() && self.pods.is_listed()) {
            return;
        }
        while let Some(key) = self.agenda.pop(self.clock.now()) {
            if let Err(error) = self.reconcile(&key).await {
                tracing::debug!(deployment = %key.1, %error, "reconciling a Deployment");
                self.agenda
                    .add_at(key, after(self.clock.now(), Duration::from_millis(200)));
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.next().filter(|_| {
            self.deployments.is_listed() && self.sets.is_listed() && self.pods.is_listed()
        })
    }
}

fn owner<K: Resource>(object: &K, kind: &str) -> Vec<String> {
    controller_uid(object, kind)
        .map(str::to_owned)
        .into_iter()
        .collect()
}

impl Controller {
    fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            deployments: Cache::default(),
            sets: Cache::default(),
            pods: Cache::default(),
            sets_by_owner: Index::default(),
            pods_by_owner: Index::default(),
            agenda: Agenda::default(),
        }
    }

    fn set_changed(&mut self, change: &Change<ReplicaSet>) {
        self.sets_by_owner
            .refile(change, |set| match controller_of(set) {
                Some(owner) => vec![owner.uid.clone()],
                None => vec![ORPHANS.to_owned()],
            });
        for set in change.sides() {
            match controller_of(set.as_ref()) {
                Some(owner) => self
                    .agenda
                    .add((set.namespace().unwrap_or_default(), owner.name.clone())),
                None => self.orphan_seen(set),
            }
        }
    }

    fn orphan_seen(&mut self, set: &ReplicaSet) {
        let namespace = set.namespace().unwrap_or_default();
        let adopters = self
            .deployments
            .within(&namespace)
            .filter(|deployment| wants(deployment, set));
        let keys: Vec<_> = adopters
            .map(|deployment| key_of(deployment.as_ref()))
            .collect();
        for key in keys {
            self.agenda.add(key);
        }
    }

    /// With the strategy Recreate a Deployment waits for its last old pod.
    fn pod_gone(&mut self, change: &Change<Pod>) {
        for pod in change.sides() {
            let Some(owner) = controller_of(pod.as_ref()) else {
                continue;
            };
            let key = (pod.namespace().unwrap_or_default(), owner.name.clone());
            let Some(set) = self.sets.get(&key) else {
                continue;
            };
            if let Some(deployment) = controller_of(set.as_ref()) {
                self.agenda.add((key.0, deployment.name.clone()));
            }
        }
    }

    async fn reconcile(&mut self, key: &Key) -> kube::Result<()> {
        let Some(deployment) = self.deployments.get(key).cloned() else {
            return Ok(());
        };
        self.adopt(&deployment).await?;
        let plan = self.planned(&deployment);
        for write in plan.writes {
            self.write(&deployment, write).await?;
        }
        if let Some(when) = plan.wakes_at {
            self.agenda
                .add_at(key.clone(), after(when, Duration::from_secs(1)));
        }
        Ok(())
    }

    fn planned(&self, deployment: &Deployment) -> Plan {
        let uid = deployment.uid().unwrap_or_default();
        let sets: Vec<_> = self
            .sets_by_owner
            .get(&uid)
            .filter_map(|key| self.sets.get(key).cloned())
            .collect();
        let busy = |set: &&Arc<ReplicaSet>| {
            let uid = set.uid().unwrap_or_default();
            self.pods_by_owner
                .get(&uid)
                .filter_map(|key| self.pods.get(key))
                .any(|pod| !has_ended(pod))
        };
        let with_pods: Vec<_> = sets.iter().filter(busy).map(|set| set.name_any()).collect();
        plan(&Looked {
            deployment,
            sets: &sets,
            with_pods: &with_pods,
            now: self.clock.now(),
        })
    }

    async fn adopt(&mut self, deployment: &Deployment) -> kube::Result<()> {
        let namespace = deployment.namespace().unwrap_or_default();
        let orphans = self
            .sets_by_owner
            .get(ORPHANS)
            .filter(|key| key.0 == namespace);
        let orphans = orphans.filter_map(|key| self.sets.get(key));
        let orphans: Vec<_> = orphans
            .filter(|set| wants(deployment, set))
            .cloned()
            .collect();
        for orphan in orphans {
            let owner = deployment.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                owner
            });
            let patch = json!({"metadata": {"uid": orphan.uid(), "ownerReferences": [owner]}});
            let api = self.sets_in(deployment);
            let adopted = api
                .patch(
                    &orphan.name_any(),
                    &PatchParams::default(),
                    &Patch::Merge(patch),
                )
                .await?;
            self.took_set(adopted);
        }
        Ok(())
    }

    async fn write(&mut self, deployment: &Deployment, write: Write) -> kube::Result<()> {
        match write {
            Write::Create(set) => self.create(deployment, *set).await,
            Write::Patch {
                name,
                patch,
                scaled,
            } => {
                let api = self.sets_in(deployment);
                let set = api
                    .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                self.took_set(set);
                if let Some((before, after)) = scaled {
                    self.tell_scaled(deployment, &name, before, after).await;
                }
                Ok(())
            }
            Write::Delete(name) => self.delete(deployment, &name).await,
            Write::Revision(revision) => {
                let patch =
                    Patch::Merge(json!({"metadata": {"annotations": {REVISION: revision}}}));
                let api = self.deployments_in(deployment);
                let written = api
                    .patch_status(&deployment.name_any(), &PatchParams::default(), &patch)
                    .await?;
                self.deployments.wrote(written);
                Ok(())
            }
            Write::Status(status) => {
                let known = self.deployments.get(&key_of(deployment)).map(Arc::as_ref);
                let mut wanted = known.unwrap_or(deployment).clone();
                wanted.status = Some(*status);
                let api = self.deployments_in(deployment);
                let written = api
                    .replace_status(&wanted.name_any(), &PostParams::default(), &wanted)
                    .await?;
                self.deployments.wrote(written);
                Ok(())
            }
        }
    }

    async fn create(&mut self, deployment: &Deployment, set: ReplicaSet) -> kube::Result<()> {
        let size = set.spec.replicas.unwrap_or(0);
        match self
            .sets_in(deployment)
            .create(&PostParams::default(), &set)
            .await
        {
            Ok(created) => {
                let name = created.name_any();
                self.took_set(created);
                self.tell_scaled(deployment, &name, 0, size).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.count_collision(deployment).await
            }
            Err(error) => Err(error),
        }
    }

    /// The name is someone else's: the next pass hashes with this count.
    async fn count_collision(&mut self, deployment: &Deployment) -> kube::Result<()> {
        let mut wanted = deployment.clone();
        *wanted
            .status
            .get_or_insert_default()
            .collision_count
            .get_or_insert(0) += 1;
        let api = self.deployments_in(deployment);
        let written = api
            .replace_status(&wanted.name_any(), &PostParams::default(), &wanted)
            .await?;
        self.agenda.add(key_of(&written));
        self.deployments.wrote(written);
        Ok(())
    }

    async fn delete(&mut self, deployment: &Deployment, name: &str) -> kube::Result<()> {
        let key = (deployment.namespace().unwrap_or_default(), name.to_owned());
        let Some(set) = self.sets.get(&key).cloned() else {
            return Ok(());
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: set.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match self.sets_in(deployment).delete(name, &params).await {
            Ok(_) => {
                if let Some(change) = self.sets.erased(&set) {
                    self.set_changed(&change);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn took_set(&mut self, set: ReplicaSet) {
        if let Some(change) = self.sets.wrote(set) {
            self.set_changed(&change);
        }
    }

    async fn tell_scaled(&self, deployment: &Deployment, set: &str, before: i32, after: i32) {
        let way = if after > before { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {before} to {after}");
        tracing::debug!(deployment = %title(deployment), "{message}");
        let note = Note {
            component: COMPONENT,
            warning: false,
            reason: "ScalingReplicaSet",
            message: &message,
        };
        tell(&self.client, deployment, note, self.clock.now()).await;
    }

    fn deployments_in(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(
            self.client.clone(),
            &deployment.namespace().unwrap_or_default(),
        )
    }

    fn sets_in(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(
            self.client.clone(),
            &deployment.namespace().unwrap_or_default(),
        )
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the Deployment's selector matches the set and neither is going away.
fn wants(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let leaving = deployment.metadata.deletion_timestamp.is_some()
        || set.metadata.deletion_timestamp.is_some();
    !leaving && matches(deployment.spec.selector.clone(), set)
}

fn matches(selector: LabelSelector, set: &ReplicaSet) -> bool {
    Selector::try_from(selector)
        .is_ok_and(|selector| !selector.selects_all() && selector.matches(set.labels()))
}
