//! Which versions an environment had, and since when, from the history of its branch.
//!
//! The branch is read along first parents, as its pushes saw it. Commits that leave the folder
//! alone cost one comparison. What is missing in the copy is fetched.
//!
//! Not here: whose Rollout did what with it; the daemon's history says that.

use git2::{Oid, Repository};
use jiff::Timestamp;

use super::error::Error;
use super::places::{Pinned, Service};
use super::version::Version;
use crate::git::{Before, Copy, before};
use crate::kustomize::Tracked;

/// A time in which an environment had one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Which.
    pub version: Version,
    /// When its commit was made.
    pub since: Timestamp,
    /// The commit that brought it.
    pub commit: Oid,
    /// The first line of its message.
    pub summary: String,
}

/// The stays, newest first, until `enough` says so of those that are complete.
pub fn stays(
    copy: &mut Copy,
    (path, service): (&str, &Service),
    enough: impl Fn(&[Stay]) -> bool,
) -> Result<Vec<Stay>, Error> {
    let head = copy.fetch()?;
    stays_at(copy, head, (path, service), enough)
}

/// The same of a branch whose head was fetched just now.
pub fn stays_at(
    copy: &mut Copy,
    mut head: Oid,
    (path, service): (&str, &Service),
    enough: impl Fn(&[Stay]) -> bool,
) -> Result<Vec<Stay>, Error> {
    loop {
        match walked(copy.repository(), head, (path, service), &enough)? {
            (stays, true) => return Ok(stays),
            (stays, false) => {
                if !copy.deepen()? {
                    return Ok(stays);
                }
            }
        }
        head = copy.fetch()?;
    }
}

/// What was found, and whether that is all or enough.
fn walked(
    repository: &Repository,
    head: Oid,
    (path, service): (&str, &Service),
    enough: impl Fn(&[Stay]) -> bool,
) -> Result<(Vec<Stay>, bool), Error> {
    let mut stays = Vec::new();
    let mut now = head;
    let mut version = version(repository, head, path, service);
    loop {
        let (next, whole) = match before(repository, now) {
            Before::Parent(parent) => (Some(parent), true),
            Before::Nothing => (None, true),
            Before::Unknown => (None, false),
        };
        let earlier = match next {
            Some(parent) if same_folder(repository, now, parent, path) => version.clone(),
            Some(parent) => self::version(repository, parent, path, service),
            None => None,
        };
        if next.is_none() || earlier != version {
            if let Some(version) = version {
                stays.push(stay(repository, now, version)?);
            }
            if whole && enough(&stays) {
                return Ok((stays, true));
            }
        }
        let Some(parent) = next else {
            return Ok((stays, whole));
        };
        (now, version) = (parent, earlier);
    }
}

/// What a commit says, and what a merge brought: a forge writes words of its own over those that were merged.
pub fn messages(repository: &Repository, commit: Oid) -> Vec<String> {
    let Ok(commit) = repository.find_commit(commit) else {
        return Vec::new();
    };
    // A merged branch may lie deeper than the copy.
    let merged = commit.parent_ids().skip(1);
    let merged = merged.filter_map(|parent| repository.find_commit(parent).ok());
    let mut all: Vec<_> = merged.collect();
    all.push(commit);
    let text =
        |commit: &git2::Commit<'_>| String::from_utf8_lossy(commit.message_bytes()).into_owned();
    all.iter().map(text).collect()
}

/// The version in a commit, if it says one: an old commit may have been broken.
fn version(repository: &Repository, commit: Oid, path: &str, service: &Service) -> Option<Version> {
    let tree = repository.find_commit(commit).ok()?.tree().ok()?;
    let files = Tracked {
        repository,
        tree: &tree,
    };
    let pinned = Pinned::read(&files, path, service).ok()?;
    Some(pinned.version)
}

fn same_folder(repository: &Repository, one: Oid, other: Oid, path: &str) -> bool {
    let folder = |commit| {
        let tree = repository.find_commit(commit).ok()?.tree().ok()?;
        match path {
            "" => Some(tree.id()),
            path => tree
                .get_path(std::path::Path::new(path))
                .ok()
                .map(|e| e.id()),
        }
    };
    folder(one) == folder(other)
}

fn stay(repository: &Repository, commit: Oid, version: Version) -> Result<Stay, Error> {
    let found = repository.find_commit(commit);
    let found = found.map_err(|source| crate::git::Error::Git {
        doing: "reading a commit",
        source,
    })?;
    let summary = found.summary().ok().flatten().unwrap_or_default();
    Ok(Stay {
        version,
        since: Timestamp::from_second(found.time().seconds()).unwrap_or_default(),
        commit,
        summary: summary.to_owned(),
    })
}
