//! Everything that reads what others wrote, as functions of bytes: what `fuzz/` feeds.
//!
//! Each entry point takes any bytes, must not panic, and asserts what holds for whatever was
//! accepted: printed and read again it is the same, counts are sound, sizes are bounded. The same
//! entry points run in `cargo test` on mutated seeds, so that they cannot rot and so that a find
//! has a place to become a test.
//!
//! Compiled for fuzzing and tests only.

mod cluster;
mod gitops;
mod kept;
mod people;
mod sandbox;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use crate::daemon::rules::SHIPPED;
use crate::rollout::rule::{Rule, RuleSet, lint};

/// An entry point: its name, which is also the name of its target in `fuzz/`.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// What is called with the bytes; whether it accepted them.
    pub run: fn(&[u8]) -> bool,
}

/// All entry points.
pub const TARGETS: [Target; 17] = [
    target("alerts", streams::alerts),
    target("annotations", cluster::annotations),
    target("api", sandbox::api),
    target("checkpoint", kept::checkpoint),
    target("exposition", |data| {
        crate::prometheus::fuzzing::exposition(data, &rules())
    }),
    target("forge", crate::git::forge::fuzzing::forge),
    target("judge", streams::judge),
    target("kustomize", gitops::kustomize),
    target("matcher", streams::matcher),
    target("reply", |data| {
        crate::prometheus::fuzzing::reply(data, &rules())
    }),
    target("rollout", cluster::rollout),
    target("rules", people::rules),
    target("scenario", sandbox::scenario),
    target("settings", people::settings),
    target("smoke", people::smoke),
    target("template", cluster::template),
    target("yaml", people::yaml),
];

const fn target(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run }
}

/// Runs the entry point with this name; a name that does not exist is a mistake of the caller.
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "there is no entry point {name}");
    target.is_some_and(|target| (target.run)(data))
}

/// The shipped rules.
fn rules() -> Vec<Arc<Rule>> {
    rule_set().values().cloned().collect()
}

fn rule_set() -> &'static RuleSet {
    static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
        let read = SHIPPED
            .iter()
            .filter_map(|(file, text)| lint(text, file).ok());
        let rules = read.flatten();
        rules
            .map(|rule| (rule.name.clone(), Arc::new(rule)))
            .collect()
    });
    &RULES
}

/// The bytes as text; what is no UTF-8 is replaced, as nobody reads it otherwise.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}
