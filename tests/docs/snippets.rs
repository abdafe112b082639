//! YAML that people copy is right: snippets in documents, settings of the environments.
//!
//! Rollouts and rules go through `sluice lint`, settings through their parser. Not here: snippets
//! of scenarios, whose own tests read the real ones.

use std::path::Path;
use std::process::Command;

use sluice::daemon::settings::{Error, Settings};

use super::blocks::blocks;
use super::{documents, files, none, root, text};

/// All YAML blocks with where they stand.
fn yaml() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, document) in documents() {
        for block in blocks(&document) {
            if block.language == "yaml" {
                all.push((format!("{name}:{}", block.line), block.text));
            }
        }
    }
    all
}

fn is_rules(text: &str) -> bool {
    text.starts_with("- name:") && (text.contains("proportion:") || text.contains("latency:"))
}

fn problems_of(place: &str, text: &str) -> Vec<String> {
    match Settings::parse(text, Path::new("sluice.yaml"), &[]) {
        Ok(_) => Vec::new(),
        Err(Error::Invalid(problems)) => problems
            .iter()
            .map(|problem| format!("{place}: {problem}"))
            .collect(),
        Err(error) => vec![format!("{place}: {error}")],
    }
}

#[test]
fn rollouts_and_rules_in_documents_are_right() {
    let folder = std::env::temp_dir().join(format!("sluice-snippets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut paths = Vec::new();
    for (place, text) in yaml() {
        if text.contains("kind: Rollout") || is_rules(&text) {
            let path = folder.join(place.replace(['/', ':'], "-") + ".yaml");
            std::fs::write(&path, text).unwrap();
            paths.push(path);
        }
    }
    let lint = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("lint")
        .args(&paths)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&lint.stderr);
    assert!(lint.status.success(), "{said}");
    assert!(paths.len() >= 4, "only {} snippets were found", paths.len());
}

#[test]
fn settings_in_documents_are_right() {
    let snippets: Vec<_> = yaml()
        .into_iter()
        .filter(|(_, text)| text.lines().any(|line| line == "evidence:"))
        .collect();
    assert!(!snippets.is_empty());
    let problems: Vec<String> = snippets
        .iter()
        .flat_map(|(place, text)| problems_of(place, text))
        .collect();
    none(&problems);
}

#[test]
fn settings_of_every_environment_are_right() {
    let found: Vec<_> = files("clusters", "yaml")
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "sluice.yaml"))
        .collect();
    assert!(found.len() >= 4, "{found:?}");
    let mut problems = Vec::new();
    for path in found {
        let place = path.strip_prefix(root()).unwrap().display().to_string();
        let text = text(&path);
        problems.extend(problems_of(&place, &text));
        let settings = Settings::parse(&text, Path::new("sluice.yaml"), &[]);
        // The pod mounts the settings file only, so a folder of rules would not be there.
        if settings.is_ok_and(|settings| !settings.rules.is_empty()) {
            problems.push(format!(
                "{place}: names a folder that the pod does not have"
            ));
        }
    }
    none(&problems);
}

#[test]
fn every_environment_is_built_on_the_base() {
    for environment in ["local", "staging", "production"] {
        let overlay = text(format!("clusters/{environment}/kustomization.yaml"));
        assert!(overlay.contains("- ../base/sluice\n"), "{environment}");
        assert!(overlay.contains("behavior: replace"), "{environment}");
        let settings = text(format!("clusters/{environment}/sluice.yaml"));
        let named = format!("environment: {environment}\n");
        assert!(settings.contains(&named), "{environment}");
    }
}
