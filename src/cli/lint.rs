//! `sluice lint FILE...`: Rollouts and rule files, checked without a cluster.
//!
//! A file is YAML with any number of documents: Rollouts (also in a `List`), or a list of rules;
//! other objects are left out. A Rollout may name the rules of all files given and the shipped
//! ones. Every problem is printed with its place.
//!
//! Not here: what is right. The schema, the conversion and the rules' reader say that.

mod schema;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use kube::Resource;
use serde::Serialize;

use super::input::read;
use super::{Error, Format, Screen};
use crate::daemon::rules::SHIPPED;
use crate::kubernetes::conversion;
use crate::kubernetes::crd::Rollout;
use crate::rollout::plan::{Plan, Strategy};
use crate::rollout::rule::{self, Rule};
use crate::yaml::{self, Kind, Node, Place};

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// YAML files; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    file: String,
    line: u64,
    column: u64,
    message: String,
}

/// What was checked, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    problems: Vec<Problem>,
    /// What is right, and will hardly do what was meant.
    warnings: Vec<Problem>,
    /// Rules that need a baseline: they compare requests, and have no limit of their own.
    #[serde(skip)]
    compare: BTreeSet<String>,
    /// Rules that ask for synthetic load.
    #[serde(skip)]
    loads: BTreeSet<String>,
    /// Rules that count requests.
    #[serde(skip)]
    counts: BTreeSet<String>,
    rollouts: usize,
    rules: usize,
    others: usize,
}

/// Checks the files.
pub fn lint(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let mut texts = Vec::new();
    for file in &arguments.files {
        texts.push((file.display().to_string(), read(file)?));
    }
    let report = report(&texts);
    if screen.format() == Format::Text {
        for problem in &report.problems {
            anstream::eprintln!("{problem}");
        }
        for warning in &report.warnings {
            anstream::eprintln!("{warning}");
        }
    }
    match report.problems.len() {
        0 => screen.value(&report, good),
        count => {
            if screen.format() != Format::Text {
                screen.value(&report, good)?;
            }
            Err(Error::Problems(counted(count, "problem")))
        }
    }
}

fn good(report: &Report) -> String {
    let mut parts = vec![
        counted(report.rollouts, "Rollout"),
        counted(report.rules, "rule"),
    ];
    if report.others > 0 {
        parts.push(format!(
            "{} left out",
            counted(report.others, "other object")
        ));
    }
    format!("no problem in {}\n", parts.join(", "))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Report {
    /// Whether nothing is wrong.
    #[cfg(any(test, fuzzing))]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What is wrong with one Rollout; rules of its own files are not known.
pub(super) fn problems(rollout: &str) -> Vec<String> {
    let all = refused(&[(String::new(), rollout.to_owned())]).into_iter();
    all.map(|(_, message)| message).collect()
}

/// What is wrong with texts of Rollouts and rules, each with the name of its text: their lines say nothing.
pub(super) fn refused(texts: &[(String, String)]) -> Vec<(String, String)> {
    let problems = report(texts).problems.into_iter();
    problems
        .map(|problem| (problem.file, problem.message))
        .collect()
}

/// Checks texts, each with its file's name.
pub fn report(texts: &[(String, String)]) -> Report {
    let mut report = Report::default();
    let mut known = BTreeSet::new();
    for (file, text) in SHIPPED {
        report.follow(&mut known, rules(text, file).unwrap_or_default());
    }
    let mut rollouts = Vec::new();
    for (file, text) in texts {
        match yaml::documents(text) {
            Err(error) => report.tell(file, error.place, error.message),
            Ok(documents) if documents.iter().any(|d| matches!(d.kind, Kind::List(_))) => {
                match rules(text, file) {
                    Ok(rules) => {
                        report.rules += rules.len();
                        report.follow(&mut known, rules);
                    }
                    Err(problems) => report.problems.extend(problems),
                }
            }
            Ok(documents) => rollouts.extend(documents.into_iter().map(|d| (file, d))),
        }
    }
    for (file, document) in rollouts {
        report.object(file, &document, &known);
    }
    report
}

/// The Rollouts of a text, or all that is wrong with them, a line each. Other objects are left out.
pub(super) fn rollouts(
    file: &str,
    text: &str,
    known: &BTreeSet<String>,
) -> Result<Vec<Rollout>, String> {
    let documents = yaml::documents(text).map_err(|error| {
        let Place { line, column } = error.place;
        format!("{file}:{line}:{column}: {}", error.message)
    })?;
    let mut report = Report::default();
    for document in &documents {
        report.object(file, document, known);
    }
    if report.problems.is_empty() {
        let mut all = Vec::new();
        for one in &documents {
            gather(one, &mut all);
        }
        return Ok(all);
    }
    let lines = report.problems.iter().map(ToString::to_string);
    Err(lines.collect::<Vec<_>>().join("\n"))
}

fn gather(document: &Node, all: &mut Vec<Rollout>) {
    match (&document.kind, document.get("kind").and_then(Node::text)) {
        (Kind::List(_), _) => {}
        (_, Some("List")) => {
            if let Some(Kind::List(items)) = document.get("items").map(|items| &items.kind) {
                for item in items {
                    gather(item, all);
                }
            }
        }
        (_, Some("Rollout")) => all.extend(serde_json::from_value(document.to_json())),
        (_, _) => {}
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

fn rules(text: &str, file: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    rule::lint(text, file).map_err(|problems| problems.into_iter().map(of_rule).collect())
}

fn of_rule(problem: rule::Problem) -> Problem {
    let key = problem.key;
    Problem {
        file: problem.file,
        line: problem.line,
        column: problem.column,
        message: if key.is_empty() {
            problem.message
        } else {
            format!("{key}: {}", problem.message)
        },
    }
}

impl Report {
    /// Learns the names of rules, and which of them need a baseline.
    fn follow(&mut self, known: &mut BTreeSet<String>, rules: Vec<Rule>) {
        for rule in rules {
            let compares = matches!(
                rule.kind,
                rule::Kind::Proportion(_) | rule::Kind::Latency(_)
            );
            if compares {
                self.counts.insert(rule.name.clone());
            } else {
                self.counts.remove(&rule.name);
            }
            if matches!(rule.kind, rule::Kind::Load(_)) {
                self.loads.insert(rule.name.clone());
            } else {
                self.loads.remove(&rule.name);
            }
            if compares && rule.max.is_none() {
                self.compare.insert(rule.name.clone());
            } else {
                self.compare.remove(&rule.name);
            }
            known.insert(rule.name);
        }
    }

    /// A step of 100% leaves stable without a request to compare with.
    fn warn_of_all(&mut self, file: &str, document: &Node, plan: &Plan) {
        if plan.strategy != Strategy::Canary {
            return;
        }
        let Some(step) = plan.steps.iter().position(|step| step.weight >= 100) else {
            return;
        };
        let lacking: Vec<&str> = plan
            .analysis
            .rules
            .iter()
            .filter(|name| self.compare.contains(*name))
            .map(String::as_str)
            .collect();
        if lacking.is_empty() {
            return;
        }
        let field = format!("spec.strategy.canary.steps[{step}].weight");
        let message = format!(
            "at 100% stable has no request to compare with, so the step does not pass by {}: name a rule with a limit (`max`) instead, as error-limit and latency-limit have",
            lacking.join(", ")
        );
        self.warn(file, document, &field, &message);
    }

    /// A rolling release is judged by its requests alone, against what was before.
    fn warn_of_silent(&mut self, file: &str, document: &Node, plan: &Plan) {
        let named = plan.analysis.rules.iter();
        // Of a load more is said: it is refused.
        let silent =
            named.filter(|name| !self.counts.contains(*name) && !self.loads.contains(*name));
        let silent: Vec<&str> = silent.map(String::as_str).collect();
        if !plan.strategy.is_rolling() || silent.is_empty() {
            return;
        }
        let field = "spec.strategy.rolling";
        let message = format!(
            "without a second arm {} asks nothing: only rules that count requests (proportion, latency) do",
            silent.join(", ")
        );
        self.warn(file, document, field, &message);
    }

    fn warn(&mut self, file: &str, document: &Node, field: &str, message: &str) {
        let Place { line, column } = document.place_of(field);
        self.warnings.push(Problem {
            file: file.to_owned(),
            line,
            column,
            message: format!("warning: {field}: {message}"),
        });
    }

    fn tell(&mut self, file: &str, place: Place, message: String) {
        self.problems.push(Problem {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            message,
        });
    }

    fn object(&mut self, file: &str, document: &Node, known: &BTreeSet<String>) {
        let text = |key: &str| document.get(key).and_then(Node::text).unwrap_or_default();
        match (text("kind"), text("apiVersion")) {
            ("List", _) => {
                if let Some(Kind::List(items)) = document.get("items").map(|items| &items.kind) {
                    for item in items {
                        self.object(file, item, known);
                    }
                }
            }
            (kind, version) if version.starts_with("sluice.dev/") => {
                self.rollouts += 1;
                let wanted = (Rollout::kind(&()), Rollout::api_version(&()));
                self.named(file, document, ("kind", kind, &wanted.0));
                self.named(file, document, ("apiVersion", version, &wanted.1));
                self.rollout(file, document, known);
            }
            _ => self.others += 1,
        }
    }

    /// What is of our group and not of our kind or version would guard nothing.
    fn named(&mut self, file: &str, document: &Node, (field, found, wanted): (&str, &str, &str)) {
        if found != wanted {
            let place = document.place_of(field);
            let found = if found.is_empty() { "nothing" } else { found };
            self.tell(
                file,
                place,
                format!("{field}: found {found}, wanted {wanted}"),
            );
        }
    }

    fn rollout(&mut self, file: &str, document: &Node, known: &BTreeSet<String>) {
        let (spec, faults) = schema::check(document);
        let mut sound = document.to_json();
        sound["spec"] = spec;
        let rollout = serde_json::from_value::<Rollout>(sound);
        let problems = match &rollout {
            Ok(rollout) => match conversion::plan(rollout, known) {
                Ok(plan) => {
                    self.warn_of_all(file, document, &plan);
                    self.warn_of_silent(file, document, &plan);
                    let answerable = conversion::answerable(plan, |name| self.loads.contains(name));
                    answerable.err().unwrap_or_default()
                }
                Err(problems) => problems,
            },
            Err(error) => {
                self.tell(file, document.place, error.to_string());
                Vec::new()
            }
        };
        let told = |field: &str| faults.iter().any(|fault| covers(&fault.path, field));
        for problem in problems.iter().filter(|problem| !told(&problem.field)) {
            let place = document.place_of(&problem.field);
            self.tell(file, place, problem.to_string());
        }
        for fault in faults {
            self.tell(file, fault.place, fault.message);
        }
        self.problems.sort_by(|a, b| {
            let key = |p: &Problem| (p.line, p.column);
            a.file.cmp(&b.file).then(key(a).cmp(&key(b)))
        });
    }
}

/// Whether a fault of the field `path` is a fault of `field`: it, or all that it is in.
fn covers(path: &str, field: &str) -> bool {
    let below = field.strip_prefix(path);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_one_rollout_begins_with_its_field() {
        let text = format!("{GOOD}  progressDeadline: 0s\n");
        let wanted = "spec.progressDeadline: found \"0s\", wanted a duration above 0";
        assert_eq!(problems(&text), [wanted]);
    }

    #[test]
    fn an_unknown_field_hides_no_other_mistake() {
        let text = format!(
            "{GOOD}  progressDeadline: soon\n  analysis: {{blast: 2x, bast: 1%, within: 5}}\n  paused: true\n"
        );
        let found = check(&text);
        let starts = [
            "a.yaml:7:3: spec.progressDeadline: ",
            "a.yaml:8:14: spec.analysis.blast: ",
            "a.yaml:8:25: spec.analysis.bast: ",
            "a.yaml:8:35: spec.analysis.within: ",
            "a.yaml:9:3: spec.paused: ",
        ];
        let told = found
            .iter()
            .zip(starts)
            .all(|(line, start)| line.starts_with(start));
        assert!(told && found.len() == starts.len(), "{found:#?}");
    }

    #[test]
    fn a_kind_or_version_that_is_none_of_ours_is_told() {
        let text = GOOD.replace("v1alpha1", "v1").replace("Rollout", "Rolout");
        let wanted = [
            "a.yaml:1:1: apiVersion: found sluice.dev/v1, wanted sluice.dev/v1alpha1",
            "a.yaml:2:1: kind: found Rolout, wanted Rollout",
        ];
        assert_eq!(check(&text), wanted);
        let text = GOOD.replace("kind: Rollout\n", "");
        assert_eq!(
            check(&text),
            ["a.yaml:1:1: kind: found nothing, wanted Rollout"]
        );
    }

    #[test]
    fn a_spec_that_is_no_mapping_is_told_once() {
        let text = GOOD.split("spec:").next().unwrap();
        let bare = format!("{text}spec: 3\n");
        assert_eq!(
            check(&bare),
            ["a.yaml:4:7: spec: found 3, wanted a mapping"]
        );
        assert_eq!(
            check(text),
            ["a.yaml:1:1: spec: found nothing, wanted a mapping"]
        );
    }

    fn check(text: &str) -> Vec<String> {
        let report = report(&[("a.yaml".to_owned(), text.to_owned())]);
        let lines = report.problems.iter();
        lines
            .map(|p| format!("{}:{}:{}: {}", p.file, p.line, p.column, p.message))
            .collect()
    }

    const GOOD: &str = "apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: backend, namespace: shop}
spec:
  target: {name: backend}
  route: {ingressNginx: {ingress: backend}}
";

    #[test]
    fn a_good_rollout_has_no_problem() {
        assert_eq!(check(GOOD), Vec::<String>::new());
        let text = format!("kind: Service\napiVersion: v1\n---\n{GOOD}");
        let report = report(&[("a.yaml".to_owned(), text)]);
        assert_eq!(
            good(&report),
            "no problem in 1 Rollout, 0 rules, 1 other object left out\n"
        );
    }

    #[test]
    fn a_step_without_a_baseline_is_warned_of_unless_a_limit_decides() {
        let steps = "  strategy: {canary: {steps: [{weight: 10}, {weight: 100}]}}\n";
        let warned = |rules: &str| {
            let text = format!("{GOOD}{steps}  analysis: {{rules: [{rules}]}}\n");
            let report = report(&[("a.yaml".to_owned(), text)]);
            assert_eq!(report.problems, []);
            let told = report.warnings.iter().map(ToString::to_string);
            told.collect::<Vec<_>>()
        };
        let told = warned("error-rate, latency-limit");
        let starts = "a.yaml:7:46: warning: spec.strategy.canary.steps[1].weight: at 100% stable has no request to compare with, so the step does not pass by error-rate: ";
        assert!(told.len() == 1 && told[0].starts_with(starts), "{told:?}");
        assert_eq!(warned("error-limit, restarts"), Vec::<String>::new());
    }

    #[test]
    fn without_shares_no_step_is_warned_of_but_rules_that_need_two_arms_are() {
        let warned = |strategy: &str| {
            let rules = "  analysis: {rules: [error-rate, restarts, no-restarts]}\n";
            let text = format!("{GOOD}  strategy: {{{strategy}: {{}}}}\n{rules}");
            let report = report(&[("a.yaml".to_owned(), text)]);
            assert_eq!(report.problems, []);
            let told = report.warnings.iter().map(ToString::to_string);
            told.collect::<Vec<_>>()
        };
        assert_eq!(warned("blueGreen"), Vec::<String>::new());
        let told = warned("rolling");
        let starts = "a.yaml:7:14: warning: spec.strategy.rolling: without a second arm restarts, no-restarts asks nothing: ";
        assert!(told.len() == 1 && told[0].starts_with(starts), "{told:?}");
    }

    #[test]
    fn a_load_without_a_canary_to_ask_is_refused_at_its_place() {
        let text = format!(
            "{GOOD}  strategy: {{rolling: {{}}}}\n  analysis: {{rules: [error-rate, synthetic-health]}}\n"
        );
        let found = check(&text);
        let starts =
            "a.yaml:8:14: spec.analysis.rules: found synthetic-health, wanted no rule with `load` ";
        assert!(
            found.len() == 1 && found[0].starts_with(starts),
            "{found:?}"
        );
        let canary = text.replace("rolling", "canary");
        assert_eq!(check(&canary), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = format!(
            "{GOOD}  strategy: {{canary: {{steps: [{{weight: 5}}, {{weight: ten}}, {{wait: 1m}}]}}}}\n  paused: true\n"
        );
        let wanted = [
            "a.yaml:7:45: spec.strategy.canary.steps[1].weight: found \"ten\", wanted a whole number",
            "a.yaml:7:59: spec.strategy.canary.steps[2].weight: found nothing, wanted a whole number",
            "a.yaml:7:60: spec.strategy.canary.steps[2].wait: found an unknown field, wanted one of: approval, approvals, hold, weight",
            "a.yaml:8:3: spec.paused: found an unknown field, wanted one of: alerts, analysis, approvals, bake, configChanges, knownGood, notify, onFailure, progressDeadline, route, smoke, strategy, suspended, target",
        ];
        assert_eq!(check(&text), wanted);
    }

    #[test]
    fn what_the_schema_cannot_say_is_told_with_its_place_too() {
        let text = format!(
            "{GOOD}  analysis: {{blast: 2x, rules: [nothing]}}\n  strategy: {{canary: {{steps: [{{weight: 50}}, {{weight: 5}}]}}}}\n"
        );
        let found = check(&text);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("a.yaml:7:14: spec.analysis.blast: ")),
            "{found:#?}"
        );
        assert!(
            found
                .iter()
                .any(|line| line.contains(":8:") && line.contains("steps[1]")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_rollout_may_name_the_rules_of_other_files() {
        let rollout = format!("{GOOD}  analysis: {{rules: [mine]}}\n");
        let (_, shipped) = SHIPPED
            .iter()
            .find(|(_, text)| text.contains("- name: error-rate"))
            .unwrap();
        let mine = shipped.replacen("- name: error-rate", "- name: mine", 1);
        let texts = [("a".to_owned(), rollout), ("b".to_owned(), mine)];
        let report = report(&texts);
        assert_eq!(report.problems, []);
        assert_eq!(report.rules, 2);
    }

    #[test]
    fn text_that_is_not_yaml_says_where() {
        assert!(check("a: [1\nb: 2\n")[0].starts_with("a.yaml:2:"));
    }
}
