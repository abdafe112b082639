//! Names, labels, annotations and finalizers of any object.

use serde_json::{Value, json};

use super::super::kinds::Kind;
use super::super::refusal::Cause;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const KEY: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with an object's metadata.
pub fn check(kind: &Kind, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    name(kind, object, causes);
    let metadata = &object["metadata"];
    labels(&metadata["labels"], "metadata.labels", causes);
    for key in metadata["annotations"].as_object().into_iter().flatten() {
        // Annotations may have capitals in their prefix.
        qualified(&key.0.to_lowercase(), key.0, "metadata.annotations", causes);
    }
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences.{field}");
                causes.push(Cause::invalid(field, &json!(""), why));
            }
        }
    }
    finalizers(metadata, old.map(|old| &old["metadata"]), causes);
}

/// A label of DNS.
pub fn label(field: impl Into<String>, value: &Value, causes: &mut Vec<Cause>) {
    if !value.as_str().is_some_and(is_label) {
        causes.push(Cause::invalid(field, value, LABEL));
    }
}

/// A name of DNS with dots.
pub fn subdomain(field: &str, value: &Value, causes: &mut Vec<Cause>) {
    if !value.as_str().is_some_and(is_subdomain) {
        causes.push(Cause::invalid(field, value, SUBDOMAIN));
    }
}

fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| is_label(&part.chars().take(63).collect::<String>());
    text.len() <= 253 && text.split('.').all(part)
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn name(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    const FIELD: &str = "metadata.name";
    let value = &object["metadata"]["name"];
    let text = value.as_str().unwrap_or_default();
    if kind.group == "rbac.authorization.k8s.io" {
        return;
    }
    if !kind.is("", "Namespace") && !kind.is("", "Service") {
        subdomain(FIELD, value, causes);
    } else if kind.kind == "Service" && text.contains('.') {
        causes.push(Cause::invalid(FIELD, value, "must not contain dots"));
    } else {
        label(FIELD, value, causes);
    }
}

/// Label keys and values, as labels and as selectors have them.
pub fn labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        qualified(key, key, field, causes);
        let text = value.as_str().unwrap_or_default();
        if !text.is_empty() && !is_name_part(text) {
            causes.push(Cause::invalid(field, value, VALUE));
        }
    }
}

fn is_name_part(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().last())
}

fn qualified(key: &str, shown: &str, field: &str, causes: &mut Vec<Cause>) {
    let parts: Vec<&str> = key.split('/').collect();
    let why = match parts.as_slice() {
        [part] | [_, part] if !is_name_part(part) => NAME_PART.to_owned(),
        [prefix, _] if !is_subdomain(prefix) => format!("prefix part {SUBDOMAIN}"),
        [_] | [_, _] => return,
        _ => KEY.to_owned(),
    };
    causes.push(Cause::invalid(field, &json!(shown), &why));
}

fn finalizers(metadata: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    const FIELD: &str = "metadata.finalizers";
    let before = old.map_or(Value::Null, |old| old["finalizers"].clone());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (now, before) = (list(&metadata["finalizers"]), list(&before));
    let known = ["foregroundDeletion", "orphan", "kubernetes"];
    for (at, finalizer) in now.iter().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        qualified(text, text, FIELD, causes);
        if !text.contains('/') && !known.contains(&text) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("{FIELD}[{at}]"), finalizer, why));
        }
    }
    let fresh: Vec<String> = now
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .map(Value::to_string)
        .collect();
    let leaving = old.is_some_and(|old| old["deletionTimestamp"].is_string());
    if leaving && !fresh.is_empty() {
        let message = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            fresh.join(", ")
        );
        causes.push(Cause {
            reason: "FieldValueForbidden",
            field: FIELD.into(),
            message,
        });
    }
}
