//! Ingresses, and the routes that come of them: each row is an annotation or a form, with what must be said.

mod guarding;
mod hosting;
mod rewriting;
mod switching;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn given(main: Value, others: Vec<Value>) -> Given {
    let typed = |object: Value| serde_json::from_value(object).unwrap();
    Given {
        ingress: serde_json::from_value(main).unwrap(),
        others: others.into_iter().map(typed).collect(),
        prefix: PREFIX.to_owned(),
        ..Given::default()
    }
}

fn public() -> Gateway {
    Gateway {
        namespace: Some("infra".into()),
        name: "public".into(),
        http: "http".into(),
        https: "https".into(),
    }
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": kind, "backend": backend})
}

fn main(annotations: &[(&str, &str)], paths: Vec<Value>) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (format!("{PREFIX}/{key}"), json!(value)))
        .collect();
    json!({
        "metadata": {"name": "shop", "namespace": "shop", "annotations": annotations},
        "spec": {"rules": [{"host": "shop.test", "http": {"paths": paths}}]},
    })
}

fn whole() -> Vec<Value> {
    vec![path("/", "Prefix", "shop")]
}

#[test]
fn a_plain_ingress_is_one_route() {
    let migrated = to_gateway(&given(main(&[], whole()), vec![]), &public()).unwrap();
    let wanted = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "public", "namespace": "infra"}],
            "hostnames": ["shop.test"],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "shop", "port": 80}],
            }],
        },
    });
    assert_eq!(migrated.objects, [wanted]);
    assert_eq!(migrated.notes, [] as [String; 0]);
}

fn rules_of(annotations: &[(&str, &str)], at: &str, kind: &str) -> Value {
    let ingress = main(annotations, vec![path(at, kind, "shop")]);
    let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
    migrated.objects[0]["spec"]["rules"][0].clone()
}
