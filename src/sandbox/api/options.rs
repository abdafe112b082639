//! Options in the query of a request: which values there are, and which go together.

use serde_json::{Value, json};

use super::call::Call;
use super::kinds::Kind;
use super::refusal::{Cause, Refusal};

fn unsupported(field: &str, value: &Value, allowed: &[&str]) -> Cause {
    let allowed: Vec<Value> = allowed.iter().map(|text| json!(text)).collect();
    Cause::unsupported(field, value, &allowed)
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueForbidden",
        field: field.into(),
        message: format!("Forbidden: {why}"),
    }
}

fn refuse(options: &str, causes: &[Cause]) -> Result<(), Refusal> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid_options(options, causes))
}

/// Checks the options of a create, update or patch; `options` is their name.
pub fn write(call: &Call, options: &str) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    if let Some(given) = call.param("dryRun").filter(|given| *given != "All") {
        causes.push(unsupported("dryRun", &json!([given]), &["All"]));
    }
    let known = ["", "Ignore", "Strict", "Warn"];
    if let Some(given) = call.param("fieldValidation")
        && !known.contains(&given)
    {
        causes.push(unsupported("fieldValidation", &json!(given), &known));
    }
    refuse(options, &causes)
}

/// Checks the policy of a deletion.
pub fn delete(policy: Option<&str>, dry_run: Option<&str>) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    let known = ["Foreground", "Background", "Orphan"];
    if let Some(given) = policy
        && !known.contains(&given)
    {
        let shown = ["Foreground", "Background", "Orphan", "nil"];
        causes.push(unsupported("propagationPolicy", &json!(given), &shown));
    }
    if let Some(given) = dry_run.filter(|given| *given != "All") {
        causes.push(unsupported("dryRun", &json!([given]), &["All"]));
    }
    refuse("DeleteOptions", &causes)
}

/// Checks that a kind can be selected by the fields that are asked for.
pub fn fields(kind: &Kind, call: &Call) -> Result<(), Refusal> {
    const MORE: [&str; 9] = [
        "Pod",
        "Event",
        "Secret",
        "Namespace",
        "ReplicaSet",
        "ReplicationController",
        "Job",
        "Node",
        "Service",
    ];
    if MORE.contains(&kind.kind.as_str()) {
        return Ok(());
    }
    let asked = call.param("fieldSelector").unwrap_or_default();
    for part in asked.split(',').filter(|part| part.contains('=')) {
        let name = part.split(['=', '!']).next().unwrap_or_default();
        if name != "metadata.name" && name != "metadata.namespace" {
            return Err(Refusal::bad_request(format!(
                "\"{name}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )));
        }
    }
    Ok(())
}

/// Checks the options of a list or a watch.
pub fn list(call: &Call, watch: bool) -> Result<(), Refusal> {
    const FIELD: &str = "resourceVersionMatch";
    let wanted = call.param(FIELD);
    let version = call.param("resourceVersion");
    let mut causes = Vec::new();
    if call.param("sendInitialEvents").is_some() {
        if wanted != Some("NotOlderThan") {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            causes.push(forbidden(FIELD, why));
        }
        if let Some(given) = wanted.filter(|given| *given != "NotOlderThan") {
            causes.push(unsupported(FIELD, &json!(given), &["NotOlderThan"]));
        }
    } else if let Some(given) = wanted {
        causes.extend(matching(given, version, watch));
    }
    refuse("ListOptions", &causes)
}

fn matching(given: &str, version: Option<&str>, watch: bool) -> Option<Cause> {
    const FIELD: &str = "resourceVersionMatch";
    if watch {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Some(forbidden(FIELD, why));
    }
    let Some(version) = version else {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Some(forbidden(FIELD, why));
    };
    let known = ["Exact", "NotOlderThan", ""];
    if !known.contains(&given) {
        return Some(unsupported(FIELD, &json!(given), &known));
    }
    (given == "Exact" && version == "0").then(|| {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        forbidden(FIELD, why)
    })
}
