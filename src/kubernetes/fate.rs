//! Fast failure: pod states that do not mend themselves, long before the progress deadline.
//!
//! A container that is killed for memory, crashes again and again, cannot be made or whose image
//! cannot be pulled ends the run. A registry that is short of breath and a Secret that comes a moment later are no
//! fault of the release: what may mend itself has time for a second attempt, and where another pod of the revision
//! is ready, the image and all that it needs are there. A pod that finds no node is only reported: a node may
//! come. Pods that the cluster refuses (quota, admission) are a matter of their own, not a bad
//! release.
//!
//! Not here: pods that simply do not become ready. That is the deadline's business.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::members::says;
use crate::clock::elapsed;
use crate::rollout::observation::{Fate, FateKind};

const MESSAGE_MAX: usize = 300;
/// A kubelet tries again to pull an image 10 s after the first attempt: two have failed by then.
const TWO_ATTEMPTS: Duration = Duration::from_secs(15);

/// How these pods fail for good; the gravest of all their containers, None if none does.
///
/// Pods that are going away are passed over.
pub fn fate<'a>(pods: impl IntoIterator<Item = &'a Pod>, now: Timestamp) -> Option<Fate> {
    let staying = pods
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let staying: Vec<&Pod> = staying.collect();
    let works = staying.iter().any(|pod| says(pod, "Ready"));
    let fates = staying.iter().flat_map(|pod| {
        let early = works || is_younger(pod, now, TWO_ATTEMPTS);
        let fates = containers(pod).filter_map(|container| container_fate(pod, container));
        fates.filter(move |(_, passing)| !(early && *passing))
    });
    fates
        .map(|(fate, _)| fate)
        .min_by(|one, other| (rank(one.kind), &one.detail).cmp(&(rank(other.kind), &other.detail)))
}

/// Why a pod finds no node, in a sentence; None if each has one.
pub fn unschedulable<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<String> {
    let sentence = |pod: &Pod| {
        let conditions = pod.status.as_ref()?.conditions.iter().flatten();
        let mut waiting = conditions.filter(|condition| {
            condition.type_ == "PodScheduled"
                && condition.status == "False"
                && condition.reason.as_deref() == Some("Unschedulable")
        });
        let message = waiting.next()?.message.as_deref().unwrap_or_default();
        Some(format!(
            "pod {} finds no node: {}",
            name(pod),
            bounded(message)
        ))
    };
    pods.into_iter().filter_map(sentence).min()
}

/// Why the cluster refuses this Deployment's pods (quota, admission); None if it does not.
pub fn refused(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let mut failures = conditions.filter(|condition| {
        condition.type_.as_deref() == Some("ReplicaFailure")
            && condition.status.as_deref() == Some("True")
    });
    let failure = failures.next()?;
    let reason = failure.reason.as_deref().unwrap_or("ReplicaFailure");
    Some(format!(
        "{reason}: {}",
        bounded(failure.message.as_deref().unwrap_or_default())
    ))
}

fn rank(kind: FateKind) -> u8 {
    match kind {
        FateKind::OutOfMemory => 0,
        FateKind::CrashLoop => 1,
        FateKind::CreateContainer => 2,
        FateKind::ImagePull => 3,
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

fn is_younger(pod: &Pod, now: Timestamp, age: Duration) -> bool {
    let started = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    let since = started.or(pod.metadata.creation_timestamp.as_ref());
    since.is_some_and(|since| elapsed(since.0, now) < age)
}

/// How a container fails, and whether that may pass by itself.
fn container_fate(pod: &Pod, container: &ContainerStatus) -> Option<(Fate, bool)> {
    let waiting = container
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let ended = last_end(container);
    let killed = ended.is_some_and(|end| end.reason.as_deref() == Some("OOMKilled"));
    let (kind, passing) = match reason.and_then(waiting_kind) {
        None | Some((FateKind::CrashLoop, _)) if killed => (FateKind::OutOfMemory, false),
        None => return None,
        Some(found) => found,
    };
    let what = reason.unwrap_or("OOMKilled");
    let end = ended.map_or_else(String::new, |end| {
        format!(", {}, restarts {}", ending(end), container.restart_count)
    });
    let last_words = ended.and_then(|end| end.message.as_deref());
    let said = waiting.and_then(|waiting| waiting.message.as_deref());
    let mut words = last_words
        .into_iter()
        .chain(said)
        .filter(|text| !text.is_empty());
    let words = words
        .next()
        .map_or_else(String::new, |words| format!(": {:?}", bounded(words)));
    let detail = format!(
        "{what}: pod {}, container {}{end}{words}",
        name(pod),
        container.name
    );
    Some((Fate { kind, detail }, passing))
}

/// What a container waits for in vain, and whether that may pass by itself.
fn waiting_kind(reason: &str) -> Option<(FateKind, bool)> {
    Some(match reason {
        "CrashLoopBackOff" => (FateKind::CrashLoop, false),
        "InvalidImageName" | "ErrImageNeverPull" => (FateKind::ImagePull, false),
        "ImagePullBackOff" | "ErrImagePull" => (FateKind::ImagePull, true),
        "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" => {
            (FateKind::CreateContainer, true)
        }
        _ => return None,
    })
}

/// How the container ended last, now or before its restart.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    now.or_else(|| {
        container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
    })
}

fn ending(end: &ContainerStateTerminated) -> String {
    match end.signal.filter(|signal| *signal != 0) {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with exit code {}", end.exit_code),
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn bounded(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= MESSAGE_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MESSAGE_MAX).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    fn pod(name: &str, container: &Value) -> Pod {
        let mut status = json!({"name": "main", "image": "shop:2", "imageID": "", "ready": false, "restartCount": 2});
        json_patch::merge(&mut status, container);
        serde_json::from_value(json!({
            "metadata": {"name": name}, "status": {"containerStatuses": [status]},
        }))
        .unwrap()
    }

    fn waiting(reason: &str) -> Value {
        json!({"state": {"waiting": {"reason": reason, "message": "why"}}})
    }

    fn killed(state: &Value) -> Value {
        json!({"state": state, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}})
    }

    #[test]
    fn states_that_do_not_mend_themselves_are_told_from_those_that_do() {
        let table = [
            (waiting("CrashLoopBackOff"), Some(FateKind::CrashLoop)),
            (waiting("ImagePullBackOff"), Some(FateKind::ImagePull)),
            (waiting("ErrImagePull"), Some(FateKind::ImagePull)),
            (waiting("InvalidImageName"), Some(FateKind::ImagePull)),
            (
                waiting("CreateContainerError"),
                Some(FateKind::CreateContainer),
            ),
            (
                waiting("CreateContainerConfigError"),
                Some(FateKind::CreateContainer),
            ),
            (killed(&json!({"running": {}})), Some(FateKind::OutOfMemory)),
            (
                killed(&json!({"waiting": {"reason": "CrashLoopBackOff"}})),
                Some(FateKind::OutOfMemory),
            ),
            (
                killed(&json!({"waiting": {"reason": "ImagePullBackOff"}})),
                Some(FateKind::ImagePull),
            ),
            (waiting("ContainerCreating"), None),
            (waiting("PodInitializing"), None),
            (json!({"state": {"running": {}}}), None),
            (
                json!({"state": {"running": {}}, "lastState": {"terminated": {"reason": "Error", "exitCode": 1}}}),
                None,
            ),
            (json!({}), None),
        ];
        for (container, expected) in table {
            let found = fate([&pod("p", &container)], now()).map(|fate| fate.kind);
            assert_eq!(found, expected, "{container}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_has_time_for_a_second_attempt() {
        let begun = |seconds: u32, container: &Value| {
            let mut pod = pod("p", container);
            let at = json!(format!("2026-01-01T00:00:{seconds:02}Z"));
            pod.status.as_mut().unwrap().start_time = serde_json::from_value(at).unwrap();
            pod
        };
        let ready: Pod = serde_json::from_value(json!({
            "metadata": {"name": "other"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        let passing = [
            "ErrImagePull",
            "ImagePullBackOff",
            "CreateContainerConfigError",
        ];
        for reason in passing {
            let (old, young) = (begun(40, &waiting(reason)), begun(50, &waiting(reason)));
            assert!(fate([&old], now()).is_some(), "{reason}");
            assert_eq!(fate([&young], now()), None, "{reason}");
            assert_eq!(fate([&old, &ready], now()), None, "{reason}");
        }
        for reason in ["CrashLoopBackOff", "InvalidImageName"] {
            let young = begun(50, &waiting(reason));
            assert!(fate([&young, &ready], now()).is_some(), "{reason}");
        }
    }

    #[test]
    fn the_detail_names_pod_container_and_last_words() {
        let crash = json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 3, "message": "no database\n"}},
        });
        let found = fate([&pod("shop-1", &crash)], now()).unwrap();
        let expected = r#"CrashLoopBackOff: pod shop-1, container main, ended with exit code 3, restarts 2: "no database""#;
        assert_eq!(found.detail, expected);
        let long =
            json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "x".repeat(1000)}}});
        assert!(fate([&pod("p", &long)], now()).unwrap().detail.len() < 400);
    }

    #[test]
    fn of_several_the_gravest_is_told_and_leaving_pods_do_not_count() {
        let mut leaving = pod("a", &killed(&json!({"running": {}})));
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let pull = pod("b", &waiting("ImagePullBackOff"));
        let crash = pod("c", &waiting("CrashLoopBackOff"));
        let found = fate([&leaving, &pull, &crash], now()).unwrap();
        assert_eq!(found.kind, FateKind::CrashLoop);
        assert_eq!(fate([&leaving], now()), None);
    }

    #[test]
    fn an_init_container_counts_too() {
        let mut pod = pod("p", &json!({}));
        let status = pod.status.as_mut().unwrap();
        status.init_container_statuses = status.container_statuses.take();
        let state =
            serde_json::from_value(json!({"waiting": {"reason": "CrashLoopBackOff"}})).unwrap();
        status.init_container_statuses.as_mut().unwrap()[0].state = Some(state);
        assert_eq!(
            fate([&pod], now()).map(|fate| fate.kind),
            Some(FateKind::CrashLoop)
        );
    }

    #[test]
    fn no_node_and_no_quota_are_said_but_are_no_fate() {
        let pending: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]},
        }))
        .unwrap();
        assert_eq!(fate([&pending], now()), None);
        assert_eq!(
            unschedulable([&pending]).as_deref(),
            Some("pod p finds no node: 0/3 nodes")
        );
        let deployment = |status: &str| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"name": "d"}, "spec": {"selector": {}, "template": {}},
                "status": {"conditions": [{"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": "exceeded quota: q"}]},
            }))
            .unwrap()
        };
        assert_eq!(
            refused(&deployment("True")).as_deref(),
            Some("FailedCreate: exceeded quota: q")
        );
        assert_eq!(refused(&deployment("False")), None);
    }
}
