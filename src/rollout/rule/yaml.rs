//! Rules as people write them: YAML to [`Rule`], with every mistake said in its place.
//!
//! A file is a list of rules. It is accepted whole or not at all. Unknown keys are mistakes,
//! since a misspelt `ignore` would otherwise be silently no ignore.
//!
//! Not here: which files are read and what happens when one is refused (`daemon::rules`).

use std::collections::BTreeMap;
use std::fmt;

use super::document::{self, Key, Node, Value};
use super::{
    ArmSplit, ArmValue, Kind, LabelPattern, Latency, Proportion, Rule, Select, Series, Template,
    anchored,
};

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
    let rules = match document::parse(text) {
        Ok(node) => reader.rules(&node),
        Err((line, column, message)) => {
            reader.tell(line, column, "", message);
            Vec::new()
        }
    };
    if reader.problems.is_empty() {
        Ok(rules)
    } else {
        Err(reader.problems)
    }
}

struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

/// A map whose keys are taken one by one; what is left at the end is unknown.
struct Fields<'a> {
    path: String,
    line: u64,
    column: u64,
    entries: Vec<(&'a Key, &'a Node)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let at = self.entries.iter().position(|(key, _)| key.name == name)?;
        Some(self.entries.remove(at).1)
    }

    fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Reader<'_> {
    fn tell(&mut self, line: u64, column: u64, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            column,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    fn wrong(&mut self, node: &Node, key: &str, right: &str) {
        let message = format!("found {}; {right}", node.value.describe());
        self.tell(node.line, node.column, key, message);
    }

    fn rules(&mut self, node: &Node) -> Vec<Rule> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Nothing => &[],
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                self.wrong(
                    node,
                    "",
                    "a rule file is a list of rules, each beginning with `- name:`",
                );
                &[]
            }
        };
        let mut seen = BTreeMap::new();
        items
            .iter()
            .filter_map(|item| self.rule(item, &mut seen))
            .collect()
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
        let (ratio, absolute) = self.margin(&mut fields);
        let kind = self.kind(&mut fields);
        self.leftovers(&fields);
        Some(Rule {
            name: name?,
            about,
            kind: kind?,
            ratio: ratio?,
            absolute: absolute?,
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
        if let Some(line) = seen.insert(name.clone(), node.line) {
            let message = format!("the rule `{name}` is in this file twice, first in line {line}");
            self.tell(node.line, node.column, "name", message);
        }
        Some(name)
    }

    fn margin(&mut self, fields: &mut Fields<'_>) -> (Option<f64>, Option<f64>) {
        let Some(node) = fields.take("worseBy") else {
            return (Some(1.2), Some(0.001));
        };
        let Some(mut margin) = self.fields(node, &fields.path("worseBy")) else {
            return (None, None);
        };
        let ratio = match margin.take("ratio") {
            None => Some(1.2),
            Some(node) => self.ratio(node, &margin.path("ratio")),
        };
        let absolute = match margin.take("absolute") {
            None => Some(0.001),
            Some(node) => self.percent(node, &margin.path("absolute")),
        };
        self.leftovers(&margin);
        (ratio, absolute)
    }

    fn ratio(&mut self, node: &Node, key: &str) -> Option<f64> {
        match node.value {
            Value::Number(ratio) if (1.0..=100.0).contains(&ratio) => Some(ratio),
            _ => {
                self.wrong(node, key, "a number from 1 to 100 is right, as in 1.2");
                None
            }
        }
    }

    fn percent(&mut self, node: &Node, key: &str) -> Option<f64> {
        let percent = match &node.value {
            Value::Text(text) => text
                .strip_suffix('%')
                .and_then(|text| text.trim().parse().ok()),
            Value::Number(value) if *value == 0.0 => Some(0.0),
            _ => None,
        };
        let right = percent.filter(|percent: &f64| (0.0..100.0).contains(percent));
        if right.is_none() {
            self.wrong(
                node,
                key,
                "a percentage from 0% to under 100% is right, as in 0.1%",
            );
        }
        right.map(|percent| percent / 100.0)
    }

    fn kind(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let proportion = fields.take("proportion");
        let latency = fields.take("latency");
        match (proportion, latency) {
            (Some(node), None) => self.proportion(node, &fields.path("proportion")),
            (None, Some(node)) => self.latency(node, &fields.path("latency")),
            (None, None) => {
                self.tell(fields.line, fields.column, &fields.path, "found no kind that this version knows; one of `proportion`, `latency` is needed");
                None
            }
            (Some(_), Some(node)) => {
                self.tell(
                    node.line,
                    node.column,
                    &fields.path,
                    "found both `proportion` and `latency`; a rule has one kind",
                );
                None
            }
        }
    }

    fn proportion(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let series = self.series(&mut fields);
        let bad = self
            .required(&mut fields, "bad")
            .map(|node| self.patterns(node, &fields.path("bad")));
        let ignore = fields
            .take("ignore")
            .map(|node| self.patterns(node, &fields.path("ignore")));
        self.leftovers(&fields);
        Some(Kind::Proportion(Proportion {
            series: series?,
            bad: bad?,
            ignore: ignore.unwrap_or_default(),
        }))
    }

    fn latency(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let series = self.series(&mut fields);
        let quantile = match fields.take("quantile") {
            None => Some(0.99),
            Some(node) => self.quantile(node, &fields.path("quantile")),
        };
        let ignore = fields
            .take("ignore")
            .map(|node| self.patterns(node, &fields.path("ignore")));
        self.leftovers(&fields);
        let series = series?;
        if series.metric.ends_with("_bucket") {
            self.tell(
                node.line,
                node.column,
                &join(path, "metric"),
                "found a name that ends in `_bucket`; the histogram is named without it",
            );
        }
        Some(Kind::Latency(Latency {
            series,
            quantile: quantile?,
            ignore: ignore.unwrap_or_default(),
        }))
    }

    fn quantile(&mut self, node: &Node, key: &str) -> Option<f64> {
        match node.value {
            Value::Number(quantile) if quantile > 0.0 && quantile < 1.0 => Some(quantile),
            _ => {
                self.wrong(node, key, "a number between 0 and 1 is right, as in 0.99");
                None
            }
        }
    }

    fn series(&mut self, fields: &mut Fields<'_>) -> Option<Series> {
        let metric = self
            .required(fields, "metric")
            .and_then(|node| self.metric(node, &fields.path("metric")));
        let select = self
            .required(fields, "select")
            .map(|node| self.select(node, &fields.path("select")));
        let arm = self
            .required(fields, "arm")
            .and_then(|node| self.arm(node, &fields.path("arm")));
        Some(Series {
            metric: metric?,
            select: select?,
            arm: arm?,
        })
    }

    fn metric(&mut self, node: &Node, key: &str) -> Option<String> {
        let name = self.text(node, key)?;
        if is_label(&name.replace(':', "_")) {
            return Some(name);
        }
        self.wrong(
            node,
            key,
            "the name of a metric is right: letters, digits, _ and :",
        );
        None
    }

    fn select(&mut self, node: &Node, path: &str) -> Vec<Select> {
        let Some(fields) = self.fields(node, path) else {
            return Vec::new();
        };
        if fields.entries.is_empty() {
            self.tell(
                node.line,
                node.column,
                path,
                "found nothing; without a label every Rollout would read every series",
            );
        }
        fields
            .entries
            .iter()
            .filter_map(|(key, node)| self.selected(key, node, path))
            .collect()
    }

    fn selected(&mut self, key: &Key, node: &Node, path: &str) -> Option<Select> {
        let labels: Vec<String> = key
            .name
            .split('|')
            .map(|label| label.trim().to_owned())
            .collect();
        if !labels.iter().all(|label| is_label(label)) {
            let message = format!(
                "found `{}`; a label is right, or several as in `exported_namespace|namespace`",
                key.name
            );
            self.tell(key.line, key.column, path, message);
            return None;
        }
        let value = self.template(node, &join(path, &key.name))?;
        Some(Select { labels, value })
    }

    fn arm(&mut self, node: &Node, path: &str) -> Option<ArmSplit> {
        let mut fields = self.fields(node, path)?;
        let label = self
            .required(&mut fields, "label")
            .and_then(|node| self.label(node, &fields.path("label")));
        let canary = self
            .required(&mut fields, "canary")
            .and_then(|node| self.arm_value(node, &fields.path("canary")));
        let stable = self
            .required(&mut fields, "stable")
            .and_then(|node| self.arm_value(node, &fields.path("stable")));
        self.leftovers(&fields);
        let split = ArmSplit {
            label: label?,
            canary: canary?,
            stable: stable?,
        };
        if split.canary == split.stable {
            self.tell(
                fields.line,
                fields.column,
                path,
                "found the same value for canary and stable; they must differ",
            );
        }
        Some(split)
    }

    fn label(&mut self, node: &Node, key: &str) -> Option<String> {
        let label = self.text(node, key)?;
        if is_label(&label) {
            return Some(label);
        }
        self.wrong(
            node,
            key,
            "the name of a label is right: letters, digits and _",
        );
        None
    }

    fn arm_value(&mut self, node: &Node, key: &str) -> Option<ArmValue> {
        match &node.value {
            Value::Text(text) if text == "empty" => Some(ArmValue::Empty),
            Value::Text(text) if text == "nonempty" => Some(ArmValue::Nonempty),
            _ => {
                let template = self.template(node, key)?;
                // Any value will do to see whether the rest is an expression.
                match anchored(&template.fill_pattern(|_| "x")) {
                    Ok(_) => Some(ArmValue::Like(template)),
                    Err(error) => self.bad_pattern(node, key, &error),
                }
            }
        }
    }

    fn patterns(&mut self, node: &Node, path: &str) -> Vec<LabelPattern> {
        let Some(fields) = self.fields(node, path) else {
            return Vec::new();
        };
        if fields.entries.is_empty() {
            self.tell(
                node.line,
                node.column,
                path,
                "found nothing; a label with an expression is right, as in {status: \"5..\"}",
            );
        }
        fields
            .entries
            .iter()
            .filter_map(|(key, node)| self.pattern(key, node, path))
            .collect()
    }

    fn pattern(&mut self, key: &Key, node: &Node, path: &str) -> Option<LabelPattern> {
        let full = join(path, &key.name);
        if !is_label(&key.name) {
            let message = format!("found `{}`; the name of a label is right", key.name);
            self.tell(key.line, key.column, &full, message);
            return None;
        }
        let source = self.text(node, &full)?;
        match LabelPattern::new(&key.name, &source) {
            Ok(pattern) => Some(pattern),
            Err(error) => self.bad_pattern(node, &full, &error),
        }
    }

    fn bad_pattern<T>(&mut self, node: &Node, key: &str, error: &regex::Error) -> Option<T> {
        let why = error.to_string();
        let why = why
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        self.wrong(node, key, &format!("this is no regular expression: {why}"));
        None
    }

    fn template(&mut self, node: &Node, key: &str) -> Option<Template> {
        let text = self.text(node, key)?;
        match Template::parse(&text) {
            Ok(template) => Some(template),
            Err(error) => {
                self.wrong(node, key, &error.to_string());
                None
            }
        }
    }

    /// A text; a number is taken as it is written, since `status: 500` is meant as text.
    fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Nothing | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.wrong(node, key, "a text is right");
                None
            }
        }
    }

    fn fields<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node, path, "a map of keys and values is right");
            return None;
        };
        Some(Fields {
            path: path.to_owned(),
            line: node.line,
            column: node.column,
            entries: entries.iter().map(|(key, node)| (key, node)).collect(),
            known: Vec::new(),
        })
    }

    fn required<'n>(&mut self, fields: &mut Fields<'n>, name: &'static str) -> Option<&'n Node> {
        let node = fields.take(name);
        if node.is_none() {
            self.tell(fields.line, fields.column, &fields.path(name), "is missing");
        }
        node
    }

    fn leftovers(&mut self, fields: &Fields<'_>) {
        for (key, _) in &fields.entries {
            let message = format!("unknown key; known here are {}", fields.known.join(", "));
            self.tell(key.line, key.column, &fields.path(&key.name), message);
        }
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

fn is_label(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
