//! Defaults of Services: cluster addresses, node ports, target ports.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::pod_defaults::set;

static ADDRESS: AtomicU32 = AtomicU32::new(1);
static NODE_PORT: AtomicU32 = AtomicU32::new(0);

/// Fills in a Service; addresses once given are kept.
pub fn fill(object: &mut Value, old: Option<&Value>) {
    set(&mut object["status"], "loadBalancer", json!({}));
    let spec = &mut object["spec"];
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    ports(
        spec,
        old.map(|old| &old["spec"]),
        kind != "ClusterIP" && kind != "ExternalName",
    );
    if kind == "ExternalName" {
        return;
    }
    if kind != "ClusterIP" {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(kept) = old.and_then(|old| old["spec"].get(field)).cloned() {
            set(spec, field, kept);
        }
    }
}

/// Gives a Service its addresses, which nobody owns.
pub fn assign(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        spec["clusterIP"] = json!(address());
    }
    let address = spec["clusterIP"].clone();
    set(spec, "clusterIPs", json!([address]));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
}

fn address() -> String {
    let number = ADDRESS.fetch_add(1, Ordering::Relaxed);
    format!("10.96.{}.{}", number / 250 % 256, number % 250 + 1)
}

fn ports(spec: &mut Value, old: Option<&Value>, on_nodes: bool) {
    let before = old.map(|old| old["ports"].clone()).unwrap_or_default();
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        set(port, "targetPort", number.clone());
        if on_nodes {
            let kept = before
                .as_array()
                .into_iter()
                .flatten()
                .find(|old| old["port"] == number);
            let kept = kept.and_then(|old| old.get("nodePort")).cloned();
            let fresh = || json!(30000 + NODE_PORT.fetch_add(1, Ordering::Relaxed) % 2768);
            set(port, "nodePort", kept.unwrap_or_else(fresh));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_address_when_it_is_replaced_without_one() {
        let mut first = json!({"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
        fill(&mut first, None);
        assign(&mut first);
        assert_eq!(
            first["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
        );
        let mut second = json!({"spec": {"ports": [{"port": 80}]}});
        fill(&mut second, Some(&first));
        assert_eq!(second["spec"]["clusterIP"], first["spec"]["clusterIP"]);
        assert_eq!(second["spec"]["clusterIPs"], first["spec"]["clusterIPs"]);
    }
}
