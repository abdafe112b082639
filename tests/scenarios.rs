//! Every shipped scenario can be read, and does what it says.

use std::path::{Path, PathBuf};

use sluice::sandbox::scenario;

/// All scenario files: what is in `scenarios/` and its folders, but manifests.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("\nsteps:") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_scenario_can_be_read() {
    assert!(!files().is_empty());
    for file in files() {
        if let Err(problems) = scenario::load(&file) {
            panic!("{problems}");
        }
    }
}
