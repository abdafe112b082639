//! Validating admission policies: what they deny or warn of.

use serde_json::Value;

use super::super::cel;
use super::super::prepare::Operation;
use super::super::refusal::Refusal;
use super::super::write::Write;
use super::{About, Bound, bound, conditions_hold, evaluate};

/// A validation that did not pass.
struct Failed {
    message: String,
    reason: String,
}

/// Applies validating policies: warnings are gathered, a denial is the answer.
pub fn validate(
    write: &mut Write<'_>,
    object: &Value,
    old: Option<&Value>,
    operation: Operation,
) -> Result<(), Refusal> {
    let policies = bound(
        write,
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    );
    let mut warnings = Vec::new();
    for policy in &policies {
        let about = About::new(write, object, old, operation);
        if !policy.matches(&about) {
            continue;
        }
        for failed in failures(policy, &about) {
            act(write, policy, &failed, &mut warnings)?;
        }
    }
    write.warnings.extend(warnings);
    Ok(())
}

fn act(
    write: &Write<'_>,
    policy: &Bound,
    failed: &Failed,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let actions = &policy.binding.value["spec"]["validationActions"];
    let acts = |action: &str| {
        actions
            .as_array()
            .is_some_and(|list| list.iter().any(|a| a == action))
    };
    let (name, binding) = (policy.name(), policy.binding_name());
    if acts("Warn") {
        warnings.push(format!(
            "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding}': {}",
            failed.message
        ));
    }
    if !acts("Deny") {
        return Ok(());
    }
    let why = format!(
        "ValidatingAdmissionPolicy '{name}' with binding '{binding}' denied request: {}",
        failed.message
    );
    let mut refusal = Refusal::forbidden(write.kind, &write.key.name, &why);
    (refusal.code, refusal.reason) = match failed.reason.as_str() {
        "Unauthorized" => (401, "Unauthorized"),
        "Forbidden" => (403, "Forbidden"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    Err(refusal)
}

fn failures(policy: &Bound, about: &About<'_>) -> Vec<Failed> {
    let spec = policy.spec();
    let names = about.names();
    let error = |error: String| Failed {
        message: error,
        reason: String::new(),
    };
    match conditions_hold(spec, &names) {
        Ok(true) => {}
        Err(problem) if policy.fails_closed() => return vec![error(problem.to_string())],
        Ok(false) | Err(_) => return Vec::new(),
    }
    let mut failed = Vec::new();
    for validation in spec["validations"].as_array().into_iter().flatten() {
        let source = validation["expression"].as_str().unwrap_or_default();
        match evaluate(spec, source, &names) {
            Ok(::cel::Value::Bool(true)) => {}
            Ok(_) => failed.push(Failed {
                message: told(spec, validation, source, &names),
                reason: validation["reason"].as_str().unwrap_or_default().to_owned(),
            }),
            Err(problem) if policy.fails_closed() => failed.push(error(format!(
                "expression '{source}' resulted in error: {problem}"
            ))),
            Err(_) => {}
        }
    }
    failed
}

fn told(spec: &Value, validation: &Value, source: &str, names: &cel::Names) -> String {
    let computed = validation["messageExpression"]
        .as_str()
        .and_then(|source| evaluate(spec, source, names).ok());
    if let Some(Value::String(text)) = computed.as_ref().map(cel::to_json) {
        return text;
    }
    validation["message"]
        .as_str()
        .map_or_else(|| format!("failed expression: {source}"), str::to_owned)
}
