//! Replaces in an answer what must differ between two servers: ids, versions, times, addresses,
//! the random ends of names. Template hashes are numbered in the order in which they appear,
//! so that equal ones stay equal.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::servers::Answer;

/// What one conversation has seen so far.
#[derive(Debug)]
pub struct Normal {
    /// What controllers write meanwhile is left out: the conversation is not about them.
    quiet: bool,
    hashes: Vec<String>,
}

/// A `ReplicaSet` in the message of a condition.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?i)replica ?set "[a-z]+-([bcdf-hj-np-tv-xz2456789]{6,10})""#;
    Regex::new(pattern).expect("a pattern")
});

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<uid>",
        ),
        (
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            "<time>",
        ),
        (r"\b10\.96\.\d+\.\d+\b", "<address>"),
        (r"\b10\.0\.\d+\.\d+\b", "<pod address>"),
        (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-<random>"),
        (
            r"-[bcdf-hj-np-tv-z2456789]{6,10}-<random>",
            "-<hash>-<random>",
        ),
        (
            r"too old resource version: (\d+) \(\d+\)",
            "too old resource version: $1 (<version>)",
        ),
        (r"\b\d+(\.\d+)?(ms|µs|s)\b", "<seconds>"),
        (r"in record \(\d+\)", "in record (<version>)"),
    ]
    .map(|(pattern, with)| (Regex::new(pattern).expect("a pattern"), with))
    .into()
});

impl Normal {
    /// `quiet`: controllers' writes are left out.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            hashes: Vec::new(),
        }
    }

    /// The answer as it is compared.
    pub fn answer(&mut self, answer: &Answer) -> Value {
        self.find_hashes(&answer.body);
        let mut body = answer.body.clone();
        if self.quiet {
            hush(&mut body);
        }
        self.value("", &mut body);
        let warnings: Vec<String> = answer.warnings.iter().map(|text| self.text(text)).collect();
        json!({"status": answer.status, "type": answer.media, "warnings": warnings, "body": body})
    }

    fn find_hashes(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(hash) = map.get("pod-template-hash").and_then(Value::as_str)
                    && !hash.is_empty()
                    && !self.hashes.iter().any(|known| known == hash)
                {
                    self.hashes.push(hash.to_owned());
                }
                map.values().for_each(|value| self.find_hashes(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.find_hashes(value)),
            Value::String(text) => {
                for found in NAMED.captures_iter(text) {
                    if !self.hashes.iter().any(|known| *known == found[1]) {
                        self.hashes.push(found[1].to_owned());
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.named(name, text),
            Value::Array(items) => {
                for item in items.iter_mut() {
                    self.value(name, item);
                }
                sort(name, items);
            }
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    self.value(name, value);
                }
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(name, value)| (self.text(&name), value))
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn named(&self, name: &str, text: &str) -> String {
        match name {
            "resourceVersion" if !text.is_empty() => "<version>".into(),
            "continue" if !text.is_empty() => "<continue>".into(),
            _ => self.text(text),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, hash) in self.hashes.iter().enumerate() {
            text = text.replace(hash.as_str(), &format!("<hash {}>", number + 1));
        }
        for (pattern, with) in PATTERNS.iter() {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        shell_numbers(&text)
    }
}

/// Takes out what controllers write at a time of their own.
fn hush(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hush),
        Value::Object(map) => {
            if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
                entries.retain(|entry| entry["manager"] != "kube-controller-manager");
            }
            // Who makes the map depends on who comes first.
            if let Some(Value::Object(annotations)) = map.get_mut("f:annotations") {
                annotations.remove(".");
            }
            if let Some(Value::Object(annotations)) = map.get_mut("annotations")
                && annotations
                    .remove("deployment.kubernetes.io/revision")
                    .is_some()
                && annotations.is_empty()
            {
                map.remove("annotations");
            }
            if map.get("kind").is_some_and(|kind| kind == "Deployment") && map.contains_key("spec")
            {
                map.remove("status");
            }
            map.values_mut().for_each(hush);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Quoted JSON within a text has versions of its own.
fn shell_numbers(text: &str) -> String {
    static VERSION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(resourceVersion\\?":\\?")\d+"#).expect("a pattern"));
    VERSION
        .replace_all(text, |found: &Captures<'_>| {
            format!("{}<version>", &found[1])
        })
        .into_owned()
}

/// Orders that depend on random names or on the second in which something was written.
fn sort(name: &str, items: &mut [Value]) {
    let text = |item: &Value| item.to_string();
    let random = |item: &Value| text(item).contains("<random>") || text(item).contains("<hash");
    match name {
        "managedFields" => items.sort_by_key(|entry| {
            let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            (word("operation"), word("manager"), word("subresource"))
        }),
        // A condition goes to the end when it changes.
        "conditions" => items.sort_by_key(|condition| condition["type"].to_string()),
        "endpoints" | "causes" => items.sort_by_key(text),
        "ports"
            if items
                .iter()
                .all(|port| port["port"].is_number() && port["targetPort"].is_null()) =>
        {
            items.sort_by_key(text);
        }
        "items" | "rows" if items.iter().any(random) => items.sort_by_key(text),
        _ => {}
    }
}
