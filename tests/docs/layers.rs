//! The layers of docs/design.md: arrows point down, pure folders stay pure, files say what they are.
//!
//! Read from the source as text: comments and the tests at a file's end are left out. `backoff`, `causes`,
//! `clock`, `http_client`, `places`, `retry_after` and `yaml` are below everything. Not here: lints that clippy has.

use std::path::Path;

use regex::Regex;

use super::{files, none, root, text};

/// What each folder may use of the crate besides itself.
const MAY_USE: [(&str, &[&str]); 26] = [
    ("stats", &[]),
    ("backoff", &[]),
    ("causes", &[]),
    ("clock", &[]),
    ("http_client", &[]),
    ("places", &[]),
    ("retry_after", &[]),
    ("git", &["causes", "http_client", "retry_after"]),
    ("yaml", &[]),
    ("kustomize", &["yaml"]),
    ("import", &["yaml"]),
    ("migrate", &["kubernetes::canary"]),
    // From one environment's manifests to the next one's; what clusters say is given.
    (
        "environments",
        &[
            "git",
            "kustomize",
            "registry",
            "rollout",
            "clock",
            "yaml",
            "causes",
        ],
    ),
    ("registry", &["causes", "http_client"]),
    ("rollout", &["stats", "clock", "yaml"]),
    (
        "kubernetes",
        &[
            "rollout",
            "stats",
            "clock",
            "yaml",
            "causes",
            "backoff",
            "http_client",
            "places",
        ],
    ),
    (
        "prometheus",
        &["rollout", "stats", "clock", "yaml", "http_client"],
    ),
    // The page shows a run in the words of the resource's status: its types, nothing that acts.
    (
        "people",
        &[
            "rollout",
            "clock",
            "causes",
            "http_client",
            "retry_after",
            "kubernetes::crd",
        ],
    ),
    (
        "smoke",
        &["rollout", "clock", "yaml", "causes", "http_client"],
    ),
    // Runs that ended it asks of the history.
    (
        "web",
        &[
            "history",
            "rollout",
            "telemetry",
            "clock",
            "causes",
            "places",
            "kubernetes::crd",
            "kubernetes::pods",
            // Which version is where it shows in the words of the survey.
            "environments::survey",
        ],
    ),
    (
        "history",
        &["rollout", "clock", "causes", "kubernetes::crd"],
    ),
    ("telemetry", &["clock", "http_client"]),
    ("sandbox", &["clock", "yaml"]),
    (
        "daemon",
        &[
            "backoff",
            "environments",
            "git",
            "history",
            "http_client",
            "kustomize",
            "kubernetes",
            "prometheus",
            "people",
            "smoke",
            "web",
            "telemetry",
            "rollout",
            "stats",
            "clock",
            "yaml",
            "causes",
        ],
    ),
    (
        "cli",
        &[
            "daemon",
            "environments",
            "import",
            "migrate",
            "kustomize",
            "registry",
            "history",
            "sandbox",
            "kubernetes",
            "people",
            "prometheus",
            "smoke",
            "web",
            "telemetry",
            "rollout",
            "stats",
            "clock",
            "yaml",
            "causes",
        ],
    ),
    // Not in the product: it gives each reader what a stranger might have written.
    (
        "fuzzing",
        &[
            "cli",
            "daemon",
            "git",
            "kustomize",
            "people",
            "smoke",
            "sandbox",
            "kubernetes",
            "prometheus",
            "rollout",
            "stats",
            "clock",
            "yaml",
        ],
    ),
];

/// Crates that the pure folders do without.
const IMPURE: [&str; 10] = [
    "kube",
    "k8s_openapi",
    "tokio",
    "reqwest",
    "hyper",
    "axum",
    "tracing",
    "prometheus_client",
    "futures",
    "std::time::Instant",
];

/// The source without comments and tests.
fn code(path: &Path) -> String {
    let text = text(path);
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let beside = root().join(format!("{folder}.rs"));
    let within = if root().join(folder).is_dir() {
        files(folder, "rs")
    } else {
        Vec::new()
    };
    within
        .into_iter()
        .chain(beside.is_file().then_some(beside))
        .filter(|path| !is_test(path.strip_prefix(root()).unwrap()))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, code(&path))
        })
        .collect()
}

#[test]
fn arrows_point_down() {
    let used = Regex::new(r"\bcrate::([a-z_]+(?:::[a-z_]+)?|\{)").unwrap();
    let mut problems = Vec::new();
    for (folder, allowed) in MAY_USE {
        for (name, code) in sources(&format!("src/{folder}")) {
            for found in used.captures_iter(&code) {
                let path = &found[1];
                let module = path.split(':').next().unwrap_or_default();
                if module != folder && !allowed.contains(&module) && !allowed.contains(&path) {
                    problems.push(format!("{name}: {folder} must not use crate::{path}"));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn every_folder_has_a_layer() {
    let folders: Vec<String> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| MAY_USE.iter().all(|(folder, _)| folder != name))
        .collect();
    none(&folders);
}

#[test]
fn pure_folders_know_no_server_and_no_clock() {
    let mut problems = Vec::new();
    for folder in ["src/stats", "src/rollout"] {
        for (name, code) in sources(folder) {
            for impure in IMPURE {
                let used =
                    Regex::new(&format!(r"(?m)(^|[^:\w]){impure}::|\buse {impure}\b")).unwrap();
                if used.is_match(&code) {
                    problems.push(format!("{name}: {impure}"));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn every_source_file_says_what_it_is() {
    let silent: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs"))
        .filter(|path| !text(path).starts_with("//! "))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    none(&silent);
}

/// Where many files lie beside each other, the head of their folder says which is for what.
#[test]
fn every_large_folder_has_a_map() {
    const FEW: usize = 12;
    let part =
        Regex::new(r"(?m)^(?:#\[cfg\((.*)\)\]\n)?(?:pub(?:\([a-z ]+\))? )?mod ([a-z_]+);").unwrap();
    let heads = files("src", "rs")
        .into_iter()
        .filter(|path| path.ends_with("mod.rs"));
    let mut problems = Vec::new();
    for path in heads.filter(|path| !is_test(path.strip_prefix(root()).unwrap())) {
        let text = text(&path);
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        let head = head.collect::<Vec<_>>().join("\n");
        let parts: Vec<_> = part
            .captures_iter(&text)
            .filter(|found| found.get(1).is_none())
            .map(|found| found[2].to_owned())
            .collect();
        let unsaid = parts
            .iter()
            .filter(|name| !head.contains(&format!("`{name}`")));
        if parts.len() > FEW {
            problems.extend(unsaid.map(|name| format!("{}: {name}", path.display())));
        }
    }
    none(&problems);
}
