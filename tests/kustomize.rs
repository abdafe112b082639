//! Folders of manifests built by us and by the `kustomize` that kubectl has in it: the same
//! objects, but for the digest at the end of generated names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "servers/needs.rs"]
mod needs;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sluice::kustomize::{Disk, build};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend, labels: {app: backend}}
spec:
  replicas: 2
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      serviceAccountName: backend
      initContainers:
        - {name: migrate, image: 'registry.example:5000/acme/backend:1.0'}
      containers:
        - name: app
          image: registry.example:5000/acme/backend:1.0
          ports: [{containerPort: 8080, name: http}]
          env: [{name: A, value: '1'}, {name: B, valueFrom: {configMapKeyRef: {name: settings, key: b}}}]
          envFrom: [{secretRef: {name: passwords}}]
          volumeMounts: [{name: settings, mountPath: /etc/app}]
        - {name: side, image: 'envoy@sha256:aaaa'}
      volumes: [{name: settings, configMap: {name: settings}}, {name: s, secret: {secretName: passwords}}]
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {selector: {app: backend}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: backend}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: backend}
spec:
  defaultBackend: {service: {name: backend, port: {name: http}}}
  tls: [{hosts: [a.example], secretName: passwords}]
  rules:
    - host: a.example
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: backend, port: {name: http}}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: backend}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: backend}
spec:
  serviceName: backend
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      imagePullSecrets: [{name: passwords}]
      containers: [{name: db, image: 'db:1'}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: backend}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: backend}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: backend}
";

/// What each case puts over the base, as files of `overlay/`.
fn cases() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    vec![
        ("as it is", vec![("kustomization.yaml", "resources: [../base]")]),
        ("images", vec![("kustomization.yaml", "
resources: [../base]
images:
  - {name: registry.example:5000/acme/backend, newTag: 2.0.1}
  - {name: envoy, newName: mirror.example/envoy, digest: 'sha256:bbbb'}")]),
        ("a tag that is a number", vec![("kustomization.yaml", "
resources: [../base]
images: [{name: registry.example:5000/acme/backend, newName: acme/b, newTag: '12'}]")]),
        ("names", vec![("kustomization.yaml", "
resources: [../base]
namePrefix: eu-
nameSuffix: -blue
namespace: shop")]),
        ("labels", vec![("kustomization.yaml", "
resources: [../base]
labels:
  - {pairs: {team: a}, includeTemplates: true}
  - {pairs: {tier: b}, includeSelectors: true}
commonAnnotations: {owner: me}
replicas: [{name: backend, count: 5}]")]),
        ("common labels", vec![("kustomization.yaml", "
resources: [../base]
commonLabels: {tier: b}")]),
        ("generated", vec![
            ("kustomization.yaml", "
resources: [../base]
namePrefix: eu-
configMapGenerator:
  - {name: settings, literals: [b=1], files: [app.ini, x=other.txt]}
secretGenerator:
  - {name: passwords, envs: [passwords.env], options: {disableNameSuffixHash: true}}"),
            ("app.ini", "a = 1\n"),
            ("other.txt", "text"),
            ("passwords.env", "# no\nP=1\nQ='2'\n"),
        ]),
        ("strategic patches", vec![
            ("kustomization.yaml", "
resources: [../base]
patches:
  - path: patch.yaml
  - target: {kind: Deployment, name: back.*}
    patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: any}
      spec: {template: {spec: {containers: [{name: side, $patch: delete}], hostNetwork: true}}}
  - patch: |
      apiVersion: v1
      kind: ServiceAccount
      metadata: {name: backend}
      $patch: delete"),
            ("patch.yaml", "
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend}
spec:
  replicas: null
  template:
    metadata: {annotations: {a: b}}
    spec:
      containers:
        - name: app
          env: [{name: A, value: '2'}, {name: C, value: '3'}]
          resources: {limits: {cpu: 1}}
      volumes: [{name: s, $patch: delete}]"),
        ]),
        ("older patches", vec![
            ("kustomization.yaml", "
resources: [../base]
patchesStrategicMerge: [patch.yaml]
patchesJson6902:
  - {target: {version: v1, kind: Service, name: backend}, path: ops.yaml}"),
            ("patch.yaml", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: backend}, spec: {replicas: 7}}"),
            ("ops.yaml", "- {op: replace, path: /spec/ports/0/port, value: 81}"),
        ]),
        ("a component", vec![
            ("kustomization.yaml", "{resources: [../base], components: [part], images: [{name: envoy, newTag: '9'}]}"),
            ("part/kustomization.yaml", "
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
  - target: {kind: Deployment}
    patch: '[{\"op\": \"add\", \"path\": \"/spec/template/spec/priorityClassName\", \"value\": \"high\"}]'"),
        ]),
        ("an overlay of an overlay", vec![
            ("kustomization.yaml", "{resources: [middle], images: [{name: acme/c, newTag: v3}]}"),
            ("middle/kustomization.yaml", "
resources: [../../base]
images: [{name: registry.example:5000/acme/backend, newName: acme/c}]"),
        ]),
    ]
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Without the digests, in one order.
fn comparable(objects: Vec<Value>) -> Vec<Value> {
    let digest = regex::Regex::new("(settings)-[a-z0-9]{10}\"").unwrap();
    let plain = |object: Value| {
        let text = digest.replace_all(&object.to_string(), "$1\"").into_owned();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        if object["kind"] == "Secret" {
            object.as_object_mut().unwrap().remove("data");
            object.as_object_mut().unwrap().remove("type");
        }
        object
    };
    let mut objects: Vec<Value> = objects.into_iter().map(plain).map(unordered).collect();
    objects.sort_by_key(|object| format!("{}{}", object["kind"], object["metadata"]["name"]));
    objects
}

/// Lists whose order means nothing, in one order.
fn unordered(mut value: Value) -> Value {
    if let Some(spec) = value.pointer_mut("/spec/template/spec") {
        for list in ["containers", "volumes"] {
            if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
                items.sort_by_key(|item| item["name"].to_string());
                for item in items {
                    if let Some(env) = item.get_mut("env").and_then(Value::as_array_mut) {
                        env.sort_by_key(|item| item["name"].to_string());
                    }
                }
            }
        }
    }
    value
}

#[test]
fn each_case_is_built_as_kustomize_builds_it() {
    if !needs::is_here(
        "kubectl",
        &["version", "--client"],
        "the comparison with kustomize",
    ) {
        return;
    }
    for (name, files) in cases() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "base/kustomization.yaml",
            "resources: [all.yaml]",
        );
        write(folder.path(), "base/all.yaml", DEPLOYMENT);
        for (path, text) in files {
            write(folder.path(), &format!("overlay/{path}"), text);
        }
        let built = Command::new("kubectl")
            .arg("kustomize")
            .arg(folder.path().join("overlay"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{name}: {told}");
        let text = String::from_utf8(built.stdout).unwrap();
        let theirs = sluice::yaml::documents(&text).unwrap();
        let theirs: Vec<Value> = theirs.iter().map(sluice::yaml::Node::to_json).collect();
        let ours = build(&Disk(folder.path().to_owned()), "overlay").unwrap();
        let (ours, theirs) = (comparable(ours), comparable(theirs));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

#[test]
fn a_name_follows_the_content_and_a_folder_without_a_kustomization_is_all_below_it() {
    let name = |literal: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "all/deep/a.yaml", DEPLOYMENT);
        write(
            folder.path(),
            "all/other/kustomization.yaml",
            &format!("configMapGenerator: [{{name: settings, literals: [{literal}]}}]"),
        );
        let objects = build(&Disk(folder.path().to_owned()), "all").unwrap();
        assert_eq!(objects.len(), 9);
        let deployment = objects
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].to_string()
    };
    assert_eq!(name("a=1"), name("a=1"));
    assert_ne!(name("a=1"), name("a=2"));
}

#[test]
fn what_is_not_understood_is_named() {
    let cases = [
        ("resources: ['https://example.com/x']", "is elsewhere"),
        ("resources: [gone.yaml]", "gone.yaml is neither"),
        ("resources: [../../../x]", "leads out of the repository"),
        ("components: ['https://example.com/x']", "is elsewhere"),
        (
            "{resources: [gone.yaml], replacements: []}",
            "replacements is not understood",
        ),
        ("resources: [.]", "in a circle"),
        ("patches: [{path: gone.yaml}]", "gone.yaml: no such file"),
        (
            "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: x}}'}]",
            "Service/x, which is not there",
        ),
        ("images: 3", "kustomization.yaml"),
        ("resources: [", "kustomization.yaml"),
    ];
    for (text, wanted) in cases {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/b/kustomization.yaml", text);
        let said = build(&Disk(folder.path().to_owned()), "a/b")
            .unwrap_err()
            .to_string();
        assert!(said.contains(wanted), "{text}: {said}");
    }
}
