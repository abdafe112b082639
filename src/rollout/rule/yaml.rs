//! Rules as people write them: YAML to [`Rule`], with every mistake said in its place.
//!
//! A file is a list of rules. It is accepted whole or not at all. Unknown keys are mistakes,
//! since a misspelt `ignore` would otherwise be silently no ignore.
//!
//! Not here: which files are read and what happens when one is refused (`daemon::rules`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Kind, Rule};
use crate::yaml::{self, Entry, Kind as Value, Node, Place};

/// A mistake in a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// Line, from 1; 0 when the mistake has no place.
    pub line: u64,
    /// Column, from 1; 0 when the mistake has no place.
    pub column: u64,
    /// The key with its path, as in `worseBy.ratio`.
    pub key: String,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads the rules of one file; or tells all its mistakes.
pub fn lint(text: &str, file: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let mut reader = Reader {
        file,
        problems: Vec::new(),
    };
    let rules = match yaml::documents(text) {
        Ok(documents) => reader.rules(&documents),
        Err(error) => {
            reader.tell(error.place, "", error.message);
            Vec::new()
        }
    };
    if reader.problems.is_empty() {
        Ok(rules)
    } else {
        Err(reader.problems)
    }
}

pub(super) struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

/// A map whose keys are taken one by one; what is left at the end is unknown.
pub(super) struct Fields<'a> {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) entries: Vec<&'a Entry>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let at = self.entries.iter().position(|entry| entry.key == name)?;
        Some(&self.entries.remove(at).value)
    }

    /// As [`Fields::take`], and leaves it there.
    pub(super) fn peek(&self, name: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(&entry.value)
    }

    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Reader<'_> {
    pub(super) fn tell(&mut self, place: Place, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// How many mistakes were found so far.
    pub(super) fn found(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn wrong(&mut self, node: &Node, key: &str, right: &str) {
        let message = format!("found {}; {right}", describe(&node.kind));
        self.tell(node.place, key, message);
    }

    fn rules(&mut self, documents: &[Node]) -> Vec<Rule> {
        let mut seen = BTreeMap::new();
        let mut rules = Vec::new();
        for document in documents {
            let Value::List(items) = &document.kind else {
                let right = "a rule file is a list of rules, each beginning with `- name:`";
                self.wrong(document, "", right);
                continue;
            };
            rules.extend(items.iter().filter_map(|item| self.rule(item, &mut seen)));
        }
        rules
    }

    fn rule(&mut self, node: &Node, seen: &mut BTreeMap<String, u64>) -> Option<Rule> {
        let mut fields = self.fields(node, "")?;
        let name = self.name(&mut fields, seen);
        if let Some(name) = &name {
            fields.path.clone_from(name);
        }
        let about = fields
            .take("about")
            .and_then(|node| self.text(node, &fields.path("about")));
        let worse_by = fields.peek("worseBy");
        let (ratio, absolute, per_hour) = self.margin(&mut fields);
        let max = fields.take("max");
        let kind = self.kind(&mut fields);
        let max = max
            .zip(kind.as_ref())
            .and_then(|(node, kind)| self.limit(node, kind, &fields.path("max")));
        if let (Some(node), Some(kind)) = (worse_by, &kind) {
            self.margin_of(kind, node, &fields.path("worseBy"));
        }
        self.leftovers(&fields);
        let kind = kind?;
        let absolute = match kind {
            Kind::Events(_) => per_hour? / 3600.0,
            Kind::Proportion(_)
            | Kind::Latency(_)
            | Kind::Compare(_)
            | Kind::Value(_)
            | Kind::Load(_) => absolute?,
        };
        Some(Rule {
            name: name?,
            about,
            kind,
            ratio: ratio?,
            absolute,
            max,
        })
    }

    fn name(
        &mut self,
        fields: &mut Fields<'_>,
        seen: &mut BTreeMap<String, u64>,
    ) -> Option<String> {
        let node = self.required(fields, "name")?;
        let name = self.text(node, "name")?;
        if !is_rule_name(&name) {
            self.wrong(node, "name", "a name has 1 to 63 of a-z, 0-9 and -");
            return None;
        }
        if let Some(line) = seen.insert(name.clone(), node.place.line) {
            let message = format!("the rule `{name}` is in this file twice, first in line {line}");
            self.tell(node.place, "name", message);
        }
        Some(name)
    }

    /// The tolerated ratio, share, and events an hour and pod.
    fn margin(&mut self, fields: &mut Fields<'_>) -> (Option<f64>, Option<f64>, Option<f64>) {
        let Some(node) = fields.take("worseBy") else {
            return (Some(1.2), Some(0.001), Some(0.0));
        };
        let Some(mut margin) = self.fields(node, &fields.path("worseBy")) else {
            return (None, None, None);
        };
        let ratio = match margin.take("ratio") {
            None => Some(1.2),
            Some(node) => self.ratio(node, &margin.path("ratio")),
        };
        let absolute = match margin.take("absolute") {
            None => Some(0.001),
            Some(node) => self.percent(node, &margin.path("absolute")),
        };
        let per_hour = match margin.take("perHour") {
            None => Some(0.0),
            Some(node) => self.per_hour(node, &margin.path("perHour")),
        };
        self.leftovers(&margin);
        (ratio, absolute, per_hour)
    }

    fn per_hour(&mut self, node: &Node, key: &str) -> Option<f64> {
        let count = number(&node.kind).filter(|count| (0.0..=3600.0).contains(count));
        if count.is_none() {
            self.wrong(node, key, "a number from 0 to 3600 is right, as in 1");
        }
        count
    }

    /// Refuses a margin that the kind has no use for.
    fn margin_of(&mut self, kind: &Kind, node: &Node, path: &str) {
        if !matches!(kind, Kind::Events(_)) && node.get("perHour").is_some() {
            let message = "so many an hour and pod is for `events`";
            self.tell(node.place, &join(path, "perHour"), message);
        }
        match kind {
            Kind::Events(_) if node.get("absolute").is_some() => {
                let message = "events are no share; they tolerate a `ratio`, and so many `perHour`";
                self.tell(node.place, &join(path, "absolute"), message);
            }
            Kind::Compare(_) if node.get("absolute").is_some() => {
                let message = "a compare tolerates a `ratio` only; its numbers are no shares";
                self.tell(node.place, &join(path, "absolute"), message);
            }
            Kind::Proportion(_)
            | Kind::Latency(_)
            | Kind::Events(_)
            | Kind::Compare(_)
            | Kind::Load(_) => {}
            Kind::Value(_) => {
                let message = "a value has bounds of its own; nothing is compared";
                self.tell(node.place, path, message);
            }
        }
    }

    fn ratio(&mut self, node: &Node, key: &str) -> Option<f64> {
        match number(&node.kind) {
            Some(ratio) if (1.0..=100.0).contains(&ratio) => Some(ratio),
            _ => {
                self.wrong(node, key, "a number from 1 to 100 is right, as in 1.2");
                None
            }
        }
    }

    fn percent(&mut self, node: &Node, key: &str) -> Option<f64> {
        let right = percentage(&node.kind).filter(|percent| (0.0..100.0).contains(percent));
        if right.is_none() {
            self.wrong(
                node,
                key,
                "a percentage from 0% to under 100% is right, as in 0.1%",
            );
        }
        right.map(|percent| percent / 100.0)
    }

    /// A text; a number is taken as it is written, since `status: 500` is meant as text.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.kind {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong(node, key, "a text is right");
                None
            }
        }
    }

    pub(super) fn fields<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.kind else {
            self.wrong(node, path, "a map of keys and values is right");
            return None;
        };
        Some(Fields {
            path: path.to_owned(),
            place: node.place,
            entries: entries.iter().collect(),
            known: Vec::new(),
        })
    }

    pub(super) fn required<'n>(
        &mut self,
        fields: &mut Fields<'n>,
        name: &'static str,
    ) -> Option<&'n Node> {
        let node = fields.take(name);
        if node.is_none() {
            self.tell(fields.place, &fields.path(name), "is missing");
        }
        node
    }

    pub(super) fn leftovers(&mut self, fields: &Fields<'_>) {
        for entry in &fields.entries {
            let message = format!("unknown key; known here are {}", fields.known.join(", "));
            self.tell(entry.place, &fields.path(&entry.key), message);
        }
    }
}

/// What a text as `0.1%` says in percent, and the number 0.
pub(super) fn percentage(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => text
            .strip_suffix('%')
            .and_then(|text| text.trim().parse().ok()),
        Value::Int(0) => Some(0.0),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Map(_) => None,
    }
}

/// A duration such as `200ms`; `None` where it is none.
pub(super) fn duration(node: &Node) -> Option<Duration> {
    match &node.kind {
        Value::Text(text) => humantime::parse_duration(text).ok(),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Map(_) => None,
    }
}

pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// A value in words, for "found ...".
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Int(value) => format!("`{value}`"),
        Value::Float(value) => format!("`{value}`"),
        Value::Text(text) => format!("`{}`", text.chars().take(60).collect::<String>()),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

fn is_rule_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) fn is_label(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
