//! Where rules tell what they found.
//!
//! An object may break a rule on purpose, and a value may be filled in later; both are heeded here, so no rule asks.
//!
//! Not here: the rules, and what fills in a value (`filled`).

use serde_json::Value;

use super::{Finding, IGNORE, Level, filled, named, sources, text};

/// Where a rule tells what it found.
pub(super) struct Tell<'a> {
    pub sources: &'a [sources::Document],
    pub findings: Vec<Finding>,
}

/// What a rule found on an object, at a path such as `spec.containers[app].image`.
pub(super) struct Found<'a> {
    pub rule: &'static str,
    pub level: Level,
    pub object: &'a Value,
    pub path: &'a str,
    pub message: String,
}

impl Tell<'_> {
    pub fn error(&mut self, rule: &'static str, object: &Value, path: &str, message: String) {
        let level = Level::Error;
        self.found(Found {
            rule,
            level,
            object,
            path,
            message,
        });
    }

    pub fn warning(&mut self, rule: &'static str, object: &Value, path: &str, message: String) {
        let level = Level::Warning;
        self.found(Found {
            rule,
            level,
            object,
            path,
            message,
        });
    }

    /// Notes what a rule found, or that nobody knows what stands there.
    pub fn found(&mut self, found: Found<'_>) {
        let Some(what) = filled::by_others(found.rule, found.object, found.path) else {
            return self.certain(found);
        };
        let message = format!(
            "{} holds {what}, filled in when it is deployed: what it comes to was not looked at",
            found.path
        );
        self.certain(Found {
            rule: "not-checked",
            level: Level::Warning,
            message,
            ..found
        });
    }

    /// The same, whatever stands at the path.
    pub fn certain(&mut self, found: Found<'_>) {
        let Found { rule, object, .. } = found;
        let ignored = text(object, IGNORE);
        if ignored.split(',').any(|ignored| ignored.trim() == rule) {
            return;
        }
        let (file, place) = sources::place(self.sources, object, found.path);
        let finding = Finding {
            rule,
            level: found.level,
            file,
            line: place.line,
            column: place.column,
            object: named(object),
            message: found.message,
        };
        // Two rules may ask for a value that nobody knows.
        if rule != "not-checked" || !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}
