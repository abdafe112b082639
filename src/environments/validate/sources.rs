//! Which line of which file an object came from.
//!
//! Building forgets files, so what was read meanwhile is kept, and an object is looked for by kind and
//! name afterwards. Of several documents (a manifest and its patches) the one counts that has most
//! of the path that is asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::{NOWHERE, text};
use crate::kustomize::Files;
use crate::yaml::{self, Kind, Node, Place};

/// Files that remember what was read.
pub struct Sources<'a> {
    files: &'a dyn Files,
    read: RefCell<BTreeMap<String, String>>,
}

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    pub file: String,
    pub node: Node,
}

impl Document {
    /// Whether it is a kustomization of kustomize, by its file's name.
    pub fn is_kustomization(&self) -> bool {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        let version = self.node.get("apiVersion").and_then(Node::text);
        let flux = version.is_some_and(|it| it.starts_with("kustomize.toolkit.fluxcd.io/"));
        ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name) && !flux
    }
}

impl<'a> Sources<'a> {
    pub fn new(files: &'a dyn Files) -> Self {
        let read = RefCell::default();
        Self { files, read }
    }

    /// All that was read; text that is no YAML is left out.
    pub fn documents(self) -> Vec<Document> {
        let mut all = Vec::new();
        for (file, text) in self.read.into_inner() {
            for node in yaml::documents(&text).unwrap_or_default() {
                flat(&file, node, &mut all);
            }
        }
        all
    }
}

/// Lists are taken apart.
fn flat(file: &str, node: Node, all: &mut Vec<Document>) {
    let is_list = node
        .get("kind")
        .and_then(Node::text)
        .is_some_and(|kind| kind.ends_with("List"));
    if let Some(Kind::List(items)) = node.get("items").map(|items| &items.kind)
        && is_list
    {
        for item in items.clone() {
            flat(file, item, all);
        }
        return;
    }
    let file = file.to_owned();
    all.push(Document { file, node });
}

impl Files for Sources<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        let text = self.files.text(path)?;
        if let Some(text) = &text {
            self.read.borrow_mut().insert(path.to_owned(), text.clone());
        }
        Ok(text)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        self.files.list(path)
    }
}

/// Where an object's path stands, or as much of it as is there; `[x]` is the item named x, or of this
/// number.
pub fn place(documents: &[Document], object: &Value, path: &str) -> (String, Place) {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    let of_kind = |document: &&Document| is(&document.node, "kind", kind);
    let exact: Vec<&Document> = documents
        .iter()
        .filter(of_kind)
        .filter(|document| own_name(&document.node) == name)
        .collect();
    // A prefix or a suffix was added, or a digest.
    let near = documents.iter().filter(of_kind).filter(|document| {
        let own = own_name(&document.node);
        !own.is_empty() && name.contains(own)
    });
    let candidates = if exact.is_empty() {
        near.collect()
    } else {
        exact
    };
    let best = candidates
        .into_iter()
        .map(|document| (reached(&document.node, path), &document.file))
        .reduce(|best, next| if next.0.0 > best.0.0 { next } else { best });
    match best {
        Some(((_, place), file)) => (file.clone(), place),
        None => generated(documents, kind, name),
    }
}

/// A generated object stands in the kustomization that names it, as what a patch within one says.
fn generated(documents: &[Document], kind: &str, name: &str) -> (String, Place) {
    for document in documents {
        for generator in ["configMapGenerator", "secretGenerator"] {
            let Some(Kind::List(items)) = document.node.get(generator).map(|node| &node.kind)
            else {
                continue;
            };
            let own = |item: &&Node| {
                let own = item.get("name").and_then(Node::text);
                own.is_some_and(|own| name.contains(own))
            };
            if let Some(item) = items.iter().find(own) {
                return (document.file.clone(), item.place);
            }
        }
        for patches in ["patches", "patchesStrategicMerge"] {
            let Some(Kind::List(items)) = document.node.get(patches).map(|node| &node.kind) else {
                continue;
            };
            if let Some(item) = items.iter().find(|item| patches_it(item, kind, name)) {
                return (document.file.clone(), item.place);
            }
        }
    }
    let first = documents.first();
    (
        first.map_or(String::new(), |document| document.file.clone()),
        NOWHERE,
    )
}

/// Whether an item of a kustomization's patches holds one for this object.
fn patches_it(item: &Node, kind: &str, name: &str) -> bool {
    let inline = item.text().or_else(|| item.get("patch")?.text());
    let patches = yaml::documents(inline.unwrap_or_default()).unwrap_or_default();
    let mut own = patches.iter().filter(|patch| is(patch, "kind", kind));
    own.any(|patch| !own_name(patch).is_empty() && name.contains(own_name(patch)))
}

fn is(node: &Node, key: &str, value: &str) -> bool {
    node.get(key).and_then(Node::text) == Some(value)
}

fn own_name(node: &Node) -> &str {
    let name = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"));
    name.and_then(Node::text).unwrap_or_default()
}

/// How many parts of the path are there, and where the last of them stands.
fn reached(node: &Node, path: &str) -> (usize, Place) {
    let parts = path
        .split(['.', '['])
        .map(|part| part.trim_end_matches(']'));
    let (mut node, mut place, mut count) = (node, node.place, 0);
    for part in parts.filter(|part| !part.is_empty()) {
        let next = match &node.kind {
            Kind::Map(entries) => {
                let entry = entries.iter().find(|entry| entry.key == part);
                entry.map(|entry| (&entry.value, entry.place))
            }
            Kind::List(items) => {
                let named = items.iter().find(|item| is(item, "name", part));
                let numbered = || items.get(part.parse::<usize>().ok()?);
                named.or_else(numbered).map(|item| (item, item.place))
            }
            _ => None,
        };
        let Some(next) = next else { break };
        (node, place) = next;
        count += 1;
    }
    (count, place)
}
