//! Rules: the questions that are asked of a canary, as data.
//!
//! A rule names a metric, says which of its series belong to a Rollout, how the two arms are
//! told apart, what counts as bad, and how much worse is tolerated. It is written in YAML
//! (`rules/`), read by [`lint`] with all its mistakes at once, and never doubted after that.
//!
//! Not here: loading folders (`daemon::rules`), asking Prometheus (`crate::prometheus`) and
//! the statistics (`rollout::evidence`).

mod counted;
mod kinds;
mod limit;
mod load;
mod query;
mod question;
mod template;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::evidence::Max;

pub use template::{Template, TemplateError, Variable};
pub use yaml::{Problem, lint};

/// One question about the canary, with the margin that is tolerated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique among all loaded rules; what a Rollout names.
    pub name: String,
    /// A sentence for people.
    pub about: Option<String>,
    /// What is counted.
    pub kind: Kind,
    /// The canary's share may be this many times the stable one's; at least 1.
    pub ratio: f64,
    /// And this much above it: a fraction (0.001 is 0.1 percentage points), or events a second and pod.
    pub absolute: f64,
    /// What the canary's share may be at most, whatever stable's is.
    pub max: Option<Max>,
}

/// Rules by name.
pub type RuleSet = BTreeMap<String, Arc<Rule>>;

/// What a rule counts or samples.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The share of bad requests, from counters.
    Proportion(Proportion),
    /// How slow requests are, from the buckets of a histogram, classic or native.
    Latency(Latency),
    /// How often something rare happens to a pod, from counters.
    Events(Events),
    /// Whether the canary's numbers are worse than stable's, from queries.
    Compare(Compare),
    /// Whether the canary's number stays within bounds, from a query.
    Value(Bounds),
    /// The share of bad answers to a smoke test that is sent to both arms in a loop.
    Load(Load),
}

/// Synthetic load: a smoke test in a loop, whose results are requests of its arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The smoke test's name.
    pub test: String,
    /// Time between two tries; each is made of both arms at once.
    pub every: Duration,
}

/// Rare events of each pod's containers: restarts, kills.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The counters, each series counting events of one pod.
    pub series: Series,
    /// A series is left out when any pattern matches.
    pub ignore: Vec<LabelPattern>,
}

/// A number of both arms, sampled by queries and compared by ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The canary's query, `PromQL` that answers with one number.
    pub canary: Template,
    /// Stable's.
    pub stable: Template,
    /// Whether larger numbers are worse; if not, smaller ones are.
    pub higher: bool,
    /// Time between two samples, in whole seconds.
    pub every: Duration,
}

/// A number of the canary, sampled by a query, and where it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// `PromQL` that answers with one number.
    pub query: Template,
    /// The smallest number that is right.
    pub min: Option<f64>,
    /// The largest number that is right.
    pub max: Option<f64>,
    /// So many numbers outside ...
    pub failures: u32,
    /// ... of so many newest ones are worse.
    pub window: u32,
    /// Time between two samples, in whole seconds.
    pub every: Duration,
}

/// Bad requests of all requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Proportion {
    /// The counters, each series counting requests.
    pub series: Series,
    /// A series counts bad requests when every pattern matches.
    pub bad: Vec<LabelPattern>,
    /// A series is left out when any pattern matches.
    pub ignore: Vec<LabelPattern>,
}

/// Durations by buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// The histogram, named without `_bucket`.
    pub series: Series,
    /// The boundaries are milliseconds.
    pub milliseconds: bool,
    /// It is a native histogram: its series have this very name, and no boundaries as labels.
    pub native: bool,
    /// The quantile that is shown in words, between 0 and 1; all boundaries are tested.
    pub quantile: f64,
    /// A series is left out when any pattern matches.
    pub ignore: Vec<LabelPattern>,
}

/// Which series belong to a Rollout, and to which arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name of the metric.
    pub metric: String,
    /// All must hold.
    pub select: Vec<Select>,
    /// How the arms are told apart.
    pub arm: ArmSplit,
}

/// A label that must have a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// Names of the label; the first that the series has is compared.
    pub labels: Vec<String>,
    /// The exact value.
    pub value: Template,
}

/// The label by which the arms are told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmSplit {
    /// Names of the label; the first that the series has is compared.
    pub labels: Vec<String>,
    /// Its value for the canary.
    pub canary: ArmValue,
    /// Its value for stable.
    pub stable: ArmValue,
}

/// A value of the label that tells the arms apart.
#[derive(Debug, Clone, PartialEq)]
pub enum ArmValue {
    /// Empty, or the label is missing.
    Empty,
    /// Anything else.
    Nonempty,
    /// An anchored regular expression in which names are filled in (escaped).
    Like(Template),
}

/// The expression that asks whether a label is there at all.
const ANY_VALUE: &str = ".+";

/// A label and an anchored regular expression for its value.
#[derive(Debug, Clone)]
pub struct LabelPattern {
    /// Name of the label.
    pub label: String,
    source: String,
    pattern: Regex,
}

impl Rule {
    /// The series that the rule counts; none where it samples queries.
    pub fn series(&self) -> Option<&Series> {
        match &self.kind {
            Kind::Proportion(proportion) => Some(&proportion.series),
            Kind::Latency(latency) => Some(&latency.series),
            Kind::Events(events) => Some(&events.series),
            Kind::Compare(_) | Kind::Value(_) | Kind::Load(_) => None,
        }
    }

    /// The full name of the metric that is counted (`_bucket` for a classic histogram).
    pub fn metric(&self) -> Option<String> {
        match &self.kind {
            Kind::Proportion(proportion) => Some(proportion.series.metric.clone()),
            Kind::Latency(latency) if latency.native => Some(latency.series.metric.clone()),
            Kind::Latency(latency) => Some(format!("{}_bucket", latency.series.metric)),
            Kind::Events(events) => Some(events.series.metric.clone()),
            Kind::Compare(_) | Kind::Value(_) | Kind::Load(_) => None,
        }
    }

    /// The patterns of series that are left out.
    pub fn ignore(&self) -> &[LabelPattern] {
        match &self.kind {
            Kind::Proportion(proportion) => &proportion.ignore,
            Kind::Latency(latency) => &latency.ignore,
            Kind::Events(events) => &events.ignore,
            Kind::Compare(_) | Kind::Value(_) | Kind::Load(_) => &[],
        }
    }
}

impl LabelPattern {
    /// Anchors `source` on both ends, as Prometheus does.
    pub fn new(label: &str, source: &str) -> Result<Self, regex::Error> {
        Ok(Self {
            label: label.to_owned(),
            source: source.to_owned(),
            pattern: anchored(source)?,
        })
    }

    /// Whether the whole `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.pattern.is_match(value)
    }

    /// Whether a series without the label tells nothing: the value is looked at, and not whether there is
    /// one. A server that names the label otherwise would have nothing that matches, ever.
    pub fn needs_label(&self) -> bool {
        self.source != ANY_VALUE && !self.matches("")
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl PartialEq for LabelPattern {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label && self.source == other.source
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=\"{}\"", self.labels.join("|"), self.value)
    }
}

/// Compiles an expression that must match a whole value. The expression is compiled alone
/// first, so that an unbalanced `)` cannot undo the anchors.
pub fn anchored(source: &str) -> Result<Regex, regex::Error> {
    Regex::new(source)?;
    regex::RegexBuilder::new(&format!("^(?:{source})$"))
        .size_limit(1 << 20)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../rules/ingress-nginx.yaml");

    /// A valid rule in which one line is replaced.
    fn broken(line: &str, by: &str) -> Vec<String> {
        let text = "\
- name: errors
  about: share of errors
  proportion:
    metric: requests_total
    select: {ns: \"{{namespace}}\"}
    arm: {label: canary, canary: nonempty, stable: empty}
    bad: {status: \"5..\"}
  worseBy: {ratio: 1.2, absolute: 0.1%}
";
        assert!(text.contains(line), "no line {line}");
        match lint(&text.replace(line, by), "r.yaml") {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn shipped_rules_are_read() {
        let rules = lint(SHIPPED, "rules/ingress-nginx.yaml").unwrap();
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["error-rate", "latency-p99"]);
        assert!((rules[0].absolute - 0.001).abs() < 1e-12);
        assert!((rules[0].ratio - 1.2).abs() < 1e-12);
        assert_eq!(
            rules[0].series().unwrap().select[0].labels,
            ["exported_namespace", "namespace"]
        );
        assert_eq!(
            rules[1].metric().as_deref(),
            Some("nginx_ingress_controller_request_duration_seconds_bucket")
        );
        let Kind::Proportion(errors) = &rules[0].kind else {
            panic!("not a proportion")
        };
        assert!(errors.bad[0].matches("503"));
        assert!(!errors.bad[0].matches("5030"));
        assert!(rules[0].ignore()[0].matches("499"));
    }

    #[test]
    fn only_a_pattern_that_asks_for_presence_or_absence_does_without_the_label() {
        let needs = |source| LabelPattern::new("code", source).unwrap().needs_label();
        assert!(needs("5..") && needs("[^2].*") && needs("timeout|refused"));
        assert!(!needs(".+") && !needs(".*") && !needs("") && !needs("5..|"));
    }

    #[test]
    fn limits_are_read() {
        let text = include_str!("../../rules/ingress-nginx-limits.yaml");
        let rules = lint(text, "f").unwrap();
        let limits: Vec<_> = rules.iter().filter_map(|rule| rule.max).collect();
        assert_eq!((limits[0].share, limits[0].seconds), (0.01, None));
        assert!((limits[1].share - 0.01).abs() < 1e-12);
        assert_eq!(limits[1].seconds, Some(1.0));
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let table = [
            (
                "bad: {status: \"5..\"}",
                "bad: {status: \"5(\"}",
                "r.yaml:7:19: errors.proportion.bad.status: found `5(`; this is no regular expression: unclosed group",
            ),
            (
                "bad: {status: \"5..\"}",
                "bad: {}",
                "r.yaml:7:10: errors.proportion.bad: found nothing; a label with an expression is right, as in {status: \"5..\"}",
            ),
            (
                "ratio: 1.2",
                "ratio: 0.9",
                "r.yaml:8:20: errors.worseBy.ratio: found `0.9`; a number from 1 to 100 is right, as in 1.2",
            ),
            (
                "absolute: 0.1%",
                "absolute: 0.1",
                "r.yaml:8:35: errors.worseBy.absolute: found `0.1`; a percentage from 0% to under 100% is right, as in 0.1%",
            ),
            (
                "about: share",
                "abuot: share",
                "r.yaml:2:3: errors.abuot: unknown key; known here are name, about, worseBy, max, proportion, latency, events, compare, value, load",
            ),
            (
                "{{namespace}}",
                "{{pod}}",
                "r.yaml:5:18: errors.proportion.select.ns: found `{{pod}}`; unknown name `pod` in a template; known are namespace, ingress, service, canaryService, port, name, workload, canaryWorkload, canaryPods, stablePods, pods, arm",
            ),
            (
                "canary: nonempty",
                "canary: empty",
                "r.yaml:6:10: errors.proportion.arm: found the same value for canary and stable; they must differ",
            ),
            (
                "about: share of errors",
                "max: 1.5",
                "r.yaml:2:8: errors.max: found `1.5`; a percentage above 0% and under 100% is right, as in 1%",
            ),
            (
                "{{namespace}}",
                "{{canaryPods}}",
                "r.yaml:5:18: errors.proportion.select.ns: found `{{canaryPods}}`; here a template names what is the same for both arms; canaryPods, stablePods, pods and arm are not",
            ),
            (
                "stable: empty",
                "stable: '{{pods}}'",
                "r.yaml:6:52: errors.proportion.arm.stable: found `{{pods}}`; `pods` and `arm` are for queries; canaryPods or stablePods is right here",
            ),
            (
                "about: share of errors",
                "max: {quantile: 0.99, seconds: 1}",
                "r.yaml:2:8: errors.max: found a map; a percentage above 0% and under 100% is right, as in 1%",
            ),
            (
                "name: errors",
                "name: Errors",
                "r.yaml:1:9: name: found `Errors`; a name has 1 to 63 of a-z, 0-9 and -",
            ),
            (
                "metric: requests_total",
                "metric: requests total",
                "r.yaml:4:13: errors.proportion.metric: found `requests total`; the name of a metric is right: letters, digits, _ and :",
            ),
        ];
        for (line, by, message) in table {
            assert_eq!(broken(line, by), [message]);
        }
        assert!(broken("proportion:", "counts:")[0].contains("no kind that this version knows"));
        assert!(broken("proportion:", "proportion: {")[0].starts_with("r.yaml:"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text =
            "- name: a\n  proportion: {metric: 1x, bad: {s: '('}, extra: 1}\n- nam: b\n- name: a\n";
        let problems = lint(text, "f").unwrap_err();
        let keys: Vec<&str> = problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "a.proportion.metric",
                "a.proportion.select",
                "a.proportion.arm",
                "a.proportion.bad.s",
                "a.proportion.extra",
                "name",
                "",
                "nam",
                "name",
                "a"
            ],
        );
    }

    #[test]
    fn an_expression_cannot_leave_its_anchors() {
        assert!(LabelPattern::new("status", "5..)|(.*").is_err());
        assert!(
            !LabelPattern::new("status", "4..|5..")
                .unwrap()
                .matches("x500")
        );
    }

    #[test]
    fn nonsense_is_refused_and_never_a_crash() {
        for text in [
            "{",
            "a: b",
            "- 1",
            "- - -",
            "-",
            "\u{0}",
            "- name: [a]",
            "- &a [*a]",
            "3",
        ] {
            assert!(lint(text, "f").is_err(), "{text:?}");
        }
        assert_eq!(lint("", "f"), Ok(Vec::new()));
    }
}
