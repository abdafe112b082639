//! Mutating admission: what policies and webhooks change in an object before it is stored.
//!
//! Policies run in the order of their names, then webhooks; those with `reinvocationPolicy: IfNeeded` run
//! once more if another changed the object after them.

use serde_json::Value;

use super::super::cel;
use super::super::managed;
use super::super::prepare::Operation;
use super::super::refusal::Refusal;
use super::super::shape::Shape;
use super::super::write::Write;
use super::{About, Bound, bound, conditions_hold, evaluate, webhook};

/// Applies mutating policies, then webhooks; `None` when nothing changed.
pub fn mutate(
    write: &mut Write<'_>,
    object: &Value,
    old: Option<&Value>,
    operation: Operation,
) -> Result<Option<Value>, Refusal> {
    let policies = bound(
        write,
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    );
    let mut all: Vec<Mutator> = policies.into_iter().map(Mutator::Policy).collect();
    all.extend(webhook::configured(write).into_iter().map(Mutator::Webhook));
    if all.is_empty() {
        return Ok(None);
    }
    let mut current = object.clone();
    let mut left_as: Vec<Option<Value>> = Vec::new();
    for mutator in &all {
        let changed = mutator.mutate(write, &current, old, operation)?;
        let again = mutator.is_called_again(changed.is_some());
        current = changed.unwrap_or(current);
        left_as.push(again.then(|| current.clone()));
    }
    for (mutator, left) in all.iter().zip(left_as) {
        if left.is_some_and(|left| left != current) {
            let changed = mutator.mutate(write, &current, old, operation)?;
            current = changed.unwrap_or(current);
        }
    }
    Ok((current != *object).then_some(current))
}

/// What may change an object on its way.
enum Mutator {
    Policy(Bound),
    Webhook(Value),
}

impl Mutator {
    fn mutate(
        &self,
        write: &mut Write<'_>,
        object: &Value,
        old: Option<&Value>,
        operation: Operation,
    ) -> Result<Option<Value>, Refusal> {
        match self {
            Self::Policy(policy) => one(write, policy, object, old, operation),
            Self::Webhook(hook) => webhook::one(write, hook, object, old, operation),
        }
    }

    /// Whether it is called again if others change the object after it; a webhook only if it was
    /// called.
    fn is_called_again(&self, called: bool) -> bool {
        match self {
            Self::Policy(policy) => policy.spec()["reinvocationPolicy"] == "IfNeeded",
            Self::Webhook(hook) => called && hook["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

fn one(
    write: &Write<'_>,
    policy: &Bound,
    object: &Value,
    old: Option<&Value>,
    operation: Operation,
) -> Result<Option<Value>, Refusal> {
    let about = About::new(write, object, old, operation);
    if !policy.matches(&about) {
        return Ok(None);
    }
    match mutated(policy, &about) {
        Ok(changed) => Ok(changed),
        Err(problem) if policy.fails_closed() => {
            let (name, binding) = (policy.name(), policy.binding_name());
            let why = format!("policy '{name}' with binding '{binding}' denied request: {problem}");
            Err(Refusal::forbidden(write.kind, &write.key.name, &why))
        }
        Err(_) => Ok(None),
    }
}

fn mutated(policy: &Bound, about: &About<'_>) -> Result<Option<Value>, String> {
    let spec = policy.spec();
    let names = about.names();
    if !conditions_hold(spec, &names).map_err(|error| error.to_string())? {
        return Ok(None);
    }
    let mut current = about.object.clone();
    for mutation in spec["mutations"].as_array().into_iter().flatten() {
        let mut names = names.clone();
        if current != *about.object {
            names.retain(|(name, _)| name != "object");
            names.push(("object".to_owned(), cel::from_json(&current)));
        }
        let field = if mutation["patchType"] == "JSONPatch" {
            "jsonPatch"
        } else {
            "applyConfiguration"
        };
        let source = mutation[field]["expression"].as_str().unwrap_or_default();
        let outcome = evaluate(spec, source, &names).map_err(|error| error.to_string())?;
        let outcome = cel::to_json(&outcome);
        if field == "jsonPatch" {
            let patch: json_patch::Patch =
                serde_json::from_value(outcome).map_err(|error| error.to_string())?;
            json_patch::patch(&mut current, &patch).map_err(|error| error.to_string())?;
        } else {
            current = managed::merge(&current, &outcome, Shape::root(about.kind));
        }
    }
    Ok(Some(current))
}
