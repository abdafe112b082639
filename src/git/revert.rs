//! The tree in which changes are taken back.
//!
//! Each change is undone on top of what is there now, newest first, by a three-way merge from the
//! change to its parent, as `git revert` does it. Later changes of other lines stay. A conflict
//! ends it: nothing is ever resolved by guessing.

use git2::{MergeOptions, Oid, Repository};

use super::error::{Doing, Error};
use super::history::Change;

/// The tree of `head` without `changes`, which are newest first.
pub(super) fn without(
    repository: &Repository,
    head: Oid,
    changes: &[Change],
) -> Result<Oid, Error> {
    let mut tree = tree_of(repository, head)?;
    for change in changes {
        tree = undone(repository, tree, change)?.map_err(|paths| Error::Conflict {
            commit: change.commit,
            paths,
            found: changes.to_vec(),
        })?;
    }
    Ok(tree)
}

/// The tree of a commit.
pub(super) fn tree_of(repository: &Repository, commit: Oid) -> Result<Oid, Error> {
    let commit = repository.find_commit(commit).doing("reading a commit")?;
    Ok(commit.tree_id())
}

/// The tree without the change, or the files in which that conflicts.
fn undone(
    repository: &Repository,
    ours: Oid,
    change: &Change,
) -> Result<Result<Oid, Vec<String>>, Error> {
    let tree = |oid| repository.find_tree(oid).doing("reading a tree");
    let base = tree(tree_of(repository, change.commit.0)?)?;
    let theirs = tree(tree_of(repository, change.parent)?)?;
    let mut index = repository
        .merge_trees(&base, &tree(ours)?, &theirs, Some(&MergeOptions::new()))
        .doing("reverting")?;
    if index.has_conflicts() {
        return conflicts(&index).map(Err);
    }
    let tree = index.write_tree_to(repository);
    tree.doing("writing the tree").map(Ok)
}

fn conflicts(index: &git2::Index) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    for conflict in index.conflicts().doing("reading the conflicts")? {
        let conflict = conflict.doing("reading the conflicts")?;
        let entry = conflict.our.or(conflict.their).or(conflict.ancestor);
        let path = entry.map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
        paths.extend(path);
    }
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}
