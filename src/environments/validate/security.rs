//! The restricted Pod Security Standard.
//!
//! Source: the Kubernetes documentation, "Pod Security Standards", profiles Baseline and
//! Restricted. Windows pods are not told apart.

use serde_json::Value;

use super::pods::{Pods, pods};
use super::{Tell, list};

const RULE: &str = "pod-security";
/// Volumes that the profile allows.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Sysctls that the profile allows.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

pub(super) fn check(objects: &[Value], tell: &mut Tell<'_>) {
    for pods in pods(objects) {
        pod(&pods, tell);
        for (path, container, _) in pods.containers() {
            of_container(&pods, &path, container, tell);
        }
    }
}

fn pod(pods: &Pods<'_>, tell: &mut Tell<'_>) {
    let spec = &pods.template["spec"];
    let path = |field: &str| format!("{}spec.{field}", pods.path);
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            tell.error(
                RULE,
                pods.object,
                &path(field),
                format!("{field} must not be set"),
            );
        }
    }
    for volume in list(spec, "/volumes") {
        let kind = volume
            .as_object()
            .and_then(|volume| volume.keys().find(|key| *key != "name"));
        if let Some(kind) = kind.filter(|kind| !VOLUMES.contains(&kind.as_str())) {
            let name = volume["name"].as_str().unwrap_or_default();
            let message = format!("volume {name} is a {kind}, which pods must not have");
            tell.error(
                RULE,
                pods.object,
                &path(&format!("volumes[{name}]")),
                message,
            );
        }
    }
    for sysctl in list(spec, "/securityContext/sysctls") {
        let name = sysctl["name"].as_str().unwrap_or_default();
        if !SYSCTLS.contains(&name) {
            let message = format!("sysctl {name} is not safe");
            tell.error(RULE, pods.object, &path("securityContext.sysctls"), message);
        }
    }
}

/// What a container lacks or must not have.
fn of_container(pods: &Pods<'_>, path: &str, container: &Value, tell: &mut Tell<'_>) {
    let of_pod = &pods.template["spec"]["securityContext"];
    let own = &container["securityContext"];
    let either = |field: &str| {
        if own[field].is_null() {
            &of_pod[field]
        } else {
            &own[field]
        }
    };
    let mut missing = Vec::new();
    if either("runAsNonRoot") != true {
        missing.push("runAsNonRoot: true");
    }
    if own["allowPrivilegeEscalation"] != false {
        missing.push("allowPrivilegeEscalation: false");
    }
    if !list(own, "/capabilities/drop")
        .iter()
        .any(|name| name == "ALL")
    {
        missing.push("capabilities.drop: [ALL]");
    }
    let seccomp = either("seccompProfile")["type"].as_str();
    if !matches!(seccomp, Some("RuntimeDefault" | "Localhost")) {
        missing.push("seccompProfile.type: RuntimeDefault");
    }
    let name = container["name"].as_str().unwrap_or_default();
    let place = format!("{path}.securityContext");
    if !missing.is_empty() {
        let message = format!("container {name} lacks {}", missing.join(", "));
        tell.error(RULE, pods.object, &place, message);
    }
    for problem in forbidden(own, either("runAsUser")) {
        tell.error(
            RULE,
            pods.object,
            &place,
            format!("container {name}: {problem}"),
        );
    }
    for port in list(container, "/ports") {
        if port["hostPort"].as_i64().is_some_and(|port| port != 0) {
            let message = format!("container {name} takes a port of its node");
            tell.error(RULE, pods.object, &format!("{path}.ports"), message);
        }
    }
}

fn forbidden(own: &Value, user: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if own["privileged"] == true {
        all.push("privileged must not be set".to_owned());
    }
    if *user == 0 {
        all.push("runAsUser must not be 0".to_owned());
    }
    if own["procMount"]
        .as_str()
        .is_some_and(|mount| mount != "Default")
    {
        all.push("procMount must be Default".to_owned());
    }
    let added = list(own, "/capabilities/add")
        .iter()
        .filter_map(Value::as_str);
    let added: Vec<&str> = added.filter(|name| *name != "NET_BIND_SERVICE").collect();
    if !added.is_empty() {
        all.push(format!(
            "capabilities {} must not be added",
            added.join(", ")
        ));
    }
    all
}
