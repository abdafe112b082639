//! Pods and pod templates: containers, ports, volumes, probes, resources.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::quantity;
use super::super::refusal::Cause;
use super::metadata::label;

const PORT_NAME: &str = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
const NOT_A_PORT: &str = "must be between 1 and 65535, inclusive";
const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What is wrong with a pod: little of it may change.
pub fn object(now: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    spec(now, "spec", &[], causes);
    let policy = &now["restartPolicy"];
    let policies = [json!("Always"), json!("OnFailure"), json!("Never")];
    if !policy.is_null() && !policies.contains(policy) {
        causes.push(Cause::unsupported("spec.restartPolicy", policy, &policies));
    }
    if old.is_some_and(|old| fixed(old) != fixed(now)) {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            field: "spec".into(),
            message: format!("Forbidden: {FIXED}"),
        });
    }
}

/// The part of a pod that stays as it was made; the node comes by a binding.
fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(map) = spec.as_object_mut() else {
        return spec;
    };
    for field in [
        "nodeName",
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
    ] {
        map.remove(field);
    }
    for list in ["containers", "initContainers"] {
        for container in map
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            container["image"] = Value::Null;
        }
    }
    spec
}

/// What is wrong with a pod's or a template's spec; each claim becomes a volume of its name.
pub fn spec(spec: &Value, path: &str, claims: &[Value], causes: &mut Vec<Cause>) {
    volumes(&spec["volumes"], path, causes);
    let containers = list(&spec["containers"]);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = HashSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = format!("{path}.containers[{at}]");
        let name = &container["name"];
        match name.as_str() {
            None | Some("") => causes.push(Cause::required(format!("{path}.name"), "")),
            Some(text) if !names.insert(text) => {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
            Some(_) => label(format!("{path}.name"), name, causes),
        }
        let image = container["image"].as_str();
        if image.is_none_or(|image| image.trim().is_empty()) {
            causes.push(Cause::required(format!("{path}.image"), ""));
        }
        parts(container, &path, causes);
        mounts((spec, claims), container, &path, causes);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn volumes(volumes: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut names = HashSet::new();
    for (at, volume) in list(volumes).iter().enumerate() {
        if !names.insert(volume["name"].as_str()) {
            let field = format!("{path}.volumes[{at}].name");
            causes.push(Cause::duplicate(field, &volume["name"]));
        }
    }
}

fn parts(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    ports(container, path, causes);
    for (at, each) in list(&container["env"]).iter().enumerate() {
        if each["name"].as_str().is_some_and(|name| name.contains('=')) {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(Cause::invalid(
                format!("{path}.env[{at}].name"),
                &each["name"],
                why,
            ));
        }
    }
    let policy = &container["imagePullPolicy"];
    let policies = [json!("Always"), json!("IfNotPresent"), json!("Never")];
    if !policy.is_null() && !policies.contains(policy) {
        let field = format!("{path}.imagePullPolicy");
        causes.push(Cause::unsupported(field, policy, &policies));
    }
    resources(&container["resources"], path, causes);
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[kind].is_object() {
            probe(&container[kind], &format!("{path}.{kind}"), causes);
        }
    }
}

fn ports(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (at, port) in list(&container["ports"]).iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        port_name(&port["name"], format!("{path}.name"), causes);
        let number = &port["containerPort"];
        match number.as_i64() {
            None | Some(0) => causes.push(Cause::required(format!("{path}.containerPort"), "")),
            Some(1..=65535) => {}
            Some(_) => {
                causes.push(Cause::invalid(
                    format!("{path}.containerPort"),
                    number,
                    NOT_A_PORT,
                ));
            }
        }
    }
}

/// A name of a port, where there is one.
pub fn port_name(name: &Value, field: String, causes: &mut Vec<Cause>) {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.as_str().is_some_and(|name| !name.chars().all(good)) {
        causes.push(Cause::invalid(field, name, PORT_NAME));
    }
}

fn resources(resources: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (name, wanted) in resources["requests"].as_object().into_iter().flatten() {
        let limit = resources["limits"][name].as_str();
        let amount = |text: Option<&str>| text.and_then(quantity::amount);
        if let (Some(want), Some(most), Some(limit)) =
            (amount(wanted.as_str()), amount(limit), limit)
            && want > most
        {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(
                format!("{path}.resources.requests"),
                wanted,
                &why,
            ));
        }
    }
}

fn probe(probe: &Value, path: &str, causes: &mut Vec<Cause>) {
    let handlers = ["exec", "grpc", "httpGet", "tcpSocket"];
    let Some(handler) = handlers.iter().find(|name| probe[**name].is_object()) else {
        return causes.push(Cause::required(path, "must specify a handler type"));
    };
    let port = &probe[*handler]["port"];
    if *handler != "exec" && (port.is_null() || *port == 0) {
        let field = format!("{path}.{handler}.port");
        causes.push(Cause::invalid(field, &json!(0), NOT_A_PORT));
    }
}

fn mounts(
    (spec, claims): (&Value, &[Value]),
    container: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let volumes = list(&spec["volumes"]).iter().map(|volume| &volume["name"]);
    let claims = claims.iter().map(|claim| &claim["metadata"]["name"]);
    let known: Vec<&Value> = volumes.chain(claims).collect();
    for (at, mount) in list(&container["volumeMounts"]).iter().enumerate() {
        if !known.contains(&&mount["name"]) {
            let message = format!("Not found: {}", mount["name"]);
            causes.push(Cause {
                reason: "FieldValueNotFound",
                field: format!("{path}.volumeMounts[{at}].name"),
                message,
            });
        }
    }
}
