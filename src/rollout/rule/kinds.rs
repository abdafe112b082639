//! The kinds of rules as people write them.
//!
//! What each kind needs and allows: metric, selected labels, arms, and what is bad.
//!
//! Not here: name and margin, which all kinds share, and how mistakes are collected (`yaml`).

use super::yaml::{Fields, Reader, is_label, join, number};
use super::{
    ArmSplit, ArmValue, Kind, LabelPattern, Latency, Proportion, Select, Series, Template, anchored,
};
use crate::yaml::{Entry, Kind as Value, Node};

impl Reader<'_> {
    pub(super) fn kind(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let proportion = fields.take("proportion");
        let latency = fields.take("latency");
        match (proportion, latency) {
            (Some(node), None) => self.proportion(node, &fields.path("proportion")),
            (None, Some(node)) => self.latency(node, &fields.path("latency")),
            (None, None) => {
                self.tell(fields.place, &fields.path, "found no kind that this version knows; one of `proportion`, `latency` is needed");
                None
            }
            (Some(_), Some(node)) => {
                self.tell(
                    node.place,
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
                node.place,
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

    pub(super) fn quantile(&mut self, node: &Node, key: &str) -> Option<f64> {
        match number(&node.kind) {
            Some(quantile) if quantile > 0.0 && quantile < 1.0 => Some(quantile),
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
                node.place,
                path,
                "found nothing; without a label every Rollout would read every series",
            );
        }
        fields
            .entries
            .iter()
            .filter_map(|entry| self.selected(entry, path))
            .collect()
    }

    fn selected(&mut self, entry: &Entry, path: &str) -> Option<Select> {
        let labels: Vec<String> = entry
            .key
            .split('|')
            .map(|label| label.trim().to_owned())
            .collect();
        if !labels.iter().all(|label| is_label(label)) {
            let message = format!(
                "found `{}`; a label is right, or several as in `exported_namespace|namespace`",
                entry.key
            );
            self.tell(entry.place, path, message);
            return None;
        }
        let value = self.template(&entry.value, &join(path, &entry.key))?;
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
                fields.place,
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
        match &node.kind {
            Value::Text(text) if text == "empty" => Some(ArmValue::Empty),
            Value::Text(text) if text == "nonempty" => Some(ArmValue::Nonempty),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => {
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
                node.place,
                path,
                "found nothing; a label with an expression is right, as in {status: \"5..\"}",
            );
        }
        fields
            .entries
            .iter()
            .filter_map(|entry| self.pattern(entry, path))
            .collect()
    }

    fn pattern(&mut self, entry: &Entry, path: &str) -> Option<LabelPattern> {
        let full = join(path, &entry.key);
        if !is_label(&entry.key) {
            let message = format!("found `{}`; the name of a label is right", entry.key);
            self.tell(entry.place, &full, message);
            return None;
        }
        let source = self.text(&entry.value, &full)?;
        match LabelPattern::new(&entry.key, &source) {
            Ok(pattern) => Some(pattern),
            Err(error) => self.bad_pattern(&entry.value, &full, &error),
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
}
