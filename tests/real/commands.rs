//! kubectl and `sluice` on the real control plane, and on the sandbox, as the README and the documents
//! write it.
//!
//! One story from installing to leaving; its lines stand in the documents word by word, and every
//! kubectl line of them is in it or in [`NOT_RUN`] with the reason. What `kubectl rollout status`
//! says of a held Deployment is part of it. Not here: whether arguments are understood (`tests/docs`).

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sluice::kubernetes::crd::ACCOUNT;

use super::stand::Stand;
use crate::blocks::blocks;
use crate::child::{Server, free_ports};
use crate::kubectl;
use crate::process::{Process, Start as ProcessStart};

/// How long something that is looked at again and again may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A step of the story.
enum Step {
    /// A line of a document ends well and says this.
    Written(&'static str, &'static str),
    /// The same of a line that is looked at until it says this.
    Until(&'static str, &'static str),
    /// Something between, that no document says.
    Between(&'static str, &'static str),
    /// Something between that must fail, and says this.
    Fails(&'static str, &'static str),
    /// The daemon starts.
    Start,
    /// The daemon is killed.
    Kill,
}
use Step::{Between, Fails, Kill, Start, Until, Written};

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written(line, _) | Until(line, _) | Between(line, _) | Fails(line, _) => {
                out.write_str(line)
            }
            Start => out.write_str("the daemon starts"),
            Kill => out.write_str("the daemon is killed"),
        }
    }
}

const STATUS: &str = "kubectl rollout status deploy/shop --timeout=60s";
const DONE: &str = "successfully rolled out";
/// What a person sees who waits for a Deployment that is held.
const HELD: (&str, &str) = (
    "kubectl rollout status deploy/shop --timeout=2s",
    "0 out of 6 new replicas have been updated",
);

const STORY: &[Step] = &[
    // Installing.
    Written(
        "sluice crd | kubectl apply -f -",
        "rollouts.sluice.dev created",
    ),
    Written("sluice gate | kubectl apply -f -", "sluice-gate created"),
    Written(
        "kubectl apply -k clusters/base/sluice",
        "deployment.apps/sluice created",
    ),
    Written(
        "sluice gate --account system:serviceaccount:platform:sluice | kubectl apply -f -",
        "configured",
    ),
    Written("sluice gate | kubectl apply -f -", "configured"),
    Written("kubectl -n sluice-system get pods", "sluice-"),
    Written(
        "kubectl apply -f clusters/base/sluice/namespace.yaml -f clusters/base/sluice/rbac.yaml",
        "serviceaccount/sluice",
    ),
    Written(
        "kubectl config set-context sluice --cluster=\"$(kubectl config view --minify -o jsonpath='{.clusters[0].name}')\" --user=sluice",
        "Context \"sluice\" created",
    ),
    Between(
        "kubectl apply -f scenarios/shop.yaml",
        "rollout.sluice.dev/shop created",
    ),
    Start,
    Until("kubectl get rollouts.sluice.dev", "Idle"),
    Until("kubectl -n sluice-system get lease sluice", "sluice"),
    Written("sluice get --all-namespaces", "shop"),
    Between(STATUS, DONE),
    // A release.
    Written(
        "kubectl set image deploy/shop shop=shop:v2",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Until("kubectl get rollouts.sluice.dev", "Stepping"),
    Written("sluice explain shop", "shop:v2"),
    Written(
        "sluice watch shop --until promoted --timeout 10m",
        "romoted",
    ),
    Between(STATUS, DONE),
    // One that a person lets through.
    Written(
        "kubectl set image deploy/shop shop=shop:mine",
        "image updated",
    ),
    Until("kubectl get rollouts.sluice.dev", "Stepping"),
    Written("sluice promote shop", "promotes by request"),
    Written(
        "sluice watch shop --until promoted --timeout 30m",
        "romoted",
    ),
    // The daemon dies in the middle of a run.
    Between(
        "kubectl set image deploy/shop shop=shop:lonely",
        "image updated",
    ),
    Until("kubectl get rollouts.sluice.dev", "Stepping"),
    Kill,
    Written(
        "kubectl get rollouts.sluice.dev --all-namespaces -o custom-columns='NAMESPACE:.metadata.namespace,NAME:.metadata.name,PHASE:.status.phase,SINCE:.status.run.since,WHY:.status.message'",
        "Stepping",
    ),
    Written(
        "kubectl get deploy --all-namespaces -l sluice.dev/guarded=true -o custom-columns='NAMESPACE:.metadata.namespace,NAME:.metadata.name,HELD:.spec.paused,ROLLOUT:.metadata.annotations.sluice\\.dev/held-by,SINCE:.status.conditions[?(@.type==\"Progressing\")].lastTransitionTime,OPEN:.metadata.annotations.sluice\\.dev/open'",
        "true",
    ),
    Written(
        "kubectl delete ingress -l sluice.dev/role=canary,sluice.dev/rollout=shop",
        "deleted",
    ),
    Written(
        "kubectl annotate rollouts.sluice.dev shop request.sluice.dev/by-hand-$(date +%s)=abort",
        "annotated",
    ),
    Start,
    Until("kubectl get rollouts.sluice.dev", "Idle"),
    Between(STATUS, DONE),
    // The glass is broken, three times, and everywhere.
    Kill,
    Between(
        "kubectl set image deploy/shop shop=shop:v3",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Written(
        "kubectl annotate deploy/shop sluice.dev/open=\"incident 4711\"",
        "annotated",
    ),
    Written("kubectl rollout resume deploy/shop", "resumed"),
    Between(STATUS, DONE),
    Written("kubectl annotate deploy/shop sluice.dev/open-", "annotated"),
    Written(
        "kubectl annotate deploy/shop sluice.dev/open=\"incident 4711: fix must go out now\"",
        "annotated",
    ),
    Between(
        "kubectl set image deploy/shop shop=shop:v4",
        "image updated",
    ),
    Between(STATUS, DONE),
    Between("kubectl annotate deploy/shop sluice.dev/open-", "annotated"),
    Between(
        "kubectl set image deploy/shop shop=shop:v5",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Written(
        "kubectl annotate deploy/shop sluice.dev/open=\"restored from a backup\"",
        "annotated",
    ),
    Written("kubectl rollout resume deploy/shop", "resumed"),
    Between(STATUS, DONE),
    Between("kubectl annotate deploy/shop sluice.dev/open-", "annotated"),
    Between(
        "kubectl set image deploy/shop shop=shop:urgent",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Written(
        "kubectl annotate deploy,statefulset,daemonset --all-namespaces -l sluice.dev/guarded=true sluice.dev/open=\"incident 4711: everything\"",
        "annotated",
    ),
    Written(
        "kubectl get deploy --all-namespaces -l sluice.dev/guarded=true -o jsonpath='{range .items[?(@.spec.paused==true)]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}' | while read -r namespace name; do kubectl -n \"$namespace\" rollout resume deploy \"$name\"; done",
        "resumed",
    ),
    Between(STATUS, DONE),
    Written(
        "kubectl annotate deploy,statefulset,daemonset --all-namespaces -l sluice.dev/guarded=true sluice.dev/open-",
        "annotated",
    ),
    // Leaving while the daemon is gone.
    Between(
        "kubectl set image deploy/shop shop=shop:v6",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Between("kubectl delete rollout shop --wait=false", "deleted"),
    Written(
        "kubectl annotate deploy/shop sluice.dev/open=\"Sluice is removed\"",
        "annotated",
    ),
    Written("kubectl rollout resume deploy/shop", "resumed"),
    Written(
        "kubectl patch rollouts.sluice.dev shop --type merge -p '{\"metadata\":{\"finalizers\":null}}'",
        "patched",
    ),
    // What is left is the label, without a Rollout.
    Between("kubectl annotate deploy/shop sluice.dev/open-", "annotated"),
    Between(
        "kubectl set image deploy/shop shop=shop:orphan",
        "image updated",
    ),
    Fails(HELD.0, HELD.1),
    Written(
        "kubectl annotate deploy/shop sluice.dev/open=\"the label was copied\"",
        "annotated",
    ),
    Written("kubectl label deploy/shop sluice.dev/guarded-", "unlabeled"),
    Written("kubectl rollout resume deploy/shop", "resumed"),
    Written("sluice gate | kubectl delete -f -", "deleted"),
    Until("kubectl get rollouts.sluice.dev", "No resources found"),
    Between(STATUS, DONE),
    Written("kubectl annotate deploy/shop sluice.dev/open-", "annotated"),
    // Back again, and leaving in good order in the middle of a run.
    Between(
        "kubectl apply -f scenarios/shop.yaml",
        "rollout.sluice.dev/shop created",
    ),
    Between(STATUS, DONE),
    Written(
        "kubectl apply -k clusters/production",
        "poddisruptionbudget",
    ),
    Start,
    Until("kubectl get rollouts.sluice.dev", "Idle"),
    Between(
        "kubectl set image deploy/shop shop=shop:v7",
        "image updated",
    ),
    Until("kubectl get rollouts.sluice.dev", "Stepping"),
    Written(
        "kubectl delete rollouts.sluice.dev --all --all-namespaces",
        "\"shop\" deleted",
    ),
    Between(STATUS, DONE),
    Between(
        "kubectl get deploy shop -o jsonpath='{.spec.template.spec.containers[0].image}'",
        "shop:v1",
    ),
    Written(
        "kubectl delete -k clusters/production --ignore-not-found",
        "deleted",
    ),
];

/// Lines with kubectl that are not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("kubectl -n sluice-system logs deploy/sluice", "no kubelet"),
    (
        "kubectl get slr -w",
        "does not end; the short name is the same resource",
    ),
    ("kubectl apply -f backend.yaml", "a person's own file"),
    (
        "kubectl -n monitoring apply -k dashboards",
        "the namespace of a person's own Grafana",
    ),
    (
        "kubectl patch statefulset db --type merge -p '{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"partition\":0}}}}'",
        "the shop is a Deployment",
    ),
    (
        "kubectl patch daemonset agent --type merge -p '{\"spec\":{\"updateStrategy\":{\"type\":\"RollingUpdate\"}}}'",
        "the shop is a Deployment",
    ),
    (
        "kubectl apply --server-side --force-conflicts -f route.yaml",
        "a person's own file",
    ),
    (
        "kubectl -n sluice-system create secret generic sluice-page --from-literal=key=$(openssl rand -hex 32)",
        "a shell's own substitution",
    ),
    (
        "kubectl -n sluice-system port-forward service/sluice 8095",
        "no kubelet",
    ),
    (
        "kubectl annotate deploy/shop sluice.dev/open=\"incident 4711: no daemon answers\"",
        "tests/real/webhook.rs does it, where there is a webhook",
    ),
    (
        "kubectl delete mutatingwebhookconfiguration sluice-gate",
        "tests/real/webhook.rs does it, where there is a webhook",
    ),
    (
        "kubectl -n monitoring port-forward service/prometheus 9090",
        "no kubelet",
    ),
    (
        "kubectl -n ingress-nginx port-forward deploy/ingress-nginx-controller 10254",
        "no kubelet",
    ),
    (
        "kubectl config set-credentials sluice --token=\"$(kubectl -n sluice-system create token sluice --duration=24h)\"",
        "the sandbox makes no tokens",
    ),
    (
        "TOKEN=$(kubectl create token alice --duration 1h)",
        "a person's own account",
    ),
];

/// Every line of a shell block with kubectl in it.
fn written() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    let mut lines = BTreeSet::new();
    for path in paths {
        for block in blocks(&std::fs::read_to_string(path).unwrap()) {
            if block.language != "sh" {
                continue;
            }
            let bare = |line: &str| {
                line.split("  #")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            let kubectl = block.text.lines().filter(|line| line.contains("kubectl"));
            lines.extend(kubectl.map(bare));
        }
    }
    lines
}

#[test]
fn every_line_with_kubectl_is_in_the_story_or_named() {
    let told: BTreeSet<String> = STORY
        .iter()
        .filter_map(|step| match step {
            Written(line, _) | Until(line, _) if line.contains("kubectl") => Some(*line),
            _ => None,
        })
        .chain(NOT_RUN.iter().map(|(line, _)| *line))
        .map(str::to_owned)
        .collect();
    let written = written();
    let untold: Vec<&String> = written.difference(&told).collect();
    let unwritten: Vec<&String> = told.difference(&written).collect();
    assert!(untold.is_empty(), "not in the story: {untold:#?}");
    assert!(unwritten.is_empty(), "in no document: {unwritten:#?}");
}

/// A shell that knows `sluice` and the cluster.
pub struct Shell<'a> {
    /// The cluster, and who types.
    pub kubeconfig: &'a Path,
}

impl Shell<'_> {
    pub fn run(&self, line: &str) -> (bool, String) {
        let sluice = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", sluice.display());
        let output: Output = Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", path)
            .env("KUBECONFIG", self.kubeconfig)
            // kubectl keeps what it has discovered there.
            .env("HOME", self.kubeconfig.parent().unwrap())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    pub fn expect(&self, line: &str, fine: bool, wanted: &str) {
        let (ended_well, said) = self.run(line);
        assert!(
            ended_well == fine && said.contains(wanted),
            "{line}\nwanted {wanted:?}, ended well: {ended_well}\n{said}"
        );
    }

    pub fn until(&self, line: &str, wanted: &str, daemon: Option<&Process>) {
        let began = Instant::now();
        loop {
            let (_, said) = self.run(line);
            if said.contains(wanted) {
                return;
            }
            let told = daemon.map(Process::told).unwrap_or_default();
            assert!(
                began.elapsed() < PATIENCE,
                "{line}\nis never {wanted:?}\n{said}\n{told}"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// Settings of the daemon beside where things are.
const SETTINGS: &str = "leaderElection: {enabled: true, namespace: sluice-system}";

/// Plays the story as this administrator, with daemons that `start` starts.
fn play(kubeconfig: &Path, start: impl Fn() -> Process) {
    let shell = Shell { kubeconfig };
    let mut daemon = None;
    for (number, step) in STORY.iter().enumerate() {
        println!("{number}. {step}");
        match step {
            Written(line, wanted) | Between(line, wanted) => shell.expect(line, true, wanted),
            Fails(line, wanted) => shell.expect(line, false, wanted),
            Until(line, wanted) => shell.until(line, wanted, daemon.as_ref()),
            Start => daemon = Some(start()),
            Kill => daemon = None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documents_commands_work_as_written() {
    if !kubectl::is_here() {
        return;
    }
    let Some(stand) = Stand::bare().await else {
        return;
    };
    let kubeconfig = stand.plane.kubeconfig("admin");
    let start = || stand.daemon("commands", SETTINGS);
    tokio::task::block_in_place(|| play(&kubeconfig, start));
}

#[test]
fn the_documents_commands_work_on_the_sandbox() {
    if !kubectl::is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("admin.yaml");
    let [api, metrics] = free_ports();
    let [api, metrics] = [api, metrics].map(|port| format!("127.0.0.1:{port}"));
    let file = kubeconfig.display().to_string();
    let arguments = [
        "sandbox",
        "--empty",
        "--no-daemon",
        "--listen",
        &api,
        "--metrics",
        &metrics,
        "--kubeconfig",
        &file,
    ];
    let log = folder.path().join("log");
    let _sandbox = Server::start(env!("CARGO_BIN_EXE_sluice"), &arguments, &log);
    let shell = Shell {
        kubeconfig: &kubeconfig,
    };
    shell.until("kubectl get namespaces", "default", None);
    // What a sandbox has from the start, so that the story can begin with installing.
    shell.expect("sluice gate | kubectl delete -f -", true, "deleted");
    shell.expect("sluice crd | kubectl delete -f -", true, "deleted");
    let account = folder.path().join("account.yaml");
    let admin = std::fs::read_to_string(&kubeconfig).unwrap();
    let user = format!("user: {{as: {ACCOUNT:?}}}");
    std::fs::write(&account, admin.replace("user: {}", &user)).unwrap();
    let start = || {
        Process::start(ProcessStart {
            name: "commands-sandbox",
            kubeconfig: &account,
            metrics: metrics.parse().unwrap(),
            namespaces: &[],
            settings: SETTINGS,
        })
    };
    play(&kubeconfig, start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kubectl_works_as_on_the_sandbox() {
    let Some(stand) = Stand::bare().await else {
        return;
    };
    let kubeconfig = stand.plane.kubeconfig("admin");
    tokio::task::block_in_place(|| kubectl::works(&kubeconfig));
}
