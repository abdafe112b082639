//! Defaults of pods and pod templates.

use serde_json::{Value, json};

/// Sets a field that is absent.
pub fn set(object: &mut Value, field: &str, value: Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(map) = object.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value);
    }
}

/// Fills in a pod's or template's spec.
pub fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        set(spec, field, value);
    }
    for (one, other) in [
        ("serviceAccountName", "serviceAccount"),
        ("serviceAccount", "serviceAccountName"),
    ] {
        if let Some(account) = spec.get(one).filter(|account| account.is_string()).cloned() {
            set(spec, other, account);
        }
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for each in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            container(each, host_network);
        }
    }
    spec.get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .for_each(volume);
    for constraint in spec
        .get_mut("topologySpreadConstraints")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set(constraint, "whenUnsatisfiable", json!("DoNotSchedule"));
    }
}

fn container(container: &mut Value, host_network: bool) {
    if let Some(image) = container["image"].as_str() {
        let policy = pull_policy(image);
        set(container, "imagePullPolicy", json!(policy));
    }
    set(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set(port, "protocol", json!("TCP"));
        if host_network {
            let number = port["containerPort"].clone();
            set(port, "hostPort", number);
        }
    }
    for each in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = each.pointer_mut("/valueFrom/fieldRef") {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(kind) {
            probe(found);
        }
    }
    for hook in ["/lifecycle/preStop/httpGet", "/lifecycle/postStart/httpGet"] {
        if let Some(get) = container.pointer_mut(hook) {
            http_get(get);
        }
    }
}

fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = if name.contains('@') {
        Some("digest")
    } else {
        name.split_once(':').map(|(_, tag)| tag)
    };
    if tag.is_none_or(|tag| tag == "latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[field] == 0 {
            probe[field] = Value::Null;
        }
        set(probe, field, json!(value));
    }
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set(grpc, "service", json!(""));
    }
}

fn http_get(get: &mut Value) {
    if get["path"] == "" {
        get["path"] = json!("/");
    }
    set(get, "path", json!("/"));
    set(get, "scheme", json!("HTTP"));
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.len() <= 1) {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(found) = volume.get_mut(source) {
            set(found, "defaultMode", json!(420));
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        set(path, "type", json!(""));
    }
    for source in volume
        .pointer_mut("/projected/sources")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            set(token, "expirationSeconds", json!(3600));
        }
        downward_items(source.pointer_mut("/downwardAPI/items"));
    }
    downward_items(volume.pointer_mut("/downwardAPI/items"));
}

fn downward_items(items: Option<&mut Value>) {
    for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = item.get_mut("fieldRef") {
            set(field, "apiVersion", json!("v1"));
        }
    }
}

/// In pods (not in templates) requests default to limits.
pub fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let limits = container["resources"]["limits"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            for (name, limit) in limits {
                set(&mut container["resources"]["requests"], &name, limit);
            }
            super::defaults::drop_null(&mut container["resources"], "limits");
        }
    }
}

/// The pod's quality of service class.
pub fn quality(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = spec["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let resources = |kind: &str, container: &Value| {
        container["resources"][kind]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    if containers
        .iter()
        .all(|c| resources("limits", c).is_empty() && resources("requests", c).is_empty())
    {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|container| {
        let (limits, requests) = (
            resources("limits", container),
            resources("requests", container),
        );
        ["cpu", "memory"]
            .iter()
            .all(|name| limits.contains_key(*name) && limits.get(*name) == requests.get(*name))
    });
    if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, want) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("reg:5000/web", "Always"),
            ("reg:5000/a/web:2", "IfNotPresent"),
            ("web@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }

    #[test]
    fn probes_and_volumes_get_their_defaults() {
        let mut spec = json!({"containers": [{"name": "c", "readinessProbe": {"httpGet": {"port": 80}}}], "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]});
        pod_spec(&mut spec);
        assert_eq!(
            spec["containers"][0]["readinessProbe"],
            json!({
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                "successThreshold": 1, "failureThreshold": 3,
            })
        );
        assert_eq!(
            spec["volumes"],
            json!([{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}])
        );
    }
}
