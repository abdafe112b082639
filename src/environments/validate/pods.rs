//! Images, resources and probes of containers.

use serde_json::Value;

use super::network::selects;
use super::{Tell, list, of_kind, text};
use crate::kustomize::{image_name, image_version};

/// A pod template of a workload.
pub struct Pods<'a> {
    /// The workload.
    pub object: &'a Value,
    /// The template, with its metadata and spec.
    pub template: &'a Value,
    /// The template's path in it, ending in `.` unless empty.
    pub path: &'static str,
    /// Whether its pods stay, unlike a Job's.
    pub stays: bool,
}

/// Every pod template.
pub fn pods(objects: &[Value]) -> Vec<Pods<'_>> {
    let all = objects.iter().filter_map(|object| {
        let (path, stays) = match object["kind"].as_str()? {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => ("spec.template.", true),
            "Job" => ("spec.template.", false),
            "CronJob" => ("spec.jobTemplate.spec.template.", false),
            "Pod" => ("", true),
            "Rollout" if text(object, "/apiVersion").starts_with("argoproj.io/") => {
                ("spec.template.", true)
            }
            _ => return None,
        };
        let pointer = path.trim_end_matches('.').replace('.', "/");
        let pointer = if pointer.is_empty() {
            pointer
        } else {
            format!("/{pointer}")
        };
        let template = object.pointer(&pointer)?;
        Some(Pods {
            object,
            template,
            path,
            stays,
        })
    });
    all.collect()
}

impl<'a> Pods<'a> {
    /// Its containers with their paths: those that stay, and those that run first. Not what Istio's injection writes.
    pub fn containers(&self) -> Vec<(String, &'a Value, bool)> {
        let mut all = Vec::new();
        for (key, first) in [("containers", false), ("initContainers", true)] {
            let own = list(self.template, &format!("/spec/{key}")).iter();
            for container in own.filter(|container| !is_injected(container)) {
                let name = container["name"].as_str().unwrap_or("0");
                all.push((format!("{}spec.{key}[{name}]", self.path), container, first));
            }
        }
        all
    }

    /// Whether Istio's injection writes the container that answers: a gateway. Beside others it is their sidecar.
    pub fn are_injected(&self) -> bool {
        let own = list(self.template, "/spec/containers");
        !own.is_empty() && own.iter().all(is_injected)
    }

    /// The ports of all its containers, whoever writes them.
    pub fn ports(&self) -> impl Iterator<Item = &'a Value> {
        let template = self.template;
        let all = ["/spec/containers", "/spec/initContainers"].into_iter();
        let containers = all.flat_map(|key| list(template, key));
        containers.flat_map(|container| list(container, "/ports"))
    }
}

/// A gateway's or a sidecar's proxy, for which the manifest only holds the place.
fn is_injected(container: &Value) -> bool {
    container["name"] == "istio-proxy" && container["image"] == "auto"
}

pub(super) fn check(objects: &[Value], tell: &mut Tell<'_>) {
    for pods in pods(objects) {
        let served = of_kind(objects, "Service").any(|service| selects(service, &pods));
        for (path, container, first) in pods.containers() {
            image(pods.object, &path, container, tell);
            resources(pods.object, &path, container, tell);
            if pods.stays && !first {
                probes(pods.object, &path, container, served, tell);
            }
        }
    }
}

fn image(object: &Value, path: &str, container: &Value, tell: &mut Tell<'_>) {
    let path = format!("{path}.image");
    let image = container["image"].as_str().unwrap_or_default();
    let message = match (image_name(image), image_version(image)) {
        ("", _) => "found no image".to_owned(),
        // A variable that may bring the tag.
        (name, "")
            if name
                .rsplit('/')
                .next()
                .is_some_and(|end| end.contains("${")) =>
        {
            return;
        }
        (_, "") => format!("{image} has no tag, want one that says what runs"),
        (_, ":latest") => format!("{image} is another image every day, want a version"),
        _ => return,
    };
    tell.error("image-pinned", object, &path, message);
}

fn resources(object: &Value, path: &str, container: &Value, tell: &mut Tell<'_>) {
    let path = format!("{path}.resources");
    let wanted = ["requests/cpu", "requests/memory", "limits/memory"];
    let missing = wanted.into_iter().filter(|resource| {
        let found = container.pointer(&format!("/resources/{resource}"));
        // What is limited and not requested is requested as limited.
        let limited = container.pointer(&format!(
            "/resources/{}",
            resource.replace("requests", "limits")
        ));
        found.or(limited).is_none_or(Value::is_null)
    });
    let missing: Vec<String> = missing.map(|resource| resource.replace('/', ".")).collect();
    if !missing.is_empty() {
        let name = container["name"].as_str().unwrap_or_default();
        let message = format!("container {name} has no {}", missing.join(", "));
        tell.error("resources", object, &path, message);
    }
}

fn probes(object: &Value, path: &str, container: &Value, served: bool, tell: &mut Tell<'_>) {
    let name = container["name"].as_str().unwrap_or_default();
    let has = |probe: &str| container[probe].is_object();
    let listens = !list(container, "/ports").is_empty();
    if served && listens && !has("readinessProbe") {
        let message =
            format!("container {name} gets requests before it is ready: want a readinessProbe");
        tell.error("probes", object, path, message);
    }
    if !has("livenessProbe") {
        let message = format!("container {name} has no livenessProbe: if it hangs, it stays");
        tell.warning("probes", object, path, message);
    }
}
