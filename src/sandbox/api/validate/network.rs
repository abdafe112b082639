//! Services and Ingresses.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::refusal::Cause;
use super::{metadata, pod};

const NOT_A_PORT: &str = "must be between 1 and 65535, inclusive";

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_port(value: &Value) -> bool {
    value
        .as_i64()
        .is_some_and(|port| (1..=65535).contains(&port))
}

/// What is wrong with a Service.
pub fn service(spec: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let ports = list(&spec["ports"]);
    if ports.is_empty() && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let mut names = HashSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        service_port(port, &path, ports.len() > 1, causes);
        let name = port["name"].as_str().unwrap_or_default();
        if !name.is_empty() && !names.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &port["name"]));
        }
    }
    metadata::labels(&spec["selector"], "spec.selector", causes);
    let kind = &spec["type"];
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].map(|kind| json!(kind));
    if !kinds.contains(kind) {
        causes.push(Cause::unsupported("spec.type", kind, &kinds));
    }
    same_port_twice(ports, causes);
    if let Some(before) = old.map(|old| &old["clusterIP"])
        && before.is_string()
        && kind != "ExternalName"
        && spec["clusterIP"] != *before
    {
        let why = "may not change once set";
        let shown = json!([spec["clusterIP"]]);
        causes.push(Cause::invalid("spec.clusterIPs[0]", &shown, why));
    }
}

fn service_port(port: &Value, path: &str, among_others: bool, causes: &mut Vec<Cause>) {
    if among_others && port["name"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(format!("{path}.name"), ""));
    }
    if !is_port(&port["port"]) {
        causes.push(Cause::invalid(
            format!("{path}.port"),
            &port["port"],
            NOT_A_PORT,
        ));
    }
    let protocols = [json!("SCTP"), json!("TCP"), json!("UDP")];
    if !protocols.contains(&port["protocol"]) {
        let field = format!("{path}.protocol");
        causes.push(Cause::unsupported(field, &port["protocol"], &protocols));
    }
    let target = &port["targetPort"];
    if target.is_number() && !is_port(target) {
        causes.push(Cause::invalid(
            format!("{path}.targetPort"),
            target,
            NOT_A_PORT,
        ));
    }
    pod::port_name(target, format!("{path}.targetPort"), causes);
}

fn same_port_twice(ports: &[Value], causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (at, port) in ports.iter().enumerate() {
        let (number, protocol) = (&port["port"], &port["protocol"]);
        if !seen.insert(format!("{number} {protocol}")) {
            // Go shows the port without what does not count.
            let message = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            causes.push(Cause {
                reason: "FieldValueDuplicate",
                field: format!("spec.ports[{at}]"),
                message,
            });
        }
    }
}

/// What is wrong with an Ingress.
pub fn ingress(spec: &Value, causes: &mut Vec<Cause>) {
    let rules = list(&spec["rules"]);
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &json!([]), why));
    }
    for (r, rule) in rules.iter().enumerate() {
        host(&rule["host"], &format!("spec.rules[{r}].host"), causes);
        if !rule["http"].is_object() {
            continue;
        }
        let at = format!("spec.rules[{r}].http.paths");
        let paths = list(&rule["http"]["paths"]);
        if paths.is_empty() {
            causes.push(Cause::required(at.clone(), ""));
        }
        for (p, path) in paths.iter().enumerate() {
            ingress_path(path, &format!("{at}[{p}]"), causes);
        }
    }
}

fn host(host: &Value, field: &str, causes: &mut Vec<Cause>) {
    let Some(text) = host.as_str().filter(|text| !text.is_empty()) else {
        return;
    };
    if text.parse::<IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        causes.push(Cause::invalid(field, host, why));
    } else if !text.starts_with("*.") {
        metadata::subdomain(field, host, causes);
    }
}

fn ingress_path(path: &Value, at: &str, causes: &mut Vec<Cause>) {
    let kind = &path["pathType"];
    let allowed = ["Exact", "ImplementationSpecific", "Prefix"].map(|kind| json!(kind));
    if kind.is_null() {
        let why = "pathType must be specified";
        causes.push(Cause::required(format!("{at}.pathType"), why));
    } else if !allowed.contains(kind) {
        causes.push(Cause::unsupported(format!("{at}.pathType"), kind, &allowed));
    }
    if kind == "Exact" || kind == "Prefix" {
        let text = path["path"].as_str().unwrap_or_default();
        if !text.starts_with('/') {
            let why = "must be an absolute path";
            causes.push(Cause::invalid(format!("{at}.path"), &path["path"], why));
        }
        if text.contains("//") {
            let why = "must not contain '//'";
            causes.push(Cause::invalid(format!("{at}.path"), &path["path"], why));
        }
    }
    backend(&path["backend"], &format!("{at}.backend"), causes);
}

fn backend(backend: &Value, at: &str, causes: &mut Vec<Cause>) {
    let service = &backend["service"];
    if service.is_null() {
        if backend["resource"].is_null() {
            let why = "resource or service backend is required";
            causes.push(Cause::invalid(at, &json!(""), why));
        }
        return;
    }
    if service["name"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(format!("{at}.service.name"), ""));
    }
    let port = &service["port"];
    let named = port["name"].as_str().is_some_and(|name| !name.is_empty());
    let numbered = port["number"].as_i64().is_some_and(|number| number != 0);
    match (named, numbered) {
        (true, true) => {
            let why = "cannot set both port name & port number";
            causes.push(Cause::invalid(at, &json!(""), why));
        }
        (false, false) => causes.push(Cause::required(at, "port name or number is required")),
        _ => {}
    }
}
