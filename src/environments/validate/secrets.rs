//! Secrets that stand in clear in Git.
//!
//! A Secret with data is one, but for what SOPS encrypted of it; sealed and external ones are other kinds. Elsewhere a name says
//! so (a variable, an argument, a line of a configuration, a value for a chart), or the value itself (a private key, a
//! well-known token, a password within a URL), wherever it stands. A value is never part of a finding.
//!
//! Not here: which names and values these are (`words`).

mod words;

use serde_json::Value;

use super::pods::{Pods, pods};
use super::{Tell, list, of_kind, text};
use words::{Name, Words};

const RULE: &str = "secrets";

pub(super) fn check(objects: &[Value], tell: &mut Tell<'_>) {
    let Some(words) = Words::new() else { return };
    for secret in of_kind(objects, "Secret") {
        in_clear(secret, tell);
    }
    for map in of_kind(objects, "ConfigMap") {
        of_map(map, &words, tell);
    }
    for pods in pods(objects) {
        of_pods(&pods, &words, tell);
    }
    for object in objects {
        for (path, values) in values(object) {
            of_values(object, (&path, values), &words, tell);
        }
        let seen = ["Secret", "ConfigMap", "CustomResourceDefinition"];
        if !seen.contains(&text(object, "/kind")) {
            anywhere(object, (String::new(), object), &words, tell);
        }
    }
}

fn in_clear(secret: &Value, tell: &mut Tell<'_>) {
    // SOPS leaves in clear what is named so, unless its rules say otherwise.
    let meant = secret.get("sops").map(|sops| {
        let suffix = sops["unencrypted_suffix"].as_str();
        suffix.unwrap_or("_unencrypted")
    });
    for field in ["data", "stringData"] {
        let entries = secret[field].as_object().into_iter().flatten();
        let clear = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| !words::is_elsewhere(text))
        };
        let keys: Vec<&str> = entries
            .filter(|(_, value)| clear(value))
            .map(|(key, _)| key.as_str())
            .filter(|key| meant.is_none_or(|suffix| !key.ends_with(suffix)))
            .collect();
        if !keys.is_empty() {
            let keys = keys.join(", ");
            let message = match meant {
                None => {
                    format!("{keys} in clear: want SOPS, a SealedSecret or an ExternalSecret")
                }
                Some(_) => format!("{keys} in clear beside what SOPS encrypted: encrypt it too"),
            };
            tell.error(RULE, secret, field, message);
        }
    }
}

fn of_map(map: &Value, words: &Words, tell: &mut Tell<'_>) {
    for (key, value) in map["data"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let path = format!("data.{key}");
        let named = Name::of(key).is_secret() && !value.contains('\n') && words::may_be(value);
        if named || words.tells(value) {
            let message = format!("{key} looks like a secret, and a ConfigMap is none");
            tell.error(RULE, map, &path, message);
        }
        for name in words.named_lines(key, value) {
            let message = format!("{key}: {name} looks like a secret, and a ConfigMap is none");
            tell.error(RULE, map, &path, message);
        }
    }
}

fn of_pods(pods: &Pods<'_>, words: &Words, tell: &mut Tell<'_>) {
    for (path, container, _) in pods.containers() {
        for variable in list(container, "/env") {
            let (name, value) = (text(variable, "/name"), text(variable, "/value"));
            if Name::of(name).is_secret() && words::may_be(value) || words.tells(value) {
                let message =
                    format!("variable {name} holds a secret in clear: want valueFrom.secretKeyRef");
                tell.error(RULE, pods.object, &format!("{path}.env[{name}]"), message);
            }
        }
        for field in ["command", "args"] {
            let all: Vec<&str> = list(container, &format!("/{field}"))
                .iter()
                .map(|argument| argument.as_str().unwrap_or_default())
                .collect();
            for (at, name) in arguments(&all, words) {
                let message = format!(
                    "{name} is given a secret in clear: want a variable with valueFrom.secretKeyRef"
                );
                tell.error(RULE, pods.object, &format!("{path}.{field}[{at}]"), message);
            }
        }
    }
}

/// Arguments that are secrets, by their numbers, with the option that takes each.
fn arguments(all: &[&str], words: &Words) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let option = |argument: &str| argument.starts_with('-') && argument.len() > 2;
    for (at, argument) in all.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| all.get(before));
        let before = before.copied().unwrap_or_default();
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if option(name) => (name, value),
            _ if option(before) && !before.contains('=') && !argument.starts_with('-') => {
                (before, *argument)
            }
            _ => ("", ""),
        };
        let named = Name::of(name).is_secret_of_a_chart() && words::may_be(value);
        if named {
            found.push((at, name.to_owned()));
        } else if words.tells(argument) {
            found.push((at, format!("argument {}", at + 1)));
        }
    }
    found
}

/// What charts are given, by `HelmRelease`s and Applications of Argo CD, and what Flux puts into manifests.
fn values(object: &Value) -> Vec<(String, &Value)> {
    let at = |path: &str| {
        let found = object.pointer(&format!("/{}", path.replace('.', "/")));
        found.map(|found| (path.to_owned(), found))
    };
    let helm = ["", ".valuesObject", ".values", ".parameters"];
    let sources = ["spec.source.helm", "spec.template.spec.source.helm"];
    match text(object, "/kind") {
        "HelmRelease" => at("spec.values").into_iter().collect(),
        "Kustomization" => at("spec.postBuild.substitute").into_iter().collect(),
        "Application" | "ApplicationSet" => {
            let one = sources.iter().flat_map(|source| {
                let fields = helm.iter().skip(1);
                fields.filter_map(move |field| at(&format!("{source}{field}")))
            });
            let several = list(object, "/spec/sources").iter().enumerate();
            let several = several.flat_map(|(number, source)| {
                let fields = ["valuesObject", "values", "parameters"];
                fields.into_iter().filter_map(move |field| {
                    let found = source.pointer(&format!("/helm/{field}"))?;
                    Some((format!("spec.sources[{number}].helm.{field}"), found))
                })
            });
            one.chain(several).collect()
        }
        _ => Vec::new(),
    }
}

fn of_values(object: &Value, (path, value): (&str, &Value), words: &Words, tell: &mut Tell<'_>) {
    let told = |tell: &mut Tell<'_>, path: &str, name: &str| {
        let message = format!("{name} holds a secret in clear: want it from a Secret");
        tell.error(RULE, object, path, message);
    };
    match value {
        Value::Object(fields) => {
            let name = text(value, "/name");
            let given = text(value, "/value");
            // A parameter of Argo CD, or a variable among values.
            if Name::of(name).is_secret_of_a_chart() && words::may_be(given) {
                told(tell, path, name);
            }
            for (key, inner) in fields {
                let below = format!("{path}.{key}");
                match inner.as_str() {
                    Some(text) if Name::of(key).is_secret_of_a_chart() && words::may_be(text) => {
                        told(tell, &below, &below);
                    }
                    _ => of_values(object, (&below, inner), words, tell),
                }
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                of_values(object, (&format!("{path}[{number}]"), item), words, tell);
            }
        }
        Value::String(text) if text.contains('\n') => {
            for name in words.named_lines("values.yaml", text) {
                told(tell, path, &format!("{path}: {name}"));
            }
        }
        _ => {}
    }
}

/// Values that are secrets by themselves, at any path; variables and arguments were asked already.
fn anywhere(object: &Value, (path, value): (String, &Value), words: &Words, tell: &mut Tell<'_>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let asked = path.contains("ontainers[")
                    && ["env", "command", "args"].contains(&key.as_str());
                let dot = if path.is_empty() { "" } else { "." };
                if !asked {
                    anywhere(object, (format!("{path}{dot}{key}"), inner), words, tell);
                }
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                anywhere(object, (format!("{path}[{number}]"), item), words, tell);
            }
        }
        Value::String(text) if words.tells(text) => {
            let message = format!("{path} holds a secret in clear: want it from a Secret");
            tell.error(RULE, object, &path, message);
        }
        _ => {}
    }
}
