//! The example environments: built by us and by kubectl's kustomize, and without an error for
//! `sluice validate`.

use std::path::Path;
use std::process::Command;

use sluice::environments::{Pinned, Pipeline};
use sluice::kustomize::{Disk, build};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every folder that is deployed.
fn folders() -> Vec<String> {
    let environments = ["local", "staging", "production"];
    let parts = [
        "",
        "/infrastructure",
        "/monitoring",
        "/applications",
        "/flux",
    ];
    let each = environments
        .iter()
        .flat_map(|name| parts.map(|part| format!("clusters/{name}{part}")));
    let shared = ["develop", "staging", "production"].map(|name| format!("clusters/shared/{name}"));
    each.chain(shared).collect()
}

#[test]
fn every_folder_is_built_as_kustomize_builds_it() {
    let is_there = Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .is_ok();
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "kubectl is missing");
        eprintln!("kubectl is missing: builds are NOT compared with kustomize");
        return;
    }
    for folder in folders() {
        let theirs = Command::new("kubectl")
            .arg("kustomize")
            .arg(root().join(&folder))
            .output()
            .unwrap();
        assert!(
            theirs.status.success(),
            "{folder}: {}",
            String::from_utf8_lossy(&theirs.stderr)
        );
        let theirs = sluice::yaml::documents(&String::from_utf8(theirs.stdout).unwrap()).unwrap();
        let ours = build(&Disk(root().to_owned()), &folder).unwrap();
        let name = |object: &serde_json::Value| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let generated = ["settings", "config", "rules"]
                .iter()
                .find(|part| name.contains(&format!("-{part}-")));
            let name = generated.map_or(name.clone(), |part| (*part).to_owned());
            format!(
                "{} {name} {}",
                object["kind"], object["metadata"]["namespace"]
            )
        };
        let mut ours: Vec<String> = ours.iter().map(name).collect();
        let mut theirs: Vec<String> = theirs.iter().map(|node| name(&node.to_json())).collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{folder}");
    }
}

#[test]
fn the_examples_pass_our_own_validation() {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .current_dir(root())
        .args(["validate", "--strict"])
        .args(folders())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_example_pipeline_finds_its_services() {
    for file in ["environments.yaml", "environments-shared.yaml"] {
        let pipeline = Pipeline::load(&root().join("clusters").join(file)).unwrap();
        let services = pipeline.services.iter();
        let ways =
            services.flat_map(|service| pipeline.environments.iter().map(move |e| (service, e)));
        for (service, environment) in ways {
            let files = Disk(root().to_owned());
            let pinned = Pinned::read(&files, environment.folder().unwrap(), service).unwrap();
            assert!(pinned.version.semantic().is_some(), "{}", environment.name);
        }
    }
}

#[test]
fn a_finding_is_code_1_with_its_place_and_sarif_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n";
    std::fs::write(folder.path().join("a.yaml"), manifest).unwrap();
    let sluice = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap()
    };
    let text = sluice(&["validate", "."]);
    assert_eq!(text.status.code(), Some(1));
    let said = String::from_utf8_lossy(&text.stderr);
    let wanted = "a.yaml:4:8: error service: Service a: it selects no pod of this folder: app=a\n\
        error: 1 error and 0 warnings found\n";
    assert_eq!(said, wanted);
    let sarif = sluice(&["validate", ".", "--sarif"]);
    let told: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    let place = &told["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(
        (
            &place["artifactLocation"]["uri"],
            &place["region"]["startLine"]
        ),
        (&"a.yaml".into(), &4.into())
    );
    assert_eq!(sluice(&["validate", "gone"]).status.code(), Some(2));
}

#[test]
fn a_field_that_no_kind_has_is_found_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {a: b}\n";
    std::fs::write(folder.path().join("a.yaml"), manifest).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    let output = command
        .current_dir(folder.path())
        .args(["validate", "."])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let wanted = "a.yaml:4:1: error schema: ConfigMap a: dta: there is no such field\n";
    assert!(said.starts_with(wanted), "{said}");
}

#[test]
fn every_dashboard_is_in_the_config_map() {
    let text = std::fs::read_to_string(root().join("dashboards/Kustomization")).unwrap();
    for entry in std::fs::read_dir(root().join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_board = path.extension().is_some_and(|end| end == "json");
        assert!(!is_board || text.contains(name), "{name}");
    }
}
