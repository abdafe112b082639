//! The whole way, told as it goes: one version from a commit in develop through staging and an approval to
//! production, and one that fails in staging and never leaves it; two services, three environments.
//!
//! Three sandboxes are the clusters, each a process with its own daemon; a real Git server has the
//! repository; `kubectl apply -k` of a checkout stands in for Flux. `make demo-environments` runs it: some
//! minutes of wall time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice::clock::Clock;

use super::child::Server;
use super::repository::Team;
use super::server::Http;

/// For anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

const SERVICE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {sandbox.sluice.dev/errors: '0.001'}
    spec:
      containers:
      - name: NAME
        image: shop/NAME
        ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: NAME
  namespace: default
  annotations: {sandbox.sluice.dev/rps: '150'}
spec:
  ingressClassName: nginx
  rules:
  - host: NAME.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: NAME, port: {name: http}}}}
---
apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: NAME, namespace: default}
spec:
  target: {kind: Deployment, name: NAME}
  route: {ingressNginx: {ingress: NAME}}
  strategy:
    canary:
      steps: [{weight: 20}, {weight: 50}]
  analysis: {rules: [error-rate], within: 30s, blastMax: 2%}
";

fn kustomization(backend: &str, bad: bool) -> String {
    let broken = "patches:\n- target: {kind: Deployment, name: backend}\n  patch: |\n    \
        - {op: replace, path: /spec/template/metadata/annotations/sandbox.sluice.dev~1errors, value: '0.3'}\n";
    format!(
        "resources: [../base]\nimages:\n- name: shop/backend\n  newTag: {backend} # moved by sluice\n\
         - name: shop/frontend\n  newTag: v1.0.0\n{}",
        if bad { broken } else { "" }
    )
}

/// A cluster that is deployed from a folder of the team's repository.
struct Cluster {
    name: &'static str,
    kubeconfig: PathBuf,
    server: Server,
}

impl Cluster {
    fn start(name: &'static str, folder: &Path) -> Self {
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        let file = kubeconfig.display().to_string();
        let arguments = ["sandbox", "--empty", "--kubeconfig", &file];
        let log = folder.join(format!("{name}.log"));
        let server = Server::start(env!("CARGO_BIN_EXE_sluice"), &arguments, &log);
        Self {
            name,
            kubeconfig,
            server,
        }
    }

    /// What Flux does: the folder as the branch has it now.
    async fn sync(&self, team: &Team) {
        let clone = team.clone();
        super::repository::git(&clone, &["pull", "-q", "--ff-only", "origin", "main"]);
        let folder = clone.join("clusters").join(self.name);
        let clock = Clock::machine();
        let applied = async {
            loop {
                let mut kubectl = Command::new("kubectl");
                kubectl
                    .arg("--kubeconfig")
                    .arg(&self.kubeconfig)
                    .args(["apply", "-k"])
                    .arg(&folder);
                let output = kubectl.output().unwrap();
                if output.status.success() {
                    return;
                }
                clock.sleep(Duration::from_millis(500)).await;
            }
        };
        let applied = clock.timeout(PATIENCE, applied).await;
        assert!(
            applied.is_ok(),
            "{} is not applied: {}",
            self.name,
            self.server.told()
        );
        println!("  [flux] {} is applied", self.name);
    }

    /// Waits until the backend's Rollout says what is wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let clock = Clock::machine();
        let waiting = async {
            loop {
                let mut get = Command::new(env!("CARGO_BIN_EXE_sluice"));
                get.arg("--kubeconfig")
                    .arg(&self.kubeconfig)
                    .args(["-n", "default", "get", "backend", "-o", "json"]);
                let output = get.output().unwrap();
                let rollout: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                if wanted(&rollout["status"]) {
                    return rollout["status"]["lastRun"]["message"].to_string();
                }
                clock.sleep(Duration::from_millis(500)).await;
            }
        };
        let message = clock.timeout(PATIENCE, waiting).await;
        let Ok(message) = message else {
            panic!("{}: {what} did not come: {}", self.name, self.server.told());
        };
        println!("  [{}] {what}: {message}", self.name);
    }

    async fn ended(&self, tag: &str, outcome: &str) {
        let image = format!("shop/backend:{tag}");
        let what = format!("{tag} ends {outcome}");
        self.until(&what, |status| {
            let last = &status["lastRun"];
            status["phase"] != "Stepping"
                && last["revision"]["images"][0] == *image
                && last["outcome"] == *outcome
        })
        .await;
    }
}

struct Demo {
    team: Team,
    _http: Http,
    develop: Cluster,
    staging: Cluster,
    production: Cluster,
    pipeline: PathBuf,
}

impl Demo {
    async fn begin() -> Self {
        let team = Team::new();
        let http = Http::serve(&team.served()).await;
        let folder = team.folder.path().to_owned();
        let develop = Cluster::start("develop", &folder);
        let staging = Cluster::start("staging", &folder);
        let production = Cluster::start("production", &folder);
        std::fs::write(folder.join("token"), "token\n").unwrap();
        let pipeline = folder.join("environments.yaml");
        let cluster = |one: &Cluster| {
            format!(
                "{{kubeconfig: '{}', namespace: default}}",
                one.kubeconfig.display()
            )
        };
        let text = format!(
            "repository: {{url: '{}/shop.git', username: bot, tokenFile: token}}
services: [{{name: backend}}, {{name: frontend}}]
environments:
- {{name: develop, path: clusters/develop, deliver: push, cluster: {}}}
- {{name: staging, path: clusters/staging, deliver: push, cluster: {}, gates: {{promoted: true}}}}
- name: production
  path: clusters/production
  deliver: pullRequest
  cluster: {}
  gates: {{versions: '>=1.0.0', promoted: true, approval: {{required: 1}}}}
",
            http.url,
            cluster(&develop),
            cluster(&staging),
            cluster(&production)
        );
        std::fs::write(&pipeline, text).unwrap();
        Self {
            team,
            _http: http,
            develop,
            staging,
            production,
            pipeline,
        }
    }

    /// Runs the binary as a person would, and shows what it says.
    fn sluice(&self, arguments: &str) -> (i32, String) {
        println!("\n$ sluice {arguments}");
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments.split(' '))
            .arg("--pipeline")
            .arg(&self.pipeline)
            .arg("--copies")
            .arg(self.team.folder.path().join("copies"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("{said}");
        (output.status.code().unwrap_or(-1), said)
    }

    fn commit(&self, summary: &str, folder: &str, text: &str) {
        println!("\n[commit] {summary}");
        let file = format!("clusters/{folder}/kustomization.yaml");
        self.team.commit_on_top(summary, &[(&file, text)]);
    }

    /// A version comes to develop by a commit, and is promoted there and to staging.
    async fn up_to_staging(&self, tag: &str) {
        let summary = format!("Release {tag}");
        self.commit(&summary, "develop", &kustomization(tag, false));
        self.develop.sync(&self.team).await;
        self.develop.ended(tag, "Promoted").await;
        let (code, said) = self.sluice("promote backend --from develop --to staging");
        assert_eq!(code, 0, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of wall time: make demo-environments"]
async fn demo() {
    let demo = Demo::begin().await;
    let both = [
        SERVICE.replace("NAME", "backend"),
        SERVICE.replace("NAME", "frontend"),
    ]
    .join("---\n");
    let first = kustomization("v1.0.0", false);
    demo.team.commit(
        "Begin with v1.0.0 everywhere",
        &[
            (
                "clusters/base/kustomization.yaml",
                "resources: [all.yaml]\n",
            ),
            ("clusters/base/all.yaml", &both),
            ("clusters/develop/kustomization.yaml", &first),
            ("clusters/staging/kustomization.yaml", &first),
            ("clusters/production/kustomization.yaml", &first),
        ],
    );
    for cluster in [&demo.develop, &demo.staging, &demo.production] {
        cluster.sync(&demo.team).await;
        cluster
            .until("v1.0.0 is adopted", |status| status["phase"] == "Idle")
            .await;
    }

    demo.up_to_staging("v1.1.0").await;
    demo.staging.sync(&demo.team).await;
    let promote = "promote backend --from staging --to production";
    let (code, said) = demo.sluice(promote);
    assert_eq!(code, 1, "it is not promoted in staging yet: {said}");
    demo.staging.ended("v1.1.0", "Promoted").await;
    demo.sluice("status backend");
    let (code, said) = demo.sluice(promote);
    assert!(code == 1 && said.contains("0 of 1 approved"), "{said}");
    let (code, said) = demo.sluice("approve backend --from staging --to production");
    assert_eq!(code, 0, "{said}");
    let (code, said) = demo.sluice(promote);
    assert_eq!(code, 0, "{said}");
    let branch = demo.team.says(&[
        "for-each-ref",
        "--format=%(refname:short)",
        "refs/heads/sluice",
    ]);
    println!("[a person] merges {branch}");
    demo.team.merge(&branch);
    demo.production.sync(&demo.team).await;
    demo.production.ended("v1.1.0", "Promoted").await;

    demo.up_to_staging("v1.2.0").await;
    demo.commit(
        "What v1.2.0 meets in staging only",
        "staging",
        &kustomization("v1.2.0", true),
    );
    demo.staging.sync(&demo.team).await;
    demo.staging.ended("v1.2.0", "RolledBack").await;
    let (code, said) = demo.sluice(promote);
    assert!(code == 1 && said.contains("ended RolledBack"), "{said}");
    let (_, table) = demo.sluice("status backend");
    assert!(
        table
            .lines()
            .any(|row| row.contains("production") && row.contains("v1.1.0")),
        "{table}"
    );
    let production = demo.team.file("clusters/production/kustomization.yaml");
    assert_eq!(production, kustomization("v1.1.0", false).trim_end());
    println!("v1.1.0 is in production; v1.2.0 never left staging.");
}
