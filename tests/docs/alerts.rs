//! The alerts fire when they should, by Prometheus' own tool.
//!
//! Left out, and said aloud, where `promtool` is not installed. Not here: whether their metrics
//! exist (`names`).

use std::io::ErrorKind;
use std::process::Command;

use super::{needs, root};

#[test]
fn alerts_fire_when_they_should() {
    let tests = root().join("rules/prometheus/tests/sluice.yaml");
    let run = Command::new("promtool")
        .args(["test", "rules"])
        .arg(tests)
        .output();
    match run {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            needs::left_out("the alerts", "promtool is missing (Debian: prometheus)");
        }
        Err(error) => panic!("promtool: {error}"),
    }
}
