//! Where manifests are read from: a folder on disk, a tree of a Git repository, or either of them
//! with some files written anew.
//!
//! Not here: what is done with them (`build`).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use git2::{Blob, ObjectType, Oid, Repository, Tree};

use super::Files;

/// The longest file in Git that is taken for a manifest, in bytes: some definitions have a megabyte.
const LONGEST: usize = 4 << 20;

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
        let blob = blob(self.repository, entry.id())?;
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

/// A file's content in Git. What is longer than a manifest is not unpacked: a film would take the memory of the
/// whole daemon, and so would a page of zeros that was packed into nothing.
///
/// # Errors
/// That it is too long, or why it cannot be read.
pub fn blob(repository: &Repository, id: Oid) -> Result<Blob<'_>, String> {
    let told = |error: git2::Error| error.message().to_owned();
    let header = repository.odb().and_then(|odb| odb.read_header(id));
    let (length, _) = header.map_err(told)?;
    if length > LONGEST {
        let most = LONGEST >> 20;
        return Err(format!(
            "has {length} bytes, and no more than {most} MiB are read of a manifest"
        ));
    }
    repository.find_blob(id).map_err(told)
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

#[cfg(test)]
mod tests {
    use git2::FileMode;
    use git2::build::TreeUpdateBuilder;

    use super::*;

    #[test]
    fn a_file_in_git_that_is_longer_than_a_manifest_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let empty = repository.treebuilder(None).unwrap().write().unwrap();
        let empty = repository.find_tree(empty).unwrap();
        let mut update = TreeUpdateBuilder::new();
        for (name, length) in [("right.yaml", LONGEST), ("long.yaml", LONGEST + 1)] {
            let blob = repository.blob(&vec![b' '; length]).unwrap();
            update.upsert(name, blob, FileMode::Blob);
        }
        let tree = update.create_updated(&repository, &empty).unwrap();
        let tree = &repository.find_tree(tree).unwrap();
        let files = Tracked {
            repository: &repository,
            tree,
        };
        let length = |name| files.text(name).map(|text| text.map(|text| text.len()));
        assert_eq!(length("right.yaml"), Ok(Some(LONGEST)));
        let told = length("long.yaml").unwrap_err();
        assert!(told.contains("has 4194305 bytes"), "{told}");
    }
}
