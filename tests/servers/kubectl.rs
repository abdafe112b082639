//! kubectl as a person uses it every day, on whatever API server a kubeconfig names.
//!
//! Not here: what Sluice's documents say (`commands`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::needs;

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

fn kubectl(config: &Path, arguments: &str) -> std::io::Result<String> {
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

/// Whether kubectl is on the PATH.
pub fn is_here() -> bool {
    needs::is_here(
        "kubectl",
        &["version", "--client"],
        "what kubectl does and says",
    )
}

/// Does all of it, if kubectl is there.
pub fn works(config: &Path) {
    if !is_here() {
        return;
    }
    for (arguments, want) in STEPS {
        let output = kubectl(config, arguments).unwrap();
        assert!(output.contains(want), "kubectl {arguments}: {output}");
    }
}
