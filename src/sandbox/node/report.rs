//! A pod's life in the API's form: `PodStatus`, as a kubelet reports it.
//!
//! Pure. Not here: writing it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::life::{Ending, Life, Stage};

const HOST: &str = "10.0.0.1";

/// The status of a pod with that life and address.
pub fn status(pod: &Pod, life: &Life, ip: &str) -> PodStatus {
    let containers = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let started = life.restarts > 0 || life.last.is_some() || life.runs();
    PodStatus {
        phase: Some(if started { "Running" } else { "Pending" }.into()),
        conditions: Some(conditions(containers, life)),
        container_statuses: Some(
            containers
                .iter()
                .map(|container| container_status(pod, container, life))
                .collect(),
        ),
        host_ip: Some(HOST.into()),
        host_ips: Some(vec![HostIP { ip: HOST.into() }]),
        pod_ip: Some(ip.into()),
        pod_ips: Some(vec![PodIP { ip: ip.into() }]),
        start_time: Some(Time(life.begun)),
        ..PodStatus::default()
    }
}

fn conditions(containers: &[Container], life: &Life) -> Vec<PodCondition> {
    let names: Vec<_> = containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    let unready = format!("containers with unready status: [{}]", names.join(" "));
    let mut ready =
        ["Ready", "ContainersReady"].map(|kind| condition(kind, life.ready, life.turned));
    for condition in ready.iter_mut().filter(|_| !life.ready) {
        condition.reason = Some("ContainersNotReady".into());
        condition.message = Some(unready.clone());
    }
    let [ready, containers_ready] = ready;
    vec![
        condition("Initialized", true, life.begun),
        ready,
        containers_ready,
        condition("PodScheduled", true, life.begun),
    ]
}

fn condition(kind: &str, holds: bool, since: Timestamp) -> PodCondition {
    PodCondition {
        type_: kind.into(),
        status: if holds { "True" } else { "False" }.into(),
        last_transition_time: Some(Time(since)),
        ..PodCondition::default()
    }
}

fn container_status(pod: &Pod, container: &Container, life: &Life) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let id = format!(
        "sandbox://{}-{}-{}",
        pod.uid().unwrap_or_default(),
        container.name,
        life.restarts
    );
    let ended = matches!(life.stage, Stage::Ended { .. });
    let (state, last) = (state(life), life.last.as_ref().filter(|_| !ended));
    ContainerStatus {
        name: container.name.clone(),
        image_id: format!("sandbox://{image}"),
        image,
        container_id: Some(id).filter(|_| life.runs()),
        ready: life.ready,
        started: Some(life.runs()),
        restart_count: life.restarts,
        state: Some(state),
        last_state: Some(ContainerState {
            terminated: last.map(terminated),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

fn state(life: &Life) -> ContainerState {
    if let Stage::Running { since, .. } = life.stage {
        let running = Some(ContainerStateRunning {
            started_at: Some(Time(since)),
        });
        return ContainerState {
            running,
            ..ContainerState::default()
        };
    }
    if let (Stage::Ended { .. }, Some(last)) = (&life.stage, &life.last) {
        return ContainerState {
            terminated: Some(terminated(last)),
            ..ContainerState::default()
        };
    }
    let waiting = waiting(&life.stage).map(|(reason, message)| ContainerStateWaiting {
        reason: Some(reason.into()),
        message: Some(message).filter(|message| !message.is_empty()),
    });
    ContainerState {
        waiting,
        ..ContainerState::default()
    }
}

/// Why a container waits: the reason and message that a kubelet gives.
pub fn waiting(stage: &Stage) -> Option<(&'static str, String)> {
    match stage {
        Stage::New => Some(("ContainerCreating", String::new())),
        Stage::Blocked(missing) => Some(("CreateContainerConfigError", missing.clone())),
        Stage::Misunderstood(why) => Some(("InvalidBehaviour", why.clone())),
        Stage::PullFailed { .. } => Some((
            "ErrImagePull",
            "the sandbox was told that this image cannot be pulled".into(),
        )),
        Stage::PullBackOff { .. } => Some(("ImagePullBackOff", "Back-off pulling image".into())),
        Stage::BackOff { .. } => Some((
            "CrashLoopBackOff",
            "back-off restarting failed container".into(),
        )),
        Stage::Running { .. } | Stage::Ended { .. } => None,
    }
}

fn terminated(ending: &Ending) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ending.exit_code,
        reason: Some(ending.reason.into()),
        started_at: Some(Time(ending.started)),
        finished_at: Some(Time(ending.ended)),
        ..ContainerStateTerminated::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::drive::after;
    use crate::sandbox::node::behaviour::Behaviour;
    use std::time::Duration;

    fn pod(annotation: (&str, &str)) -> Pod {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "shop", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "shop:1"}]}
        }))
        .unwrap();
        pod.annotations_mut().insert(
            format!("sandbox.sluice.dev/{}", annotation.0),
            annotation.1.into(),
        );
        pod
    }

    /// Phase, readiness, waiting reason, terminated reason (now or last), restarts.
    fn seen(annotation: (&str, &str), second: f64) -> (String, bool, String, String, i32) {
        let pod = pod(annotation);
        let mut life = Life::new(Behaviour::parse(pod.annotations()), Timestamp::UNIX_EPOCH);
        life.advance(
            None,
            after(Timestamp::UNIX_EPOCH, Duration::from_secs_f64(second)),
        );
        let status = status(&pod, &life, "10.1.0.1");
        let container = status.container_statuses.unwrap().remove(0);
        let (state, last) = (container.state.unwrap(), container.last_state.unwrap());
        let reason = state
            .waiting
            .and_then(|waiting| waiting.reason)
            .unwrap_or_default();
        let ended = state
            .terminated
            .or(last.terminated)
            .and_then(|ended| ended.reason)
            .unwrap_or_default();
        (
            status.phase.unwrap(),
            container.ready,
            reason,
            ended,
            container.restart_count,
        )
    }

    #[test]
    fn statuses_read_like_a_kubelets() {
        let table = [
            (("start-after", "1s"), 0.0, ("Running", false, "", "", 0)),
            (("start-after", "1s"), 2.0, ("Running", true, "", "", 0)),
            (("fate", "crash"), 0.6, ("Running", false, "", "Error", 0)),
            (
                ("fate", "crash"),
                3.0,
                ("Running", false, "CrashLoopBackOff", "Error", 1),
            ),
            (
                ("fate", "oom"),
                3.0,
                ("Running", false, "CrashLoopBackOff", "OOMKilled", 1),
            ),
            (
                ("fate", "pull"),
                0.5,
                ("Pending", false, "ErrImagePull", "", 0),
            ),
            (
                ("fate", "pull"),
                3.0,
                ("Pending", false, "ImagePullBackOff", "", 0),
            ),
            (("fate", "hang"), 99.0, ("Running", false, "", "", 0)),
            (
                ("slow", "very"),
                99.0,
                ("Pending", false, "InvalidBehaviour", "", 0),
            ),
        ];
        for (annotation, second, (phase, ready, waiting, ended, restarts)) in table {
            let expected = (
                phase.to_owned(),
                ready,
                waiting.to_owned(),
                ended.to_owned(),
                restarts,
            );
            assert_eq!(
                seen(annotation, second),
                expected,
                "{annotation:?} at {second}"
            );
        }
    }
}
