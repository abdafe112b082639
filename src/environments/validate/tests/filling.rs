//! Values that are filled in when it is deployed.

use super::*;

#[test]
fn a_value_that_is_put_in_later_is_no_mistake_and_is_told() {
    const LATER: &str = "filled in when it is deployed: what it comes to was not looked at";
    let table = [
        (
            "targetPort: http",
            "targetPort: '${PORT}'",
            26,
            "Service backend: spec.ports[0] holds ${PORT}",
        ),
        (
            "{service: {name: backend, ",
            "{service: {name: '${app:=backend}', ",
            33,
            "Ingress backend: spec.rules[0].http.paths[0].backend.service.name holds ${app:=backend}",
        ),
        (
            "target: {name: backend}",
            "target: {name: 'a-${env}'}",
            44,
            "Rollout backend: spec.target holds a-${env}",
        ),
    ];
    for (old, new, line, wanted) in table {
        let told = found(&GOOD.replacen(old, new, 1));
        let line = line - 1;
        let wanted = format!("k/all.yaml:{line} Warning not-checked {wanted}, {LATER}");
        assert!(told.contains(&wanted), "{wanted}: {told:#?}");
        assert!(!told.iter().any(|line| line.contains("Error")), "{told:#?}");
    }
    for image in ["'${IMAGE}'", "shop/backend:${TAG}"] {
        let told = found(&GOOD.replacen("shop/backend:v1", image, 1));
        assert_eq!(told, [] as [&str; 0], "{image}");
    }
    // What is written is still looked at, and what nobody fills in.
    let table = [
        ("shop/backend:v1", "${REGISTRY}/backend", "image-pinned"),
        (
            "value: info",
            "value: 'postgres://a:hunter2@${HOST}/shop'",
            "secrets",
        ),
        (
            ", limits: {memory: 64Mi}}",
            ", limits: {cpu: '${CPU}'}}",
            "resources",
        ),
    ];
    for (old, new, rule) in table {
        let told = found(&GOOD.replacen(old, new, 1));
        let wanted = format!("Error {rule}");
        assert!(told.iter().any(|line| line.contains(&wanted)), "{told:#?}");
    }
    let off = "metadata: {name: backend, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}\nspec: {selector";
    let text = GOOD.replace(
        "metadata: {name: backend}\nspec: {selector: {app",
        &format!("{off}: {{app"),
    );
    let told = found(&text.replacen("targetPort: http", "targetPort: '${PORT}'", 1));
    assert!(told[0].contains("Error service"), "{told:#?}");
}

#[test]
fn what_is_wrong_as_it_is_written_is_said_though_a_variable_stands_beside_it() {
    let labels = "template:\n    metadata: {labels: {app: backend";
    let service = "kind: Service\nmetadata: {name: backend}\nspec: {selector: {app: backend";
    let budget = "maxUnavailable: 1, selector: {matchLabels: {app: backend";
    let backend = "backend: {service: {name: backend, port: {name: http";
    // Each with what is said of it, and of nothing else.
    let table = [
        (
            backend,
            "backend: {service: {name: nosuch, port: {name: '${port}'",
            "Error ingress Ingress backend: there is no Service nosuch",
        ),
        (
            backend,
            "backend: {service: {name: backend, port: {name: '${port}'",
            "Warning not-checked Ingress backend: spec.rules[0].http.paths[0].backend.service.port holds ${port}",
        ),
        (
            service,
            "kind: Service\nmetadata: {name: backend}\nspec: {selector: {app: nowhere, env: '${env}'",
            "Error service Service backend: it selects no pod",
        ),
        (
            budget,
            "maxUnavailable: 1, selector: {matchLabels: {app: nowhere, env: '${env}'",
            "Warning selectors PodDisruptionBudget backend: it selects no pod",
        ),
        (
            budget,
            "maxUnavailable: 1, selector: {matchLabels: {app: '${app}'",
            "Warning not-checked PodDisruptionBudget backend: whether spec.selector selects pods of this folder hangs on ${app}",
        ),
        (
            labels,
            "template:\n    metadata: {labels: {app: '${app}'",
            "Warning not-checked Service backend: whether spec.selector selects pods of this folder hangs on ${app}",
        ),
    ];
    for (old, new, wanted) in table {
        let told = found(&GOOD.replacen(old, new, 1));
        assert!(
            told.iter().any(|line| line.contains(wanted)),
            "{new}: {told:#?}"
        );
        let expected = wanted.starts_with("Error");
        let errors = told.iter().any(|line| line.contains("Error"));
        assert_eq!(errors, expected, "{new}: {told:#?}");
    }
    // Flux makes `${X}` of it, and no value.
    let told = found(&GOOD.replacen("targetPort: http", "targetPort: '$${PORT}'", 1));
    assert!(told[0].contains("Error service"), "{told:#?}");
    let told = found(&GOOD.replacen("targetPort: http", "targetPort: '$$${PORT}'", 1));
    assert!(told[0].contains("Warning not-checked"), "{told:#?}");
}

#[test]
fn labels_of_pods_are_held_against_their_selector_as_far_as_they_are_written() {
    let with = |selector: &str, labels: &str| {
        let object = serde_json::json!({"kind": "Deployment", "spec": {
            "selector": serde_json::from_str::<Value>(selector).unwrap(),
            "template": {"metadata": {"labels": serde_json::from_str::<Value>(labels).unwrap()}}}});
        let of = |path: &str| filled::by_others("schema", &object, path);
        let [whole, dotted] =
            ["", "[a.test/x]"].map(|end| of(&format!("spec.template.metadata.labels{end}")));
        (whole, dotted)
    };
    let named = serde_json::json!({});
    let key = "spec.template.metadata.labels[${v}]";
    assert_eq!(
        filled::by_others("schema", &named, key).as_deref(),
        Some("${v}")
    );
    let var = Some("${v}".to_owned());
    let web = r#"{"matchLabels": {"app": "web"}}"#;
    let cases = [
        (
            web,
            r#"{"app": "webb", "a.test/x": "${v}"}"#,
            (None, var.clone()),
        ),
        (web, r#"{"app": "${v}"}"#, (var.clone(), None)),
        (
            r#"{"matchLabels": {"app": "${v}"}}"#,
            r#"{"app": "web", "a.test/x": "y"}"#,
            (var.clone(), None),
        ),
        (
            r#"{"matchLabels": {"app": "${v}", "b": "c"}}"#,
            r#"{"app": "web"}"#,
            (None, None),
        ),
        (
            r#"{"matchExpressions": [{"key": "a", "operator": "Exists"}]}"#,
            r#"{"app": "${v}"}"#,
            (var, None),
        ),
    ];
    for (selector, labels, wanted) in cases {
        assert_eq!(with(selector, labels), wanted, "{selector} {labels}");
    }
}

#[test]
fn a_port_that_is_filled_in_later_may_be_the_one_that_is_named() {
    for (old, new) in [
        ("name: http, port", "name: \"${name}\", port"),
        (
            "{name: http, containerPort",
            "{name: \"${name}\", containerPort",
        ),
    ] {
        let told = found(&GOOD.replace(old, new));
        assert_eq!(told, [] as [&str; 0], "{new}");
    }
}
