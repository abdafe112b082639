//! What a Deployment needs done now: pure, after kube-controller-manager's deployment controller.
//!
//! One pass does at most one kind of step (scale up, scale down, clean up), as the real one:
//! the next pass follows when the `ReplicaSets` have answered. Not here: conditions and counts
//! (`status.rs`), watching and writing (`mod.rs`).

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::Value;

use super::sets::{DESIRED, MAX, REVISION, REVISION_HISTORY, Set, new_name, object};
use super::status;
use crate::sandbox::controllers::template::same;

/// One thing to write, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Create(Box<ReplicaSet>),
    /// A merge patch for the `ReplicaSet` of that name; the replicas before and after.
    Patch {
        name: String,
        patch: Value,
        scaled: Option<(i32, i32)>,
    },
    Delete(String),
    /// The Deployment's own revision annotation.
    Revision(String),
    Status(Box<DeploymentStatus>),
}

/// The writes, and when to look again without an event.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub writes: Vec<Write>,
    pub wakes_at: Option<Timestamp>,
}

/// A Deployment, its `ReplicaSets`, and whether pods of other revisions still exist.
#[derive(Debug)]
pub struct Seen<'a> {
    pub deployment: &'a Deployment,
    pub sets: &'a [Arc<ReplicaSet>],
    /// Names of `ReplicaSets` that have pods which have not ended.
    pub with_pods: &'a [String],
    pub now: Timestamp,
}

/// Decides what to write.
pub fn plan(seen: &Seen<'_>) -> Plan {
    let mut roll = Roll::read(seen);
    let deleting = seen.deployment.metadata.deletion_timestamp.is_some();
    let mut judged = true;
    if deleting {
        judged = false;
    } else if roll.is_paused() || roll.is_scaling() {
        judged = false;
        roll.keep_revision();
        roll.scale();
        if roll.is_paused() {
            roll.clean_up();
        }
    } else if roll.is_recreate() {
        roll.recreate(seen.with_pods);
    } else {
        roll.rolling();
    }
    roll.finish(seen, judged)
}

/// A pass over one Deployment.
#[derive(Debug)]
pub struct Roll<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
    /// Oldest first.
    pub sets: Vec<Set>,
    /// Index of the set with the Deployment's template.
    pub new: Option<usize>,
    pub replicas: i32,
    pub surge: i32,
    pub unavailable: i32,
    /// Set when the template got its set in this pass: found or created.
    pub found: Option<&'static str>,
    forgotten: Vec<String>,
    revision: Option<String>,
}

impl<'a> Roll<'a> {
    fn read(seen: &Seen<'a>) -> Self {
        let spec = &seen.deployment.spec;
        let mut sources: Vec<_> = seen.sets.to_vec();
        sources.sort_by_key(|set| (set.creation_timestamp(), set.name_any()));
        let new = sources.iter().position(|set| is_of(set, spec));
        let replicas = spec.replicas.unwrap_or(1);
        let (surge, unavailable) = bounds(spec, replicas);
        Self {
            deployment: seen.deployment,
            spec,
            sets: sources.iter().map(Set::read).collect(),
            new,
            replicas,
            surge,
            unavailable,
            found: None,
            forgotten: Vec::new(),
            revision: None,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    pub(super) fn is_recreate(&self) -> bool {
        let kind = self
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref());
        kind == Some("Recreate")
    }

    /// Whether the Deployment's replicas changed since its sets were scaled.
    fn is_scaling(&self) -> bool {
        let mut active = self.sets.iter().filter(|set| set.replicas > 0);
        active.any(|set| {
            set.desired()
                .is_some_and(|desired| desired != i64::from(self.replicas))
        })
    }

    pub(super) fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |index| Some(*index) != new)
    }

    pub(super) fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    fn old_total(&self) -> i32 {
        self.old().map(|index| self.sets[index].replicas).sum()
    }

    pub(super) fn max_total(&self) -> i32 {
        if self.replicas > 0 {
            self.replicas + self.surge
        } else {
            0
        }
    }

    fn rolling(&mut self) {
        let new = self.ensure_new();
        if self.scale_new(new) || self.scale_old(new) {
            return;
        }
        self.clean_up_if_complete(new);
    }

    fn recreate(&mut self, with_pods: &[String]) {
        self.keep_revision();
        let active: Vec<_> = self
            .old()
            .filter(|&old| self.sets[old].replicas > 0)
            .collect();
        if !active.is_empty() {
            for index in active {
                self.resize(index, 0);
            }
            return;
        }
        if self
            .old()
            .any(|old| with_pods.contains(&self.sets[old].name))
        {
            return;
        }
        let new = self.ensure_new();
        if !self.scale_new(new) {
            self.clean_up_if_complete(new);
        }
    }

    /// The set of the present template, planned if it does not exist.
    fn ensure_new(&mut self) -> usize {
        self.keep_revision();
        if let Some(new) = self.new {
            return new;
        }
        let revision = self.next_revision();
        let (name, _) = new_name(self.deployment, self.spec);
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let mut set = Set::planned(name, min_ready);
        set.annotations = self.inherited();
        set.annotations
            .insert(REVISION.into(), revision.to_string());
        self.revision = Some(revision.to_string());
        self.sets.push(set);
        let new = self.sets.len() - 1;
        self.new = Some(new);
        self.found = Some("created");
        let size = self.new_size(new);
        self.resize(new, size);
        new
    }

    /// Brings the present template's set up to date with the Deployment: revision, annotations.
    fn keep_revision(&mut self) {
        let Some(new) = self.new else { return };
        if self.sets[new].source.is_none() {
            return;
        }
        let revision = self.next_revision();
        let inherited = self.inherited();
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let set = &mut self.sets[new];
        set.annotations.extend(inherited);
        let before = set.revision();
        if before < revision {
            if before > 0 {
                note_history(set, before);
            }
            set.annotations
                .insert(REVISION.into(), revision.to_string());
        }
        set.min_ready_seconds = min_ready;
        self.revision = set.annotations.get(REVISION).cloned();
        self.found = Some("found");
    }

    fn next_revision(&self) -> i64 {
        self.old()
            .map(|old| self.sets[old].revision())
            .max()
            .unwrap_or(0)
            + 1
    }

    /// The Deployment's annotations that its sets carry too.
    fn inherited(&self) -> std::collections::BTreeMap<String, String> {
        const OWN: [&str; 6] = [
            "kubectl.kubernetes.io/last-applied-configuration",
            REVISION,
            REVISION_HISTORY,
            DESIRED,
            MAX,
            "deprecated.deployment.rollback.to",
        ];
        let annotations = self.deployment.annotations().clone().into_iter();
        annotations
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .collect()
    }

    fn new_size(&self, new: usize) -> i32 {
        if self.is_recreate() {
            return self.replicas;
        }
        let present = self.sets[new].replicas;
        let room = self.replicas + self.surge - self.total();
        if room <= 0 {
            return present;
        }
        present + room.min(self.replicas - present)
    }

    fn scale_new(&mut self, new: usize) -> bool {
        let present = self.sets[new].replicas;
        let wanted = match present.cmp(&self.replicas) {
            std::cmp::Ordering::Equal => return false,
            std::cmp::Ordering::Greater => self.replicas,
            std::cmp::Ordering::Less => self.new_size(new),
        };
        self.resize(new, wanted);
        wanted != present
    }

    fn scale_old(&mut self, new: usize) -> bool {
        if self.old_total() == 0 {
            return false;
        }
        let least = self.replicas - self.unavailable;
        let starting = self.sets[new].replicas - self.sets[new].available;
        let most = self.total() - least - starting;
        if most <= 0 {
            return false;
        }
        let unhealthy = self.drop_unhealthy(most);
        unhealthy + self.drop_healthy(least) > 0
    }

    /// Takes away old replicas that do not serve anyway; at most `most`.
    fn drop_unhealthy(&mut self, most: i32) -> i32 {
        let mut dropped = 0;
        for old in self.old() {
            let set = &self.sets[old];
            let count = (most - dropped).min(set.replicas - set.available).max(0);
            let size = set.replicas - count;
            if count > 0 {
                self.resize(old, size);
                dropped += count;
            }
        }
        dropped
    }

    fn drop_healthy(&mut self, least: i32) -> i32 {
        // A set that was just made smaller has not said so yet: what it gives up is not spare.
        let serving = |set: &Set| set.available.min(set.replicas);
        let available: i32 = self.sets.iter().map(serving).sum();
        let spare = available - least;
        let mut dropped = 0;
        for old in self.old() {
            let set = &self.sets[old];
            let count = (spare - dropped).min(set.replicas);
            let size = set.replicas - count;
            if count > 0 {
                self.resize(old, size);
                dropped += count;
            }
        }
        dropped
    }

    pub(super) fn resize(&mut self, set: usize, size: i32) {
        let (replicas, max) = (self.replicas, self.replicas + self.surge);
        let set = &mut self.sets[set];
        set.replicas = size;
        set.annotations.insert(DESIRED.into(), replicas.to_string());
        set.annotations.insert(MAX.into(), max.to_string());
    }

    fn clean_up_if_complete(&mut self, new: usize) {
        let set = &self.sets[new];
        let present: i32 = self.sets.iter().map(|set| set.present).sum();
        let complete = [set.present, present, set.available] == [self.replicas; 3];
        if complete {
            self.clean_up();
        }
    }

    /// Forgets the oldest idle revisions beyond the history limit.
    fn clean_up(&mut self) {
        let limit = self.spec.revision_history_limit.unwrap_or(10).max(0) as usize;
        let mut old: Vec<_> = self.old().map(|old| &self.sets[old]).collect();
        old.sort_by_key(|set| set.revision());
        let excess = old.len().saturating_sub(limit);
        let idle = old.into_iter().take(excess).filter(|set| set.is_idle());
        self.forgotten = idle.map(|set| set.name.clone()).collect();
    }

    fn finish(self, seen: &Seen<'_>, judged: bool) -> Plan {
        let mut writes = Vec::new();
        for set in &self.sets {
            writes.extend(self.write(set));
        }
        let known = self.deployment.annotations().get(REVISION);
        if let Some(revision) = self
            .revision
            .clone()
            .filter(|revision| known != Some(revision))
        {
            writes.push(Write::Revision(revision));
        }
        writes.extend(self.forgotten.iter().cloned().map(Write::Delete));
        let (status, wakes_at) = status::next(&self, seen.now, judged);
        if seen.deployment.status.as_ref() != Some(&status) {
            writes.push(Write::Status(Box::new(status)));
        }
        Plan { writes, wakes_at }
    }

    fn write(&self, set: &Set) -> Option<Write> {
        let Some(source) = &set.source else {
            let (_, hash) = new_name(self.deployment, self.spec);
            return Some(Write::Create(Box::new(object(
                self.deployment,
                self.spec,
                set,
                &hash,
            ))));
        };
        let before = source.spec.replicas.unwrap_or(1);
        set.patch().map(|patch| Write::Patch {
            name: set.name.clone(),
            patch,
            scaled: (before != set.replicas).then_some((before, set.replicas)),
        })
    }
}

fn is_of(set: &ReplicaSet, spec: &DeploymentSpec) -> bool {
    let template = set.spec.template.as_ref();
    set.metadata.deletion_timestamp.is_none()
        && template.is_some_and(|template| same(template, &spec.template))
}

fn note_history(set: &mut Set, revision: i64) {
    let history = set.annotations.entry(REVISION_HISTORY.into()).or_default();
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&revision.to_string());
}

/// How many pods more, and how many fewer, than the replicas may exist during a rolling update.
pub fn bounds(spec: &DeploymentSpec, replicas: i32) -> (i32, i32) {
    let strategy = spec.strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("Recreate") {
        return (0, 0);
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let surge = share(rolling.max_surge.as_ref(), replicas, f64::ceil);
    let unavailable = share(rolling.max_unavailable.as_ref(), replicas, f64::floor);
    if surge == 0 && unavailable == 0 {
        return (0, 1);
    }
    (surge, unavailable.min(replicas))
}

fn share(bound: Option<&IntOrString>, replicas: i32, round: fn(f64) -> f64) -> i32 {
    match bound {
        Some(IntOrString::Int(count)) => *count,
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse().unwrap_or(25.0);
            round(f64::from(replicas) * percent / 100.0) as i32
        }
        None => round(f64::from(replicas) * 0.25) as i32,
    }
}
