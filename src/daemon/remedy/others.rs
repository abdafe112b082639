//! What taking changes back does to others than the workload whose release failed: one commit may bring
//! two services, of which one is well.
//!
//! Two trees are compared: what the path deploys in each, the manifests that differ beside it, which
//! another path may deploy, and the other kustomizations that read what differs: an overlay beside ours takes its
//! release from the same base. A workload of the path whose template differs in nothing but the failed images
//! belongs to the same release.
//!
//! Not here: what follows (`undo`); two objects of Flux or Argo CD that deploy the same path.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use git2::{Repository, Tree, TreeWalkMode, TreeWalkResult};
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

/// What of others differs: workloads and releases that `path` deploys, except what is `ours`, those of other
/// kustomizations that share files with it, and the manifests that it does not read.
pub fn differing(
    trees: Trees<'_>,
    path: &str,
    images: &[String],
    ours: impl Fn(&Value) -> bool,
) -> Result<Vec<String>, Error> {
    let (before, mut read) = built(trees.repository, trees.before, path);
    let (after, more) = built(trees.repository, trees.after, path);
    read.extend(more);
    let (before, after) = (before?, after?);
    let mut told = changed(&before, &after, images, ours);
    told.extend(overlays(trees, &read)?);
    told.extend(manifests(trees, |file, _| read.contains(file))?);
    Ok(told)
}

/// The names of what runs otherwise, except what is `ours`, in whichever version of `images`.
fn changed(
    before: &[Value],
    after: &[Value],
    images: &[String],
    ours: impl Fn(&Value) -> bool,
) -> Vec<String> {
    let others = |objects: &[Value]| -> BTreeMap<String, Option<Value>> {
        let objects = objects.iter().filter(|object| !ours(object));
        objects
            .map(|object| (named(object), runs(object, images)))
            .collect()
    };
    let (before, after) = (others(before), others(after));
    let names = before.keys().chain(after.keys());
    let differ = |name: &&String| {
        let of = |objects: &BTreeMap<String, Option<Value>>| objects.get(*name).cloned().flatten();
        of(&before) != of(&after)
    };
    let differing: BTreeSet<&String> = names.filter(differ).collect();
    differing.into_iter().cloned().collect()
}

/// What kustomizations that are no part of ours deploy otherwise, since they share one of the files `read`; and
/// those that share one and cannot be built.
fn overlays(trees: Trees<'_>, read: &BTreeSet<String>) -> Result<Vec<String>, Error> {
    let shared: BTreeSet<String> = differing_files(trees)?
        .intersection(read)
        .cloned()
        .collect();
    if shared.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for file in kustomizations(trees.before)? {
        if read.contains(&file) {
            continue;
        }
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let (before, mut reads) = built(trees.repository, trees.before, folder);
        let (after, more) = built(trees.repository, trees.after, folder);
        reads.extend(more);
        if reads.is_disjoint(&shared) {
            continue;
        }
        let names = match (before, after) {
            (Ok(before), Ok(after)) => changed(&before, &after, &[], |_| false),
            (Err(_), _) | (_, Err(_)) => vec!["what cannot be built".to_owned()],
        };
        found.push((file.clone(), folder.to_owned(), names, reads));
    }
    // A folder that another one of them takes up is told with that one.
    let is_within = |file: &String| {
        let mut others = found.iter().filter(|(other, ..)| other != file);
        others.any(|(.., reads)| reads.contains(file))
    };
    let outer = found.iter().filter(|(file, ..)| !is_within(file));
    let told = outer.flat_map(|(_, folder, names, _)| {
        names.iter().map(move |name| format!("{name} in {folder}"))
    });
    Ok(told.collect())
}

/// Each kustomization in a tree, by its path.
fn kustomizations(tree: &Tree<'_>) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let name = String::from_utf8_lossy(entry.name_bytes());
        if is_kustomization(&name) {
            all.push(format!("{folder}{name}"));
        }
        TreeWalkResult::Ok
    });
    walked.map_err(|error| Error::View(error.message().to_owned()))?;
    Ok(all)
}

/// The files that differ.
fn differing_files(trees: Trees<'_>) -> Result<BTreeSet<String>, Error> {
    let Trees {
        repository,
        before,
        after,
    } = trees;
    let diff = repository.diff_tree_to_tree(Some(before), Some(after), None);
    let diff = diff.map_err(|error| Error::View(error.message().to_owned()))?;
    let mut files = BTreeSet::new();
    for delta in diff.deltas() {
        let paths = [delta.old_file().path(), delta.new_file().path()];
        let paths = paths.into_iter().flatten();
        files.extend(paths.map(|path| path.to_string_lossy().into_owned()));
    }
    Ok(files)
}

/// The manifests that differ, except what is `ours` by its path and text.
pub fn manifests(
    trees: Trees<'_>,
    ours: impl Fn(&str, &str) -> bool,
) -> Result<Vec<String>, Error> {
    let Trees {
        repository,
        before,
        after,
    } = trees;
    let mut told = Vec::new();
    for file in differing_files(trees)? {
        let texts = [before, after].map(|tree| Tracked { repository, tree }.text(&file));
        for text in texts {
            let is_theirs = match text {
                Ok(Some(text)) => is_manifest(&file, &text) && !ours(&file, &text),
                Ok(None) => false,
                // What cannot be read, or is too long to be, is one by its name.
                Err(_) => is_named_like_one(&file) && !ours(&file, ""),
            };
            if is_theirs {
                told.push(file);
                break;
            }
        }
    }
    Ok(told)
}

/// What the path deploys, and the files that were read for it, also where it cannot be built.
fn built(
    repository: &Repository,
    tree: &Tree<'_>,
    path: &str,
) -> (Result<Vec<Value>, Error>, BTreeSet<String>) {
    let files = Read {
        files: Tracked { repository, tree },
        read: RefCell::default(),
    };
    let objects = build(&files, path).map_err(|error| Error::View(error.to_string()));
    (objects, files.read.into_inner())
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

/// An object as it is deployed, `images` without their versions: what configures others counts as what runs.
/// `None` for what has no name, which nothing applies.
fn runs(object: &Value, images: &[String]) -> Option<Value> {
    object["metadata"]["name"].as_str()?;
    let mut object = object.clone();
    unversioned(&mut object, images);
    Some(object)
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

fn is_kustomization(name: &str) -> bool {
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name)
}

/// Whether a file is a kustomization, or holds an object.
fn is_manifest(file: &str, text: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    if is_kustomization(name) {
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

/// Whether a file has a name that manifests have.
fn is_named_like_one(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == "Kustomization" || matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
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
    fn an_overlay_that_shares_the_base_is_named_unless_it_pins_a_version_itself() {
        let overlay = "resources: [../base]\n";
        let with = |version: &str, production: &str| {
            vec![
                ("apps/kustomization.yaml", overlay.to_owned()),
                ("production/kustomization.yaml", production.to_owned()),
                // Takes up production, which is told once.
                (
                    "all/kustomization.yaml",
                    "resources: [../production]\n".to_owned(),
                ),
                (
                    "base/kustomization.yaml",
                    "resources: [shop.yaml]\n".to_owned(),
                ),
                ("base/shop.yaml", deployment("shop", version)),
            ]
        };
        let told =
            |production: &str| beside(&with("shop:2", production), &with("shop:1", production));
        assert_eq!(told(overlay), ["Deployment shop in all"]);
        let none: Vec<String> = Vec::new();
        let pinned = format!("{overlay}images: [{{name: shop, newTag: '1'}}]\n");
        assert_eq!(told(&pinned), none);
        let elsewhere = "resources: [https://example.com/x]\n";
        assert_eq!(told(elsewhere), none, "it reads nothing of ours");
        let charts = "resources: [../base, https://example.com/x]\n";
        assert_eq!(told(charts), ["what cannot be built in all"]);
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
        let long = " ".repeat((4 << 20) + 1);
        assert_eq!(told("film.mp4", &long, "a\n"), none);
        assert_eq!(told("more.yaml", &long, "a\n"), ["more.yaml"]);
    }

    #[test]
    fn what_configures_others_is_named_too() {
        let with = |version: &str, port: u16| {
            let policy = format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: pay}}\n\
                 spec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}\n"
            );
            let mut files = apps(version, "pay:1");
            files[0].1 = "resources: [shop.yaml, pay.yaml, policy.yaml]\n".to_owned();
            files.push(("apps/policy.yaml", policy));
            files
        };
        let told = beside(&with("shop:2", 2), &with("shop:1", 1));
        assert_eq!(told, ["NetworkPolicy pay"]);
    }
}
