//! Columns and cells of built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::kinds::Kind;
use super::{age, pods};

/// The columns' names; a star marks those of wide tables.
pub fn columns(kind: &Kind) -> &'static str {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => "Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*",
        ("", "Service") => "Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*",
        ("", "ConfigMap") => "Name,Data,Age",
        ("", "Secret") => "Name,Type,Data,Age",
        ("", "Namespace") => "Name,Status,Age",
        ("", "Node") => "Name,Status,Roles,Age,Version",
        ("" | "events.k8s.io", "Event") => {
            "Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*"
        }
        ("", "Endpoints") => "Name,Endpoints,Age",
        ("apps", "Deployment") => {
            "Name,Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*"
        }
        ("apps", "ReplicaSet") => "Name,Desired,Current,Ready,Age,Containers*,Images*,Selector*",
        ("apps", "StatefulSet") => "Name,Ready,Age,Containers*,Images*",
        ("apps", "DaemonSet") => "Name,Desired,Current,Ready,Up-to-date,Available,Age",
        ("apps", "ControllerRevision") => "Name,Controller,Revision,Age",
        ("batch", "Job") => "Name,Status,Completions,Age",
        ("networking.k8s.io", "Ingress") => "Name,Class,Hosts,Address,Ports,Age",
        ("networking.k8s.io", "IngressClass") => "Name,Controller,Age",
        ("networking.k8s.io", "NetworkPolicy") => "Name,Pod-Selector,Age",
        ("discovery.k8s.io", "EndpointSlice") => "Name,AddressType,Ports,Endpoints,Age",
        ("autoscaling", _) => "Name,Reference,MinPods,MaxPods,Replicas,Age",
        ("policy", "PodDisruptionBudget") => {
            "Name,Min Available,Max Unavailable,Allowed Disruptions,Age"
        }
        ("coordination.k8s.io", _) => "Name,Holder,Age",
        ("apiextensions.k8s.io", _) => "Name,Created At",
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            "Name,Mutations,ParamKind,Age"
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            "Name,Validations,ParamKind,Age"
        }
        ("admissionregistration.k8s.io", kind) if kind.ends_with("Binding") => {
            "Name,PolicyName,ParamRef,Age"
        }
        _ => "Name,Age",
    }
}

/// The type of a column: most are text.
pub fn type_of(kind: &Kind, column: &str) -> &'static str {
    match (kind.kind.as_str(), column) {
        ("ReplicaSet", "Desired" | "Current" | "Ready")
        | ("PodDisruptionBudget", "Allowed Disruptions")
        | ("MutatingAdmissionPolicy", "Mutations")
        | ("ValidatingAdmissionPolicy", "Validations") => "integer",
        ("CustomResourceDefinition", "Created At") => "date",
        _ => "string",
    }
}

/// The cells of an object, one for each column.
pub fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    columns(kind)
        .split(',')
        .map(|column| cell(kind, column.trim_end_matches('*'), object, now))
        .collect()
}

fn cell(kind: &Kind, column: &str, object: &Value, now: Timestamp) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    match column {
        "Name" => return object["metadata"]["name"].clone(),
        "Age" => return json!(age::since(&object["metadata"]["creationTimestamp"], now)),
        "Images" => return json!(containers(object, "image")),
        "Containers" => return json!(containers(object, "name")),
        "Selector" => return json!(selector(&spec["selector"])),
        _ => {}
    }
    match kind.kind.as_str() {
        "Pod" => pod(column, object, now),
        "Service" => service(column, spec),
        "Ingress" => ingress(column, object),
        "Event" if column == "Count" => json!(object["count"].as_i64().unwrap_or(1)),
        "Event" => event(column, object, now),
        "Node" => node(column, object),
        "EndpointSlice" => slice(column, object),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            workload(&kind.kind, column, spec, status)
        }
        _ => other(column, object),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn text<'a>(value: &'a Value, absent: &'a str) -> &'a str {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or(absent)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn joined(list: Vec<String>, absent: &str) -> String {
    let text = list.into_iter().reduce(|all, one| all + "," + &one);
    text.unwrap_or_else(|| absent.to_owned())
}

fn containers(object: &Value, field: &str) -> String {
    let list = items(&object["spec"]["template"]["spec"]["containers"]);
    joined(list.map(|c| text(&c[field], "").to_owned()).collect(), "")
}

fn selector(selector: &Value) -> String {
    let labels = selector
        .get("matchLabels")
        .unwrap_or(selector)
        .as_object()
        .into_iter()
        .flatten();
    joined(
        labels
            .map(|(key, value)| format!("{key}={}", text(value, "")))
            .collect(),
        "<none>",
    )
}

fn pod(column: &str, pod: &Value, now: Timestamp) -> Value {
    match column {
        "Ready" => json!(pods::ready(pod)),
        "Status" => json!(pods::status(pod)),
        "Restarts" => json!(pods::restarts(pod, now)),
        "IP" => json!(text(&pod["status"]["podIP"], "<none>")),
        "Node" => json!(text(&pod["spec"]["nodeName"], "<none>")),
        "Nominated Node" => json!(text(&pod["status"]["nominatedNodeName"], "<none>")),
        _ => json!("<none>"),
    }
}

fn workload(kind: &str, column: &str, spec: &Value, status: &Value) -> Value {
    let ready = number(
        &status[if kind == "DaemonSet" {
            "numberReady"
        } else {
            "readyReplicas"
        }],
    );
    json!(match column {
        "Ready" if matches!(kind, "Deployment" | "StatefulSet") =>
            return json!(format!("{ready}/{}", number(&spec["replicas"]))),
        "Ready" => ready,
        "Up-to-date" if kind == "Deployment" => number(&status["updatedReplicas"]),
        "Up-to-date" => number(&status["updatedNumberScheduled"]),
        "Available" if kind == "Deployment" => number(&status["availableReplicas"]),
        "Available" => number(&status["numberAvailable"]),
        "Desired" if kind == "DaemonSet" => number(&status["desiredNumberScheduled"]),
        "Desired" => number(&spec["replicas"]),
        "Current" if kind == "DaemonSet" => number(&status["currentNumberScheduled"]),
        _ => number(&status["replicas"]),
    })
}

fn service(column: &str, spec: &Value) -> Value {
    json!(match column {
        "Type" => text(&spec["type"], "ClusterIP").to_owned(),
        "Cluster-IP" => text(&spec["clusterIP"], "<none>").to_owned(),
        "External-IP" => text(
            &spec["externalName"],
            if spec["type"] == "LoadBalancer" {
                "<pending>"
            } else {
                "<none>"
            }
        )
        .to_owned(),
        _ => {
            let one = |port: &Value| match port["nodePort"].as_i64() {
                Some(node) => format!("{}:{node}/{}", port["port"], text(&port["protocol"], "TCP")),
                None => format!("{}/{}", port["port"], text(&port["protocol"], "TCP")),
            };
            joined(items(&spec["ports"]).map(one).collect(), "<none>")
        }
    })
}

fn ingress(column: &str, object: &Value) -> Value {
    let spec = &object["spec"];
    json!(match column {
        "Class" => text(&spec["ingressClassName"], "<none>").to_owned(),
        "Hosts" => hosts(spec),
        "Address" => {
            let points = items(&object["status"]["loadBalancer"]["ingress"]);
            joined(
                points
                    .map(|point| text(&point["ip"], text(&point["hostname"], "")).to_owned())
                    .collect(),
                "",
            )
        }
        _ if items(&spec["tls"]).next().is_some() => "80, 443".to_owned(),
        _ => "80".to_owned(),
    })
}

/// The first three hosts, and how many more there are.
fn hosts(spec: &Value) -> String {
    let named = items(&spec["rules"]).filter_map(|rule| rule["host"].as_str());
    let named: Vec<String> = named
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    let more = named.len().saturating_sub(3);
    let shown = joined(named.into_iter().take(3).collect(), "*");
    if more == 0 {
        return shown;
    }
    format!("{shown} + {more} more...")
}

fn event(column: &str, event: &Value, now: Timestamp) -> Value {
    let involved = &event["involvedObject"];
    json!(match column {
        "Last Seen" => {
            let times = [
                &event["series"]["lastObservedTime"],
                &event["lastTimestamp"],
                &event["eventTime"],
                &event["metadata"]["creationTimestamp"],
            ];
            let last = times
                .into_iter()
                .find(|time| time.is_string())
                .unwrap_or(&Value::Null);
            age::since(last, now)
        }
        "Type" => text(&event["type"], "").to_owned(),
        "Reason" => text(&event["reason"], "").to_owned(),
        "Subobject" => text(&involved["fieldPath"], "").to_owned(),
        "Source" => text(&event["source"]["component"], "").to_owned(),
        "First Seen" => {
            let first = &event["firstTimestamp"];
            let first = if first.is_string() {
                first
            } else {
                &event["eventTime"]
            };
            age::since(first, now)
        }
        "Object" => format!(
            "{}/{}",
            text(&involved["kind"], "").to_lowercase(),
            text(&involved["name"], "")
        ),
        "Message" => text(&event["message"], "").trim().to_owned(),
        _ => event["count"]
            .as_i64()
            .or(event["series"]["count"].as_i64())
            .unwrap_or(1)
            .to_string(),
    })
}

fn node(column: &str, node: &Value) -> Value {
    let ready = items(&node["status"]["conditions"]).find(|c| c["type"] == "Ready");
    json!(match column {
        "Status" if ready.is_some_and(|c| c["status"] == "True") => "Ready",
        "Status" if ready.is_some() => "NotReady",
        "Status" => "Unknown",
        "Roles" => "<none>",
        _ => text(&node["status"]["nodeInfo"]["kubeletVersion"], ""),
    })
}

fn slice(column: &str, slice: &Value) -> Value {
    json!(match column {
        "AddressType" => text(&slice["addressType"], "").to_owned(),
        "Ports" => joined(
            items(&slice["ports"])
                .map(|port| port["port"].to_string())
                .collect(),
            "<unset>"
        ),
        _ => {
            let addresses =
                items(&slice["endpoints"]).flat_map(|endpoint| items(&endpoint["addresses"]));
            joined(
                addresses
                    .map(|address| text(address, "").to_owned())
                    .collect(),
                "<unset>",
            )
        }
    })
}

fn count(value: &Value) -> usize {
    value.as_object().map_or_else(
        || value.as_array().map_or(0, Vec::len),
        serde_json::Map::len,
    )
}

fn other(column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    match column {
        "Data" => json!(count(&object["data"]) + count(&object["binaryData"])),
        "Type" => object["type"].clone(),
        "Status" => json!(text(&status["phase"], "")),
        "Holder" => json!(text(&spec["holderIdentity"], "")),
        "Created At" => object["metadata"]["creationTimestamp"].clone(),
        "Mutations" => json!(count(&spec["mutations"])),
        "Validations" => json!(count(&spec["validations"])),
        "PolicyName" => spec["policyName"].clone(),
        "ParamKind" | "ParamRef" => json!("<unset>"),
        "Pod-Selector" => json!(selector(&spec["podSelector"])),
        "Controller" => json!(text(
            &spec["controller"],
            text(&object["metadata"]["ownerReferences"][0]["name"], "<none>")
        )),
        "Revision" => object["revision"].clone(),
        "Completions" => json!(format!(
            "{}/{}",
            number(&status["succeeded"]),
            number(&spec["completions"])
        )),
        "Reference" => json!(format!(
            "{}/{}",
            text(&spec["scaleTargetRef"]["kind"], ""),
            text(&spec["scaleTargetRef"]["name"], "")
        )),
        "MinPods" => json!(number(&spec["minReplicas"])),
        "MaxPods" => json!(number(&spec["maxReplicas"])),
        "Replicas" => json!(number(&status["currentReplicas"])),
        "Min Available" => shown(&spec["minAvailable"]),
        "Max Unavailable" => shown(&spec["maxUnavailable"]),
        "Allowed Disruptions" => json!(number(&status["disruptionsAllowed"])),
        _ => json!("<none>"),
    }
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Null => json!("N/A"),
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::kinds::Registry;
    use super::*;

    #[test]
    fn a_row_reads_as_in_kubectl() {
        let registry = Registry::built_in();
        let row = |group: &str, kind: &str, object: Value| -> String {
            let kind = registry.by_kind(group, kind).unwrap();
            let cells = cells(&kind, &object, Timestamp::UNIX_EPOCH);
            cells
                .iter()
                .map(|cell| {
                    cell.as_str()
                        .map_or_else(|| cell.to_string(), str::to_owned)
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        let meta = json!({"name": "web", "creationTimestamp": "1970-01-01T00:00:00Z"});
        let deployment = json!({"metadata": meta, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "status": {"readyReplicas": 2, "updatedReplicas": 3}});
        assert_eq!(
            row("apps", "Deployment", deployment),
            "web 2/3 3 0 0s c i a=b"
        );
        let service = json!({"metadata": meta, "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]}});
        assert_eq!(
            row("", "Service", service),
            "web ClusterIP 10.0.0.1 <none> 80/TCP 0s <none>"
        );
    }
}
