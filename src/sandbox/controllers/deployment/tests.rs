//! Timelines of one Deployment: what it asks for as its pods come and go.
//!
//! [`World`] plays the API server and the `ReplicaSet` controller: it applies the plan's writes
//! and makes pods exist, and ready where the test says so.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::plan::{Seen, Write, bounds, plan};

struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    with_pods: Vec<String>,
    second: i64,
}

impl World {
    /// A Deployment `shop` with that spec, image `v1`, of 4 replicas unless said otherwise.
    fn new(spec: &Value) -> Self {
        let mut whole = json!({
            "replicas": 4, "progressDeadlineSeconds": 60, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "shop"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "c", "image": "v1"}]}}
        });
        json_patch::merge(&mut whole, spec);
        let deployment = json!({
            "metadata": {"name": "shop", "namespace": "shop", "uid": "d", "generation": 1},
            "spec": whole
        });
        let deployment = serde_json::from_value(deployment).unwrap();
        Self {
            deployment,
            sets: Vec::new(),
            with_pods: Vec::new(),
            second: 0,
        }
    }

    fn set(&mut self, patch: &Value) {
        let mut value = serde_json::to_value(&self.deployment).unwrap();
        json_patch::merge(&mut value, &json!({"spec": patch}));
        self.deployment = serde_json::from_value(value).unwrap();
        *self.deployment.metadata.generation.get_or_insert_default() += 1;
    }

    fn image(&mut self, image: &str) {
        self.set(&json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}));
    }

    /// One pass of the controller; what it wrote, in short.
    fn pass(&mut self) -> Vec<String> {
        self.second += 1;
        let sets: Vec<_> = self.sets.iter().cloned().map(Arc::new).collect();
        let now = Timestamp::from_second(self.second).unwrap();
        let seen = Seen {
            deployment: &self.deployment,
            sets: &sets,
            with_pods: &self.with_pods,
            now,
        };
        let plan = plan(&seen);
        plan.writes
            .into_iter()
            .filter_map(|write| self.apply(write))
            .collect()
    }

    fn apply(&mut self, write: Write) -> Option<String> {
        match write {
            Write::Create(mut set) => {
                set.metadata.creation_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                        Timestamp::from_second(self.second).unwrap(),
                    ));
                let said = format!("create {}x{}", image_of(&set), size(&set));
                self.sets.push(*set);
                Some(said)
            }
            Write::Patch {
                name,
                patch,
                scaled,
            } => {
                let set = self
                    .sets
                    .iter_mut()
                    .find(|set| set.name_any() == name)
                    .unwrap();
                let mut value = serde_json::to_value(&*set).unwrap();
                json_patch::merge(&mut value, &patch);
                *set = serde_json::from_value(value).unwrap();
                scaled.map(|(before, after)| format!("scale {} {before}->{after}", image_of(set)))
            }
            Write::Delete(name) => {
                let gone = self
                    .sets
                    .iter()
                    .position(|set| set.name_any() == name)
                    .unwrap();
                Some(format!("delete {}", image_of(&self.sets.remove(gone))))
            }
            Write::Revision(revision) => {
                let annotations = self.deployment.annotations_mut();
                annotations.insert(super::sets::REVISION.into(), revision);
                None
            }
            Write::Status(status) => {
                self.deployment.status = Some(*status);
                None
            }
        }
    }

    /// Pods follow the sets; those of images in `sick` never get ready.
    fn pods(&mut self, sick: &[&str]) {
        for set in &mut self.sets {
            let replicas = size(set);
            let ready = if sick.contains(&image_of(set).as_str()) {
                0
            } else {
                replicas
            };
            set.status = Some(ReplicaSetStatus {
                replicas,
                ready_replicas: Some(ready),
                available_replicas: Some(ready),
                ..ReplicaSetStatus::default()
            });
        }
    }

    /// Passes and pods until nothing changes; all that was done.
    fn settle(&mut self, sick: &[&str]) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..40 {
            done.extend(self.pass());
            self.pods(sick);
        }
        done
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.deployment.status.clone().unwrap().conditions.unwrap();
        let condition = conditions
            .into_iter()
            .find(|c| c.type_.as_deref() == Some(kind))
            .unwrap();
        (
            condition.status.unwrap_or_default(),
            condition.reason.unwrap_or_default(),
        )
    }

    fn revision(&self) -> &str {
        &self.deployment.annotations()[super::sets::REVISION]
    }
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap()
}

fn image_of(set: &ReplicaSet) -> String {
    let template = set.spec.template.as_ref().unwrap();
    template.spec.as_ref().unwrap().containers[0]
        .image
        .clone()
        .unwrap()
}

#[test]
fn the_first_revision_is_created_at_full_size() {
    let mut world = World::new(&json!({}));
    assert_eq!(world.settle(&[]), ["create v1x4"]);
    assert_eq!(
        world.condition("Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
    assert_eq!(
        world.condition("Available"),
        ("True".into(), "MinimumReplicasAvailable".into())
    );
    let status = world.deployment.status.clone().unwrap();
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.unavailable_replicas
        ),
        (Some(4), Some(4), None)
    );
    assert_eq!(world.revision(), "1");
}

#[test]
fn a_new_template_rolls_within_its_bounds() {
    let mut world = World::new(&json!({}));
    world.settle(&[]);
    world.image("v2");
    let expected = [
        "create v2x1",
        "scale v1 4->3",
        "scale v2 1->2",
        "scale v1 3->2",
        "scale v2 2->3",
        "scale v1 2->1",
        "scale v2 3->4",
        "scale v1 1->0",
    ];
    assert_eq!(world.settle(&[]), expected);
    assert_eq!(world.revision(), "2");
}

#[test]
fn a_rollout_of_sick_pods_stops_and_runs_out_of_time() {
    let mut world = World::new(&json!({}));
    world.settle(&[]);
    world.image("v2");
    assert_eq!(world.settle(&["v2"]), ["create v2x1"]);
    world.second += 60;
    world.pass();
    assert_eq!(
        world.condition("Progressing"),
        ("False".into(), "ProgressDeadlineExceeded".into())
    );
    assert_eq!(world.condition("Available").0, "True");
}

#[test]
fn a_paused_deployment_starts_nothing_but_scales() {
    let mut world = World::new(&json!({}));
    world.settle(&[]);
    world.set(&json!({"paused": true}));
    world.image("v2");
    assert_eq!(world.settle(&[]), Vec::<String>::new());
    assert_eq!(
        world.condition("Progressing"),
        ("Unknown".into(), "DeploymentPaused".into())
    );
    assert_eq!(
        world.deployment.status.clone().unwrap().updated_replicas,
        None
    );
    world.set(&json!({"replicas": 6}));
    assert_eq!(world.settle(&[]), ["scale v1 4->6"]);
    world.set(&json!({"paused": null}));
    assert_eq!(world.settle(&[]).first().unwrap(), "create v2x1");
    assert_eq!(
        world.condition("Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut world = World::new(
        &json!({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    );
    world.settle(&[]);
    world.image("v2");
    world.settle(&["v2"]);
    let before: Vec<_> = world.sets.iter().map(size).collect();
    assert_eq!(before, [8, 5]);
    world.set(&json!({"replicas": 15}));
    world.pass();
    // Kubernetes' own example: 13 grows to 18, of which the larger gets 3 and the smaller 2.
    assert_eq!(world.sets.iter().map(size).collect::<Vec<_>>(), [11, 7]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut world = World::new(&json!({"strategy": {"type": "Recreate", "rollingUpdate": null}}));
    world.settle(&[]);
    world.image("v2");
    world.with_pods = vec![world.sets[0].name_any()];
    assert_eq!(world.settle(&[]), ["scale v1 4->0"]);
    world.with_pods.clear();
    assert_eq!(world.settle(&[]), ["create v2x4"]);
}

#[test]
fn going_back_to_a_former_template_takes_its_set_and_a_new_revision() {
    let mut world = World::new(&json!({}));
    world.settle(&[]);
    world.image("v2");
    world.settle(&[]);
    world.image("v1");
    let done = world.settle(&[]);
    assert_eq!(done.first().unwrap(), "scale v1 0->1");
    assert_eq!(world.sets.len(), 2);
    assert_eq!(world.revision(), "3");
    let history = &world.sets[0].annotations()[super::sets::REVISION_HISTORY];
    assert_eq!(history, "1");
}

#[test]
fn revisions_beyond_the_history_limit_are_forgotten() {
    let mut world = World::new(&json!({}));
    for image in ["v1", "v2", "v3", "v4"] {
        world.image(image);
        world.settle(&[]);
    }
    let left: Vec<_> = world.sets.iter().map(image_of).collect();
    assert_eq!(left, ["v2", "v3", "v4"]);
}

#[test]
fn bounds_round_surge_up_and_unavailable_down() {
    let table = [
        ("25%", "25%", 10, (3, 2)),
        ("0%", "0%", 10, (0, 1)),
        ("50%", "100%", 3, (2, 3)),
        ("25%", "25%", 1, (1, 0)),
    ];
    for (surge, unavailable, replicas, expected) in table {
        let world = World::new(
            &json!({"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}),
        );
        assert_eq!(
            bounds(&world.deployment.spec, replicas),
            expected,
            "{surge} {unavailable}"
        );
    }
}
