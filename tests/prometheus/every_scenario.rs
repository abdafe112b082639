//! Every shipped scenario on raw samples of a real Prometheus, in real time.
//!
//! Too long for every day: `make test-prometheus` plays them. The server scrapes each second,
//! while the scrapers of the other tests look twice a second, and time is the machine's: so all
//! that must come within a time may take three times as long. A broken source of metrics is here
//! a target that Prometheus cannot scrape.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sluice::sandbox::scenario::{self, Scenario, Step};

use crate::play::{Part, judge, play, runtime};
use crate::server::Kind;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// All files in `scenarios/` and its folders that have steps, by a name fit for a label.
fn files() -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("\nsteps:") {
                let name = path.file_stem().unwrap().to_str().unwrap();
                files.insert(name.to_owned(), path.clone());
            }
        }
    }
    files
}

/// How many are played at once: more than two slow cores can serve with 500 requests a second each
/// is no use.
const AT_ONCE: usize = 10;
/// How much longer things may take.
const LONGER: u32 = 3;

fn stretched(mut scenario: Scenario) -> Scenario {
    for (_, step) in &mut scenario.steps {
        match step {
            Step::Expect(expect) => expect.within *= LONGER,
            Step::Run(run) => run.within *= LONGER,
            _ => {}
        }
    }
    scenario
}

#[test]
#[ignore = "eleven minutes in real time: make test-prometheus"]
fn every_shipped_scenario_goes_as_it_says_on_a_real_prometheus() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let part = |(name, path): (String, PathBuf)| Part {
        name,
        scenario: stretched(scenario::load(&path).unwrap_or_else(|problems| panic!("{problems}"))),
        every: 1,
        replicas: &[],
        matching: &[],
    };
    let mut parts: Vec<Part> = files().into_iter().map(part).collect();
    // The longest begins first.
    parts.sort_by_key(|part| part.name != "demo");
    judge(&runtime().block_on(play(Kind::Prometheus, parts, AT_ONCE)));
}
