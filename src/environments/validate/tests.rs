//! One folder in which all is well, and what each mistake in it is called.

use std::collections::BTreeMap;

use super::*;

const GOOD: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: backend}
spec:
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      securityContext:
        runAsNonRoot: true
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: app
        image: shop/backend:v1
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}}
        livenessProbe: {httpGet: {path: /, port: http}}
        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 64Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        env: [{name: LEVEL, value: info}]
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {selector: {app: backend}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: backend}
spec:
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: backend, port: {name: http}}}}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: backend}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: backend}}}
---
apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: backend}
spec:
  target: {name: backend}
  route: {ingressNginx: {ingress: backend}}
";

/// Texts by their paths.
struct Texts(BTreeMap<String, String>);

impl Files for Texts {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        let below = self
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(path)?.strip_prefix('/'));
        Ok(Some(
            below
                .map(|rest| rest.split_inclusive('/').next().unwrap().to_owned())
                .collect(),
        ))
    }
}

fn found(manifest: &str) -> Vec<String> {
    let kustomization = "resources: [all.yaml]\n".to_owned();
    found_in(&[
        ("k/kustomization.yaml", kustomization),
        ("k/all.yaml", manifest.to_owned()),
    ])
}

fn found_in(texts: &[(&str, String)]) -> Vec<String> {
    let texts = texts
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.clone()));
    let checked = check(&Texts(texts.collect()), "k");
    let lines = checked.findings.iter();
    lines
        .map(|f| {
            format!(
                "{}:{} {:?} {} {}: {}",
                f.file, f.line, f.level, f.rule, f.object, f.message
            )
        })
        .collect()
}

#[test]
fn in_a_good_folder_nothing_is_found() {
    assert_eq!(found(GOOD), Vec::<String>::new());
}

/// What is replaced, by what, and what is found then.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "backend:v1",
        "backend",
        "k/all.yaml:14 Error image-pinned Deployment backend: shop/backend has no tag, want one that says what runs",
    ),
    (
        "backend:v1",
        "backend:latest",
        "k/all.yaml:14 Error image-pinned Deployment backend: shop/backend:latest is another image every day, want a version",
    ),
    (
        ", limits: {memory: 64Mi}}",
        "}",
        "k/all.yaml:18 Error resources Deployment backend: container app has no limits.memory",
    ),
    (
        "requests: {cpu: 100m, memory: 64Mi}, ",
        "",
        "k/all.yaml:18 Error resources Deployment backend: container app has no requests.cpu",
    ),
    (
        "        readinessProbe: {httpGet: {path: /, port: http}}\n",
        "",
        "k/all.yaml:13 Error probes Deployment backend: container app gets requests before it is ready: want a readinessProbe",
    ),
    (
        "        livenessProbe: {httpGet: {path: /, port: http}}\n",
        "",
        "k/all.yaml:13 Warning probes Deployment backend: container app has no livenessProbe: if it hangs, it stays",
    ),
    (
        "        runAsNonRoot: true\n",
        "",
        "k/all.yaml:18 Error pod-security Deployment backend: container app lacks runAsNonRoot: true",
    ),
    (
        "drop: [ALL]",
        "drop: [ALL], add: [NET_ADMIN, NET_BIND_SERVICE]",
        "k/all.yaml:19 Error pod-security Deployment backend: container app: capabilities NET_ADMIN must not be added",
    ),
    (
        "containerPort: 8080}",
        "containerPort: 8080, hostPort: 80}",
        "k/all.yaml:15 Error pod-security Deployment backend: container app takes a port of its node",
    ),
    (
        "      containers:\n",
        "      volumes: [{name: v, hostPath: {path: /}}]\n      containers:\n",
        "k/all.yaml:12 Error pod-security Deployment backend: volume v is a hostPath, which pods must not have",
    ),
    (
        "name: LEVEL, value: info",
        "name: DB_PASSWORD, value: hunter2",
        "k/all.yaml:20 Error secrets Deployment backend: variable DB_PASSWORD holds a secret in clear: want valueFrom.secretKeyRef",
    ),
    (
        "value: info",
        "value: 'postgres://a:hunter2@db/shop'",
        "k/all.yaml:20 Error secrets Deployment backend: variable LEVEL holds a secret in clear: want valueFrom.secretKeyRef",
    ),
    (
        "targetPort: http",
        "targetPort: web",
        "k/all.yaml:25 Error service Service backend: Deployment backend has no container port web",
    ),
    (
        "targetPort: http",
        "targetPort: 81",
        "k/all.yaml:25 Warning service Service backend: Deployment backend has no container port 81",
    ),
    (
        "{name: backend, port: {name: http}}",
        "{name: backend, port: {number: 8080}}",
        "k/all.yaml:32 Error ingress Ingress backend: Service backend has no port 8080",
    ),
    (
        "{selector: {app: backend}, ports",
        "{selector: {app: other}, ports",
        "k/all.yaml:25 Error service Service backend: it selects no pod of this folder: app=other",
    ),
    (
        "selector: {matchLabels: {app: backend}}}",
        "selector: {matchLabels: {app: gone}}}",
        "k/all.yaml:37 Warning selectors PodDisruptionBudget backend: it selects no pod of this folder: app=gone",
    ),
    (
        "target: {name: backend}",
        "target: {name: front}",
        "k/all.yaml:43 Error rollout Rollout backend: there is no Deployment front in this folder",
    ),
    (
        "{ingress: backend}",
        "{ingress: front}",
        "k/all.yaml:44 Error rollout Rollout backend: there is no Ingress front in this folder",
    ),
    (
        "  selector: {matchLabels: {app: backend}}\n  template",
        "  selector: {matchLabels: {app: backend}}\n  strategy: {type: Recreate}\n  template",
        "k/all.yaml:44 Error rollout Rollout backend: Deployment backend is recreated, so no canary can serve beside it",
    ),
];

#[test]
fn each_mistake_is_found_where_it_stands() {
    for (old, new, wanted) in MISTAKES {
        let told = found(&GOOD.replacen(old, new, 1));
        assert!(
            told.iter().any(|line| line == wanted),
            "{wanted}: {told:#?}"
        );
        assert!(
            !told.iter().any(|line| line.contains("hunter2")),
            "{told:#?}"
        );
    }
}

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
fn secrets_count_unless_they_are_encrypted() {
    let secret = |rest: &str| {
        format!("{GOOD}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{rest}\n")
    };
    let clear = found(&secret("stringData: {key: hunter2}"));
    let wanted = "k/all.yaml:49 Error secrets Secret s: key in clear: want SOPS, a SealedSecret or an ExternalSecret";
    assert_eq!(clear, [wanted]);
    assert!(
        found(&secret(
            "data: {key: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: x}"
        ))
        .is_empty()
    );
    let generated = found_in(&[
        (
            "k/kustomization.yaml",
            "resources: [all.yaml]\nsecretGenerator:\n- name: made\n  literals: [a=b]\n".to_owned(),
        ),
        ("k/all.yaml", GOOD.to_owned()),
    ]);
    let filled = "stringData: {token: '${TOKEN}', password: '{{ password }}'}";
    assert_eq!(found(&secret(filled)), [] as [&str; 0]);
    assert!(
        generated[0].starts_with("k/kustomization.yaml:3 Error secrets Secret made"),
        "{generated:?}"
    );
}

#[test]
fn what_overlays_mend_is_mended_and_what_they_break_is_broken() {
    let base = GOOD.replace("image: shop/backend:v1", "image: shop/backend");
    let overlay = |images: &str| {
        found_in(&[
            ("b/kustomization.yaml", "resources: [all.yaml]\n".to_owned()),
            ("b/all.yaml", base.clone()),
            (
                "k/kustomization.yaml",
                format!("resources: [../b]\nnamespace: shop\n{images}"),
            ),
        ])
    };
    let mended = overlay("images: [{name: shop/backend, newTag: v2}]\n");
    assert_eq!(mended, Vec::<String>::new());
    let broken = overlay("");
    assert!(
        broken[0].starts_with("b/all.yaml:14 Error image-pinned Deployment backend"),
        "{broken:#?}"
    );
}

#[test]
fn an_object_may_say_which_rules_it_breaks() {
    let bad = GOOD.replace("backend:v1", "backend:latest");
    let meant = bad.replacen(
        "metadata: {name: backend}",
        "metadata: {name: backend, annotations: {sluice.dev/validate-ignore: 'probes, image-pinned'}}",
        1,
    );
    assert_eq!((found(&bad).len(), found(&meant).len()), (1, 0));
}

#[test]
fn a_folder_that_does_not_build_says_why_and_one_that_cannot_be_built_here_warns() {
    let build = |text: &str| found_in(&[("k/kustomization.yaml", text.to_owned())]);
    let gone = build("resources: [gone.yaml]\n");
    assert!(
        gone[0].starts_with("k/kustomization.yaml:1 Error builds"),
        "{gone:?}"
    );
    let helm = build("helmCharts: []\n");
    assert!(
        helm[0].starts_with("k/kustomization.yaml:1 Warning not-checked"),
        "{helm:?}"
    );
    let values = found_in(&[("k/values.yaml", "image: {tag: v1}\n".to_owned())]);
    assert!(
        values[0].starts_with("k:1 Warning not-checked"),
        "{values:?}"
    );
}

/// What stands beside a good folder, and what is said of it, if anything.
fn beside(manifest: &str) -> Vec<String> {
    found(&format!("{GOOD}---\n{manifest}\n"))
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {selector: {app: more}, ports: [{port: 80}]}";

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
fn a_patch_in_one_line_is_a_patch() {
    let patch = "resources: [all.yaml]\npatchesStrategicMerge:\n- '{apiVersion: apps/v1, kind: Deployment, metadata: {name: backend}, spec: {replicas: 2}}'\n";
    let told = found_in(&[
        ("k/kustomization.yaml", patch.to_owned()),
        ("k/all.yaml", GOOD.to_owned()),
    ]);
    assert_eq!(told, [] as [&str; 0]);
}

#[test]
fn what_kustomize_refuses_is_told_at_its_line() {
    let told = |more: &str| {
        let text = format!("resources: [all.yaml]\n{more}\n");
        found_in(&[
            ("k/kustomization.yaml", text),
            ("k/all.yaml", GOOD.to_owned()),
        ])
    };
    let at = "k/kustomization.yaml:2 Error builds :";
    let table = [
        ("imagez: []", "imagez: kustomize knows no such field"),
        (
            "images: [{name: a, newTag: 1.10}]",
            "images[0].newTag: kustomize wants text here; put it in quotes",
        ),
        (
            "patches: [{path: all.yaml, taget: {kind: Deployment}}]",
            "patches[0].taget: kustomize knows no such field",
        ),
    ];
    for (more, why) in table {
        let told = told(more);
        assert_eq!(told.first(), Some(&format!("{at} {why}")), "{told:?}");
    }
    for fine in [
        "images: [{name: a, newTag: '1.10'}]",
        "NamePrefix: a-",
        "metadata: {name: k, annotations: {config.kubernetes.io/local-config: 'true'}}",
        "configMapGenerator: [{name: c, literals: [a=b], options: {disableNameSuffixHash: true, labels: {a: b}}}]",
        "sortOptions: {order: fifo}",
    ] {
        let told = told(fine);
        assert!(
            !told.iter().any(|line| line.contains("builds")),
            "{fine}: {told:?}"
        );
    }
}

/// A line of the Deployment, another one in its place, and how many findings there are.
const SECRETS: &[(&str, &str, usize)] = &[
    (
        "name: LEVEL, value: info",
        "name: PGPASSWORD, value: hunter2",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: SECRET_KEY_BASE, value: hunter2",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: REDIS_URL, value: 'redis://:hunter2@redis:6379'",
        1,
    ),
    (
        "name: LEVEL, value: info",
        "name: DB_PASSWORD, value: $(PG_PASSWORD)",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: API_TOKEN, value: '${API_TOKEN}'",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: IMAGE_PULL_SECRET, value: regcred",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: USE_TOKEN, value: 'true'",
        0,
    ),
    (
        "name: LEVEL, value: info",
        "name: AWS_WEB_IDENTITY_TOKEN, value: /var/run/secrets/token",
        0,
    ),
    (
        "        env:",
        "        args: ['--db-password=hunter2']\n        env:",
        1,
    ),
    (
        "        env:",
        "        args: [--token, hunter2, --verbose]\n        env:",
        1,
    ),
    (
        "        env:",
        "        args: ['--token=$(TOKEN)', '--secret-name=tls', --password-file, /run/p]\n        env:",
        0,
    ),
    (
        "        env:",
        "        command: [run, 'postgres://a:hunter2@db/x']\n        env:",
        1,
    ),
];

#[test]
fn secrets_of_pods_count_by_name_or_by_value() {
    for (old, new, count) in SECRETS {
        let told = found(&GOOD.replacen(old, new, 1));
        assert_eq!(told.len(), *count, "{new}: {told:?}");
        assert!(
            told.iter()
                .all(|line| line.contains("Error secrets Deployment backend")),
            "{told:?}"
        );
        assert!(
            !told.iter().any(|line| line.contains("hunter2")),
            "{told:?}"
        );
    }
}

#[test]
fn secrets_of_configurations_and_charts_count() {
    let map = |data: &str| {
        beside(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{data}"
        ))
    };
    let properties = map(
        "  application.properties: |\n    server.port=80\n    spring.datasource.password=hunter2\n",
    );
    let wanted = "k/all.yaml:49 Error secrets ConfigMap c: application.properties: spring.datasource.password looks like a secret, and a ConfigMap is none";
    assert_eq!(properties, [wanted]);
    assert_eq!(
        map("  a.yaml: 'jdbc:postgresql://db/x?user=a&password=hunter2'\n").len(),
        1
    );
    assert_eq!(
        map("  a.sh: |\n    PASSWORD=$(cat /run/p)\n    token=hunter2\n"),
        [] as [&str; 0]
    );
    assert_eq!(
        map("  a.yaml: |\n    password: ${PASSWORD}\n    secretName: tls\n"),
        [] as [&str; 0]
    );
    let release = |values: &str| {
        let told = beside(&format!(
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: r}}\nspec: {{values: {values}}}\n"
        ));
        let secrets = told
            .into_iter()
            .filter(|line| line.contains("Error secrets"));
        secrets.collect::<Vec<_>>()
    };
    let told = release("{auth: {password: hunter2}}");
    assert!(told[0].ends_with("HelmRelease r: spec.values.auth.password holds a secret in clear: want it from a Secret"), "{told:?}");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        release("{auth: {existingSecret: s, secretKey: k, password: ''}}"),
        [] as [&str; 0]
    );
    assert_eq!(
        release("{env: [{name: DB_PASSWORD, value: hunter2}]}").len(),
        1
    );
    assert_eq!(release("{url: 'redis://:hunter2@redis:6379'}").len(), 1);
}

#[test]
fn sarif_names_rule_level_and_region() {
    let kustomization = "resources: [all.yaml]\n".to_owned();
    let texts = [
        ("k/kustomization.yaml".to_owned(), kustomization),
        (
            "k/all.yaml".to_owned(),
            GOOD.replace("backend:v1", "backend"),
        ),
    ];
    let report = sarif::sarif(&check(&Texts(texts.into()), "k").findings);
    assert_eq!(report["version"], "2.1.0");
    let result = &report["runs"][0]["results"][0];
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&"image-pinned".into(), &"error".into())
    );
    let index = result["ruleIndex"].as_u64().unwrap() as usize;
    assert_eq!(
        report["runs"][0]["tool"]["driver"]["rules"][index]["id"],
        "image-pinned"
    );
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "k/all.yaml");
    assert_eq!(place["region"]["startLine"], 14);
}

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
fn what_flux_puts_into_manifests_may_be_a_secret() {
    let flux = |name: &str| {
        beside(&format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: apps}}\n\
             spec: {{postBuild: {{substitute: {{{name}: hunter2hunter2}}}}}}"
        ))
    };
    let told = flux("DB_PASSWORD");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("Error secrets Kustomization apps: spec.postBuild.substitute.DB_PASSWORD"),
        "{told:?}"
    );
    assert_eq!(flux("web_tag"), [] as [&str; 0]);
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

/// A good folder with an image that is not pinned, and these lines more in its kustomization.
fn with_gap(field: &str, manifest: &str) -> Vec<String> {
    found_in(&[
        (
            "k/kustomization.yaml",
            format!("resources: [all.yaml]\n{field}\n"),
        ),
        ("k/all.yaml", manifest.to_owned()),
    ])
}

const NAMED: &str = ", and not whether all that is named is there";

#[test]
fn what_is_wrong_beside_what_is_not_built_is_told() {
    let bad = GOOD.replace("backend:v1", "backend:latest");
    let elsewhere = "https://a.test/b is elsewhere, which is not fetched";
    let table = [
        ("bases: ['https://a.test/b']", elsewhere),
        (
            "helmCharts: [{name: a}]",
            "helmCharts is not understood here",
        ),
        ("helmGlobals: {}", "helmGlobals is not understood here"),
        ("generators: [a.yaml]", "generators is not understood here"),
        (
            "configurations: [a.yaml]",
            "configurations is not understood here",
        ),
    ];
    for (field, why) in table {
        let told = with_gap(field, &bad);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(
            told[0].starts_with("k/all.yaml:14 Error image-pinned"),
            "{told:#?}"
        );
        let gap = format!(
            "k/kustomization.yaml:2 Warning not-checked : {why}: only what is here was looked at{NAMED}"
        );
        assert_eq!(told[1], gap);
    }
    let several = found_in(&[
        (
            "k/kustomization.yaml",
            "resources:\n- all.yaml\n- https://a.test/b\n- https://a.test/c\n".to_owned(),
        ),
        ("k/all.yaml", bad),
    ]);
    assert_eq!(several.len(), 3, "{several:#?}");
    assert!(
        several[1].starts_with("k/kustomization.yaml:3 Warning"),
        "{several:#?}"
    );
    assert!(
        several[2].starts_with("k/kustomization.yaml:4 Warning"),
        "{several:#?}"
    );
}

#[test]
fn what_may_be_changed_has_secrets_all_the_same_and_nothing_else_is_told_of_it() {
    let bad = GOOD.replace("backend:v1", "backend:$(TAG)").replace(
        "name: LEVEL, value: info",
        "name: DB_PASSWORD, value: hunter2",
    );
    let bad = bad.replace(", limits: {memory: 64Mi}}", "}");
    let fields = [
        "replacements: [{targets: [{select: {kind: Deployment}}]}]",
        "vars: [{name: TAG}]",
        "transformers: [a.yaml]",
        "crds: [a.yaml]",
        "components: ['https://a.test/b']",
        "patches: [{path: 'https://a.test/b'}]",
    ];
    for field in fields {
        let told = with_gap(field, &bad);
        assert_eq!(told.len(), 2, "{field}: {told:#?}");
        assert!(
            told[0].starts_with("k/all.yaml:20 Error secrets"),
            "{told:#?}"
        );
        assert!(
            told[1].starts_with("k/kustomization.yaml:2 Warning not-checked"),
            "{told:#?}"
        );
        assert!(
            told[1].contains("only secrets were looked for"),
            "{told:#?}"
        );
    }
    let other = with_gap(
        "replacements: [{targets: [{select: {kind: Ingress}}]}]",
        &bad,
    );
    assert!(other[0].contains("Error resources"), "{other:#?}");
}

#[test]
fn what_is_named_may_be_where_nobody_looked() {
    let selects = "selector: {app: backend}, ports";
    let gone = [
        GOOD.replace(selects, "selector: {app: gone}, ports"),
        GOOD.replace("targetPort: http", "targetPort: web"),
        GOOD.replace("service: {name: backend,", "service: {name: gone,"),
        GOOD.replace(
            "matchLabels: {app: backend}}}",
            "matchLabels: {app: gone}}}",
        ),
        GOOD.replace("target: {name: backend}", "target: {name: gone}"),
        GOOD.replace("{ingress: backend}", "{ingress: gone}"),
        format!(
            "{GOOD}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\n\
             spec: {{rules: [{{backendRefs: [{{name: gone, port: 80}}]}}]}}\n"
        ),
    ];
    for manifest in gone {
        assert_ne!(found(&manifest), [] as [&str; 0]);
        let told = with_gap("bases: ['https://a.test/b']", &manifest);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("Warning not-checked"), "{told:#?}");
    }
    // What is here is looked at.
    let port = GOOD.replace("port: {name: http}", "port: {number: 8080}");
    let told = with_gap("bases: ['https://a.test/b']", &port);
    assert!(told[0].contains("Error ingress"), "{told:#?}");
    let patch = "bases: ['https://a.test/b']\npatches:\n- patch: |\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: there}\n    stringData: {key: hunter2}";
    let told = with_gap(patch, GOOD);
    assert_eq!(told.len(), 2, "{told:#?}");
    let wanted = "k/kustomization.yaml:4 Error secrets Secret there: key in clear";
    assert!(told[1].starts_with(wanted), "{told:#?}");
}

#[test]
fn a_folder_that_does_not_build_beside_a_gap_says_both() {
    let told = found_in(&[(
        "k/kustomization.yaml",
        "resources: ['https://a.test/b', gone.yaml]\n".to_owned(),
    )]);
    assert_eq!(told.len(), 2, "{told:#?}");
    let wanted = [
        "k/kustomization.yaml:1 Error builds : gone.yaml is neither a file nor a folder with a kustomization",
        "k/kustomization.yaml:1 Warning not-checked : https://a.test/b is elsewhere, which is not fetched",
    ];
    assert_eq!(told, wanted);
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

#[test]
fn what_sops_left_in_clear_counts() {
    let secret = |entry: &str| {
        beside(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: 'ENC[AES256_GCM,data:x]', {entry}}}\nsops: {{mac: 'ENC[AES256_GCM,data:x]'}}"
        ))
    };
    let wanted = "k/all.yaml:49 Error secrets Secret s: plain in clear beside what SOPS encrypted: encrypt it too";
    assert_eq!(secret("plain: hunter2hunter2"), [wanted]);
    for fine in ["plain: ''", "user_unencrypted: admin"] {
        assert_eq!(secret(fine), [] as [&str; 0], "{fine}");
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
