//! Commits on top of another one: a tree with some files written anew, a message, who, and a
//! signature where a key is given.
//!
//! Not here: what the files are, and the push (`copy`).

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Tree};

use super::error::{Doing, Error};
use super::sign::Signer;

/// Who commits, when, and by which key.
#[derive(Debug, Clone, Copy)]
pub struct Committer<'a> {
    /// The committer's name.
    pub name: &'a str,
    /// And e-mail address.
    pub email: &'a str,
    /// The author's name and e-mail address, where that is somebody else.
    pub author: Option<(&'a str, &'a str)>,
    /// Seconds since the epoch.
    pub now: i64,
    /// Signs the commit.
    pub signer: Option<&'a Signer>,
}

impl Committer<'_> {
    /// A commit of `tree` on `parent`.
    pub(super) fn commit(
        &self,
        repository: &Repository,
        (parent, tree): (Oid, Oid),
        text: &str,
    ) -> Result<Oid, Error> {
        let who = self.signature((self.name, self.email))?;
        let author = match self.author {
            Some(author) => self.signature(author)?,
            None => who.clone(),
        };
        let tree = repository.find_tree(tree).doing("reading a tree")?;
        let parent = repository.find_commit(parent).doing("reading a commit")?;
        let Some(signer) = self.signer else {
            return repository
                .commit(None, &author, &who, text, &tree, &[&parent])
                .doing("committing");
        };
        let buffer = repository
            .commit_create_buffer(&author, &who, text, &tree, &[&parent])
            .doing("committing")?;
        let signature = signer.sign(&buffer)?;
        let buffer =
            std::str::from_utf8(&buffer).map_err(|error| Error::Sign(error.to_string()))?;
        repository
            .commit_signed(buffer, &signature, None)
            .doing("committing")
    }

    fn signature(&self, (name, email): (&str, &str)) -> Result<Signature<'static>, Error> {
        let time = git2::Time::new(self.now, 0);
        Signature::new(name, email, &time).doing("naming the committer")
    }

    /// A commit on `parent` in which these files, which are there already, have these texts.
    ///
    /// # Errors
    /// As `Error` says: a file that is not there, an object that cannot be written.
    pub fn rewrite<'t>(
        &self,
        repository: &Repository,
        parent: Oid,
        files: impl IntoIterator<Item = (&'t str, &'t str)>,
        text: &str,
    ) -> Result<Oid, Error> {
        let commit = repository.find_commit(parent).doing("reading a commit")?;
        let before = commit.tree().doing("reading a tree")?;
        let tree = rewritten(repository, &before, files)?;
        self.commit(repository, (parent, tree), text)
    }
}

/// A tree in which these files, which are there already, have these texts.
pub(super) fn rewritten<'t>(
    repository: &Repository,
    before: &Tree<'_>,
    files: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> Result<Oid, Error> {
    let mut update = TreeUpdateBuilder::new();
    for (path, content) in files {
        let entry = before.get_path(std::path::Path::new(path));
        let mode = match entry.doing("reading a file")?.filemode() {
            0o100_755 => FileMode::BlobExecutable,
            _ => FileMode::Blob,
        };
        let blob = repository
            .blob(content.as_bytes())
            .doing("writing a file")?;
        update.upsert(path, blob, mode);
    }
    let tree = update.create_updated(repository, before);
    tree.doing("writing the tree")
}
