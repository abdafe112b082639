//! What Services, Ingresses, routes and budgets name.

use super::*;

#[test]
fn a_route_leads_to_services_and_ports_that_are_there() {
    let route = |backend: &str| {
        let told = found(&format!(
            "{GOOD}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\n\
             spec: {{rules: [{{backendRefs: [{{{backend}}}]}}]}}\n"
        ));
        let mut told = told.into_iter().filter(|line| line.contains(" ingress "));
        told.next().unwrap_or_default()
    };
    let gone = route("name: gone, port: 80");
    assert!(
        gone.ends_with("HTTPRoute r: there is no Service gone in this folder"),
        "{gone}"
    );
    let port = route("name: backend, port: 81");
    assert!(port.ends_with("Service backend has no port 81"), "{port}");
    for fine in [
        "name: backend, port: 80",
        "name: gone, namespace: elsewhere, port: 80",
        "kind: Other, name: gone",
    ] {
        assert_eq!(route(fine), "", "{fine}");
    }
}

#[test]
fn pods_that_others_make_may_be_selected() {
    let alone = beside(SERVICE);
    assert_eq!(
        alone,
        ["k/all.yaml:49 Error service Service more: it selects no pod of this folder: app=more"]
    );
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: cart}\nspec: {}";
    let made = beside(&format!("{SERVICE}\n---\n{release}"));
    let wanted = [
        "k/all.yaml:49 Warning service Service more: it selects no pod of this folder: app=more; HelmRelease cart may make them",
        "k/all.yaml:54 Warning not-checked HelmRelease cart: what its chart makes is not looked at",
    ];
    assert_eq!(made, wanted);
    let rule = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: r}\nspec: {groups: []}";
    assert_eq!(beside(&format!("{SERVICE}\n---\n{rule}")), alone);
}

#[test]
fn a_rollout_of_argo_has_pods() {
    let rollout = GOOD.split("---\n").next().unwrap();
    let rollout = rollout.replace("apps/v1", "argoproj.io/v1alpha1");
    let rollout = rollout
        .replace("kind: Deployment", "kind: Rollout")
        .replace("backend", "more");
    let rollout = rollout.replace("more:v1", "more:latest");
    let told = beside(&format!(
        "{}\n---\n{rollout}",
        SERVICE.replace("port: 80", "port: 8080")
    ));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("Error image-pinned Rollout more"),
        "{told:?}"
    );
}

#[test]
fn a_job_with_the_labels_of_a_service_answers_nobody() {
    let job = GOOD
        .split("---\n")
        .next()
        .unwrap()
        .replace("apps/v1", "batch/v1");
    let job = job
        .replace("kind: Deployment", "kind: Job")
        .replace("name: backend", "name: mig");
    let job = job.replace("        ports: [{name: http, containerPort: 8080}]\n", "");
    let told = beside(&job);
    assert!(
        !told.iter().any(|line| line.contains("container port")),
        "{told:?}"
    );
}

#[test]
fn an_ingress_may_lead_where_no_port_of_the_folder_is() {
    let ingress = |backend: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: more}}\n\
             spec: {{rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {backend}}}}}]}}}}]}}\n"
        )
    };
    let annotated = ingress("{name: ssl-redirect, port: {name: use-annotation}}");
    assert_eq!(beside(&annotated), [] as [&str; 0]);
    let outside = |ports: &str| {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: ext}\nspec: {type: ExternalName, externalName: a.test";
        beside(&format!(
            "{}---\n{service}{ports}}}\n",
            ingress("{name: ext, port: {number: 443}}")
        ))
    };
    assert_eq!(outside(""), [] as [&str; 0]);
    assert_eq!(outside(", ports: [{port: 80}]").len(), 1);
}

#[test]
fn no_namespace_is_the_namespace_default() {
    let named = GOOD.replacen(
        "metadata: {name: backend}",
        "metadata: {name: backend, namespace: default}",
        1,
    );
    assert_eq!(found(&named), [] as [&str; 0]);
    let other = GOOD.replacen(
        "metadata: {name: backend}",
        "metadata: {name: backend, namespace: shop}",
        1,
    );
    assert!(!found(&other).is_empty());
}

#[test]
fn kinds_of_others_are_not_kubernetes_though_their_names_are() {
    let other = |version: &str, kind: &str, rest: &str| {
        beside(&format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n{rest}"
        ))
    };
    let none: [&str; 0] = [];
    let data = "data: {password: hunter2}";
    assert_eq!(other("secrets.example/v1", "Secret", data), none);
    let spec = "spec: {selector: {app: nowhere}}";
    assert_eq!(other("policy.example/v1", "Service", spec), none);
    assert_eq!(other("v1", "Service", spec).len(), 1);
}

#[test]
fn the_place_of_istios_proxy_is_not_a_container_of_ones_own() {
    let gateway = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: more}\nspec:\n  selector: {matchLabels: {app: more}}\n  \
        template:\n    metadata: {annotations: {inject.istio.io/templates: gateway}, labels: {app: more}}\n    \
        spec: {containers: [{name: istio-proxy, image: auto}]}";
    assert_eq!(
        beside(&format!("{SERVICE}\n---\n{gateway}")),
        [] as [&str; 0]
    );
    assert!(!beside(&gateway.replace("auto", "proxyv2")).is_empty());
}

#[test]
fn a_sidecar_has_the_ports_that_it_names_and_a_gateway_any() {
    let beside_it = |target: &str| {
        let text = GOOD.replacen(
            "      containers:\n",
            "      containers:\n      - {name: istio-proxy, image: auto, ports: [{name: proxy, containerPort: 15090}]}\n",
            1,
        );
        found(&text.replacen("targetPort: http", &format!("targetPort: {target}"), 1))
    };
    assert_eq!(beside_it("http"), [] as [&str; 0]);
    assert_eq!(beside_it("proxy"), [] as [&str; 0]);
    let wanted = "Error service Service backend: Deployment backend has no container port htpp";
    assert!(
        beside_it("htpp")[0].contains(wanted),
        "{:?}",
        beside_it("htpp")
    );
}
