//! The example environments: built by us and by kubectl's kustomize, and without an error for
//! `sluice validate`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sluice::daemon::settings::Settings;
use sluice::environments::{Pinned, Pipeline};
use sluice::kustomize::{Disk, build};

use super::needs;

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
    let hub = ["clusters/hub", "clusters/hub/served"].map(str::to_owned);
    each.chain(shared).chain(hub).collect()
}

#[test]
fn every_folder_is_built_as_kustomize_builds_it() {
    if !needs::is_here(
        "kubectl",
        &["version", "--client"],
        "the comparison with kustomize",
    ) {
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

/// Whether something of it runs closer to the node than the level `baseline` of Pod Security allows, as a pod's
/// fields or a chart's values say it.
fn asks_for_the_node(value: &Value) -> bool {
    let asks = |(key, value): (&String, &Value)| match key.as_str() {
        "hostPort" => value["enabled"].as_bool() == Some(true) || value.is_number(),
        "hostNetwork" | "hostPID" | "hostIPC" | "privileged" => value.as_bool() == Some(true),
        "hostPath" => !value.is_null(),
        _ => asks_for_the_node(value),
    };
    match value {
        Value::Array(items) => items.iter().any(asks_for_the_node),
        Value::Object(fields) => fields.iter().any(asks),
        _ => false,
    }
}

#[test]
fn no_namespace_refuses_the_pods_that_are_to_run_in_it() {
    let mut asked = Vec::new();
    for folder in folders() {
        let objects = build(&Disk(root().to_owned()), &folder).unwrap();
        for object in objects.iter().filter(|object| asks_for_the_node(object)) {
            let namespace = &object["metadata"]["namespace"];
            let named =
                |it: &&Value| it["kind"] == "Namespace" && it["metadata"]["name"] == *namespace;
            let level = objects.iter().find(named).map(|it| {
                let level = &it["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
                level.as_str().unwrap_or("privileged").to_owned()
            });
            asked.push((folder.clone(), object["metadata"]["name"].clone(), level));
        }
    }
    assert!(!asked.is_empty(), "nothing was looked at");
    for (folder, name, level) in asked {
        assert_eq!(level.as_deref(), Some("privileged"), "{folder}: {name}");
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
    for file in [
        "environments.yaml",
        "environments-shared.yaml",
        "hub/environments.yaml",
    ] {
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
fn the_hub_is_told_of_environments_that_go_together_and_of_files_that_it_has() {
    let hub = root().join("clusters/hub");
    let names = ["staging", "production"];
    let files = names.map(|name| hub.join(format!("{name}.yaml")));
    let all = Settings::load_several(&files).unwrap();
    let given = std::fs::read_to_string(hub.join("clusters.kubeconfig")).unwrap();
    let config = sluice::yaml::documents(&given).unwrap()[0].to_json();
    let pipeline = Pipeline::load(&hub.join("environments.yaml")).unwrap();
    let contexts = config["contexts"].as_array().unwrap();
    for (name, environment) in names.iter().zip(&all) {
        let settings = &environment.settings;
        assert_eq!(settings.environment, *name);
        let context = settings.cluster.context.as_deref().unwrap();
        assert!(
            contexts.iter().any(|one| one["name"] == context),
            "{context}"
        );
        for file in [&settings.cluster.kubeconfig, &settings.pipeline] {
            assert!(file.as_ref().unwrap().exists(), "{file:?}");
        }
        let asked = pipeline.environment(name).unwrap().cluster.clone().unwrap();
        assert_eq!(asked.context.as_deref(), Some(context));
        assert_eq!(asked.kubeconfig, settings.cluster.kubeconfig);
    }
    // Files that the kubeconfig and the settings name are mounted.
    let objects = build(&Disk(root().to_owned()), "clusters/hub").unwrap();
    let deployment = objects
        .iter()
        .find(|one| one["kind"] == "Deployment")
        .unwrap();
    let mounts = &deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    let mounts: Vec<&str> = mounts
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["mountPath"].as_str())
        .collect();
    let named = regex::Regex::new(r"/var/[a-z/-]+[a-z]").unwrap();
    let text = names.iter().map(|name| hub.join(format!("{name}.yaml")));
    let text: String = text
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let pipeline = std::fs::read_to_string(hub.join("environments.yaml")).unwrap();
    let all = given + &text + &pipeline;
    let lines = all.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        for path in named.find_iter(line) {
            let path = path.as_str();
            assert!(
                mounts.iter().any(|mount| path.starts_with(mount)),
                "{path}: {mounts:?}"
            );
        }
    }
}

/// What the document on secrets would have people commit has no secret in clear for `sluice validate`.
#[test]
fn the_examples_of_secrets_have_none_in_clear() {
    let text = std::fs::read_to_string(root().join("docs/concepts/secrets.md")).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let manifests: Vec<&str> = blocks.filter(|block| block.contains("\nkind: ")).collect();
    assert!(manifests.len() >= 5, "{manifests:#?}");
    let folder = tempfile::tempdir().unwrap();
    for (at, manifest) in manifests.iter().enumerate() {
        let own = folder.path().join(at.to_string());
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("all.yaml"), manifest).unwrap();
    }
    let findings = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        let output = command
            .current_dir(folder.path())
            .args(["validate", name])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let about = said.lines().filter(|line| line.contains(" secrets: "));
        about.map(str::to_owned).collect::<Vec<_>>()
    };
    for at in 0..manifests.len() {
        assert_eq!(findings(&at.to_string()), [] as [String; 0]);
    }
    // The check can fail.
    let clear = manifests
        .iter()
        .find(|manifest| manifest.contains("ENC["))
        .unwrap();
    let (clear, _) = clear.split_once("sops:").unwrap();
    std::fs::create_dir(folder.path().join("clear")).unwrap();
    let clear = clear.replace("ENC[AES256_GCM", "xoxb-");
    std::fs::write(folder.path().join("clear/all.yaml"), clear).unwrap();
    assert_eq!(findings("clear").len(), 1);
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

/// A kustomization with one gap, and how the last lines count the ConfigMap and the Service beside it.
const GAPS: &[(&str, &str)] = &[
    (
        "resources: [all.yaml, 'https://a.test/b']",
        "nothing is wrong with 2 objects in 1 folder, 1 warning\n",
    ),
    (
        "{resources: [all.yaml], replacements: [{targets: [{select: {kind: Service}}]}]}",
        "nothing is wrong with 1 object in 1 folder, 1 warning\nin 1 object more only secrets were looked for\n",
    ),
    (
        "{resources: [all.yaml], transformers: [a.yaml]}",
        "no secret is in 2 objects in 1 folder, 1 warning; nothing else was looked at\n",
    ),
    (
        "resources: ['https://a.test/b']",
        "nothing was looked at in 1 folder, 1 warning\n",
    ),
];

#[test]
fn a_folder_that_was_looked_at_in_part_says_so_and_is_an_error_where_that_is_asked_for() {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n\
        apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n";
    for (kustomization, wanted) in GAPS {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
        std::fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
        let sluice = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
            let command = command.current_dir(folder.path()).args(arguments);
            command.output().unwrap()
        };
        let plain = sluice(&["validate", "."]);
        assert_eq!(String::from_utf8_lossy(&plain.stdout), *wanted);
        let told = String::from_utf8_lossy(&plain.stderr);
        assert!(told.contains("warning not-checked: "), "{told}");
        assert_eq!(plain.status.code(), Some(0));
        let strict = sluice(&["validate", ".", "--strict"]);
        assert_eq!(strict.status.code(), Some(1));
    }
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
