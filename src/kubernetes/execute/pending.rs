//! Pods of the target that find no node: not watched, since thousands lie about, but listed when a promotion makes
//! no progress. That there is no room is not the revision's doing. Only its own pods count: those of a Job with the
//! same labels, or more of stable's that an autoscaler asks for, say nothing of the promotion.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::past::selected;
use super::{Error, Executor, within};
use crate::kubernetes::canary;
use crate::kubernetes::entries::Set;
use crate::kubernetes::fate;
use crate::kubernetes::members::{self, Known, Member};
use crate::kubernetes::scene::Scene;
use crate::rollout::revision::Revision;

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
        let (target, revision) = (&target.object, &target.revision);
        let api: Api<Pod> = self.api(&target.namespace().unwrap_or_default());
        let pending = selected(target).fields("status.phase=Pending");
        let pods = within("listing pending pods", api.list(&pending)).await?;
        let uid = target.uid().unwrap_or_default();
        let newest = Newest::of(&uid, revision, (&scene.sets, &scene.known));
        Ok(fate::unschedulable(newest.own(&pods.items)))
    }
}

/// What the newest pods of a workload are known by.
enum Newest<'a> {
    /// They are of this `ReplicaSet`, by uid.
    Set(&'a str),
    /// The object with this uid controls them, and their label names this revision.
    Labelled(&'a str, &'a Known),
    /// Nothing has made any yet.
    None,
}

impl<'a> Newest<'a> {
    fn of(uid: &'a str, revision: &Revision, (sets, known): (&'a [Arc<Set>], &'a [Known])) -> Self {
        if let Some(newest) = members::newest(known, revision) {
            return Self::Labelled(uid, newest);
        }
        let of_template = sets.iter().filter(|set| set.revision.same(revision));
        let newest = of_template.max_by_key(|set| set.number);
        newest.map_or(Self::None, |set| Self::Set(&set.uid))
    }

    fn own<'p>(&self, pods: &'p [Pod]) -> impl Iterator<Item = &'p Pod> {
        pods.iter().filter(move |pod| match self {
            Self::Set(uid) => canary::is_owned(&pod.metadata, uid),
            Self::Labelled(uid, newest) => {
                Member::of(pod).is_some_and(|member| member.is_of(uid) && member.names(newest))
            }
            Self::None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::entries;

    fn set(uid: &str, image: &str, number: u64) -> Arc<Set> {
        let object = json!({
            "metadata": {"uid": uid, "annotations": {"deployment.kubernetes.io/revision": number.to_string()}},
            "spec": {"replicas": 1, "selector": {}, "template": {
                "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": number.to_string()}},
                "spec": {"containers": [{"name": "shop", "image": image}]},
            }},
        });
        Arc::new(entries::replica_set(serde_json::from_value(object).unwrap()).unwrap())
    }

    fn pod(name: &str, kind: &str, owner: &str, label: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "labels": {"controller-revision-hash": label},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": owner, "controller": true}],
            },
        }))
        .unwrap()
    }

    fn names(newest: &Newest<'_>, pods: &[Pod]) -> Vec<String> {
        newest.own(pods).map(ResourceExt::name_any).collect()
    }

    #[test]
    fn only_pods_of_the_newest_replica_set_count() {
        let sets = [
            set("old", "shop:1", 1),
            set("before", "shop:2", 2),
            set("new", "shop:2", 3),
        ];
        let pods = [
            pod("job", "Job", "j", ""),
            pod("stable", "ReplicaSet", "old", ""),
            pod("before-a-restart", "ReplicaSet", "before", ""),
            pod("new", "ReplicaSet", "new", ""),
        ];
        let newest = Newest::of("u", &sets[2].revision, (&sets, &[]));
        assert_eq!(names(&newest, &pods), ["new"]);
        let unmade = Revision::default();
        let none = Newest::of("u", &unmade, (&sets, &[]));
        assert!(names(&none, &pods).is_empty());
    }

    #[test]
    fn pods_without_a_replica_set_count_by_the_revision_that_their_label_names() {
        let revision = |name: &str, image: &str| {
            let object = json!({
                "metadata": {"name": name}, "revision": 1,
                "data": {"spec": {"template": {"spec": {"containers": [{"name": "db", "image": image}]}}}},
            });
            let kept = entries::kept(serde_json::from_value(object).unwrap()).unwrap();
            kept.read().unwrap()
        };
        let known = members::known(&[revision("db-aa", "db:1"), revision("db-bb", "db:2")]);
        let pods = [
            pod("db-0", "StatefulSet", "u", "db-aa"),
            pod("db-1", "StatefulSet", "u", "db-bb"),
            pod("other-1", "StatefulSet", "another", "db-bb"),
            pod("job", "Job", "j", "db-bb"),
        ];
        let newest = Newest::of("u", &known[1].revision, (&[], &known));
        assert_eq!(names(&newest, &pods), ["db-1"]);
    }
}
