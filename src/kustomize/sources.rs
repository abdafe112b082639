//! Where manifests are read from: a folder on disk, a tree of a Git repository, or either of them
//! with some files written anew.
//!
//! Not here: what is done with them (`build`).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Repository, Tree};

use super::Files;

/// A folder on disk, which is the root.
#[derive(Debug, Clone)]
pub struct Disk(pub PathBuf);

impl Files for Disk {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        let path = self.0.join(path);
        if path.is_dir() {
            return Ok(None);
        }
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        let path = self.0.join(path);
        if !path.is_dir() {
            return Ok(None);
        }
        let entries = fs::read_dir(path).map_err(|error| error.to_string())?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
        }
        names.sort();
        Ok(Some(names))
    }
}

/// The files of a tree in Git.
pub struct Tracked<'a> {
    /// Whose objects.
    pub repository: &'a Repository,
    /// The root.
    pub tree: &'a Tree<'a>,
}

impl std::fmt::Debug for Tracked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracked").field(&self.tree.id()).finish()
    }
}

impl Files for Tracked<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        let Ok(entry) = self.tree.get_path(Path::new(path)) else {
            return Ok(None);
        };
        if entry.kind() != Some(ObjectType::Blob) {
            return Ok(None);
        }
        let blob = self.repository.find_blob(entry.id());
        let blob = blob.map_err(|error| error.message().to_owned())?;
        let text = std::str::from_utf8(blob.content()).map_err(|error| error.to_string())?;
        Ok(Some(text.to_owned()))
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        let below = match path {
            "" => Some(self.tree.clone()),
            path => {
                let entry = self.tree.get_path(Path::new(path)).ok();
                entry.and_then(|entry| self.repository.find_tree(entry.id()).ok())
            }
        };
        Ok(below.map(|tree| tree.iter().map(|entry| name_of(&entry)).collect()))
    }
}

fn name_of(entry: &git2::TreeEntry<'_>) -> String {
    let slash = if entry.kind() == Some(ObjectType::Tree) {
        "/"
    } else {
        ""
    };
    format!("{}{slash}", String::from_utf8_lossy(entry.name_bytes()))
}

/// Other files, some of which have another text.
pub struct Rewritten<'a> {
    /// The others.
    pub files: &'a dyn Files,
    /// The new texts by their paths; the files are there already.
    pub texts: &'a BTreeMap<String, String>,
}

impl std::fmt::Debug for Rewritten<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}

impl Files for Rewritten<'_> {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        match self.texts.get(path) {
            Some(text) => Ok(Some(text.clone())),
            None => self.files.text(path),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        self.files.list(path)
    }
}
