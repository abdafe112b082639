//! What people write into files: YAML with places, rules, smoke tests, settings.

use std::path::Path;
use std::time::Duration;

use super::text;
use crate::daemon::settings::{Error, Settings};
use crate::rollout::rule::{self, lint};
use crate::rollout::smoke::{Attempt, LONGEST_PAUSE, Next, Test, Words};
use crate::smoke::file;
use crate::yaml::{self, Kind, Node};

/// What a document may grow to, in values a byte: aliases may not multiply without end.
const GROWTH: usize = 64;
/// No settings may make a wait longer than this.
const LONGEST: Duration = Duration::from_secs(3600);

pub fn yaml(data: &[u8]) -> bool {
    let text = text(data);
    match yaml::documents(&text) {
        Ok(documents) => {
            for document in &documents {
                known(document, &text);
            }
            true
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            false
        }
    }
}

fn known(document: &Node, text: &str) {
    let size = size(document);
    let most = (text.len() + 1).saturating_mul(GROWTH).max(200_000);
    assert!(size <= most, "{} bytes became {size} values", text.len());
    assert!(document.place.line <= lines(text), "{:?}", document.place);
    let json = document.to_json();
    let again = yaml::documents(&json.to_string()).map(|again| {
        let again = again.first().map(Node::to_json);
        again.unwrap_or_default()
    });
    if plain(document) {
        assert_eq!(again.as_ref(), Ok(&json), "the same as JSON");
    }
    let _ = document.place_of("spec.strategy.canary.steps[1].weight");
}

/// Lines of a text at most: YAML ends them by more than a newline.
pub fn lines(text: &str) -> u64 {
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    text.matches(breaks).count() as u64 + 1
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(entries) => entries.iter().map(|e| e.key.len() + size(&e.value)).sum(),
        Kind::Text(text) => text.len(),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => 0,
    }
}

/// Whether JSON can say it so that YAML reads the same: no number that JSON does not know or
/// writes as a whole one, no key twice, no text that only YAML escapes.
fn plain(node: &Node) -> bool {
    match &node.kind {
        Kind::Float(value) => value.is_finite() && value.fract() != 0.0 && value.abs() < 1e15,
        Kind::Text(text) => sayable(text),
        Kind::List(items) => items.iter().all(plain),
        Kind::Map(entries) => entries.iter().all(|e| sayable(&e.key) && plain(&e.value)),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) => true,
    }
}

fn sayable(text: &str) -> bool {
    text != "<<" && !text.contains(|c: char| c.is_control() || c as u32 > 0x7e)
}

/// A file of smoke tests: each comes to an end, after pauses that are not too long.
pub fn smoke(data: &[u8]) -> bool {
    match file::read("tests.yaml", &text(data)) {
        Ok(tests) => {
            tests.iter().for_each(ends);
            !tests.is_empty()
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            false
        }
    }
}

fn ends(test: &Test) {
    let words = Words::from([("canary", "backend-canary".to_owned())]);
    let _ = test.probe.filled(&words);
    for good in [true, false] {
        let mut tried = Vec::new();
        while let Next::Try(pause) = test.next(&tried) {
            assert!(pause <= LONGEST_PAUSE, "{pause:?}");
            tried.push(Attempt {
                took: Duration::ZERO,
                failure: (!good).then(|| "refused".to_owned()),
            });
            assert!(tried.len() <= test.attempts as usize);
        }
        assert_eq!(test.next(&tried) == Next::Passed, good);
    }
}

pub fn rules(data: &[u8]) -> bool {
    let text = text(data);
    match lint(&text, "rules.yaml") {
        Ok(rules) => {
            for (at, rule) in rules.iter().enumerate() {
                assert!(rules[..at].iter().all(|other| other.name != rule.name));
                assert!(rule.ratio >= 1.0 && (0.0..1.0).contains(&rule.absolute));
                rule_prints(rule);
            }
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.line <= lines(&text), "{problem}");
                assert!(!problem.to_string().contains('\u{0}') || text.contains('\0'));
            }
            false
        }
    }
}

/// A rule's selectors and expressions in their own words are the same selectors and expressions.
fn rule_prints(rule: &rule::Rule) {
    for select in rule.series().iter().flat_map(|series| &series.select) {
        let printed = select.value.to_string();
        assert_eq!(rule::Template::parse(&printed).as_ref(), Ok(&select.value));
    }
    for pattern in rule.ignore() {
        let again = rule::LabelPattern::new(&pattern.label, pattern.source());
        assert_eq!(again.as_ref().ok(), Some(pattern));
    }
}

/// The settings' text, then variables as `NAME=value`, parted by zero bytes.
pub fn settings(data: &[u8]) -> bool {
    let text = text(data);
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let variables: Vec<(String, String)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (format!("SLUICE_{name}"), value.to_owned()))
        .collect();
    match Settings::parse(file, Path::new("sluice.yaml"), &variables) {
        Ok(settings) => {
            let evidence = &settings.evidence;
            assert!(!evidence.every.is_zero() && evidence.every <= LONGEST);
            assert!(evidence.block >= evidence.every && evidence.block <= LONGEST);
            assert!(evidence.settle <= LONGEST);
            assert!(!settings.environment.is_empty());
            true
        }
        Err(Error::Invalid(problems)) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.origin.is_empty()));
            false
        }
        Err(Error::Read { .. }) => false,
    }
}
