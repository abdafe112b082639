//! kubectl against the sandbox's API server, as a person uses it.
//!
//! Needs `kubectl` on the PATH; without it the test says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::process::{Command, Stdio};

use sluice::clock::Clock;
use sluice::sandbox::api::Api;
use tokio_util::sync::CancellationToken;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#;

/// Arguments (a manifest is given on standard input), and what the output must contain.
const STEPS: &[(&str, &str)] = &[
    ("version", "Server Version: v1.36"),
    ("api-resources", "deployments"),
    ("apply -f -", "deployment.apps/web created"),
    ("apply -f -", "deployment.apps/web unchanged"),
    ("get deploy web", "0/2"),
    ("set image deploy/web web=web:2", "image updated"),
    (
        "get deploy web -o jsonpath={.spec.template.spec.containers[0].image}",
        "web:2",
    ),
    ("scale deploy/web --replicas=3", "scaled"),
    ("apply --server-side -f -", "conflicts with \"kubectl-set\""),
    (
        "apply --server-side --force-conflicts -f -",
        "deployment.apps/web serverside-applied",
    ),
    ("rollout pause deploy/web", "paused"),
    ("rollout resume deploy/web", "resumed"),
    ("rollout restart deploy/web", "restarted"),
    ("replace -f -", "deployment.apps/web replaced"),
    ("label deploy web a=b", "labeled"),
    ("get all", "service/web"),
    (
        "explain deployment.spec.paused",
        "Indicates that the deployment is paused",
    ),
    ("auth whoami --as bob", "bob"),
    ("get svc web -o yaml", "targetPort: 80"),
    ("delete -f -", "deployment.apps \"web\" deleted"),
    ("get deploy web", "NotFound"),
];

fn kubectl(config: &std::path::Path, arguments: &str) -> std::io::Result<String> {
    let mut child = Command::new("kubectl")
        .args(arguments.split(' '))
        .env("KUBECONFIG", config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A command that reads no input closes it.
    child.stdin.take().unwrap().write_all(WEB.as_bytes()).ok();
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_as_a_person_expects() {
    let api = Api::new(Clock::machine());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = std::env::temp_dir().join(format!("sluice-kubectl-{}.yaml", address.port()));
    std::fs::write(&config, api.kubeconfig(address)).unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(api.serve(listener, shutdown.clone()));
    let path = config.clone();
    let steps = tokio::task::spawn_blocking(move || {
        for (arguments, want) in STEPS {
            match kubectl(&path, arguments) {
                Ok(output) => assert!(output.contains(want), "kubectl {arguments}: {output}"),
                Err(error) => return println!("SKIPPED: kubectl does not run here: {error}"),
            }
        }
    });
    steps.await.unwrap();
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    std::fs::remove_file(config).unwrap();
}
