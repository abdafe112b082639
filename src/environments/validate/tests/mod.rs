//! One folder in which all is well, and what each mistake in it is called.

mod building;
mod filling;
mod hiding;
mod naming;

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
fn an_object_may_say_which_rules_it_breaks() {
    let bad = GOOD.replace("backend:v1", "backend:latest");
    let meant = bad.replacen(
        "metadata: {name: backend}",
        "metadata: {name: backend, annotations: {sluice.dev/validate-ignore: 'probes, image-pinned'}}",
        1,
    );
    assert_eq!((found(&bad).len(), found(&meant).len()), (1, 0));
}

/// What stands beside a good folder, and what is said of it, if anything.
fn beside(manifest: &str) -> Vec<String> {
    found(&format!("{GOOD}---\n{manifest}\n"))
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {selector: {app: more}, ports: [{port: 80}]}";

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
