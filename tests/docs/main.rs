//! What is written about Sluice is true: documents, manifests and dashboards against the code.
//!
//! Nothing here needs a cluster. Commands are parsed by the binary and not run; snippets are
//! linted; names of metrics, fields, reasons and settings are compared with those in the code, in
//! both directions where a reference is meant to be complete. The layers of docs/design.md are kept
//! here as well, since no compiler keeps them.
//!
//! Not here: whether a described behaviour happens (the scenarios show that).

// All of it is tests, helpers included.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerts;
mod blocks;
mod commands;
mod layers;
mod markdown;
mod names;
#[path = "../servers/needs.rs"]
mod needs;
mod snippets;

use std::path::{Path, PathBuf};

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files under a folder with this extension, sorted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// README, CHANGELOG, CONTRIBUTING and everything under docs.
fn documents() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    let beside = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    paths.extend(beside.map(|name| root().join(name)));
    let named = paths.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, text(path))
    });
    named.collect()
}

/// Fails with all problems at once.
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
