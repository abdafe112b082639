//! The kinds of rules that ask a query as people write them: `compare` and `value`.
//!
//! A query is `PromQL` with names filled in; what it asks is the server's matter, and is not checked.
//!
//! Not here: the kinds that count series (`kinds`), and how queries are asked (`crate::prometheus`).

use std::time::Duration;

use super::yaml::{Fields, Reader, duration, join, number};
use super::{Bounds, Compare, Kind, Template, Variable};
use crate::yaml::{Kind as Value, Node};

/// Time between two samples where nothing is said.
const EVERY: Duration = Duration::from_secs(15);
/// The longest time between two samples.
const EVERY_MOST: Duration = Duration::from_secs(600);
/// The largest window of a `value`.
const WINDOW_MOST: i64 = 100;

impl Reader<'_> {
    pub(super) fn compare(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let queries = self
            .required(&mut fields, "query")
            .and_then(|node| self.queries(node, &fields.path("query")));
        let higher = self
            .required(&mut fields, "worse")
            .and_then(|node| self.direction(node, &fields.path("worse")));
        let every = self.every(&mut fields);
        self.leftovers(&fields);
        let (canary, stable) = queries?;
        Some(Kind::Compare(Compare {
            canary,
            stable,
            higher: higher?,
            every: every?,
        }))
    }

    /// One text that names the arm or its pods, or one for each arm.
    fn queries(&mut self, node: &Node, path: &str) -> Option<(Template, Template)> {
        if let Value::Map(_) = &node.kind {
            let mut fields = self.fields(node, path)?;
            let [canary, stable] = ["canary", "stable"].map(|arm| {
                self.required(&mut fields, arm)
                    .and_then(|node| self.template(node, &join(path, arm)))
            });
            self.leftovers(&fields);
            return canary.zip(stable);
        }
        let query = self.template(node, path)?;
        if !query.variables().any(Variable::is_of_arm) {
            let right = "a query that names {{arm}} or {{pods}} is right, or one for each arm as in {canary: ..., stable: ...}";
            self.wrong(node, path, right);
            return None;
        }
        Some((query.clone(), query))
    }

    fn direction(&mut self, node: &Node, key: &str) -> Option<bool> {
        match &node.kind {
            Value::Text(text) if text == "higher" => Some(true),
            Value::Text(text) if text == "lower" => Some(false),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => {
                self.wrong(node, key, "`higher` or `lower` is right");
                None
            }
        }
    }

    pub(super) fn value(&mut self, node: &Node, path: &str) -> Option<Kind> {
        let mut fields = self.fields(node, path)?;
        let query = self
            .required(&mut fields, "query")
            .and_then(|node| self.template(node, &fields.path("query")));
        let before = self.found();
        let min = self.bound(&mut fields, "min");
        let max = self.bound(&mut fields, "max");
        let window = self.whole(&mut fields, "window", 5, WINDOW_MOST);
        let most = i64::from(window.unwrap_or(1));
        let failures = self.whole(&mut fields, "failures", 3.min(most), most);
        let every = self.every(&mut fields);
        let ordered = min.zip(max).is_none_or(|(min, max)| min <= max);
        if self.found() == before && (!ordered || min.or(max).is_none()) {
            let message = "a number for `min`, for `max`, or for both is right, `min` the smaller";
            self.tell(node.place, path, message);
        }
        self.leftovers(&fields);
        Some(Kind::Value(Bounds {
            query: query?,
            min,
            max,
            failures: failures?,
            window: window?,
            every: every?,
        }))
    }

    fn bound(&mut self, fields: &mut Fields<'_>, name: &'static str) -> Option<f64> {
        let node = fields.take(name)?;
        let bound = number(&node.kind).filter(|bound| bound.is_finite());
        if bound.is_none() {
            self.wrong(node, &fields.path(name), "a number is right");
        }
        bound
    }

    /// A whole number from 1 to `most`.
    fn whole(
        &mut self,
        fields: &mut Fields<'_>,
        name: &'static str,
        usual: i64,
        most: i64,
    ) -> Option<u32> {
        let Some(node) = fields.take(name) else {
            return u32::try_from(usual).ok();
        };
        let Value::Int(count @ 1..) = node.kind else {
            self.not_whole(node, &fields.path(name), most);
            return None;
        };
        if count > most {
            self.not_whole(node, &fields.path(name), most);
        }
        u32::try_from(count).ok()
    }

    fn not_whole(&mut self, node: &Node, key: &str, most: i64) {
        self.wrong(
            node,
            key,
            &format!("a whole number from 1 to {most} is right"),
        );
    }

    fn every(&mut self, fields: &mut Fields<'_>) -> Option<Duration> {
        let Some(node) = fields.take("every") else {
            return Some(EVERY);
        };
        let whole = |every: &Duration| every.subsec_nanos() == 0 && !every.is_zero();
        let every = duration(node).filter(|every| whole(every) && *every <= EVERY_MOST);
        if every.is_none() {
            let right = "whole seconds up to 10m are right, as in 15s";
            self.wrong(node, &fields.path("every"), right);
        }
        every
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, lint};
    use super::*;

    const COMPARE: &str =
        "- name: queue\n  compare: {query: 'avg(depth{pod=~\"{{pods}}\"})', worse: higher}\n";
    const VALUE: &str = "- name: success\n  value: {query: 'ok{arm=\"{{arm}}\"}', min: 0.97, failures: 3, window: 5}\n";

    fn broken(text: &str, part: &str, by: &str) -> Vec<String> {
        assert!(text.contains(part), "no {part}");
        let problems = lint(&text.replace(part, by), "r").err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn queries_are_read() {
        let Kind::Compare(compare) = lint(COMPARE, "r").unwrap().remove(0).kind else {
            panic!("no compare")
        };
        assert!(compare.higher && compare.every == EVERY && compare.canary == compare.stable);
        let Kind::Value(bounds) = lint(VALUE, "r").unwrap().remove(0).kind else {
            panic!("no value")
        };
        let read = (bounds.min, bounds.max, bounds.failures, bounds.window);
        assert_eq!(read, (Some(0.97), None, 3, 5));
        let two = COMPARE.replace("'avg(depth{pod=~\"{{pods}}\"})'", "{canary: a, stable: b}");
        assert!(lint(&two, "r").is_ok());
    }

    #[test]
    fn each_mistake_in_a_query_is_told_with_its_place() {
        let table = [
            (
                COMPARE,
                "{{pods}}",
                "{{name}}",
                "r:2:20: queue.compare.query: found `avg(depth{pod=~\"{{name}}\"})`; a query that names {{arm}} or {{pods}} is right, or one for each arm as in {canary: ..., stable: ...}",
            ),
            (
                COMPARE,
                "higher",
                "more",
                "r:2:58: queue.compare.worse: found `more`; `higher` or `lower` is right",
            ),
            (
                COMPARE,
                "higher}",
                "higher, every: 1500ms}",
                "r:2:73: queue.compare.every: found `1500ms`; whole seconds up to 10m are right, as in 15s",
            ),
            (
                COMPARE,
                "higher}",
                "higher}\n  worseBy: {absolute: 1%}",
                "r:3:12: queue.worseBy.absolute: a compare tolerates a `ratio` only; its numbers are no shares",
            ),
            (
                COMPARE,
                "higher}",
                "higher}\n  max: 1%",
                "r:3:8: queue.max: a limit is for `proportion`, `latency` and `load`",
            ),
            (
                VALUE,
                "min: 0.97, ",
                "",
                "r:2:10: success.value: a number for `min`, for `max`, or for both is right, `min` the smaller",
            ),
            (
                VALUE,
                "min: 0.97",
                "min: 0.97, max: 0.5",
                "r:2:10: success.value: a number for `min`, for `max`, or for both is right, `min` the smaller",
            ),
            (
                VALUE,
                "failures: 3",
                "failures: 6",
                "r:2:60: success.value.failures: found `6`; a whole number from 1 to 5 is right",
            ),
            (
                VALUE,
                "5}",
                "5}\n  worseBy: {ratio: 2}",
                "r:3:12: success.worseBy: a value has bounds of its own; nothing is compared",
            ),
        ];
        for (text, part, by, message) in table {
            assert_eq!(broken(text, part, by), [message]);
        }
    }
}
