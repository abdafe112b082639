//! From Flagger and Argo Rollouts: their resources as Rollouts and rules.
//!
//! What has a counterpart is converted; what has none is said, each with its field, since a release
//! must not lose a guard without a word. The steps of the switch are part of the answer: both tools run the
//! pods that serve under a name of their own, and a wrong order is an outage.
//!
//! Not here: whether the result is right; `sluice lint` says that.
//!
//! Sources: Flagger's documentation (Canary, `MetricTemplate`, v1beta1), Argo Rollouts' specification
//! (Rollout, `AnalysisTemplate`, v1alpha1).

mod argo;
mod condition;
mod fields;
mod flagger;
mod rules;

use serde::Serialize;
use serde_json::{Value, json};

use crate::yaml::{self, Kind, Node, SyntaxError};

/// Where resources come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Canary and `MetricTemplate`.
    Flagger,
    /// Rollout and `AnalysisTemplate`.
    Argo,
}

/// What became of the resources.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Converted {
    /// Rollouts, and Deployments where there were none.
    pub objects: Vec<Value>,
    /// Rules that they name and that are not shipped.
    pub rules: Vec<Value>,
    /// What has no counterpart or should be looked at, each with its resource and field.
    pub notes: Vec<String>,
    /// The switch, in order.
    pub steps: Vec<String>,
}

/// Converts every resource of the texts.
///
/// # Errors
/// If a text is not YAML; with its number.
pub fn convert(from: From, texts: &[String]) -> Result<Converted, (usize, SyntaxError)> {
    let mut resources = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let documents = yaml::documents(text).map_err(|error| (number, error))?;
        for document in &documents {
            flat(document, &mut resources);
        }
    }
    Ok(match from {
        From::Flagger => flagger::converted(&resources),
        From::Argo => argo::converted(&resources),
    })
}

fn flat(document: &Node, all: &mut Vec<Value>) {
    match document.get("items").map(|items| &items.kind) {
        Some(Kind::List(items)) => items.iter().for_each(|item| flat(item, all)),
        _ => all.push(document.to_json()),
    }
}

impl Converted {
    fn note(&mut self, about: &str, text: &str) {
        let note = format!("{about}: {text}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes up a rule; the name that it got: one rule is written once, and two never have one name.
    fn rule(&mut self, mut rule: Value) -> String {
        let wanted = text(&rule, "/name").to_owned();
        let mut number = 1;
        loop {
            let name = match number {
                1 => wanted.clone(),
                _ => rules::rule_name(&[&wanted, &number.to_string()]),
            };
            rule["name"] = json!(name);
            match self.rules.iter().find(|known| known["name"] == name) {
                None => {
                    self.rules.push(rule);
                    return name;
                }
                Some(known) if *known == rule => return name,
                Some(_) => number += 1,
            }
        }
    }
}

/// A step: what is done and why, and below it the command that does it.
fn step(what: &str, command: &str) -> String {
    format!("{what}\n   {command}")
}

/// The step in which the result is checked and applied.
fn applied(what: &str, rules: &[Value]) -> String {
    if rules.is_empty() {
        return step(what, "sluice lint FILE && kubectl apply -f FILE");
    }
    let what = format!(
        "{what} RULES is the file that --rules wrote; put it into a folder that the settings name (rules) first."
    );
    step(&what, "sluice lint FILE RULES && kubectl apply -f FILE")
}

/// The resources of a kind.
fn of_kind<'a>(resources: &'a [Value], kinds: &'a [&str]) -> impl Iterator<Item = &'a Value> {
    resources
        .iter()
        .filter(|resource| kinds.iter().any(|kind| resource["kind"] == *kind))
}

/// The resource of a kind and name that a reference from a namespace means: the one that says this namespace, else one that says none.
fn named<'a>(resources: &'a [Value], kind: &str, name: &str, namespace: &str) -> Option<&'a Value> {
    let of_name =
        |resource: &&Value| resource["kind"] == kind && text(resource, "/metadata/name") == name;
    let of = |resource: &Value| text(resource, "/metadata/namespace").to_owned();
    let mut all = resources.iter().filter(of_name);
    let exact = all.clone().find(|resource| of(resource) == namespace);
    exact.or_else(|| all.find(|resource| namespace.is_empty() || of(resource).is_empty()))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn metadata(of: &Value) -> Value {
    let mut metadata = json!({"name": text(of, "/metadata/name")});
    if !text(of, "/metadata/namespace").is_empty() {
        metadata["namespace"] = json!(text(of, "/metadata/namespace"));
    }
    metadata
}

/// ` -n NAMESPACE`, where one is named.
fn in_namespace(of: &Value) -> String {
    match text(of, "/metadata/namespace") {
        "" => String::new(),
        namespace => format!(" -n {namespace}"),
    }
}

/// The most steps that a Rollout has.
const MOST: usize = 32;

/// Weights that rise, within 1 to 99: what comes at 100 is the promotion. Of too many some are left out, never the last.
/// Whom a step that is left out asks, and how long it holds, the one before it has.
fn rising(steps: Vec<Value>, field: &str, about: &str, all: &mut Converted) -> Vec<Value> {
    let given = steps.len();
    let mut kept: Vec<Value> = Vec::new();
    let mut before = Vec::new();
    for step in steps {
        let weight = weight(&step);
        match kept.last_mut() {
            None if weight > 0 && weight < 100 => kept.push(step),
            Some(last) if weight > self::weight(last) && weight < 100 => kept.push(step),
            Some(last) => taken_over(last, &step, field, about, all),
            None => before.push(step),
        }
    }
    // Where no weight is left, those of 100 come after the steps that are written instead.
    before.retain(|step| weight(step) <= 0 || !kept.is_empty());
    for step in &before {
        lost(step, field, about, all);
    }
    if kept.len() < given {
        let text = format!("{field}: weights that do not rise, of 0 or of 100 are left out");
        all.note(about, &text);
    }
    let every = kept.len().div_ceil(MOST);
    if every > 1 {
        let text = format!(
            "{field}: found {} weights, at most {MOST} are right; of each {every} the last is written, with the time of all",
            kept.len()
        );
        all.note(about, &text);
        kept = thinned(&kept, every);
    }
    kept
}

fn weight(step: &Value) -> i64 {
    step["weight"].as_i64().unwrap_or(0)
}

/// A step that is left out, into the one before it.
fn taken_over(kept: &mut Value, step: &Value, field: &str, about: &str, all: &mut Converted) {
    let (left, at) = (weight(step), weight(kept));
    if step["approval"] == true && left != at {
        let text = format!(
            "{field}: weight {left} is left out; the approval after it is asked at {at}% now"
        );
        all.note(about, &text);
    }
    if let Some(hold) = step["hold"].as_str().filter(|_| left != at) {
        let text = format!("{field}: weight {left} is left out; its {hold} are spent at {at}% now");
        all.note(about, &text);
    }
    merged(kept, step);
}

/// A step before all traffic, where nobody is asked here and nothing is waited for.
fn lost(step: &Value, field: &str, about: &str, all: &mut Converted) {
    let left = weight(step);
    if step["approval"] == true {
        let text = format!(
            "{field}: weight {left}: the approval after it is lost, since nobody is asked before the first weight: hold releases back in the pipeline (approvals), or test first (smoke.beforeTraffic)"
        );
        all.note(about, &text);
    }
    if let Some(hold) = step["hold"].as_str() {
        let text = format!("{field}: weight {left}: its {hold} are lost: nothing is held there");
        all.note(about, &text);
    }
}

/// The last step of each few, with the approval that one of them asks for and the time of all.
fn thinned(steps: &[Value], every: usize) -> Vec<Value> {
    let mut kept: Vec<Value> = steps
        .rchunks(every)
        .filter_map(|few| {
            let (last, others) = few.split_last()?;
            let mut last = last.clone();
            for step in others {
                merged(&mut last, step);
            }
            Some(last)
        })
        .collect();
    kept.reverse();
    kept
}

/// Adds what another step asks and holds to one.
fn merged(into: &mut Value, step: &Value) {
    if step["approval"] == true {
        into["approval"] = json!(true);
    }
    if let Some(hold) = step["hold"].as_str() {
        into["hold"] = condition::added(&into["hold"], hold);
    }
}

#[cfg(test)]
mod tests;
