//! Secrets that stand in clear in Git.
//!
//! A Secret with data is one unless SOPS encrypted it; sealed and external ones are other kinds. A
//! value is never part of a finding.

use regex::Regex;
use serde_json::Value;

use super::pods::pods;
use super::{Tell, list, of_kind};

const RULE: &str = "secrets";
/// Words of names whose values are secret.
const NAMES: &str =
    r"(?i)(^|[_.-])(password|passwd|secret|token|api_?key|private_?key|credentials?)$";
/// What begins a key or a well-known token.
const VALUES: &str = r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(ghp|gho|ghs|github_pat|glpat|xox[abp])[-_][A-Za-z0-9_-]{16,}|\bAKIA[A-Z0-9]{16}\b|://[^/\s:@]+:[^/\s:@$]+@";

pub(super) fn check(objects: &[Value], tell: &mut Tell<'_>) {
    let (Ok(names), Ok(values)) = (Regex::new(NAMES), Regex::new(VALUES)) else {
        return;
    };
    for secret in of_kind(objects, "Secret") {
        in_clear(secret, tell);
    }
    for map in of_kind(objects, "ConfigMap") {
        of_map(map, &names, &values, tell);
    }
    for pods in pods(objects) {
        for (path, container, _) in pods.containers() {
            for variable in list(container, "/env") {
                let name = variable["name"].as_str().unwrap_or_default();
                let value = variable["value"].as_str().unwrap_or_default();
                let named = names.is_match(name) && !value.is_empty();
                if named || values.is_match(value) {
                    let message = format!(
                        "variable {name} holds a secret in clear: want valueFrom.secretKeyRef"
                    );
                    tell.error(RULE, pods.object, &format!("{path}.env[{name}]"), message);
                }
            }
        }
    }
}

fn in_clear(secret: &Value, tell: &mut Tell<'_>) {
    if secret.get("sops").is_some() {
        return;
    }
    for field in ["data", "stringData"] {
        let entries = secret[field].as_object().into_iter().flatten();
        let clear = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| !text.is_empty() && !text.starts_with("ENC["))
        };
        let keys: Vec<&str> = entries
            .filter(|(_, value)| clear(value))
            .map(|(key, _)| key.as_str())
            .collect();
        if !keys.is_empty() {
            let message = format!(
                "{} in clear: want SOPS, a SealedSecret or an ExternalSecret",
                keys.join(", ")
            );
            tell.error(RULE, secret, field, message);
        }
    }
}

fn of_map(map: &Value, names: &Regex, values: &Regex, tell: &mut Tell<'_>) {
    for (key, value) in map["data"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let named = names.is_match(key) && !value.is_empty() && !value.contains('\n');
        if named || values.is_match(value) {
            let message = format!("{key} looks like a secret, and a ConfigMap is none");
            tell.error(RULE, map, &format!("data.{key}"), message);
        }
    }
}
