//! Which commits led from the good template to the bad one.
//!
//! The branch is read along first parents: a merge counts as one change, as the person who merged
//! it saw it. A commit leads if the view of the tree, what the path deploys for one workload,
//! differs from that of its parent.
//!
//! Not here: how a view is made (`crate::kustomize`), and the undoing (`revert`).

use git2::{Oid, Repository, Tree};

use super::copy::Copy;
use super::error::{Commit, Doing, Error};

/// What a tree deploys for one workload, in a form that can be compared.
pub trait View {
    /// The view of `tree`.
    fn of(&self, repository: &Repository, tree: &Tree<'_>) -> Result<String, Error>;

    /// What of others is deployed otherwise `after` than `before`, by name; nothing where no more is seen
    /// than what is this view's own.
    fn others(
        &self,
        _repository: &Repository,
        _before: &Tree<'_>,
        _after: &Tree<'_>,
    ) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// One change of the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The commit.
    pub commit: Commit,
    /// Its first parent.
    pub parent: Oid,
    /// The first line of its message.
    pub summary: String,
    /// Who wrote it.
    pub author: String,
    /// Whether it merges: reverting it by hand needs `-m 1`.
    pub merge: bool,
}

/// The changes after `good` up to `tip`, newest first. Fetches what is missing.
///
/// # Errors
/// If `good` is not behind `tip` along first parents: the branch was rewritten.
pub(super) fn changes(copy: &mut Copy, good: Oid, tip: Oid) -> Result<Vec<Change>, Error> {
    loop {
        let depth = match walk(copy.repository(), good, tip) {
            Walked::Reached(changes) => return Ok(changes),
            Walked::Shallow(_) if copy.deepen()? => continue,
            Walked::Ended(depth) | Walked::Shallow(depth) => depth,
        };
        return Err(Error::NoPath {
            good: Commit(good),
            branch: copy.branch().to_owned(),
            depth,
        });
    }
}

/// The changes, newest first, whose tree shows another view than their parent's, back to the
/// newest tree that shows the good one: what was before that is taken back already, or was never
/// bad.
pub(super) fn leading(
    repository: &Repository,
    changes: &[Change],
    good: &str,
    view: &dyn View,
) -> Result<Vec<Change>, Error> {
    let mut leading = Vec::new();
    let Some(newest) = changes.first() else {
        return Ok(leading);
    };
    let mut now = seen_or_why_not(repository, newest.commit.0, view)?;
    for change in changes {
        let before = seen_or_why_not(repository, change.parent, view)?;
        if now != before {
            leading.push(change.clone());
        }
        if before.as_deref() == Ok(good) {
            break;
        }
        now = before;
    }
    Ok(leading)
}

/// A commit in between may be broken: what is wrong with it is its view, and it leads.
fn seen_or_why_not(
    repository: &Repository,
    commit: Oid,
    view: &dyn View,
) -> Result<Result<String, String>, Error> {
    match seen(repository, commit, view) {
        Err(Error::View(why)) => Ok(Err(why)),
        seen => seen.map(Ok),
    }
}

/// The view of a commit's tree.
pub(super) fn seen(repository: &Repository, commit: Oid, view: &dyn View) -> Result<String, Error> {
    let commit = repository.find_commit(commit).doing("reading a commit")?;
    let tree = commit.tree().doing("reading a tree")?;
    view.of(repository, &tree)
}

/// What comes before a commit, along first parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// This one.
    Parent(Oid),
    /// Nothing: it is the first.
    Nothing,
    /// Not fetched: deepen the copy.
    Unknown,
}

/// What comes before `commit`.
pub fn before(repository: &Repository, commit: Oid) -> Before {
    let Ok(commit) = repository.find_commit(commit) else {
        return Before::Unknown;
    };
    match commit.parent_id(0) {
        Ok(parent) if repository.find_commit(parent).is_ok() => Before::Parent(parent),
        Err(_) if !repository.is_shallow() => Before::Nothing,
        Ok(_) | Err(_) => Before::Unknown,
    }
}

/// How a walk along first parents ended; with how many commits were seen.
enum Walked {
    Reached(Vec<Change>),
    /// At the root.
    Ended(usize),
    /// At the edge of the copy.
    Shallow(usize),
}

fn walk(repository: &Repository, good: Oid, tip: Oid) -> Walked {
    let (mut changes, mut next) = (Vec::new(), tip);
    while next != good {
        let Ok(commit) = repository.find_commit(next) else {
            return Walked::Shallow(changes.len());
        };
        let Ok(parent) = commit.parent_id(0) else {
            return if repository.is_shallow() {
                Walked::Shallow(changes.len())
            } else {
                Walked::Ended(changes.len())
            };
        };
        changes.push(Change {
            commit: Commit(next),
            parent,
            summary: commit
                .summary()
                .ok()
                .flatten()
                .unwrap_or_default()
                .to_owned(),
            author: commit.author().name().unwrap_or_default().to_owned(),
            merge: commit.parent_count() > 1,
        });
        next = parent;
    }
    match repository.find_commit(good) {
        Ok(_) => Walked::Reached(changes),
        Err(_) => Walked::Shallow(changes.len()),
    }
}
