//! A scenario's repository: bare, on disk, gone with the scenario.
//!
//! It is opened anew for each piece of work, which is little. One file an object, in `apps`.
//!
//! Not here: when anything is committed or applied (`fleet`).

use std::path::{Path, PathBuf};

use git2::build::TreeUpdateBuilder;
use git2::{Commit, FileMode, Oid, RepositoryInitOptions, Signature, Tree};
use serde_json::Value;

use super::kinds::text;
use super::parse;

const BRANCH: &str = "refs/heads/main";
const FOLDER: &str = "apps";
/// Who commits releases.
const DEVELOPER: (&str, &str) = ("a developer", "dev@shop.example");

/// A bare repository in a folder of its own.
#[derive(Debug)]
pub struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// An empty one in `folder`, which is made and goes with it.
    pub fn new(folder: &Path) -> Result<Self, String> {
        let this = Self {
            folder: folder.to_owned(),
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        git2::Repository::init_opts(this.path(), &options).map_err(|error| because(&error))?;
        Ok(this)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("shop.git")
    }

    /// Where it is, as Git takes it.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn open(&self) -> Result<git2::Repository, String> {
        git2::Repository::open_bare(self.path()).map_err(|error| because(&error))
    }

    /// The branch's newest commit, if there is one.
    pub fn head(&self) -> Result<Option<Oid>, String> {
        match self.open()?.refname_to_id(BRANCH) {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(because(&error)),
        }
    }

    /// Commits these objects on top of the branch.
    pub fn commit(&self, objects: &[Value], summary: &str, now: i64) -> Result<Oid, String> {
        let head = self.head()?;
        let repository = self.open()?;
        let parent = head.map(|head| repository.find_commit(head)).transpose();
        let parent = parent.map_err(|error| because(&error))?;
        let tree = written(&repository, parent.as_ref(), objects)?;
        let commit = || {
            let who = Signature::new(DEVELOPER.0, DEVELOPER.1, &git2::Time::new(now, 0))?;
            let parents: Vec<&Commit<'_>> = parent.iter().collect();
            repository.commit(Some(BRANCH), &who, &who, summary, &tree, &parents)
        };
        commit().map_err(|error| because(&error))
    }

    /// The objects that a commit has.
    pub fn objects(&self, commit: Oid) -> Result<Vec<Value>, String> {
        let repository = self.open()?;
        let texts = || {
            let tree = repository.find_commit(commit)?.tree()?;
            let folder = repository.find_tree(tree.get_path(Path::new(FOLDER))?.id())?;
            let blobs = folder.iter().map(|file| repository.find_blob(file.id()));
            blobs
                .map(|blob| Ok(String::from_utf8_lossy(blob?.content()).into_owned()))
                .collect::<Result<Vec<String>, git2::Error>>()
        };
        let texts = texts().map_err(|error| because(&error))?;
        let objects = texts.iter().map(|text| parse::manifests(text));
        Ok(objects.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// A commit in a line: its short name, its subject, and who made it.
    pub fn told(&self, commit: Oid) -> Result<String, String> {
        let repository = self.open()?;
        let commit = repository.find_commit(commit);
        commit
            .map(|commit| line(&commit))
            .map_err(|error| because(&error))
    }

    /// The branch's commits as such lines, newest first.
    pub fn log(&self) -> Result<Vec<String>, String> {
        let repository = self.open()?;
        let lines = || {
            let mut walk = repository.revwalk()?;
            walk.simplify_first_parent()?;
            walk.push_ref(BRANCH)?;
            walk.map(|commit| Ok(line(&repository.find_commit(commit?)?)))
                .collect::<Result<Vec<String>, git2::Error>>()
        };
        lines().map_err(|error| because(&error))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        // It lies among the temporary files: what cannot be removed now goes with them.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The parent's tree with these objects.
fn written<'r>(
    repository: &'r git2::Repository,
    parent: Option<&Commit<'_>>,
    objects: &[Value],
) -> Result<Tree<'r>, String> {
    let mut update = TreeUpdateBuilder::new();
    for object in objects {
        let yaml = serde_saphyr::to_string(object).map_err(|error| error.to_string())?;
        let blob = repository.blob(yaml.as_bytes());
        let blob = blob.map_err(|error| because(&error))?;
        update.upsert(file(object), blob, FileMode::Blob);
    }
    let mut tree = || {
        let empty = repository.treebuilder(None)?.write()?;
        let base = match parent {
            Some(parent) => parent.tree_id(),
            None => empty,
        };
        let base = repository.find_tree(base)?;
        let updated = update.create_updated(repository, &base)?;
        repository.find_tree(updated)
    };
    tree().map_err(|error| because(&error))
}

fn file(object: &Value) -> String {
    let part = |pointer| text(object, pointer).unwrap_or_default().to_lowercase();
    format!("{FOLDER}/{}-{}.yaml", part("/kind"), part("/metadata/name"))
}

fn line(commit: &Commit<'_>) -> String {
    let short: String = commit.id().to_string().chars().take(7).collect();
    let subject = commit.summary().ok().flatten().unwrap_or_default();
    let author = commit.author();
    let author = author.name().unwrap_or_default();
    format!("{short} {subject} (by {author})")
}

fn because(error: &git2::Error) -> String {
    format!("the scenario's repository: {}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_committed_is_read_again_and_told() {
        let folder = std::env::temp_dir().join(format!("sluice-fleet-{}", std::process::id()));
        let repository = Repository::new(&folder).unwrap();
        assert_eq!(repository.head(), Ok(None));
        let object =
            |image: &str| json!({"kind": "Deployment", "metadata": {"name": "a"}, "image": image});
        repository.commit(&[object("a:1")], "Begin", 1).unwrap();
        let head = repository
            .commit(&[object("a:2")], "Release a:2", 2)
            .unwrap();
        assert_eq!(repository.head(), Ok(Some(head)));
        assert_eq!(repository.objects(head), Ok(vec![object("a:2")]));
        let log = repository.log().unwrap();
        assert!(log[0].ends_with("Release a:2 (by a developer)"), "{log:?}");
        assert_eq!(log.len(), 2);
        drop(repository);
        assert!(!folder.exists());
    }
}
