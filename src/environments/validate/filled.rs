//! Values that stand for others: Flux puts variables in after the build (`postBuild`), and SOPS' are decrypted.
//!
//! What they come to is not known here, so what seems wrong with such a value is not said of it, but that nobody looked.
//!
//! Not here: a value's own text, of which `secrets` and `image-pinned` speak.
//!
//! Source: Flux's documentation of post build variable substitution.

use serde_json::{Map, Value};

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

/// Where the labels of pods stand that a workload's own selector must match.
const LABELS: &str = "spec.template.metadata.labels";

/// What stands for another value at a path, or in the mapping there, if the rule depends on it.
pub fn by_others(rule: &str, object: &Value, path: &str) -> Option<String> {
    if AS_WRITTEN.contains(&rule) {
        return None;
    }
    if rule == "schema" && path == LABELS {
        return of_own_selector(object);
    }
    let parts = parts(path);
    // The name of a label may be a variable too.
    if let Some(name) = parts.last().filter(|name| is_variable(object, name)) {
        return Some((*name).to_owned());
    }
    let mut parts = parts.into_iter();
    let value = parts.try_fold(object, |value, part| below(value, part))?;
    first(object, value)
}

/// What must be known before one can say that labels are not those that are selected: nothing where one of them is
/// missing, or differs as both are written. Both come with the objects that they stand in.
pub fn undecided(
    (selecting, wanted): (&Value, &Map<String, Value>),
    (selected, labels): (&Value, &Value),
) -> Option<String> {
    let mut found = None;
    for (key, wanted) in wanted {
        let own = labels.get(key)?;
        if own != wanted {
            let what = first(selecting, wanted).or_else(|| first(selected, own))?;
            found.get_or_insert(what);
        }
    }
    found
}

/// The same for a workload's selector and the labels of its own template.
fn of_own_selector(object: &Value) -> Option<String> {
    let labels = object.pointer("/spec/template/metadata/labels")?;
    let wanted = object.pointer("/spec/selector/matchLabels");
    let wanted = wanted.and_then(Value::as_object);
    let differs =
        |wanted: &Map<String, Value>| wanted.iter().any(|(key, own)| labels.get(key) != Some(own));
    match wanted.filter(|wanted| differs(wanted)) {
        Some(wanted) => undecided((object, wanted), (object, labels)),
        // An expression that they do not fulfil.
        None => first(object, labels),
    }
}

/// The parts of a path; what stands in brackets may have dots.
fn parts(path: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        all.push(part);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    all
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

/// The first value of an object's that stands for another.
fn first(object: &Value, value: &Value) -> Option<String> {
    match value {
        Value::String(text) if object.get("sops").is_some() && text.starts_with("ENC[") => {
            Some("what SOPS encrypted".to_owned())
        }
        Value::String(text) => is_variable(object, text).then(|| text.to_owned()),
        Value::Object(fields) => fields.values().find_map(|inner| first(object, inner)),
        _ => None,
    }
}

/// `${NAME}` somewhere in it, and not `$${NAME}`, which comes to `${NAME}`; an object may say that Flux puts nothing in.
pub fn is_variable(object: &Value, value: &str) -> bool {
    const KEY: &str = "kustomize.toolkit.fluxcd.io~1substitute";
    let is_off = |of: &str| text(object, &format!("/metadata/{of}/{KEY}")) == "disabled";
    let begins = |(at, _): (usize, &str)| {
        let before = value[..at].bytes().rev();
        let escapes = before.take_while(|byte| *byte == b'$').count();
        escapes % 2 == 0 && value[at..].contains('}')
    };
    let written = value.match_indices("${").any(begins);
    written && !is_off("annotations") && !is_off("labels")
}
