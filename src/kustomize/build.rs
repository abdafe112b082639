//! Building a folder: its resources, then what the kustomization does to them, in kustomize's order.

use serde_json::Value;

use super::file::Kustomization;
use super::{Error, Files, generate, images, labels, patch, text};

/// How deep folders may name folders: further down they name each other in a circle.
const DEEPEST: usize = 32;

/// The objects that `folder` deploys.
///
/// # Errors
/// If something is missing, malformed, or not understood here.
pub fn build(files: &dyn Files, folder: &str) -> Result<Vec<Value>, Error> {
    let folder = join("", folder)?;
    let mut objects = match Kustomization::read(files, &folder)? {
        Some(read) => built(files, &folder, read, Vec::new(), 0)?,
        None => all_below(files, &folder, 0)?,
    };
    generate::name_by_content(&mut objects);
    Ok(objects)
}

/// What a kustomization makes of `objects`, which only a component is given.
fn built(
    files: &dyn Files,
    folder: &str,
    (path, this): (String, Kustomization),
    mut objects: Vec<Value>,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    if depth > DEEPEST {
        return Err(Error::new(&path, "folders name each other in a circle"));
    }
    for named in this.resources.iter().chain(&this.bases) {
        objects.extend(resource(files, folder, &path, named, depth)?);
    }
    generate::generate(files, folder, &path, &this, &mut objects)?;
    for named in &this.components {
        let below = join(folder, named).map_err(|error| Error::new(&path, error.why))?;
        let component = Kustomization::read(files, &below)?
            .ok_or_else(|| Error::new(&path, format!("{named} holds no kustomization")))?;
        objects = built(files, &below, component, objects, depth + 1)?;
    }
    patch::all(files, folder, &path, &this, &mut objects)?;
    labels::all(&this, &mut objects);
    images::all(&this, &mut objects);
    Ok(objects)
}

fn resource(
    files: &dyn Files,
    folder: &str,
    path: &str,
    named: &str,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    if named.contains("://") || named.contains("?ref=") || named.starts_with("git@") {
        return Err(Error::new(
            path,
            format!("{named} is elsewhere, which is not fetched"),
        ));
    }
    let below = join(folder, named).map_err(|error| Error::new(path, error.why))?;
    if let Some(text) = files.text(&below).map_err(|why| Error::new(&below, why))? {
        return documents(&below, &text).map(flat);
    }
    match Kustomization::read(files, &below)? {
        Some(read) => built(files, &below, read, Vec::new(), depth + 1),
        None => Err(Error::new(
            path,
            format!("{named} is neither a file nor a folder with a kustomization"),
        )),
    }
}

/// All manifests below a folder that has no kustomization; folders that have one are built.
fn all_below(files: &dyn Files, folder: &str, depth: usize) -> Result<Vec<Value>, Error> {
    let names = files.list(folder).map_err(|why| Error::new(folder, why))?;
    let names = names.ok_or_else(|| Error::new(folder, "there is no such folder"))?;
    let mut objects = Vec::new();
    for name in names {
        let path = join(folder, &name)?;
        if name.ends_with('/') {
            objects.extend(match Kustomization::read(files, &path)? {
                Some(read) => built(files, &path, read, Vec::new(), depth + 1)?,
                None if depth < DEEPEST => all_below(files, &path, depth + 1)?,
                None => Vec::new(),
            });
        } else if matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml"))) {
            let text = files.text(&path).map_err(|why| Error::new(&path, why))?;
            objects.extend(flat(documents(&path, &text.unwrap_or_default())?));
        }
    }
    Ok(objects)
}

/// The documents of a manifest.
pub(super) fn documents(path: &str, text: &str) -> Result<Vec<Value>, Error> {
    let nodes =
        crate::yaml::documents(text).map_err(|error| Error::new(path, error.to_string()))?;
    Ok(nodes.iter().map(crate::yaml::Node::to_json).collect())
}

/// Lists taken apart, and what is no object left out.
fn flat(documents: Vec<Value>) -> Vec<Value> {
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if text(&document, &["kind"]).ends_with("List") => {
                objects.extend(items.iter().cloned());
            }
            _ if document.get("kind").is_some() => objects.push(document),
            _ => {}
        }
    }
    objects
}

/// A path from a folder, without `.` and `..`.
///
/// # Errors
/// If it leads out of the root.
pub fn join(folder: &str, path: &str) -> Result<String, Error> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::new(path, "leads out of the repository"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
