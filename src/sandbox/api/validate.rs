//! Validation of built-in kinds: what people notice when they get it wrong.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::refusal::Cause;
use super::selector::Selector;

/// What is wrong with an object.
pub fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    name(kind, object, &mut causes);
    let spec = &object["spec"];
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod(spec, "spec", &mut causes),
        ("", "Service") => service(spec, &mut causes),
        ("apps", "Deployment") => {
            workload(spec, old, &mut causes);
            strategy(&spec["strategy"], &mut causes);
        }
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") => workload(spec, old, &mut causes),
        ("batch", "Job") => pod(&spec["template"]["spec"], "spec.template.spec", &mut causes),
        ("networking.k8s.io", "Ingress") => ingress(spec, &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object, &mut causes),
        _ => {}
    }
    causes
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn name(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let value = &object["metadata"]["name"];
    let text = value.as_str().unwrap_or_default();
    if kind.group == "rbac.authorization.k8s.io" {
        return;
    }
    let short = kind.is("", "Namespace") || kind.is("", "Service");
    if short && !is_label(text) {
        causes.push(Cause::invalid("metadata.name", value, LABEL));
    } else if text.len() > 253
        || !text
            .split('.')
            .all(|part| is_label(&part.chars().take(63).collect::<String>()))
    {
        causes.push(Cause::invalid("metadata.name", value, SUBDOMAIN));
    }
}

fn workload(spec: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    if spec["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas < 0)
    {
        causes.push(Cause::invalid(
            "spec.replicas",
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
    let selector = &spec["selector"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if selector["matchLabels"].is_null() && selector["matchExpressions"].is_null() {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "empty selector is invalid for deployment",
        ));
    } else if !Selector::from_object(selector)
        .matches_labels(&spec["template"]["metadata"]["labels"])
    {
        let labels = &spec["template"]["metadata"]["labels"];
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    if let Some(old) = old.filter(|old| old["spec"]["selector"] != *selector) {
        let _ = old;
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "field is immutable",
        ));
    }
    pod(&spec["template"]["spec"], "spec.template.spec", causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if !policy.is_null() && policy != "Always" {
        causes.push(Cause::unsupported(
            "spec.template.spec.restartPolicy",
            policy,
            &[json!("Always")],
        ));
    }
}

fn strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let kind = &strategy["type"];
    if kind != "RollingUpdate" && kind != "Recreate" {
        causes.push(Cause::unsupported(
            "spec.strategy.type",
            kind,
            &[json!("Recreate"), json!("RollingUpdate")],
        ));
    }
    if kind == "Recreate" && !strategy["rollingUpdate"].is_null() {
        let message = "Forbidden: may not be specified when strategy `type` is 'Recreate'".into();
        causes.push(Cause {
            reason: "FieldValueForbidden",
            field: "spec.strategy.rollingUpdate".into(),
            message,
        });
    }
    let zero = |value: &Value| *value == 0 || *value == "0%" || *value == "0";
    if zero(&strategy["rollingUpdate"]["maxSurge"])
        && zero(&strategy["rollingUpdate"]["maxUnavailable"])
    {
        let value = &strategy["rollingUpdate"]["maxUnavailable"];
        causes.push(Cause::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            value,
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}

fn pod(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let containers = spec["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = Vec::new();
    for (at, container) in containers.iter().enumerate() {
        let path = format!("{path}.containers[{at}]");
        let name = &container["name"];
        match name.as_str() {
            None | Some("") => causes.push(Cause::required(format!("{path}.name"), "")),
            Some(text) if !is_label(text) => {
                causes.push(Cause::invalid(format!("{path}.name"), name, LABEL));
            }
            Some(_) if names.contains(&name) => {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
            Some(_) => names.push(name),
        }
        if container["image"]
            .as_str()
            .is_none_or(|image| image.trim().is_empty())
        {
            causes.push(Cause::required(format!("{path}.image"), ""));
        }
        mounts(spec, container, &path, causes);
    }
}

fn mounts(spec: &Value, container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let volumes = spec["volumes"].as_array();
    for (at, mount) in container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let known = volumes
            .is_some_and(|volumes| volumes.iter().any(|volume| volume["name"] == mount["name"]));
        if !known {
            let message = format!("Not found: {}", mount["name"]);
            causes.push(Cause {
                reason: "FieldValueNotFound",
                field: format!("{path}.volumeMounts[{at}].name"),
                message,
            });
        }
    }
}

fn service(spec: &Value, causes: &mut Vec<Cause>) {
    let ports = spec["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        if !port["port"]
            .as_i64()
            .is_some_and(|port| (1..=65535).contains(&port))
        {
            causes.push(Cause::invalid(
                format!("spec.ports[{at}].port"),
                &port["port"],
                "must be between 1 and 65535, inclusive",
            ));
        }
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.ports[{at}].name"), ""));
        }
    }
}

fn ingress(spec: &Value, causes: &mut Vec<Cause>) {
    let rules = spec["rules"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &json!([]), why));
    }
    for (r, rule) in rules.iter().enumerate() {
        for (p, path) in rule["http"]["paths"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let at = format!("spec.rules[{r}].http.paths[{p}]");
            let kind = &path["pathType"];
            let allowed = [
                json!("Exact"),
                json!("ImplementationSpecific"),
                json!("Prefix"),
            ];
            if kind.is_null() {
                causes.push(Cause::required(
                    format!("{at}.pathType"),
                    "pathType must be specified",
                ));
            } else if !allowed.contains(kind) {
                causes.push(Cause::unsupported(format!("{at}.pathType"), kind, &allowed));
            }
            let absolute = path["path"]
                .as_str()
                .is_some_and(|path| path.starts_with('/'));
            if !absolute && (kind == "Exact" || kind == "Prefix") {
                causes.push(Cause::invalid(
                    format!("{at}.path"),
                    &path["path"],
                    "must be an absolute path",
                ));
            }
            if path["backend"]["service"].is_null() && path["backend"]["resource"].is_null() {
                causes.push(Cause::required(
                    format!("{at}.backend"),
                    "resource or service backend is required",
                ));
            }
        }
    }
}

fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let want = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or_default(),
        spec["group"].as_str().unwrap_or_default()
    );
    if object["metadata"]["name"] != want {
        causes.push(Cause::invalid(
            "metadata.name",
            &object["metadata"]["name"],
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if spec["scope"] != "Namespaced" && spec["scope"] != "Cluster" {
        causes.push(Cause::unsupported(
            "spec.scope",
            &spec["scope"],
            &[json!("Cluster"), json!("Namespaced")],
        ));
    }
    for (at, version) in spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            causes.push(Cause::required(
                format!("spec.versions[{at}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    fn told(object: &Value, old: Option<&Value>) -> Vec<String> {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        check(&kind, object, old)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    fn deployment(spec: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": spec})
    }

    #[test]
    fn what_is_wrong_with_a_deployment_is_said_as_kubernetes_says_it() {
        let containers = json!([{"name": "c", "image": "i"}]);
        let good = |selector: &str| {
            deployment(
                &json!({"selector": {"matchLabels": {"app": selector}}, "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}),
            )
        };
        assert_eq!(told(&good("web"), None), Vec::<String>::new());
        assert_eq!(
            told(&good("api"), None),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"
            ]
        );
        assert_eq!(
            told(&good("web"), Some(&good("old"))),
            [
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\"}}: field is immutable"
            ]
        );
        let bare = deployment(
            &json!({"strategy": {"type": "Recreate"}, "template": {"spec": {"containers": [{"name": "c"}]}}}),
        );
        assert_eq!(
            told(&bare, None),
            [
                "spec.selector: Required value",
                "spec.template.spec.containers[0].image: Required value"
            ]
        );
    }
}
