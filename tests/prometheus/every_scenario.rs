//! Every shipped scenario on raw samples of a real Prometheus, in real time.
//!
//! Too long for every day: `make test-prometheus` plays them; `SCENARIOS=blue-green,demo` some only. The server scrapes each second,
//! while the scrapers of the other tests look twice a second, and time is the machine's: so all
//! that must come within a time may take three times as long. A broken source of metrics is here
//! a target that Prometheus cannot scrape.

use std::path::{Path, PathBuf};

use sluice::sandbox::scenario::{self, Scenario, Step};

use crate::play::{Part, judge, play, runtime};
use crate::server::Kind;

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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    // Several folders have files of one name.
    let short = |path: &Path| {
        let short = path.strip_prefix(&folder).unwrap().with_extension("");
        short.to_str().unwrap().replace('/', "-")
    };
    let part = |path: PathBuf| Part {
        name: short(&path),
        scenario: stretched(scenario::load(&path).unwrap_or_else(|problems| panic!("{problems}"))),
        every: 1,
        replicas: &[],
        matching: &[],
    };
    let files = scenario::files(&folder).unwrap();
    let wanted = std::env::var_os("SCENARIOS").unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let wanted: Vec<&str> = wanted.split(',').filter(|word| !word.is_empty()).collect();
    let is_wanted = |path: &PathBuf| {
        wanted.is_empty() || wanted.iter().any(|word| short(path).starts_with(word))
    };
    let files = files.into_iter().filter(is_wanted);
    let mut parts: Vec<Part> = files.map(part).collect();
    // The longest begins first.
    parts.sort_by_key(|part| part.name != "demo");
    judge(&runtime().block_on(play(Kind::Prometheus, parts, AT_ONCE)));
}
