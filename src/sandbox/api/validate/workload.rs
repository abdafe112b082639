//! Deployments and the other kinds that have a selector and a pod template.

use serde_json::{Value, json};

use super::super::refusal::Cause;
use super::super::selector::Selector;
use super::{metadata, pod};

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const NEGATIVE: &str = "must be greater than or equal to 0";

/// What is wrong with a workload's spec.
pub fn check(spec: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    not_negative(spec, "replicas", causes);
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if selector["matchLabels"].is_null() && selector["matchExpressions"].is_null() {
        let why = "empty selector is invalid for deployment";
        causes.push(Cause::invalid("spec.selector", selector, why));
    }
    if selector.is_null() || !Selector::from_object(selector).matches_labels(labels) {
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    metadata::labels(labels, "spec.template.labels", causes);
    let claims = spec["volumeClaimTemplates"].as_array();
    let claims = claims.map(Vec::as_slice).unwrap_or_default();
    let pods = &spec["template"]["spec"];
    pod::spec(pods, "spec.template.spec", claims, causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if !policy.is_null() && policy != "Always" {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause::unsupported(field, policy, &[json!("Always")]));
    }
    if old.is_some_and(|old| old["selector"] != *selector) {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "field is immutable",
        ));
    }
}

fn not_negative(spec: &Value, field: &str, causes: &mut Vec<Cause>) {
    if spec[field].as_i64().is_some_and(|number| number < 0) {
        causes.push(Cause::invalid(
            format!("spec.{field}"),
            &spec[field],
            NEGATIVE,
        ));
    }
}

/// What is wrong with the rest of a Deployment's spec.
pub fn deployment(spec: &Value, causes: &mut Vec<Cause>) {
    strategy(&spec["strategy"], causes);
    not_negative(spec, "minReadySeconds", causes);
    not_negative(spec, "revisionHistoryLimit", causes);
    let deadline = &spec["progressDeadlineSeconds"];
    let settle = spec["minReadySeconds"].as_i64().unwrap_or(0);
    if deadline.as_i64().is_some_and(|seconds| seconds <= settle) {
        let field = "spec.progressDeadlineSeconds";
        causes.push(Cause::invalid(
            field,
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
}

fn strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let kind = &strategy["type"];
    let rolling = &strategy["rollingUpdate"];
    match kind.as_str() {
        Some("RollingUpdate") => rolling_update(rolling, causes),
        Some("Recreate") if rolling.is_null() => {}
        Some("Recreate") => causes.push(Cause {
            reason: "FieldValueForbidden",
            field: "spec.strategy.rollingUpdate".into(),
            message: "Forbidden: may not be specified when strategy `type` is 'Recreate'".into(),
        }),
        _ => {
            // Go shows the whole strategy, in its own words.
            let message = format!(
                "Unsupported value: {{\"Type\":{kind},\"RollingUpdate\":null}}: supported values: \"Recreate\", \"RollingUpdate\""
            );
            causes.push(Cause {
                reason: "FieldValueNotSupported",
                field: "spec.strategy".into(),
                message,
            });
        }
    }
}

fn rolling_update(rolling: &Value, causes: &mut Vec<Cause>) {
    let field = |name: &str| format!("spec.strategy.rollingUpdate.{name}");
    let before = causes.len();
    for name in ["maxUnavailable", "maxSurge"] {
        let value = &rolling[name];
        if value.as_i64().is_some_and(|number| number < 0) {
            causes.push(Cause::invalid(field(name), value, NEGATIVE));
        }
        if value.is_string() && percent(value).is_none() {
            causes.push(Cause::invalid(field(name), value, PERCENT));
        }
    }
    if causes.len() > before {
        return;
    }
    let zero = |value: &Value| *value == 0 || percent(value) == Some(0);
    let unavailable = &rolling["maxUnavailable"];
    if zero(&rolling["maxSurge"]) && zero(unavailable) {
        let why = "may not be 0 when `maxSurge` is 0";
        causes.push(Cause::invalid(field("maxUnavailable"), unavailable, why));
    }
    if percent(unavailable).is_some_and(|share| share > 100) {
        let why = "must not be greater than 100%";
        causes.push(Cause::invalid(field("maxUnavailable"), unavailable, why));
    }
}

fn percent(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    digits.parse().ok()
}
