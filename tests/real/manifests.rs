//! Everything that `clusters` and the Helm chart hold, asked of a real API server: it takes each object, no field is
//! unknown to it, and the chart is installed, upgraded and uninstalled.
//!
//! The kinds of others are defined by their schemas (src/sandbox/scenario/flux.yaml). Not here: that folders
//! are built as Kustomize builds them, and that the chart is the overlay (tests/environments).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use sluice::sandbox::scenario::{self, Way, flux};

use crate::control_plane::ControlPlane;
use crate::{kubectl, needs};

/// Namespaces that the manifests speak of; a dry run makes none.
const NAMESPACES: [&str; 8] = [
    "sluice-system",
    "monitoring",
    "ingress-nginx",
    "flux-system",
    "shop",
    "payment",
    "argocd",
    "platform",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn apply(plane: &ControlPlane, object: &Value) {
    let admin = plane.client("admin").await;
    let applied = scenario::apply(admin, Way::ServerSide, object).await;
    applied.unwrap_or_else(|error| panic!("{object}: {error}"));
}

/// The definitions and namespaces that manifests need, served.
async fn prepare(plane: &ControlPlane) {
    let rollouts = std::fs::read_to_string(root().join("clusters/base/sluice/crd.yaml")).unwrap();
    let ours = scenario::manifests(&rollouts).unwrap();
    for definition in flux::kinds().unwrap().into_iter().chain(ours) {
        apply(plane, &definition).await;
    }
    for name in NAMESPACES {
        let meta = json!({"name": name});
        apply(
            plane,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}),
        )
        .await;
    }
}

/// Runs it as the administrator of the plane; again for a while where a kind is not served yet.
fn run(plane: &ControlPlane, program: &Path, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..100 {
        let mut command = Command::new(program);
        command.current_dir(root()).args(arguments);
        command.env("KUBECONFIG", plane.kubeconfig("admin"));
        // kubectl and Helm keep what they have discovered there.
        command.env("HOME", home.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains("no matches for kind") {
            return output;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{arguments:?}: a kind is never served")
}

/// Asks the server whether it would take what is in a folder, every field of it.
fn would_take(plane: &ControlPlane, what: &[&str]) -> Result<(), String> {
    let asked = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
    ];
    let output = run(plane, Path::new("kubectl"), &[&asked[..], what].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    // A warning is of the server too: a field that it does not know, or one that goes.
    let quiet = !said.contains("Warning");
    let fine = output.status.success() && quiet;
    fine.then_some(())
        .ok_or_else(|| format!("{what:?}: {said}"))
}

/// Every folder that is applied, of each environment.
fn folders() -> Vec<String> {
    let parts = [
        "",
        "/infrastructure",
        "/monitoring",
        "/applications",
        "/flux",
    ];
    let environments = ["local", "staging", "production"];
    let each = environments
        .iter()
        .flat_map(|name| parts.map(|part| format!("clusters/{name}{part}")));
    let hub = ["clusters/hub", "clusters/hub/served"].map(str::to_owned);
    each.chain(hub).collect()
}

/// Production with every component that there is.
fn with_all_components(folder: &Path) -> PathBuf {
    let components = std::fs::read_dir(root().join("clusters/components")).unwrap();
    let mut names: Vec<String> = components
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    let clusters = folder.join("clusters");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("clusters"))
        .arg(&clusters)
        .status();
    assert!(copied.unwrap().success());
    let listed: Vec<String> = names
        .iter()
        .map(|name| format!("- ../components/{name}\n"))
        .collect();
    let kustomization = clusters.join("production/kustomization.yaml");
    let text = std::fs::read_to_string(&kustomization).unwrap();
    std::fs::write(
        &kustomization,
        format!("{text}components:\n{}", listed.concat()),
    )
    .unwrap();
    clusters.join("production")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_every_manifest_of_clusters() {
    if !kubectl::is_here() {
        return;
    }
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    prepare(&plane).await;
    let folder = tempfile::tempdir().unwrap();
    let all = with_all_components(folder.path()).display().to_string();
    let mut refused = Vec::new();
    tokio::task::block_in_place(|| {
        for one in folders().iter().chain([&all]) {
            refused.extend(would_take(&plane, &["-k", one]).err());
        }
        refused.extend(would_take(&plane, &["-f", "clusters/gitless"]).err());
        // The check can fail.
        let wrong = folder.path().join("wrong.yaml");
        std::fs::write(&wrong, WRONG).unwrap();
        let said = would_take(&plane, &["-f", wrong.to_str().unwrap()]).unwrap_err();
        assert!(said.contains("spec.inputFrom"), "{said}");
    });
    assert_eq!(refused, [] as [String; 0]);
}

const WRONG: &str = r"
apiVersion: fluxcd.controlplane.io/v1
kind: ResourceSet
metadata: {name: wrong, namespace: shop}
spec: {inputFrom: []}
";

/// Values that differ from the defaults in what the API server looks at.
const VALUES: [&str; 7] = [
    "--set=replicas=1,history.persistence.enabled=true",
    "--set=gitRevert.enabled=true,gitRevert.argoNamespaces={argocd}",
    "--set=smokeJobs.namespaces={shop},smokeAfterSync.namespaces={flux-system}",
    "--set=approvals.policy=true,pageAccess.enabled=true",
    "--set=namespaces={shop,payment}",
    "--set=dashboards.enabled=true",
    "--set-string=rules.shop\\.yaml=rules",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_upgraded_and_uninstalled() {
    let helm = root().join("target/helm");
    if !helm.exists() {
        return needs::left_out("the chart by Helm", "target/helm is missing: make helm");
    }
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    for name in NAMESPACES.into_iter().filter(|name| *name != "platform") {
        let meta = json!({"name": name});
        apply(
            &plane,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}),
        )
        .await;
    }
    tokio::task::block_in_place(|| {
        let helm = |arguments: &[&str]| -> String {
            let output = run(&plane, &helm, arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {said}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let there = |what: &str| {
            let asked = ["get", what, "-o", "name", "--ignore-not-found"];
            let output = run(&plane, Path::new("kubectl"), &asked);
            !output.stdout.is_empty()
        };
        let release = ["sluice", "charts/sluice", "-n", "platform"];
        let installed = helm(&[&["install", "--create-namespace"], &release[..]].concat());
        assert!(installed.contains("runs in platform"), "{installed}");
        assert!(there("mutatingadmissionpolicy/sluice-gate"));
        helm(&[&["upgrade"], &release[..], &VALUES[..]].concat());
        assert!(there("validatingadmissionpolicy/sluice-who-asks"));
        helm(&["uninstall", "sluice", "-n", "platform"]);
        assert!(!there("mutatingadmissionpolicy/sluice-gate"));
        // Rollouts outlive the release.
        assert!(there("crd/rollouts.sluice.dev"));
    });
}
