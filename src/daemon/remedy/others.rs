//! What taking changes back does to others than the workload whose release failed: one commit may bring
//! two services, of which one is well.
//!
//! Two trees are compared: what the path deploys in each, and the manifests that differ beside it, which
//! another path may deploy. A workload whose template differs in nothing but the failed images belongs
//! to the same release.
//!
//! Not here: what follows (`undo`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use git2::{Repository, Tree};
use serde_json::Value;

use crate::git::Error;
use crate::kustomize::{Files, Tracked, build, image_name};
use crate::yaml;

/// Two trees of a repository: before changes are taken back, and after.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// Whose objects.
    pub repository: &'a Repository,
    /// With the changes.
    pub before: &'a Tree<'a>,
    /// Without them.
    pub after: &'a Tree<'a>,
}

/// What of others differs: workloads and releases that `path` deploys, except what is `ours`, and the
/// manifests that it does not read.
pub fn differing(
    trees: Trees<'_>,
    path: &str,
    images: &[String],
    ours: impl Fn(&Value) -> bool,
) -> Result<Vec<String>, Error> {
    let (before, mut read) = built(trees.repository, trees.before, path)?;
    let (after, more) = built(trees.repository, trees.after, path)?;
    read.extend(more);
    let others = |objects: &[Value]| -> BTreeMap<String, Option<Value>> {
        let objects = objects.iter().filter(|object| !ours(object));
        objects
            .map(|object| (named(object), runs(object, images)))
            .collect()
    };
    let (before, after) = (others(&before), others(&after));
    let names = before.keys().chain(after.keys());
    let differ = |name: &&String| {
        let of = |objects: &BTreeMap<String, Option<Value>>| objects.get(*name).cloned().flatten();
        of(&before) != of(&after)
    };
    let differing: BTreeSet<&String> = names.filter(differ).collect();
    let mut told: Vec<String> = differing.into_iter().cloned().collect();
    told.extend(manifests(trees, |file, _| read.contains(file))?);
    Ok(told)
}

/// The manifests that differ, except what is `ours` by its path and text.
pub fn manifests(
    trees: Trees<'_>,
    ours: impl Fn(&str, &str) -> bool,
) -> Result<Vec<String>, Error> {
    let unseen = |error: git2::Error| Error::View(error.message().to_owned());
    let Trees {
        repository,
        before,
        after,
    } = trees;
    let diff = repository.diff_tree_to_tree(Some(before), Some(after), None);
    let mut files = BTreeSet::new();
    for delta in diff.map_err(unseen)?.deltas() {
        let paths = [delta.old_file().path(), delta.new_file().path()];
        let paths = paths.into_iter().flatten();
        files.extend(paths.map(|path| path.to_string_lossy().into_owned()));
    }
    let mut told = Vec::new();
    for file in files {
        let texts = [before, after].map(|tree| Tracked { repository, tree }.text(&file));
        for text in texts {
            // What is no text is no manifest.
            let Ok(Some(text)) = text else { continue };
            if is_manifest(&file, &text) && !ours(&file, &text) {
                told.push(file);
                break;
            }
        }
    }
    Ok(told)
}

/// What the path deploys, and the files that were read for it.
fn built(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &str,
) -> Result<(Vec<Value>, BTreeSet<String>), Error> {
    let files = Read {
        files: Tracked { repository, tree },
        read: RefCell::default(),
    };
    let objects = build(&files, path).map_err(|error| Error::View(error.to_string()))?;
    Ok((objects, files.read.into_inner()))
}

/// Files, and which of them were read.
struct Read<'a> {
    files: Tracked<'a>,
    read: RefCell<BTreeSet<String>>,
}

impl Files for Read<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        self.read.borrow_mut().insert(path.to_owned());
        self.files.text(path)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        self.files.list(path)
    }
}

fn named(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// What an object runs, `images` without their versions; `None` for what runs nothing.
fn runs(object: &Value, images: &[String]) -> Option<Value> {
    let part = match object["kind"].as_str() {
        Some("HelmRelease" | "Kustomization" | "Pod") => "/spec",
        Some("CronJob") => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    let mut part = object.pointer(part)?.clone();
    unversioned(&mut part, images);
    Some(part)
}

fn unversioned(value: &mut Value, images: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| unversioned(item, images)),
        Value::Object(fields) => fields.values_mut().for_each(|it| unversioned(it, images)),
        Value::String(text) => {
            let name = image_name(text);
            if name.len() < text.len() && images.iter().any(|image| image == name) {
                *text = name.to_owned();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a file is a kustomization, or holds an object.
fn is_manifest(file: &str, text: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    if ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name) {
        return true;
    }
    let is_yaml = matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")));
    // A template of another tool may be no YAML yet.
    is_yaml
        && yaml::documents(text).map_or_else(
            |_| text.contains("apiVersion:"),
            |all| {
                all.iter()
                    .any(|it| it.get("kind").is_some() && it.get("apiVersion").is_some())
            },
        )
}

#[cfg(test)]
mod tests {
    use git2::build::TreeUpdateBuilder;
    use git2::{FileMode, Oid};

    use super::*;

    const FOLDER: &str = "resources: [shop.yaml, pay.yaml]\n";

    fn deployment(name: &str, image: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n\
             spec: {{template: {{spec: {{containers: [{{name: app, image: {image}}}]}}}}}}\n"
        )
    }

    fn tree(repository: &Repository, files: &[(&str, String)]) -> Oid {
        let empty = repository.treebuilder(None).unwrap().write().unwrap();
        let mut update = TreeUpdateBuilder::new();
        for (path, text) in files {
            let blob = repository.blob(text.as_bytes()).unwrap();
            update.upsert(*path, blob, FileMode::Blob);
        }
        let empty = repository.find_tree(empty).unwrap();
        update.create_updated(repository, &empty).unwrap()
    }

    /// What differs beside the Deployment `shop` of the folder `apps`, whose image is `shop`.
    fn beside(before: &[(&str, String)], after: &[(&str, String)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let [before, after] = [before, after].map(|files| tree(&repository, files));
        let trees = Trees {
            repository: &repository,
            before: &repository.find_tree(before).unwrap(),
            after: &repository.find_tree(after).unwrap(),
        };
        let ours = |object: &Value| object["metadata"]["name"] == "shop";
        differing(trees, "apps", &["shop".to_owned()], ours).unwrap()
    }

    fn apps(shop: &str, pay: &str) -> Vec<(&'static str, String)> {
        vec![
            ("apps/kustomization.yaml", FOLDER.to_owned()),
            ("apps/shop.yaml", deployment("shop", shop)),
            ("apps/pay.yaml", deployment("pay", pay)),
        ]
    }

    #[test]
    fn another_workload_that_would_go_back_too_is_named() {
        let told = beside(&apps("shop:2", "pay:2"), &apps("shop:1", "pay:1"));
        assert_eq!(told, ["Deployment pay"]);
        let none: Vec<String> = Vec::new();
        assert_eq!(
            beside(&apps("shop:2", "pay:2"), &apps("shop:1", "pay:2")),
            none
        );
        let told = beside(&apps("shop:2", "shop:2"), &apps("shop:1", "shop:1"));
        assert_eq!(told, none, "the same image is the same release");
    }

    #[test]
    fn a_manifest_that_the_path_does_not_read_is_named_and_other_files_are_not() {
        let with = |version: &str, more: &'static str, text: &str| {
            let mut files = apps(version, "pay:1");
            files.push((more, text.to_owned()));
            files
        };
        let told = |file, before: &str, after: &str| {
            beside(&with("shop:2", file, before), &with("shop:1", file, after))
        };
        let (two, one) = (deployment("pay", "pay:2"), deployment("pay", "pay:1"));
        assert_eq!(told("staging/pay.yaml", &two, &one), ["staging/pay.yaml"]);
        let images = "staging/kustomization.yaml";
        assert_eq!(told(images, "namePrefix: b\n", "namePrefix: a\n"), [images]);
        let none: Vec<String> = Vec::new();
        assert_eq!(told("README.md", "kind: b\napiVersion: v1\n", "a\n"), none);
        assert_eq!(told("ci.yaml", "on: b\n", "on: a\n"), none);
    }
}
