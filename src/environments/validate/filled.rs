//! Values that stand for others: Flux puts variables in after the build (`postBuild`), and SOPS' are decrypted.
//!
//! What they come to is not known here, so what seems wrong with such a value is not said of it, but that nobody looked.
//!
//! Not here: a value's own text, of which `secrets` and `image-pinned` speak.
//!
//! Source: Flux's documentation of post build variable substitution.

use serde_json::Value;

use super::text;

/// Rules that speak of more than what stands at their path, or of names that must differ as they stand.
const AS_WRITTEN: [&str; 6] = [
    "builds",
    "secrets",
    "image-pinned",
    "resources",
    "probes",
    "pod-security",
];

/// What stands for another value at a path, or in the mapping there, if the rule depends on it.
pub fn by_others(rule: &str, object: &Value, path: &str) -> Option<String> {
    if AS_WRITTEN.contains(&rule) {
        return None;
    }
    let parts = path
        .split(['.', '['])
        .map(|part| part.trim_end_matches(']'));
    let mut parts = parts.filter(|part| !part.is_empty());
    let value = parts.try_fold(object, |value, part| below(value, part))?;
    first(value, &|text| {
        let encrypted = object.get("sops").is_some() && text.starts_with("ENC[");
        let variable = || is_variable(object, text).then(|| text.to_owned());
        let secret = || "what SOPS encrypted".to_owned();
        encrypted.then(secret).or_else(variable)
    })
}

fn below<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => {
            let named = items.iter().find(|item| item["name"] == part);
            named.or_else(|| items.get(part.parse::<usize>().ok()?))
        }
        _ => value.get(part),
    }
}

fn first(value: &Value, told: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match value {
        Value::String(text) => told(text),
        Value::Object(fields) => fields.values().find_map(|inner| first(inner, told)),
        _ => None,
    }
}

/// `${NAME}` somewhere in it; an object may say that Flux puts nothing in.
fn is_variable(object: &Value, value: &str) -> bool {
    const KEY: &str = "kustomize.toolkit.fluxcd.io~1substitute";
    let is_off = |of: &str| text(object, &format!("/metadata/{of}/{KEY}")) == "disabled";
    let written = value
        .split_once("${")
        .is_some_and(|(_, rest)| rest.contains('}'));
    written && !is_off("annotations") && !is_off("labels")
}
