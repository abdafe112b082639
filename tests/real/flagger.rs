//! Sluice beside a running Flagger: each releases its own, a target that Flagger releases is refused, and the
//! steps that `sluice import flagger` prints lead from one to the other with every request answered.
//!
//! Flagger is the real program, on the real control plane; the router and the pods are the sandbox's. The steps
//! are typed as they are printed. Not here: what becomes of a Canary's fields (`sluice::import`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::child::{Server, free_ports};
use super::commands::Shell;
use super::needs::is_here;
use super::process;
use super::stand::{Stand, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be released. Without a Service of the user's own Flagger makes one.
const APP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default, labels: {app: NAME}}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata:
      labels: {app: NAME}
      annotations: {sandbox.sluice.dev/latency: "5ms 0.3", sandbox.sluice.dev/start-after: 1s}
    spec: {containers: [{name: app, image: "NAME:1", ports: [{containerPort: 8080}]}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME, namespace: default, annotations: {sandbox.sluice.dev/rps: "100"}}
spec:
  ingressClassName: nginx
  rules:
  - host: NAME.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: 80}}}}]}
"#;

const SERVICE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

const CANARY: &str = r"
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: NAME, namespace: default}
spec:
  provider: nginx
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}
  ingressRef: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: NAME}
  service: {port: 80, targetPort: 8080}
  analysis: {interval: 10s, threshold: 2, maxWeight: 50, stepWeight: 50, metrics: []}
";

const IMAGE: &str = "'{.spec.template.spec.containers[0].image}'";

/// Whose Service Flagger makes, and whose is the user's own.
const APPS: [&str; 2] = ["made", "owned"];

/// Where `make flagger` puts the program and its kinds; `None`, said aloud, where it was not built.
fn built() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/flagger");
    if folder.join("crd.yaml").exists() {
        return Some(folder);
    }
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!in_ci, "target/flagger is missing: make flagger");
    eprintln!("NOT RUN: target/flagger is missing; `make flagger` builds it");
    None
}

fn flagger(folder: &Path, kubeconfig: &Path) -> Server {
    let [port, nowhere] = free_ports();
    let arguments = [
        format!("-kubeconfig={}", kubeconfig.display()),
        "-mesh-provider=nginx".to_owned(),
        "-control-loop-interval=1s".to_owned(),
        format!("-port={port}"),
        // The Canaries here ask for no metrics.
        format!("-metrics-server=http://127.0.0.1:{nowhere}"),
    ];
    Server::start(
        folder.join("flagger"),
        &arguments,
        &process::file("flagger-itself", "log"),
    )
}

/// What is done at a cluster's shell, with files in a folder of the test's own.
struct Desk<'a> {
    shell: Shell<'a>,
    folder: &'a Path,
}

impl Desk<'_> {
    fn file(&self, name: &str, text: &str) -> String {
        let file = self.folder.join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn apply(&self, app: &str, text: &str) {
        let file = self.file("applied.yaml", &text.replace("NAME", app));
        self.shell
            .expect(&format!("kubectl apply -f {file}"), true, app);
    }

    fn read(&self, line: &str) -> String {
        let (fine, said) = self.shell.run(line);
        assert!(fine, "{line}\n{said}");
        said
    }

    fn phase(&self, app: &str, wanted: &str) {
        let line = format!("kubectl get canary {app} -o jsonpath={{.status.phase}}");
        self.shell.until(&line, wanted, None);
    }

    fn images(&self, deployment: &str) -> String {
        self.read(&format!(
            "kubectl get deploy {deployment} -o jsonpath={IMAGE}"
        ))
    }

    /// The pods of an application, by uid.
    fn pods(&self, app: &str) -> String {
        self.read(&format!(
            "kubectl get pods -l app={app} -o jsonpath='{{.items[*].metadata.uid}}'"
        ))
    }

    /// What `sluice import flagger` makes of a Canary, as a file and as JSON.
    fn imported(&self, app: &str) -> (String, Value) {
        let canary = self.file("canary.yaml", &CANARY.replace("NAME", app));
        let text = self.read(&format!("sluice import flagger {canary}"));
        let json = self.read(&format!("sluice import flagger {canary} -o json"));
        (
            self.file(&format!("{app}.yaml"), &text),
            serde_json::from_str(&json).unwrap(),
        )
    }
}

/// Requests of an application's Ingresses so far: all, and those that were not answered with 200.
async fn requests(stand: &Stand, app: &str) -> (u64, u64) {
    let text = stand.router_metrics().await;
    let ingress = format!("ingress=\"{app}\"");
    let counted = text.lines().filter(|line| {
        line.starts_with("nginx_ingress_controller_requests{") && line.contains(&ingress)
    });
    counted.fold((0, 0), |(all, bad), line| {
        let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let good = line.contains("status=\"200\"");
        (all + count, if good { bad } else { bad + count })
    })
}

/// Both release at the same time, and neither touches what the other has.
async fn side_by_side(stand: &Stand, desk: &Desk<'_>) {
    tokio::task::block_in_place(|| {
        for app in APPS {
            desk.read(&format!("kubectl set image deploy/{app} app={app}:2"));
        }
    });
    stand.apps.release("shop", "2", "0").await;
    tokio::task::block_in_place(|| {
        for app in APPS {
            let brought = format!("kubectl get deploy {app}-primary -o jsonpath={IMAGE}");
            desk.shell.until(&brought, &format!("{app}:2"), None);
            desk.phase(app, "Succeeded");
        }
        let ended = "kubectl get slr shop -o jsonpath={.status.lastRun.outcome}";
        desk.shell.until(ended, "Promoted", None);
        assert_eq!(desk.images("shop"), "shop:2");
        only_the_shop_is_guarded(desk);
    });
}

/// That Sluice has put its label on nothing of Flagger's.
fn only_the_shop_is_guarded(desk: &Desk<'_>) {
    let guarded = desk.read("kubectl get deploy -l sluice.dev/guarded -o name");
    assert_eq!(guarded.trim(), "deployment.apps/shop");
}

/// A Rollout for what Flagger releases is refused with the Canary's name, and guards nothing.
fn refused(desk: &Desk<'_>) {
    let (file, _) = desk.imported("made");
    desk.shell
        .expect(&format!("kubectl apply -f {file}"), true, "created");
    let told = "sluice explain made";
    desk.shell
        .until(told, "released by Flagger's Canary made", None);
    only_the_shop_is_guarded(desk);
    desk.shell
        .expect("kubectl delete slr made --timeout 60s", true, "deleted");
}

/// Types the printed steps; the pods that serve in the end, known before the Rollout came.
fn switched(desk: &Desk<'_>, app: &str) {
    let (file, imported) = desk.imported(app);
    let mut pods = None;
    for step in imported["steps"].as_array().unwrap() {
        let step = step.as_str().unwrap();
        println!("{step}");
        let Some((_, command)) = step.split_once('\n') else {
            continue;
        };
        if command.contains("sluice lint") {
            pods = Some(desk.pods(app));
        }
        desk.read(&command.replace("FILE", &file));
    }
    let guarded = format!("kubectl get slr {app} -o jsonpath={{.status.phase}}");
    desk.shell.until(&guarded, "Idle", None);
    assert_eq!(Some(desk.pods(app)), pods, "adopting moved pods");
    let service = desk.read(&format!(
        "kubectl get service {app} -o jsonpath={{.metadata}}"
    ));
    assert!(
        !service.contains("ownerReferences") && !service.contains("toolkit.fluxcd.io"),
        "{service}"
    );
    let left = format!("kubectl get deploy,service,ingress,canary -o name | grep {app}");
    let wanted = ["deployment.apps", "service", "ingress.networking.k8s.io"];
    assert_eq!(
        desk.read(&left).lines().collect::<Vec<_>>(),
        wanted.map(|kind| format!("{kind}/{app}"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "some six minutes, and Flagger is built first: `make test-flagger`"]
async fn a_switch_from_a_running_flagger_loses_no_request() {
    let what = "the switch from a running Flagger";
    let here = is_here("kubectl", &["version", "--client"], what);
    let Some(folder) = built().filter(|_| here) else {
        return;
    };
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let kubeconfig = stand.plane.kubeconfig("admin");
    let files = tempfile::tempdir().unwrap();
    let desk = Desk {
        shell: Shell {
            kubeconfig: &kubeconfig,
        },
        folder: files.path(),
    };
    let kinds = folder.join("crd.yaml").display().to_string();
    tokio::task::block_in_place(|| {
        desk.read(&format!("kubectl apply -f {kinds}"));
        desk.read(&format!(
            "kubectl wait --for condition=established --timeout 60s -f {kinds}"
        ));
    });
    let _flagger = flagger(&folder, &kubeconfig);
    let daemon = stand.daemon("flagger", "");
    tokio::task::block_in_place(|| {
        desk.apply("owned", SERVICE);
        for app in APPS {
            desk.apply(app, APP);
            desk.apply(app, CANARY);
        }
        for app in APPS {
            desk.phase(app, "Initialized");
        }
    });
    stand.apps.app("shop", 100, "2s").await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", PATIENCE, guarded, || daemon.told()).await;

    side_by_side(&stand, &desk).await;
    tokio::task::block_in_place(|| refused(&desk));
    for app in APPS {
        let before = requests(&stand, app).await;
        tokio::task::block_in_place(|| switched(&desk, app));
        let more = || async { requests(&stand, app).await.0 > before.0 + 1000 };
        until("requests go on", PATIENCE, more, || daemon.told()).await;
        let after = requests(&stand, app).await;
        assert_eq!(after.1, before.1, "requests were lost");
    }
    for app in APPS {
        let analysis = json!({"spec": {"analysis": {"within": "1m", "blastMax": "5%"}}});
        tokio::task::block_in_place(|| {
            desk.read(&format!(
                "kubectl patch slr {app} --type merge -p '{analysis}'"
            ));
            desk.read(&format!("kubectl set image deploy/{app} app={app}:3"));
            let ended = format!("kubectl get slr {app} -o jsonpath={{.status.lastRun.outcome}}");
            desk.shell.until(&ended, "Promoted", Some(&daemon));
            assert_eq!(desk.images(app), format!("{app}:3"));
        });
    }
}
