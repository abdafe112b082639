//! Defaults of built-in kinds, as the real server stores them.
//!
//! They matter because templates are compared after defaulting: what the server fills in must
//! be the same whoever sends the object and in whatever form. Pods are in `pod_defaults`.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::pod_defaults::{pod_spec, set};

/// Fills in the defaults of a built-in kind. `old` is the stored object, if there is one.
pub fn fill(kind: &Kind, object: &mut Value, old: Option<&Value>) {
    if let Some(status) = super::hollow::status(kind) {
        set(object, "status", status);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => namespace(object),
        ("", "Pod") => pod(object),
        ("", "Service") => super::service::fill(object, old),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => {
            set(&mut object["spec"], "volumeMode", json!("Filesystem"));
        }
        ("apps", "Deployment") => deployment(&mut object["spec"]),
        ("apps", "ReplicaSet") => replicas_and_template(&mut object["spec"]),
        ("apps", "StatefulSet") => stateful_set(&mut object["spec"]),
        ("apps", "DaemonSet") => daemon_set(&mut object["spec"]),
        ("batch", "Job") => job(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(&mut object["spec"]),
        ("networking.k8s.io", "Ingress") => status_of_ingress(object),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            set(&mut object["spec"], "minReplicas", json!(1));
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let usual =
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
            set(&mut object["spec"], "metrics", usual);
        }
        ("discovery.k8s.io", "EndpointSlice") => ports(&mut object["ports"], true),
        ("admissionregistration.k8s.io", _) => policy(object),
        _ => {}
    }
}

/// What the server itself writes once it is settled who owns what.
pub fn assign(kind: &Kind, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => admitted(&mut object["spec"]),
        ("", "Service") => super::service::assign(object),
        ("", "Namespace") if !object["metadata"]["deletionTimestamp"].is_string() => {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        ("batch", "Job") => mark_job(object),
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    if !object["metadata"]["deletionTimestamp"].is_string() {
        object["status"]["phase"] = json!("Active");
    }
}

fn pod(object: &mut Value) {
    pod_spec(&mut object["spec"]);
    set(&mut object["spec"], "enableServiceLinks", json!(true));
    super::pod_defaults::requests_from_limits(&mut object["spec"]);
    set(&mut object["status"], "phase", json!("Pending"));
    if let Some(address) = object["status"].get("podIP").cloned() {
        set(&mut object["status"], "podIPs", json!([{"ip": address}]));
    }
    let quality = super::pod_defaults::quality(&object["spec"]);
    set(&mut object["status"], "qosClass", json!(quality));
}

/// What the server's own admission adds to a pod.
fn admitted(spec: &mut Value) {
    set(spec, "priority", json!(0));
    set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    set(spec, "tolerations", json!([]));
    for taint in ["not-ready", "unreachable"] {
        let key = format!("node.kubernetes.io/{taint}");
        if let Some(list) = spec["tolerations"].as_array_mut()
            && !list
                .iter()
                .any(|one| one["key"].is_null() || one["key"] == *key)
        {
            list.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

fn deployment(spec: &mut Value) {
    replicas_and_template(spec);
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    set(&mut spec["strategy"], "type", json!("RollingUpdate"));
    if spec["strategy"]["type"] == "RollingUpdate" {
        let rolling = &mut spec["strategy"]["rollingUpdate"];
        set(rolling, "maxUnavailable", json!("25%"));
        set(rolling, "maxSurge", json!("25%"));
    }
}

fn replicas_and_template(spec: &mut Value) {
    set(spec, "replicas", json!(1));
    pod_spec(&mut spec["template"]["spec"]);
}

fn stateful_set(spec: &mut Value) {
    replicas_and_template(spec);
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "revisionHistoryLimit", json!(10));
    let kept = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    set(spec, "persistentVolumeClaimRetentionPolicy", kept);
    set(&mut spec["updateStrategy"], "type", json!("RollingUpdate"));
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        set(
            &mut spec["updateStrategy"]["rollingUpdate"],
            "partition",
            json!(0),
        );
    }
}

fn daemon_set(spec: &mut Value) {
    pod_spec(&mut spec["template"]["spec"]);
    set(spec, "revisionHistoryLimit", json!(10));
    set(&mut spec["updateStrategy"], "type", json!("RollingUpdate"));
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        let rolling = &mut spec["updateStrategy"]["rollingUpdate"];
        set(rolling, "maxSurge", json!(0));
        set(rolling, "maxUnavailable", json!(1));
    }
}

fn job(object: &mut Value) {
    let spec = &mut object["spec"];
    pod_spec(&mut spec["template"]["spec"]);
    for (field, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ("manualSelector", json!(false)),
    ] {
        set(spec, field, value);
    }
}

/// The labels by which a Job knows its pods.
fn mark_job(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].is_object();
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    let spec = &mut object["spec"];
    if spec["manualSelector"] == false && uid.is_string() {
        if !labels {
            spec["template"]["metadata"]["labels"] = json!({});
        }
        let mark = &mut spec["template"]["metadata"]["labels"];
        for prefix in ["batch.kubernetes.io/", ""] {
            mark[format!("{prefix}controller-uid")] = uid.clone();
            mark[format!("{prefix}job-name")] = name.clone();
        }
        spec["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid;
    }
}

fn network_policy(spec: &mut Value) {
    let egress = spec["egress"]
        .as_array()
        .is_some_and(|rules| !rules.is_empty());
    let types = if egress {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    set(spec, "policyTypes", types);
    for direction in ["ingress", "egress"] {
        for rule in spec[direction].as_array_mut().into_iter().flatten() {
            ports(&mut rule["ports"], false);
            drop_null(rule, "ports");
        }
        drop_null(spec, direction);
    }
}

fn status_of_ingress(object: &mut Value) {
    set(&mut object["status"], "loadBalancer", json!({}));
}

fn ports(list: &mut Value, named: bool) {
    for port in list.as_array_mut().into_iter().flatten() {
        set(port, "protocol", json!("TCP"));
        if named {
            set(port, "name", json!(""));
        }
    }
}

fn policy(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default();
    if !kind.ends_with("AdmissionPolicy") {
        return;
    }
    let spec = &mut object["spec"];
    set(spec, "failurePolicy", json!("Fail"));
    if spec["matchConstraints"].is_object() {
        let constraints = &mut spec["matchConstraints"];
        set(constraints, "matchPolicy", json!("Equivalent"));
        set(constraints, "namespaceSelector", json!({}));
        set(constraints, "objectSelector", json!({}));
        for rule in constraints["resourceRules"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            set(rule, "scope", json!("*"));
        }
    }
}

fn secret(object: &mut Value) {
    set(object, "type", json!("Opaque"));
    let plain = object["stringData"].take();
    if let Some(map) = object.as_object_mut() {
        map.remove("stringData");
    }
    for (key, value) in plain.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        object["data"][key] = json!(base64(text.as_bytes()));
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    out
}

/// Indexing a value to write makes missing fields null; this takes them out again.
pub fn drop_null(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut()
        && map.get(field).is_some_and(Value::is_null)
    {
        map.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn a_deployment_gets_the_defaults_of_the_real_server() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let mut object = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:1", "ports": [{"containerPort": 80}]}]}}}});
        fill(&kind, &mut object, None);
        assert_eq!(
            object["spec"],
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"spec": {
                    "containers": [{
                        "name": "c", "image": "web:1", "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    }],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                    "terminationGracePeriodSeconds": 30,
                }},
            })
        );
        let once = object.clone();
        fill(&kind, &mut object, None);
        assert_eq!(object, once, "filling in twice changes nothing");
    }

    #[test]
    fn secrets_are_stored_in_base64() {
        let mut object = json!({"stringData": {"a": "hello", "b": "hi!"}});
        secret(&mut object);
        assert_eq!(
            object,
            json!({"type": "Opaque", "data": {"a": "aGVsbG8=", "b": "aGkh"}})
        );
    }
}
