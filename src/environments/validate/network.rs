//! Whether Services, Ingresses, budgets, policies and Rollouts name what is there.

use serde_json::{Map, Value};

use super::filled::{by_others, is_variable, undecided};
use super::others::may_make_pods;
use super::pods::{Pods, pods};
use super::tell::{Found, Tell};
use super::{Level, list, namespace, of_kind, place_of, text};

/// What is named and not there; nothing of that where there may be more objects than these.
pub(super) fn check(objects: &[Value], is_open: bool, tell: &mut Tell<'_>) {
    let pods = pods(objects);
    if !is_open {
        selectors(objects, &pods, tell);
    }
    for ingress in of_kind(objects, "Ingress") {
        of_ingress(ingress, (objects, is_open), tell);
    }
    for route in of_kind(objects, "HTTPRoute") {
        of_route(route, (objects, is_open), tell);
    }
    for rollout in of_kind(objects, "Rollout") {
        if text(rollout, "/apiVersion").starts_with("sluice.dev/") {
            of_rollout(rollout, (objects, is_open), &pods, tell);
        }
    }
}

/// Whether Services, budgets and policies select pods.
fn selectors(objects: &[Value], pods: &[Pods<'_>], tell: &mut Tell<'_>) {
    let more = objects.iter().find(|object| may_make_pods(object));
    for service in of_kind(objects, "Service") {
        of_service(service, (pods, more), tell);
    }
    for (kind, path) in [
        ("PodDisruptionBudget", "spec.selector"),
        ("NetworkPolicy", "spec.podSelector"),
    ] {
        for object in of_kind(objects, kind) {
            let pointer = format!("/{}", path.replace('.', "/"));
            let selector = object.pointer(&pointer);
            let labels = selector.and_then(|selector| selector["matchLabels"].as_object());
            let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
                continue;
            };
            let same = |pods: &&Pods<'_>| namespace(pods.object) == namespace(object);
            if !pods.iter().filter(same).any(|pods| matches(labels, pods)) {
                let found = Found {
                    rule: "selectors",
                    level: Level::Warning,
                    object,
                    path,
                    message: format!("it selects no pod of this folder: {}", told(labels)),
                };
                selects_none(labels, pods, found, tell);
            }
        }
    }
}

/// Whether a Service selects the pods of a template.
pub(super) fn selects(service: &Value, pods: &Pods<'_>) -> bool {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let selector = selector.filter(|selector| !selector.is_empty());
    namespace(service) == namespace(pods.object)
        && selector.is_some_and(|labels| matches(labels, pods))
}

fn matches(labels: &Map<String, Value>, pods: &Pods<'_>) -> bool {
    let own = &pods.template["metadata"]["labels"];
    labels
        .iter()
        .all(|(key, value)| own.get(key) == Some(value))
}

fn told(labels: &Map<String, Value>) -> String {
    let pairs = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Tells what was found where `labels` select no pod, unless that hangs on a value that is not known yet.
fn selects_none(
    labels: &Map<String, Value>,
    all: &[Pods<'_>],
    found: Found<'_>,
    tell: &mut Tell<'_>,
) {
    let (object, path) = (found.object, found.path);
    let mut same = all
        .iter()
        .filter(|pods| namespace(pods.object) == namespace(object));
    let Some(what) = same.find_map(|pods| may_select((object, labels), pods)) else {
        return tell.certain(found);
    };
    let message = format!(
        "whether {path} selects pods of this folder hangs on {what}, filled in when it is deployed: it was not looked at"
    );
    tell.certain(Found {
        rule: "not-checked",
        level: Level::Warning,
        message,
        ..found
    });
}

/// On what it hangs whether labels select the pods of a template, if it is not known yet.
fn may_select((object, wanted): (&Value, &Map<String, Value>), pods: &Pods<'_>) -> Option<String> {
    let labels = &pods.template["metadata"]["labels"];
    undecided((object, wanted), (pods.object, labels))
}

fn of_service(service: &Value, (all, more): (&[Pods<'_>], Option<&Value>), tell: &mut Tell<'_>) {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
        return;
    };
    let selected: Vec<&Pods<'_>> = all.iter().filter(|pods| selects(service, pods)).collect();
    if selected.is_empty() {
        let message = format!("it selects no pod of this folder: {}", told(selector));
        let (level, message) = match more {
            None => (Level::Error, message),
            Some(more) => {
                let message = format!("{message}; {} may make them", super::named(more));
                (Level::Warning, message)
            }
        };
        let found = Found {
            rule: "service",
            level,
            object: service,
            path: "spec.selector",
            message,
        };
        selects_none(selector, all, found, tell);
        return;
    }
    // A Job often has the labels too, and answers nobody.
    let staying: Vec<&Pods<'_>> = selected.iter().copied().filter(|pods| pods.stays).collect();
    let asked = if staying.is_empty() {
        selected
    } else {
        staying
    };
    for (at, port) in list(service, "/spec/ports").iter().enumerate() {
        let target = if port["targetPort"].is_null() {
            &port["port"]
        } else {
            &port["targetPort"]
        };
        if asked.iter().any(|pods| offers(pods, target)) {
            continue;
        }
        let names: Vec<String> = asked.iter().map(|pods| super::named(pods.object)).collect();
        let path = format!("spec.ports[{at}]");
        let message = format!(
            "{} has no container port {}",
            names.join(", "),
            plain(target)
        );
        if target.is_string() {
            tell.error("service", service, &path, message);
        } else {
            tell.warning("service", service, &path, message);
        }
    }
}

fn offers(pods: &Pods<'_>, target: &Value) -> bool {
    let mut ports = pods.ports();
    let may_be = |port: &Value| {
        let text = port.as_str();
        text.is_some_and(|text| is_variable(pods.object, text))
    };
    let is_it = |port: &Value| port == target || may_be(port);
    pods.are_injected() || ports.any(|port| is_it(&port["name"]) || is_it(&port["containerPort"]))
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The backends of an Ingress, with their paths.
fn backends(ingress: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    if let Some(backend) = ingress.pointer("/spec/defaultBackend/service") {
        all.push(("spec.defaultBackend".to_owned(), backend));
    }
    for (at, rule) in list(ingress, "/spec/rules").iter().enumerate() {
        for (below, path) in list(rule, "/http/paths").iter().enumerate() {
            if let Some(backend) = path.pointer("/backend/service") {
                all.push((
                    format!("spec.rules[{at}].http.paths[{below}].backend"),
                    backend,
                ));
            }
        }
    }
    all
}

fn of_ingress(ingress: &Value, (objects, is_open): (&[Value], bool), tell: &mut Tell<'_>) {
    for (path, backend) in backends(ingress) {
        let name = text(backend, "/name");
        // AWS' controller: what happens stands in an annotation `actions.NAME`, and there need be no Service.
        if text(backend, "/port/name") == "use-annotation" {
            continue;
        }
        let Some(service) = find(objects, "Service", name, ingress) else {
            if !is_open {
                let message = format!("there is no Service {name} in this folder");
                let path = format!("{path}.service.name");
                tell.error("ingress", ingress, &path, message);
            }
            continue;
        };
        let (key, wanted) = match &backend["port"]["name"] {
            Value::Null => ("port", &backend["port"]["number"]),
            name => ("name", name),
        };
        if !has_port(service, key, wanted) {
            let message = format!("Service {name} has no port {}", plain(wanted));
            let path = format!("{path}.service.port");
            tell.error("ingress", ingress, &path, message);
        }
    }
}

fn of_route(route: &Value, (objects, is_open): (&[Value], bool), tell: &mut Tell<'_>) {
    for (at, rule) in list(route, "/spec/rules").iter().enumerate() {
        for (below, backend) in list(rule, "/backendRefs").iter().enumerate() {
            let service = matches!(text(backend, "/kind"), "" | "Service");
            let there = text(backend, "/namespace");
            if !service || !(there.is_empty() || place_of(there) == namespace(route)) {
                continue;
            }
            let (name, port) = (text(backend, "/name"), &backend["port"]);
            let (field, message) = match find(objects, "Service", name, route) {
                None if is_open => continue,
                None => ("name", format!("there is no Service {name} in this folder")),
                Some(service) if !has_port(service, "port", port) => (
                    "port",
                    format!("Service {name} has no port {}", plain(port)),
                ),
                Some(_) => continue,
            };
            let path = format!("spec.rules[{at}].backendRefs[{below}].{field}");
            tell.error("ingress", route, &path, message);
        }
    }
}

fn has_port(service: &Value, key: &str, wanted: &Value) -> bool {
    // What leads to a host outside has the ports of that host.
    if text(service, "/spec/type") == "ExternalName" && list(service, "/spec/ports").is_empty() {
        return true;
    }
    let mut ports = list(service, "/spec/ports").iter();
    // One that is filled in later may be this.
    let may_be = |port: &Value| port.as_str().is_some_and(|port| is_variable(service, port));
    ports.any(|port| port[key] == *wanted || may_be(&port[key]))
}

fn find<'a>(objects: &'a [Value], kind: &'a str, name: &str, beside: &Value) -> Option<&'a Value> {
    of_kind(objects, kind).find(|object| {
        text(object, "/metadata/name") == name && namespace(object) == namespace(beside)
    })
}

fn may_lead(service: &Value, target: &Pods<'_>) -> bool {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    selects(service, target)
        || selector.is_some_and(|labels| may_select((service, labels), target).is_some())
}

fn of_rollout(
    rollout: &Value,
    (objects, is_open): (&[Value], bool),
    all: &[Pods<'_>],
    tell: &mut Tell<'_>,
) {
    let name = text(rollout, "/spec/target/name");
    let Some(target) = all.iter().find(|pods| {
        pods.object["kind"] == "Deployment"
            && text(pods.object, "/metadata/name") == name
            && namespace(pods.object) == namespace(rollout)
    }) else {
        if !is_open {
            let message = format!("there is no Deployment {name} in this folder");
            tell.error("rollout", rollout, "spec.target", message);
        }
        return;
    };
    let splits = rollout.pointer("/spec/strategy/rolling").is_none();
    if splits && text(target.object, "/spec/strategy/type") == "Recreate" {
        let message = format!("Deployment {name} is recreated, so no canary can serve beside it");
        tell.error("rollout", rollout, "spec.target", message);
    }
    let route = text(rollout, "/spec/route/ingressNginx/ingress");
    if route.is_empty() || is_open {
        return;
    }
    let path = "spec.route.ingressNginx.ingress";
    let Some(ingress) = find(objects, "Ingress", route, rollout) else {
        let message = format!("there is no Ingress {route} in this folder");
        tell.error("rollout", rollout, path, message);
        return;
    };
    // Where a variable stands for the name or the labels, it may.
    let leads = backends(ingress).into_iter().any(|(path, backend)| {
        let service = find(objects, "Service", text(backend, "/name"), rollout);
        by_others("ingress", ingress, &format!("{path}.service.name")).is_some()
            || service.is_some_and(|service| may_lead(service, target))
    });
    if !leads {
        let message =
            format!("Ingress {route} leads to no Service that selects the pods of {name}");
        tell.error("rollout", rollout, path, message);
    }
}
