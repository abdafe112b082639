//! Generated ConfigMaps and Secrets: their content, and a name that changes with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::build::{Build, elsewhere, is_elsewhere, join};
use super::file::{Generator, Kustomization};
use super::gaps::{Gap, Unknown, mark};
use super::references::refer;
use super::{Error, Files, mapping, put, text};

/// Marks what gets its name from its content when all is built.
const GENERATED: &str = "sluice.dev/generated";

/// What the generators of a kustomization make.
pub(super) fn generate(
    build: &Build<'_>,
    folder: &str,
    path: &str,
    this: &Kustomization,
    objects: &mut Vec<Value>,
) -> Result<(), Error> {
    let maps = this.config_map_generator.iter();
    let maps = maps.map(|one| ("ConfigMap", "configMapGenerator", one));
    let secrets = this.secret_generator.iter();
    let secrets = secrets.map(|one| ("Secret", "secretGenerator", one));
    for (kind, field, generator) in maps.chain(secrets) {
        let data = content(build, folder, (path, field), generator)?;
        let keep = generator.options.disable_name_suffix_hash
            || this.generator_options.disable_name_suffix_hash;
        let there = objects.iter_mut().find(|object| {
            text(object, &["kind"]) == kind && text(object, &["metadata", "name"]) == generator.name
        });
        match (generator.behavior.as_str(), there) {
            ("merge", Some(object)) => {
                for (key, value) in data {
                    put(object, &["data"], &key, value);
                }
            }
            ("replace", Some(object)) => put(object, &[], "data", Value::Object(data)),
            ("merge" | "replace", None) if !build.is_open() => {
                let why = format!(
                    "{kind}/{} to {} is not there",
                    generator.name, generator.behavior
                );
                return Err(Error::new(path, why));
            }
            (behavior, _) => {
                let mut made = object(kind, generator, data, keep);
                if matches!(behavior, "merge" | "replace") {
                    mark(&mut made);
                }
                objects.push(made);
            }
        }
    }
    Ok(())
}

fn object(kind: &str, generator: &Generator, data: Map<String, Value>, keep: bool) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": kind, "metadata": {"name": generator.name}, "data": data,
    });
    if !generator.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(generator.namespace);
    }
    if !keep {
        object["metadata"]["annotations"] = json!({GENERATED: "true"});
    }
    object
}

fn content(
    build: &Build<'_>,
    folder: &str,
    (path, field): (&str, &str),
    generator: &Generator,
) -> Result<Map<String, Value>, Error> {
    let read = |named: &str| {
        let at = join(folder, named).map_err(|error| Error::new(path, error.why))?;
        let found = build.text(&at).map_err(|why| Error::new(&at, why))?;
        found.ok_or_else(|| Error::new(path, format!("{named}: no such file")))
    };
    let mut data = Map::new();
    for named in &generator.files {
        if is_elsewhere(named) {
            build.gap(Gap::new(elsewhere(path, named), field, Unknown::Others))?;
            continue;
        }
        let (key, file) = named
            .split_once('=')
            .unwrap_or_else(|| (named.rsplit('/').next().unwrap_or_default(), named));
        data.insert(key.to_owned(), json!(read(file)?));
    }
    let mut lines = generator.literals.clone();
    for named in generator
        .envs
        .iter()
        .chain((!generator.env.is_empty()).then_some(&generator.env))
    {
        let text = read(named)?;
        let said = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.extend(said.map(str::to_owned));
    }
    for line in lines {
        let (key, value) = line.split_once('=').unwrap_or((&line, ""));
        data.insert(key.to_owned(), json!(value.trim_matches(['"', '\''])));
    }
    Ok(data)
}

/// Gives what was generated a name that goes with its content, here and where pods name it.
pub(super) fn name_by_content(objects: &mut [Value]) {
    let mut renamed = BTreeMap::new();
    for object in objects.iter_mut() {
        if text(object, &["metadata", "annotations", GENERATED]).is_empty() {
            continue;
        }
        let digest = Sha256::digest(object["data"].to_string().as_bytes());
        let digest = digest
            .iter()
            .take(5)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let suffix = format!("{digest:010x}");
        let kind = text(object, &["kind"]).to_owned();
        let old = text(object, &["metadata", "name"]).to_owned();
        let new = format!("{old}-{suffix}");
        put(object, &["metadata"], "name", json!(new));
        unmark(object);
        renamed.insert((kind, old), new);
    }
    for object in objects {
        refer(object, &|kind, old| {
            renamed.get(&(kind.to_owned(), old.to_owned())).cloned()
        });
    }
}

fn unmark(object: &mut Value) {
    let Some(metadata) = mapping(object, &["metadata"]) else {
        return;
    };
    let Some(Value::Object(annotations)) = metadata.get_mut("annotations") else {
        return;
    };
    annotations.remove(GENERATED);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}
