//! The rules of `x-kubernetes-validations`: CEL over a place and its former value.
//!
//! A rule that speaks of `oldSelf` holds where there is no former value.

use serde_json::Value;

use super::cel;
use super::refusal::Cause;

/// Checks a place's own rules.
pub(super) fn check_rules(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let source = rule["rule"].as_str().unwrap_or_default();
        if let Some(problem) = broken(source, rule, value, old) {
            let field = rule["fieldPath"]
                .as_str()
                .map_or_else(|| path.to_owned(), |below| format!("{path}{below}"));
            causes.push(Cause {
                reason: "FieldValueInvalid",
                field,
                message: invalid(value, &problem),
            });
        }
    }
}

/// Maps and lists are not shown, not even by their type.
fn invalid(value: &Value, problem: &str) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => format!("Invalid value: {problem}"),
        _ => format!("Invalid value: {value}: {problem}"),
    }
}

/// Why a rule does not hold, if so.
fn broken(source: &str, rule: &Value, value: &Value, old: Option<&Value>) -> Option<String> {
    let expr = match cel::parse(source) {
        Ok(expr) => expr,
        Err(error) => return Some(error.to_string()),
    };
    let mut names = vec![("self".to_owned(), cel::from_json(value))];
    if cel::uses(&expr, "oldSelf") {
        names.push(("oldSelf".to_owned(), cel::from_json(old?)));
    }
    match cel::evaluate(&expr, &names) {
        Ok(::cel::Value::Bool(true)) => None,
        Ok(_) => Some(told(rule, source, &names)),
        Err(error) => Some(format!("rule evaluation error: {error}")),
    }
}

fn told(rule: &Value, source: &str, names: &cel::Names) -> String {
    let expression = rule["messageExpression"].as_str();
    let computed =
        expression.and_then(|source| cel::evaluate(&*cel::parse(source).ok()?, names).ok());
    if let Some(Value::String(text)) = computed.as_ref().map(cel::to_json) {
        return text;
    }
    rule["message"]
        .as_str()
        .map_or_else(|| format!("failed rule: {source}"), str::to_owned)
}
