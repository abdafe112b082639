//! The kinds of rules as people write them.
//!
//! What each kind that counts needs and allows: metric, selected labels, arms, and what is bad.
//!
//! Not here: the kinds that ask a query (`query`), name and margin, which all kinds share, and how mistakes are collected (`yaml`).

use super::yaml::{Fields, Reader, is_label, join, number};
use super::{
    ArmSplit, ArmValue, Events, Kind, LabelPattern, Latency, Proportion, Select, Series, Template,
    Variable, anchored,
};
use crate::yaml::{Entry, Kind as Value, Node};

/// Whether both values of `arm` name something of the Rollout.
fn arms_name_the_subject(fields: &Fields<'_>) -> bool {
    fields.peek("arm").is_some_and(|arm| {
        ["canary", "stable"].iter().all(|value| {
            let text = arm.get(value).and_then(Node::text);
            text.is_some_and(|text| text.contains("{{"))
        })
    })
}

/// The names of a label, as in `exported_pod|pod`; `None` if one can be none.
fn alternatives(text: &str) -> Option<Vec<String>> {
    let labels = text.split('|').map(|label| label.trim().to_owned());
    let labels: Vec<String> = labels.collect();
    labels.iter().all(|label| is_label(label)).then_some(labels)
}

/// All kinds, as rules name them.
const KINDS: [&str; 6] = [
    "proportion",
    "latency",
    "events",
    "compare",
    "value",
    "load",
];

impl Reader<'_> {
    pub(super) fn kind(&mut self, fields: &mut Fields<'_>) -> Option<Kind> {
        let found: Vec<(&str, &Node)> = KINDS
            .iter()
            .filter_map(|kind| Some((*kind, fields.take(kind)?)))
            .collect();
        match found[..] {
            [(kind, node)] => {
                let path = fields.path(kind);
                match kind {
                    "proportion" => self.proportion(node, &path),
                    "latency" => self.latency(node, &path),
                    "events" => self.events(node, &path),
                    "compare" => self.compare(node, &path),
                    "value" => self.value(node, &path),
                    _ => self.load(node, &path),
                }
            }
            [] => {
                let kinds = KINDS.map(|kind| format!("`{kind}`")).join(", ");
                let message =
                    format!("found no kind that this version knows; one of {kinds} is needed");
                self.tell(fields.place, &fields.path, message);
                None
            }
            [(one, _), (other, node), ..] => {
                let message = format!("found both `{one}` and `{other}`; a rule has one kind");
                self.tell(node.place, &fields.path, message);
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
        let native = match fields.take("native") {
            None => Some(false),
            Some(node) => self.flag(node, &fields.path("native")),
        };
        let milliseconds = match fields.take("unit") {
            None => Some(false),
            Some(node) => self.unit(node, &fields.path("unit")),
        };
        let ignore = fields
            .take("ignore")
            .map(|node| self.patterns(node, &fields.path("ignore")));
        self.leftovers(&fields);
        let series = series?;
        if native == Some(true) && milliseconds == Some(true) {
            self.tell(
                node.place,
                &join(path, "unit"),
                "found `milliseconds` for a native histogram; those are read as seconds",
            );
        }
        if series.metric.ends_with("_bucket") {
            self.tell(
                node.place,
                &join(path, "metric"),
                "found a name that ends in `_bucket`; the histogram is named without it",
            );
        }
        Some(Kind::Latency(Latency {
            series,
            milliseconds: milliseconds?,
            native: native?,
            quantile: quantile?,
            ignore: ignore.unwrap_or_default(),
        }))
    }

    fn events(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let series = self.series(&mut fields);
        let ignore = fields
            .take("ignore")
            .map(|node| self.patterns(node, &fields.path("ignore")));
        self.leftovers(&fields);
        Some(Kind::Events(Events {
            series: series?,
            ignore: ignore.unwrap_or_default(),
        }))
    }

    /// Whether the boundaries are milliseconds.
    fn unit(&mut self, node: &Node, key: &str) -> Option<bool> {
        match self.text(node, key)?.as_str() {
            "seconds" => Some(false),
            "milliseconds" => Some(true),
            _ => {
                self.wrong(node, key, "`seconds` or `milliseconds` is right");
                None
            }
        }
    }

    fn flag(&mut self, node: &Node, key: &str) -> Option<bool> {
        if let Value::Bool(flag) = node.kind {
            return Some(flag);
        }
        self.wrong(node, key, "`true` or `false` is right");
        None
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
        let select = match fields.take("select") {
            Some(node) => Some(self.select(node, &fields.path("select"))),
            None if arms_name_the_subject(fields) => Some(Vec::new()),
            None => {
                let message = "is missing; only where both values of `arm` name what is the Rollout's own, as {{service}}, it may be";
                self.tell(fields.place, &fields.path("select"), message);
                None
            }
        };
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
        let Some(labels) = alternatives(&entry.key) else {
            let message = format!(
                "found `{}`; a label is right, or several as in `exported_namespace|namespace`",
                entry.key
            );
            self.tell(entry.place, path, message);
            return None;
        };
        let key = join(path, &entry.key);
        let value = self.template(&entry.value, &key)?;
        if value
            .variables()
            .any(|name| name.is_of_arm() || name.is_pattern())
        {
            let right = "here a template names what is the same for both arms; canaryPods, stablePods, pods and arm are not";
            self.wrong(&entry.value, &key, right);
            return None;
        }
        Some(Select { labels, value })
    }

    fn arm(&mut self, node: &Node, path: &str) -> Option<ArmSplit> {
        let mut fields = self.fields(node, path)?;
        let labels = self
            .required(&mut fields, "label")
            .and_then(|node| self.arm_labels(node, &fields.path("label")));
        let canary = self
            .required(&mut fields, "canary")
            .and_then(|node| self.arm_value(node, &fields.path("canary")));
        let stable = self
            .required(&mut fields, "stable")
            .and_then(|node| self.arm_value(node, &fields.path("stable")));
        self.leftovers(&fields);
        let split = ArmSplit {
            labels: labels?,
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

    fn arm_labels(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        let labels = alternatives(&self.text(node, key)?);
        if labels.is_none() {
            let right = "the name of a label is right: letters, digits and _; or several as in `exported_pod|pod`";
            self.wrong(node, key, right);
        }
        labels
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
                if template.variables().any(Variable::is_of_arm) {
                    let right =
                        "`pods` and `arm` are for queries; canaryPods or stablePods is right here";
                    self.wrong(node, key, right);
                    return None;
                }
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

    pub(super) fn template(&mut self, node: &Node, key: &str) -> Option<Template> {
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

#[cfg(test)]
mod tests {
    use super::super::lint;

    const EVENTS: &str = "- name: restarts
  events:
    metric: restarts_total
    select: {ns: '{{namespace}}'}
    arm: {label: exported_pod|pod, canary: '{{canaryPods}}', stable: '{{stablePods}}'}
    ignore: {container: '|POD'}
  worseBy: {ratio: 2, perHour: 6}
";

    fn broken(part: &str, by: &str) -> Vec<String> {
        assert!(EVENTS.contains(part), "no {part}");
        let problems = lint(&EVENTS.replace(part, by), "r")
            .err()
            .unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn events_are_read() {
        let rule = lint(EVENTS, "r").unwrap().remove(0);
        let per_second = 6.0 / 3600.0;
        assert!((rule.absolute - per_second).abs() < 1e-12 && (rule.ratio - 2.0).abs() < 1e-12);
        assert_eq!(rule.metric().as_deref(), Some("restarts_total"));
        assert_eq!(rule.series().unwrap().arm.labels, ["exported_pod", "pod"]);
        assert!(rule.ignore()[0].matches("") && !rule.ignore()[0].matches("app"));
        // What a share tolerates unless it is said is nothing for a count.
        let plain = EVENTS.replace("  worseBy: {ratio: 2, perHour: 6}\n", "");
        assert!(lint(&plain, "r").unwrap()[0].absolute.abs() < 1e-12);
    }

    #[test]
    fn each_mistake_in_events_is_told_with_its_place() {
        let table = [
            (
                "perHour: 6",
                "absolute: 1%",
                "r:7:12: restarts.worseBy.absolute: events are no share; they tolerate a `ratio`, and so many `perHour`",
            ),
            (
                "perHour: 6",
                "perHour: -1",
                "r:7:32: restarts.worseBy.perHour: found `-1`; a number from 0 to 3600 is right, as in 1",
            ),
            (
                "  worseBy: {ratio: 2, perHour: 6}",
                "  max: 1%",
                "r:7:8: restarts.max: a limit is for `proportion`, `latency` and `load`",
            ),
            (
                "exported_pod|pod",
                "exported_pod|",
                "r:5:18: restarts.events.arm.label: found `exported_pod|`; the name of a label is right: letters, digits and _; or several as in `exported_pod|pod`",
            ),
        ];
        for (part, by, message) in table {
            assert_eq!(broken(part, by), [message]);
        }
        let share = "- name: a\n  proportion: {metric: m, select: {n: x}, arm: {label: l, canary: nonempty, stable: empty}, bad: {s: x}}\n  worseBy: {perHour: 1}\n";
        let problems = lint(share, "r").unwrap_err();
        assert_eq!(
            problems[0].message,
            "so many an hour and pod is for `events`"
        );
    }
}
