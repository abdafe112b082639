//! A Deployment's status: counts, and the conditions Available, Progressing and `ReplicaFailure`.
//!
//! After kube-controller-manager, so that `kubectl rollout status`, kstatus and Sluice read it
//! as they read a real one. Not here: what is scaled (`plan.rs`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::plan::Roll;
use crate::sandbox::drive::after;

const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// The status as it should be now, and when the progress deadline passes. `judged` is false
/// while paused or only scaling: then progress is not judged.
pub fn next(
    roll: &Roll<'_>,
    now: Timestamp,
    judged: bool,
) -> (DeploymentStatus, Option<Timestamp>) {
    let before = roll.deployment.status.clone().unwrap_or_default();
    let mut status = counts(roll, &before);
    let mut conditions = Conditions {
        list: status.conditions.take().unwrap_or_default(),
        now,
    };
    available(roll, &status, &mut conditions);
    note_failure(roll, &mut conditions);
    let deadline = roll.spec.progress_deadline_seconds.unwrap_or(600);
    if deadline == i32::MAX {
        conditions.remove("Progressing");
    } else {
        note_pause(roll, &mut conditions);
        if judged {
            note_found(roll, &mut conditions);
            note_progress(roll, &before, &status, &mut conditions);
        }
    }
    let wakes_at = judged.then(|| conditions.deadline(deadline)).flatten();
    status.conditions = Some(conditions.list).filter(|list| !list.is_empty());
    (status, wakes_at)
}

fn counts(roll: &Roll<'_>, before: &DeploymentStatus) -> DeploymentStatus {
    let sum = |count: fn(&super::sets::Set) -> i32| roll.sets.iter().map(count).sum::<i32>();
    let available = sum(|set| set.available);
    let updated = roll.new.map_or(0, |new| roll.sets[new].present);
    DeploymentStatus {
        observed_generation: roll.deployment.metadata.generation,
        replicas: some(sum(|set| set.present)),
        updated_replicas: some(updated),
        ready_replicas: some(sum(|set| set.ready)),
        available_replicas: some(available),
        unavailable_replicas: some((sum(|set| set.replicas) - available).max(0)),
        conditions: before.conditions.clone(),
        collision_count: before.collision_count,
        terminating_replicas: roll.sets.iter().map(leaving).sum(),
    }
}

/// Pods of a set that are going away; unknown until its controller has counted them.
fn leaving(set: &super::sets::Set) -> Option<i32> {
    set.source.as_ref()?.status.as_ref()?.terminating_replicas
}

/// Zero counts are left out, as the API does.
fn some(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

fn available(roll: &Roll<'_>, status: &DeploymentStatus, conditions: &mut Conditions) {
    if status.available_replicas.unwrap_or(0) >= roll.replicas - roll.unavailable {
        let message = "Deployment has minimum availability.";
        conditions.set("Available", "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
    }
}

/// Passes on that a `ReplicaSet` cannot create pods (quota, admission).
fn note_failure(roll: &Roll<'_>, conditions: &mut Conditions) {
    let of = |set: usize| {
        let source = roll.sets[set].source.as_ref()?;
        let list = source.status.as_ref()?.conditions.as_ref()?;
        list.iter()
            .find(|c| {
                c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True")
            })
            .cloned()
    };
    let failure = roll
        .new
        .and_then(of)
        .or_else(|| (0..roll.sets.len()).find_map(of));
    match failure {
        Some(failure) => {
            let reason = failure.reason.unwrap_or_default();
            conditions.set(
                "ReplicaFailure",
                "True",
                &reason,
                &failure.message.unwrap_or_default(),
            );
        }
        None => conditions.remove("ReplicaFailure"),
    }
}

fn note_pause(roll: &Roll<'_>, conditions: &mut Conditions) {
    let reason = conditions.reason("Progressing").unwrap_or_default();
    if reason == TIMED_OUT {
        return;
    }
    if roll.is_paused() && reason != PAUSED {
        conditions.set("Progressing", "Unknown", PAUSED, "Deployment is paused");
    } else if !roll.is_paused() && reason == PAUSED {
        conditions.set("Progressing", "Unknown", RESUMED, "Deployment is resumed");
    }
}

fn note_found(roll: &Roll<'_>, conditions: &mut Conditions) {
    let Some(name) = roll.new.map(|new| &roll.sets[new].name) else {
        return;
    };
    match roll.found {
        Some("created") => {
            let message = format!("Created new replica set \"{name}\"");
            conditions.set("Progressing", "True", "NewReplicaSetCreated", &message);
        }
        Some(_) if conditions.get("Progressing").is_none() => {
            let message = format!("Found new replica set \"{name}\"");
            conditions.set("Progressing", "True", "FoundNewReplicaSet", &message);
        }
        Some(_) | None => {}
    }
}

fn note_progress(
    roll: &Roll<'_>,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
) {
    let at_rest = status.replicas == status.updated_replicas
        && conditions.reason("Progressing").as_deref() == Some(NEW_AVAILABLE);
    if at_rest {
        return;
    }
    let name = match roll.new {
        Some(new) => format!("ReplicaSet \"{}\"", roll.sets[new].name),
        None => format!("Deployment \"{}\"", roll.deployment.name_any()),
    };
    if is_complete(roll, status) {
        let message = format!("{name} has successfully progressed.");
        conditions.set("Progressing", "True", NEW_AVAILABLE, &message);
    } else if has_progressed(before, status) {
        conditions.renew(
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            &format!("{name} is progressing."),
        );
    } else if conditions.has_timed_out(roll.spec.progress_deadline_seconds.unwrap_or(600)) {
        let message = format!("{name} has timed out progressing.");
        conditions.set("Progressing", "False", TIMED_OUT, &message);
    }
}

fn is_complete(roll: &Roll<'_>, status: &DeploymentStatus) -> bool {
    let counts = [
        status.updated_replicas,
        status.replicas,
        status.available_replicas,
    ];
    counts == [some(roll.replicas); 3]
}

fn has_progressed(before: &DeploymentStatus, status: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    status.updated_replicas > before.updated_replicas
        || old(status) < old(before)
        || status.ready_replicas > before.ready_replicas
        || status.available_replicas > before.available_replicas
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| is(condition, kind))
    }

    fn reason(&self, kind: &str) -> Option<String> {
        self.get(kind)?.reason.clone()
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| !is(condition, kind));
    }

    /// Sets a condition; one with the same status and reason stays as it is.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = |condition: &DeploymentCondition| {
            condition.status.as_deref() == Some(status)
                && condition.reason.as_deref() == Some(reason)
        };
        if !self.get(kind).is_some_and(same) {
            self.renew(kind, status, reason, message);
        }
    }

    /// Sets a condition and its update time, whatever it was.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let before = self
            .get(kind)
            .filter(|before| before.status.as_deref() == Some(status));
        let since = before.and_then(|before| before.last_transition_time.clone());
        self.remove(kind);
        self.list.push(DeploymentCondition {
            type_: Some(kind.into()),
            status: Some(status.into()),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: since.or(Some(Time(self.now))),
        });
    }

    /// When progress is overdue; none if there is nothing to wait for.
    fn deadline(&self, seconds: i32) -> Option<Timestamp> {
        let condition = self.get("Progressing")?;
        let settled = matches!(condition.reason.as_deref(), Some(NEW_AVAILABLE | TIMED_OUT));
        let since = condition.last_update_time.as_ref().filter(|_| !settled)?;
        Some(after(since.0, Duration::from_secs(seconds.max(0) as u64)))
    }

    fn has_timed_out(&self, seconds: i32) -> bool {
        self.deadline(seconds)
            .is_some_and(|deadline| deadline < self.now)
    }
}

fn is(condition: &DeploymentCondition, kind: &str) -> bool {
    condition.type_.as_deref() == Some(kind)
}
