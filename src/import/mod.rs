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
    let mut converted = match from {
        From::Flagger => flagger::converted(&resources),
        From::Argo => argo::converted(&resources),
    };
    let mut known = Vec::new();
    converted.rules.retain(|rule| {
        let new = !known.contains(&rule["name"]);
        known.push(rule["name"].clone());
        new
    });
    Ok(converted)
}

fn flat(document: &Node, all: &mut Vec<Value>) {
    match document.get("items").map(|items| &items.kind) {
        Some(Kind::List(items)) => items.iter().for_each(|item| flat(item, all)),
        _ => all.push(document.to_json()),
    }
}

impl Converted {
    fn note(&mut self, about: &str, text: &str) {
        self.notes.push(format!("{about}: {text}"));
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

/// Weights that rise, within 1 to 99: what comes at 100 is the promotion.
fn rising(steps: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for step in steps {
        let weight = step["weight"].as_i64().unwrap_or(0);
        let last = kept
            .last()
            .map_or(0, |step| step["weight"].as_i64().unwrap_or(0));
        if weight > last && weight < 100 && kept.len() < MOST {
            kept.push(step);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
