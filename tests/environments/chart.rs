//! The Helm chart: rendered by Helm, with its defaults the same objects as `clusters/production`, and
//! with every option what passes our own validation.
//!
//! Not here: installing it (tests/real).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use sluice::daemon::settings::Settings;
use sluice::environments::Pipeline;
use sluice::kustomize::{Disk, build};

use super::needs;

/// Files that the chart has as copies, since a chart that Flux or a registry brings has no links.
const COPIES: [(&str, &str); 17] = [
    ("crd.yaml", "clusters/base/sluice/crd.yaml"),
    ("gate.yaml", "clusters/base/sluice/gate.yaml"),
    ("people.yaml", "clusters/base/sluice/people.yaml"),
    ("rbac.yaml", "clusters/base/sluice/rbac.yaml"),
    ("alerts.yaml", "rules/prometheus/sluice.yaml"),
    (
        "approvals.yaml",
        "clusters/components/approvals/policy.yaml",
    ),
    (
        "webhook.yaml",
        "clusters/components/webhook-gate/webhook.yaml",
    ),
    (
        "webhook-rights.yaml",
        "clusters/components/webhook-gate/rbac.yaml",
    ),
    (
        "git-revert.yaml",
        "clusters/components/git-revert/rbac.yaml",
    ),
    (
        "git-revert-argo-cd.yaml",
        "clusters/components/git-revert-argo-cd/rbac.yaml",
    ),
    (
        "page-access.yaml",
        "clusters/components/page-access/rbac.yaml",
    ),
    (
        "smoke-after-sync.yaml",
        "clusters/components/smoke-after-sync/rbac.yaml",
    ),
    (
        "smoke-jobs.yaml",
        "clusters/components/smoke-jobs/rbac.yaml",
    ),
    ("dashboards/dora.json", "dashboards/dora.json"),
    ("dashboards/overview.json", "dashboards/overview.json"),
    ("dashboards/rollout.json", "dashboards/rollout.json"),
    ("dashboards/sluice.json", "dashboards/sluice.json"),
];

/// Everything that can be switched on beside each other.
const EVERYTHING: &str = r#"
replicas: 1
image: {repository: registry.example/sluice, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
namespaces: [shop, payment]
rules: {shop.yaml: "rules: []\n"}
smokeTests: {shop.yaml: "smoke: []\n", cart.yaml: "smoke: []\n"}
pipeline:
  repository: {url: "https://git.example/shop.git", tokenFile: /var/run/secrets/sluice/git/token}
  services: [{name: backend}]
  environments: [{name: staging, path: staging}, {name: production, path: production, gates: {soak: 24h}}]
secrets: [{name: slack, secretName: sluice-slack}]
serviceAccount: {annotations: {example.com/role: sluice}}
gitRevert: {enabled: true, namespaces: [flux-system, team-flux], argoNamespaces: [argocd]}
smokeAfterSync: {namespaces: [flux-system]}
smokeJobs: {namespaces: [shop]}
pageAccess: {enabled: true}
approvals: {policy: true}
history: {persistence: {enabled: true, size: 2Gi}}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true}
dashboards: {enabled: true, namespace: monitoring}
podLabels: {team: platform}
podAnnotations: {example.com/a: b}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: platform, operator: Exists}]
priorityClassName: system-cluster-critical
networkPolicy: {from: [{ipBlock: {cidr: 10.0.0.10/32}}]}
env: [{name: RUST_BACKTRACE, value: "0"}]
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Helm, or `None`, said aloud, where it is missing and that is allowed.
fn helm() -> Option<PathBuf> {
    let built = root().join("target/helm");
    if built.exists() {
        return Some(built);
    }
    needs::left_out("the chart by Helm", "target/helm is missing: make helm");
    None
}

fn run(helm: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command.current_dir(root()).args(arguments);
    command.output().unwrap()
}

/// What `helm template` prints of these values.
fn rendered(helm: &Path, values: &str) -> Result<Vec<Value>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    let values = file.path().to_str().unwrap();
    let fixed = ["template", "sluice", "charts/sluice", "-n", "sluice-system"];
    let output = run(helm, &[&fixed[..], &["--values", values]].concat());
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = sluice::yaml::documents(&text).unwrap();
    Ok(documents.iter().map(sluice::yaml::Node::to_json).collect())
}

/// Objects by kind, namespace and name, without what Helm and Kustomize each add in their own way: labels, the
/// file's hash in names and annotations, and an `imagePullPolicy` that is the default.
fn plain(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let named = objects.into_iter().map(|mut object| {
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.remove("labels");
        meta.remove("annotations");
        let name = meta["name"].as_str().unwrap();
        let generated = name.starts_with("sluice-settings-");
        let name = if generated { "sluice-settings" } else { name }.to_owned();
        let place = meta.get("namespace").map(ToString::to_string);
        meta.insert("name".to_owned(), name.clone().into());
        if object["kind"] == "Deployment" {
            let template = &mut object["spec"]["template"];
            template["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
            let pod = &mut template["spec"];
            let container = pod["containers"][0].as_object_mut().unwrap();
            container.retain(|key, value| key != "imagePullPolicy" || value != "IfNotPresent");
            pod["volumes"][0]["configMap"]["name"] = "sluice-settings".into();
        }
        if object["kind"] == "ConfigMap" {
            let text = object["data"]["sluice.yaml"].as_str().unwrap();
            object["data"] = sluice::yaml::documents(text).unwrap()[0].to_json();
        }
        (format!("{} {place:?} {name}", object["kind"]), object)
    });
    named.collect()
}

#[test]
fn with_its_defaults_the_chart_is_the_overlay_of_production() {
    let Some(helm) = helm() else { return };
    let overlay = build(&Disk(root().to_owned()), "clusters/production").unwrap();
    is_the_same(&helm, "", overlay);
}

#[test]
fn with_the_webhook_the_chart_is_the_overlay_with_its_component() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r")
        .arg(root().join("clusters"))
        .arg(folder.path());
    assert!(copy.status().unwrap().success());
    let file = folder.path().join("clusters/production/kustomization.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let component = "components:\n- ../components/webhook-gate\n";
    std::fs::write(&file, text + component).unwrap();
    let overlay = build(&Disk(folder.path().to_owned()), "clusters/production").unwrap();
    is_the_same(&helm, "gate: {mode: webhook}\n", overlay);
}

/// Whether the chart with these values has the objects of an overlay.
fn is_the_same(helm: &Path, values: &str, overlay: Vec<Value>) {
    let chart = plain(rendered(helm, values).unwrap());
    let mut overlay = plain(overlay);
    overlay.retain(|key, _| !key.starts_with("\"Namespace\""));
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&overlay));
    for (name, wanted) in &overlay {
        let differs = first_difference("", &chart[name], wanted);
        assert_eq!(differs, None, "{name}");
    }
}

/// Where two values differ first; 0 and 0.0 do not.
fn first_difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys());
            names.into_iter().find_map(|name| {
                let [one, other] = [one, other].map(|of| of.get(name).unwrap_or(&Value::Null));
                first_difference(&format!("{path}/{name}"), one, other)
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(at, (one, other))| {
                first_difference(&format!("{path}/{at}"), one, other)
            })
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        (one, other) if one == other => None,
        (one, other) => Some(format!("{path}: {one} and {other}")),
    }
}

#[test]
fn the_copies_in_the_chart_are_what_they_are_copies_of() {
    for (copy, original) in COPIES {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let (copy, original) = (
            read(root().join("charts/sluice/files").join(copy)),
            read(root().join(original)),
        );
        assert!(copy == original, "`make chart` copies {original} anew");
    }
}

#[test]
fn with_every_option_the_chart_passes_our_own_validation() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, EVERYTHING).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let documents = objects.iter().map(Value::to_string).collect::<Vec<_>>();
    std::fs::write(folder.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
    let mut sluice = Command::new(env!("CARGO_BIN_EXE_sluice"));
    sluice.current_dir(folder.path()).args(["validate", "."]);
    let output = sluice.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let linted = run(&helm, &["lint", "--strict", "charts/sluice"]);
    assert!(linted.status.success(), "{linted:?}");
}

#[test]
fn a_service_monitor_leaves_the_namespace_of_a_rollout_as_it_is() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, EVERYTHING).unwrap();
    let mut all = objects.iter();
    let monitor = all.find(|object| object["kind"] == "ServiceMonitor");
    let endpoints = &monitor.unwrap()["spec"]["endpoints"];
    assert_eq!(endpoints[0]["honorLabels"], true, "{endpoints}");
}

#[test]
fn who_else_may_ask_is_named_as_in_a_network_policy() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, EVERYTHING).unwrap();
    let mut all = objects.iter();
    let policy = all.find(|object| object["kind"] == "NetworkPolicy");
    let from = policy.unwrap()["spec"]["ingress"][0]["from"].as_array();
    let wanted = json!({"ipBlock": {"cidr": "10.0.0.10/32"}});
    assert_eq!(from.unwrap().last(), Some(&wanted));
}

/// The daemon's default `git.folder` is among the temporary files, and its root is read-only.
#[test]
fn copies_of_repositories_have_a_volume_in_the_manifests_and_the_chart() {
    let objects = build(&Disk(root().to_owned()), "clusters/production").unwrap();
    let chart = helm().map(|helm| rendered(&helm, EVERYTHING).unwrap());
    for objects in [Some(objects), chart].into_iter().flatten() {
        let mut all = objects.iter();
        let deployment = all.find(|object| object["kind"] == "Deployment").unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == "/tmp");
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes
            .iter()
            .find(|it| it["name"] == mount.unwrap()["name"]);
        assert!(volume.unwrap()["emptyDir"].is_object(), "{pod:#}");
    }
}

#[test]
fn rights_go_to_the_namespaces_that_are_named() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, EVERYTHING).unwrap();
    let places = |kind: &str, name: &str| -> Vec<String> {
        let of = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        let place = |object: &Value| object["metadata"]["namespace"].to_string();
        objects.iter().filter(of).map(place).collect()
    };
    assert_eq!(places("RoleBinding", "sluice"), ["\"shop\"", "\"payment\""]);
    assert_eq!(places("ClusterRoleBinding", "sluice"), [] as [&str; 0]);
    assert_eq!(
        places("Role", "sluice-git"),
        ["\"flux-system\"", "\"team-flux\""]
    );
    assert_eq!(places("Role", "sluice-smoke-jobs"), ["\"shop\""]);
    let strangers: Vec<&Value> = objects
        .iter()
        .flat_map(|object| object["subjects"].as_array().into_iter().flatten())
        .filter(|subject| subject["namespace"] != "sluice-system")
        .collect();
    assert_eq!(strangers, [] as [&Value; 0]);
}

#[test]
fn the_settings_of_the_chart_are_settings() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, EVERYTHING).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = objects
        .iter()
        .find(|object| object["metadata"]["name"] == "sluice-settings")
        .unwrap();
    let path = folder.path().join("sluice.yaml");
    std::fs::write(&path, settings["data"]["sluice.yaml"].as_str().unwrap()).unwrap();
    for folder in ["rules", "smoke"].map(|name| folder.path().join(name)) {
        std::fs::create_dir(folder).unwrap();
    }
    let pipeline = objects
        .iter()
        .find(|object| object["metadata"]["name"] == "sluice-pipeline");
    let text = pipeline.unwrap()["data"]["pipeline.yaml"].as_str().unwrap();
    let beside = folder.path().join("pipeline.yaml");
    std::fs::write(&beside, text).unwrap();
    let settings = Settings::load(&path).unwrap();
    assert_eq!(settings.pipeline, Some(beside.clone()));
    assert_eq!(Pipeline::load(&beside).unwrap().environments.len(), 2);
    assert_eq!(settings.cluster.namespaces, ["shop", "payment"]);
    assert_eq!(settings.environment, "production");
}

#[test]
fn another_namespace_has_an_account_of_its_own_that_the_gate_lets_pass() {
    let Some(helm) = helm() else { return };
    let output = run(
        &helm,
        &["template", "sluice", "charts/sluice", "-n", "platform"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("system:serviceaccount:platform:sluice"),
        "{text}"
    );
    assert!(!text.contains("sluice-system"), "{text}");
}

#[test]
fn values_that_cannot_be_are_refused_by_their_names() {
    let Some(helm) = helm() else { return };
    let table = [
        (
            "replica: 2\n",
            "additional properties 'replica' not allowed",
        ),
        (
            "replicas: two\n",
            "at '/replicas': got string, want integer",
        ),
        (
            "history: {persistence: {enabled: true}}\n",
            "set replicas to 1",
        ),
        (
            "settings: {leaderElection: {enabled: false}}\n",
            "settings.leaderElection.enabled: true",
        ),
        ("image: {digest: latest}\n", "at '/image/digest'"),
        (
            "gate: {mode: webhook}\nsettings: {webhook: {listen: '0.0.0.0:9443', name: mine}}\n",
            "settings.webhook.name: the chart's",
        ),
        (
            "settings: {webhook: {listen: '0.0.0.0:9443'}}\n",
            "settings.webhook: nothing asks it without gate.mode: webhook",
        ),
    ];
    for (values, wanted) in table {
        let said = rendered(&helm, values).unwrap_err();
        assert!(said.contains(wanted), "{values}{said}");
    }
}

#[test]
fn with_namespaces_the_webhook_is_the_one_that_the_daemons_ask_for() {
    let Some(helm) = helm() else { return };
    let values = "gate: {mode: webhook}\nnamespaces: [shop, payment]\n";
    let objects = rendered(&helm, values).unwrap();
    let mut sluice = Command::new(env!("CARGO_BIN_EXE_sluice"));
    sluice.args(["gate", "--webhook", "--only", "shop", "--only", "payment"]);
    let printed = String::from_utf8(sluice.output().unwrap().stdout).unwrap();
    let printed = sluice::yaml::documents(&printed).unwrap();
    let wanted = printed[0].to_json();
    let found = objects
        .iter()
        .find(|object| object["kind"] == wanted["kind"]);
    assert_eq!(found.unwrap()["webhooks"], wanted["webhooks"]);
}

#[test]
fn another_port_of_the_webhook_is_the_pods_and_the_settings_at_once() {
    let Some(helm) = helm() else { return };
    let values = "gate: {mode: webhook}\nsettings: {webhook: {listen: '[::]:9443'}}\n";
    let objects = rendered(&helm, values).unwrap();
    let of = |kind: &str, name: &str| {
        let mut all = objects.iter();
        let found = all.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap()
    };
    let ports = &of("Deployment", "sluice")["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(ports[1]["containerPort"], 9443, "{ports}");
    let service = &of("Service", "sluice-webhook")["spec"]["ports"][0];
    assert_eq!(service["targetPort"], "webhook");
    let text = of("ConfigMap", "sluice-settings")["data"]["sluice.yaml"]
        .as_str()
        .unwrap();
    let variable = ("SLUICE_GATE".to_owned(), "webhook".to_owned());
    let settings = Settings::parse(text, Path::new("s.yaml"), &[variable]);
    let listen = settings.unwrap().webhook.unwrap().listen;
    assert_eq!(listen.port(), 9443);
}

#[test]
fn every_value_is_in_the_schema_and_the_other_way_round() {
    let read =
        |name: &str| std::fs::read_to_string(root().join("charts/sluice").join(name)).unwrap();
    let values = sluice::yaml::documents(&read("values.yaml")).unwrap()[0].to_json();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut missing = Vec::new();
    compare("", &values, &schema, &mut missing);
    assert_eq!(missing, [] as [String; 0]);
}

/// Names below `path` that only one of the two has, where the schema closes its object.
fn compare(path: &str, values: &Value, schema: &Value, missing: &mut Vec<String>) {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let Some(values) = values
        .as_object()
        .filter(|_| schema["additionalProperties"] == false)
    else {
        return;
    };
    // Helm's own, which it hands to every chart.
    let names = properties.keys().filter(|name| *name != "global");
    missing.extend(
        names
            .filter(|name| !values.contains_key(*name))
            .map(|name| format!("{path}/{name}")),
    );
    for (name, value) in values {
        match properties.get(name) {
            Some(schema) => compare(&format!("{path}/{name}"), value, schema, missing),
            None => missing.push(format!("{path}/{name}: not in the schema")),
        }
    }
}

/// What an API server of Kubernetes 1.33 answers to the questions that Helm asks before it renders.
fn before_1_36(path: &str) -> Option<Value> {
    const GROUP: &str = "admissionregistration.k8s.io";
    let version = json!({"groupVersion": format!("{GROUP}/v1"), "version": "v1"});
    let resources = |of: &str, name: &str, kind: &str| {
        let one = json!({"name": name, "singularName": "", "namespaced": false, "kind": kind, "verbs": ["get"]});
        json!({"kind": "APIResourceList", "groupVersion": of, "resources": [one]})
    };
    Some(match path {
        "/version" => json!({"major": "1", "minor": "33", "gitVersion": "v1.33.1"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({
            "kind": "APIGroupList",
            "groups": [{"name": GROUP, "versions": [version], "preferredVersion": version}],
        }),
        "/api/v1" => resources("v1", "namespaces", "Namespace"),
        "/apis/admissionregistration.k8s.io/v1" => resources(
            "admissionregistration.k8s.io/v1",
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
        ),
        "/api/v1/namespaces/kube-system" => {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
        }
        _ => return None,
    })
}

fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    drop(lines);
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, body) = match before_1_36(path) {
        Some(body) => ("200 OK", body),
        None => (
            "404 Not Found",
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}),
        ),
    };
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_cluster_without_mutating_policies_is_told_which_gate_is_right() {
    let Some(helm) = helm() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = answer(&mut stream);
        }
    });
    let said = |more: &[&str]| {
        let asked = ["template", "sluice", "charts/sluice", "-n", "sluice-system"];
        let there = ["--dry-run=server", "--kube-apiserver", &url];
        let output = run(&helm, &[&asked[..], &there, more].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = said(&[]);
    let wanted = "gate.mode: found policy, and this cluster (Kubernetes v1.33.1) has no MutatingAdmissionPolicy";
    assert!(refused.contains(wanted), "{refused}");
    let webhook = said(&["--set", "gate.mode=webhook", "--set", "replicas=2"]);
    assert!(!webhook.contains("gate.mode"), "{webhook}");
    // For no cluster in particular.
    let kinds = rendered(&helm, "").unwrap();
    assert!(
        kinds
            .iter()
            .any(|object| object["kind"] == "MutatingAdmissionPolicy")
    );
}
