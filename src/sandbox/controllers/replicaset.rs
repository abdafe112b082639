//! The `ReplicaSet` controller: keeps as many pods as wanted, and counts them.
//!
//! Pods are filed by the uid of their set. What was just created or deleted is known at once
//! from the answer, so nothing is made twice. Not here: adoption of stray pods, and the slow
//! start of large sets.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sandbox::cache::{
    Cache, Change, Index, Key, controller_of, controller_uid, key_of, watch,
};
use crate::sandbox::drive::{Agenda, Part, after, drive};
use crate::sandbox::events::{Note, tell};

/// How many pods to create, or which to delete.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

fn step(set: &ReplicaSet, pods: &[Arc<Pod>]) -> Step {
    let wanted = wanted(set);
    if set.metadata.deletion_timestamp.is_some() || pods.len() == wanted {
        return Step::Nothing;
    }
    if pods.len() < wanted {
        return Step::Create(wanted - pods.len());
    }
    let mut ranked = pods.to_vec();
    ranked.sort_by_key(|pod| expendable_first(pod));
    ranked.truncate(pods.len() - wanted);
    Step::Delete(ranked)
}

fn wanted(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

/// Unbound before bound, pending before running, not ready before ready, then those ready for
/// the shortest time, the most restarts, the youngest.
fn expendable_first(pod: &Pod) -> impl Ord + use<> {
    let bound = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.is_some());
    let phase = match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let restarts = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let restarts: i32 = restarts.map(|container| container.restart_count).sum();
    (
        bound,
        phase,
        ready_since(pod).is_some(),
        Reverse(ready_since(pod)),
        Reverse(restarts),
        Reverse(pod.creation_timestamp()),
        pod.name_any(),
    )
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Whether the pod counts as one of the set's replicas.
fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(
        ready
            .last_transition_time
            .as_ref()
            .map_or(Timestamp::MIN, |time| time.0),
    )
}

/// The set's status, and when a pod that is ready now will count as available.
fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&str>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Timestamp>) {
    let spec = set.spec.clone();
    let settle =
        Duration::from_secs(u64::try_from(spec.min_ready_seconds.unwrap_or(0)).unwrap_or(0));
    let labels = spec
        .template
        .and_then(|template| template.metadata)
        .and_then(|meta| meta.labels)
        .unwrap_or_default();
    let labelled = |pod: &&Arc<Pod>| {
        labels
            .iter()
            .all(|(name, value)| pod.labels().get(name) == Some(value))
    };
    let available_at: Vec<_> = pods
        .iter()
        .filter_map(|pod| ready_since(pod))
        .map(|since| after(since, settle))
        .collect();
    let due = |when: &&Timestamp| settle.is_zero() || **when <= now;
    let status = ReplicaSetStatus {
        replicas: count(pods.len()),
        fully_labeled_replicas: some(pods.iter().filter(labelled).count()),
        ready_replicas: some(available_at.len()),
        available_replicas: some(available_at.iter().filter(due).count()),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
        terminating_replicas: None,
    };
    let wakes_at = available_at.into_iter().filter(|when| !due(&when)).min();
    (status, wakes_at)
}

fn count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

fn some(pods: usize) -> Option<i32> {
    Some(count(pods)).filter(|pods| *pods != 0)
}

fn conditions(
    set: &ReplicaSet,
    failure: Option<&str>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let message = failure?;
    let known = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    // As in Kubernetes, a condition with the same reason keeps its first message: each refused
    // pod has a name of its own, and a status that changes each time would never come to rest.
    let same = known
        .into_iter()
        .find(|condition| condition.reason.as_deref() == Some("FailedCreate"));
    Some(vec![same.unwrap_or_else(|| ReplicaSetCondition {
        type_: Some("ReplicaFailure".into()),
        status: Some("True".into()),
        reason: Some("FailedCreate".into()),
        message: Some(message.into()),
        last_transition_time: Some(Time(now)),
    })])
}

/// A pod from the set's template, named by the API server after the set.
fn pod(set: &ReplicaSet) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name_any())),
            namespace: set.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: set.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(true);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

enum Seen {
    Set(Event<ReplicaSet>),
    Pod(Event<Pod>),
}

/// Runs until `shutdown`.
pub async fn run(client: Client, clock: Clock, shutdown: CancellationToken) {
    let sets = watch(&client).map(Seen::Set).boxed();
    let pods = watch(&client).map(Seen::Pod).boxed();
    drive(
        Controller::new(client, clock),
        select_all([sets, pods]),
        clock,
        shutdown,
    )
    .await;
}

struct Controller {
    client: Client,
    clock: Clock,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    pods_by_owner: Index,
    agenda: Agenda<Key>,
}

impl Part for Controller {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        match seen {
            Seen::Set(event) => {
                for change in self.sets.seen(event) {
                    change
                        .sides()
                        .for_each(|set| self.agenda.add(key_of(set.as_ref())));
                }
            }
            Seen::Pod(event) => {
                for change in self.pods.seen(event) {
                    self.pod_changed(&change);
                }
            }
        }
    }

    async fn work(&mut self) {
        if !self.is_ready() {
            return;
        }
        while let Some(key) = self.agenda.pop(self.clock.now()) {
            if let Err(error) = self.reconcile(&key).await {
                tracing::debug!(set = %key.1, %error, "reconciling a ReplicaSet");
                self.agenda
                    .add_at(key, after(self.clock.now(), Duration::from_millis(200)));
            }
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.agenda.next().filter(|_| self.is_ready())
    }
}

impl Controller {
    fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            sets: Cache::default(),
            pods: Cache::default(),
            pods_by_owner: Index::default(),
            agenda: Agenda::default(),
        }
    }

    fn is_ready(&self) -> bool {
        self.sets.is_listed() && self.pods.is_listed()
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        self.pods_by_owner.refile(change, |pod| {
            controller_uid(pod, "ReplicaSet")
                .map(str::to_owned)
                .into_iter()
                .collect()
        });
        for pod in change.sides() {
            if let Some(owner) =
                controller_of(pod.as_ref()).filter(|owner| owner.kind == "ReplicaSet")
            {
                self.agenda
                    .add((pod.namespace().unwrap_or_default(), owner.name.clone()));
            }
        }
    }

    fn active_pods(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let uid = set.uid().unwrap_or_default();
        let pods = self
            .pods_by_owner
            .get(&uid)
            .filter_map(|key| self.pods.get(key));
        pods.filter(|pod| is_active(pod)).cloned().collect()
    }

    /// How many pods of the set are going away.
    fn leaving_pods(&self, set: &ReplicaSet) -> usize {
        let uid = set.uid().unwrap_or_default();
        let pods = self.pods_by_owner.get(&uid);
        pods.filter_map(|key| self.pods.get(key))
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
            .count()
    }

    async fn reconcile(&mut self, key: &Key) -> kube::Result<()> {
        let Some(set) = self.sets.get(key).cloned() else {
            return Ok(());
        };
        let failure = match step(&set, &self.active_pods(&set)) {
            Step::Nothing => None,
            Step::Create(missing) => self.create(&set, missing).await,
            Step::Delete(surplus) => {
                self.delete(&set, surplus).await?;
                None
            }
        };
        if failure.is_some() {
            self.agenda
                .add_at(key.clone(), after(self.clock.now(), Duration::from_secs(2)));
        }
        self.write_status(&set, failure.as_deref()).await
    }

    /// Creates pods; the message of the failure if one is refused.
    async fn create(&mut self, set: &ReplicaSet, missing: usize) -> Option<String> {
        let api = self.pods_of(set);
        for _ in 0..missing {
            match api.create(&PostParams::default(), &pod(set)).await {
                Ok(created) => self.took(created),
                Err(error) => {
                    let message = match error {
                        kube::Error::Api(status) => status.message,
                        other => other.to_string(),
                    };
                    let text = format!("Error creating: {message}");
                    let note = Note {
                        component: "replicaset-controller",
                        warning: true,
                        reason: "FailedCreate",
                        message: &text,
                    };
                    if conditions(set, Some(&message), self.clock.now())
                        != set.status.as_ref().and_then(|s| s.conditions.clone())
                    {
                        tell(&self.client, set, note, self.clock.now()).await;
                    }
                    return Some(message);
                }
            }
        }
        None
    }

    async fn delete(&mut self, set: &ReplicaSet, surplus: Vec<Arc<Pod>>) -> kube::Result<()> {
        let api = self.pods_of(set);
        for pod in surplus {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: pod.uid(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match api.delete(&pod.name_any(), &params).await {
                Ok(answer) => {
                    if let Some(leaving) = answer
                        .left()
                        .filter(|left| left.metadata.deletion_grace_period_seconds != Some(0))
                    {
                        self.took(leaving);
                    } else if let Some(change) = self.pods.erased(&pod) {
                        self.pod_changed(&change);
                    }
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    if let Some(change) = self.pods.erased(&pod) {
                        self.pod_changed(&change);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_status(&mut self, set: &ReplicaSet, failure: Option<&str>) -> kube::Result<()> {
        let (mut status, wakes_at) = status(set, &self.active_pods(set), failure, self.clock.now());
        status.terminating_replicas = Some(count(self.leaving_pods(set)));
        if let Some(when) = wakes_at {
            self.agenda.add_at(key_of(set), when);
        }
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut wanted = set.clone();
        wanted.status = Some(status);
        let api = Api::<ReplicaSet>::namespaced(
            self.client.clone(),
            &set.namespace().unwrap_or_default(),
        );
        let written = api
            .replace_status(&wanted.name_any(), &PostParams::default(), &wanted)
            .await?;
        if let Some(change) = self.sets.wrote(written) {
            change
                .after
                .iter()
                .for_each(|set| self.agenda.add(key_of(set.as_ref())));
        }
        Ok(())
    }

    fn took(&mut self, pod: Pod) {
        if let Some(change) = self.pods.wrote(pod) {
            self.pod_changed(&change);
        }
    }

    fn pods_of(&self, set: &ReplicaSet) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "shop-1", "namespace": "shop", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": min_ready, "selector": {}}
        }))
        .unwrap()
    }

    /// A pod by name: ready since that second, if at all.
    fn member(name: &str, ready: Option<i64>) -> Arc<Pod> {
        let status = if ready.is_some() { "True" } else { "False" };
        let since = at(ready.unwrap_or(0));
        let conditions = json!([{"type": "Ready", "status": status, "lastTransitionTime": since}]);
        let pod = json!({
            "metadata": {"name": name}, "spec": {"nodeName": "sandbox", "containers": []},
            "status": {"phase": "Running", "conditions": conditions}
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn missing_pods_are_created_and_surplus_ones_deleted_least_useful_first() {
        let pods = [
            member("old", Some(1)),
            member("young", Some(9)),
            member("sick", None),
        ];
        let deleted = |replicas| match step(&set(replicas, 0), &pods) {
            Step::Delete(pods) => pods.iter().map(|pod| pod.name_any()).collect(),
            Step::Nothing => vec!["nothing".to_owned()],
            Step::Create(missing) => vec![missing.to_string()],
        };
        assert_eq!(deleted(5), ["2"]);
        assert_eq!(deleted(3), ["nothing"]);
        assert_eq!(deleted(2), ["sick"]);
        assert_eq!(deleted(1), ["sick", "young"]);
        assert_eq!(deleted(0), ["sick", "young", "old"]);
    }

    #[test]
    fn a_ready_pod_is_available_after_min_ready_seconds() {
        let pods = [
            member("a", Some(10)),
            member("b", Some(14)),
            member("c", None),
        ];
        let (counted, wakes_at) = status(&set(3, 5), &pods, None, at(16));
        assert_eq!(
            (
                counted.replicas,
                counted.ready_replicas,
                counted.available_replicas
            ),
            (3, Some(2), Some(1))
        );
        assert_eq!(wakes_at, Some(at(19)));
        let (counted, wakes_at) = status(&set(3, 0), &pods, None, at(16));
        assert_eq!((counted.available_replicas, wakes_at), (Some(2), None));
    }

    #[test]
    fn a_refused_pod_is_said_in_a_condition() {
        let (counted, _) = status(&set(1, 0), &[], Some("exceeded quota"), at(16));
        let condition = &counted.conditions.unwrap()[0];
        assert_eq!(condition.type_.as_deref(), Some("ReplicaFailure"));
        assert_eq!(condition.message.as_deref(), Some("exceeded quota"));
    }
}
