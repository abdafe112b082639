//! The whole remedy: find what led to the bad template, take it back, push.
//!
//! It is safe to do again: a commit of the same run is found on the branch instead of made twice,
//! and nothing is done where the branch shows the good template already or a newer one. Nothing is
//! pushed to the branch that is deployed that would take back what others run too.
//! For a pull request the commit goes to a branch of its own; where it conflicts with the branch
//! that is deployed, it can stand beside it, on top of the bad commit, for people to merge.

use std::collections::BTreeMap;

use git2::{Oid, Repository, Tree};

use super::commit::{Committer, rewritten};
use super::copy::{Copy, Pushed};
use super::error::{Commit, Doing, Error};
use super::history::{self, Change, View};
use super::message::{Message, reverts};
use super::revert;
use super::sign::Signer;

/// Other Rollouts' branches that are looked at.
const OTHERS: usize = 20;
/// Fresh starts after others pushed.
const TRIES: usize = 5;

/// What is to be undone.
#[derive(Debug)]
pub struct Order<'a> {
    /// The commit that was deployed when all was well.
    pub good: Oid,
    /// The commit that was deployed when the run began.
    pub bad: Oid,
    /// What our commit says.
    pub message: Message,
    /// Who commits: name and e-mail address.
    pub committer: (&'a str, &'a str),
    /// Seconds since the epoch.
    pub now: i64,
    /// Signs the commit.
    pub signer: Option<&'a Signer>,
    /// Where the commit goes.
    pub onto: Onto,
    /// What it does besides, if anything.
    pub beside: Option<&'a dyn Beside>,
}

/// What our commit does besides taking changes back.
pub trait Beside: std::fmt::Debug {
    /// What is to be written in `tree`, in which `undone` is taken back.
    ///
    /// # Errors
    /// If the tree cannot be read.
    fn of(
        &self,
        repository: &Repository,
        tree: &Tree<'_>,
        undone: &[Change],
    ) -> Result<Written, Error>;
}

/// Files with new texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The texts by their paths; the files are there already.
    pub files: BTreeMap<String, String>,
    /// What that does, in a sentence for the commit's message.
    pub says: String,
}

/// Where our commit is pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onto {
    /// The branch that is deployed.
    Branch,
    /// A branch of its own on top of it, for a pull request.
    Own(String),
    /// A branch of its own on top of the bad commit, where later changes conflict.
    Apart(String),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Our commit is on the server.
    Pushed {
        /// It.
        commit: Commit,
        /// What it takes back, newest first; empty if it was pushed before a restart.
        undone: Vec<Change>,
    },
    /// A branch for another Rollout takes back just the same: one pull request does for both.
    Shared {
        /// That branch.
        branch: String,
        /// Its commit.
        commit: Commit,
        /// What it takes back, newest first.
        undone: Vec<Change>,
    },
    /// The branch shows the good template: by whom.
    Restored {
        /// The newest change of the branch.
        head: Commit,
    },
    /// The branch shows a template that is neither: somebody went on.
    Superseded {
        /// The newest change that leads there.
        by: Change,
    },
    /// No commit changed what is deployed: the bad template came from elsewhere.
    NotFromHere,
    /// Taking the commits back does not give the good template.
    NotEnough {
        /// What would be taken back, newest first.
        found: Vec<Change>,
    },
}

/// Does it.
///
/// # Errors
/// As `Error` says; then nothing was pushed, or it is not known (`TimedOut`, `Unreachable`):
/// doing it again finds out.
pub fn undo(copy: &mut Copy, order: &Order<'_>, view: &dyn View) -> Result<Outcome, Error> {
    for _ in 0..TRIES {
        let head = copy.fetch()?;
        let after = history::changes(copy, order.bad, head)?;
        let between = history::changes(copy, order.good, order.bad)?;
        if order.onto == Onto::Branch
            && let Some(commit) = ours_among(copy, order, &after)?
        {
            // Told if it can be seen: what counts is that it is there.
            let repository = copy.repository();
            let undone = history::seen(repository, order.good, view)
                .and_then(|good| history::leading(repository, &between, &good, view))
                .unwrap_or_default();
            return Ok(Outcome::Pushed { commit, undone });
        }
        let undone = match to_undo(copy, order, head, (&after, &between), view)? {
            Ok(undone) => undone,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(commit) = ours_on_its_branch(copy, order)? {
            return Ok(Outcome::Pushed { commit, undone });
        }
        if let Some((branch, commit)) = theirs(copy, order, &undone, view)? {
            return Ok(Outcome::Shared {
                branch,
                commit,
                undone,
            });
        }
        match made(copy, order, head, &undone, view)? {
            None => return Ok(Outcome::NotEnough { found: undone }),
            Some(commit) if pushed(copy, order, commit, &undone)? => {
                let commit = Commit(commit);
                return Ok(Outcome::Pushed { commit, undone });
            }
            Some(_) => {}
        }
    }
    Err(Error::Moved {
        branch: copy.branch().to_owned(),
        tries: TRIES,
    })
}

/// Our commit, if it gives the good template.
fn made(
    copy: &Copy,
    order: &Order<'_>,
    head: Oid,
    undone: &[Change],
    view: &dyn View,
) -> Result<Option<Oid>, Error> {
    let parent = match order.onto {
        Onto::Branch | Onto::Own(_) => head,
        Onto::Apart(_) => order.bad,
    };
    let without = revert::without(copy.repository(), parent, undone)?;
    let (tree, says) = with_beside(copy.repository(), order, without, undone)?;
    if !shows(copy, tree, order.good, view)? {
        return Ok(None);
    }
    if order.onto == Onto::Branch {
        alone(copy.repository(), (parent, without), undone, view)?;
    }
    commit(copy, order, (parent, tree), undone, &says).map(Some)
}

/// An error where others than what failed would be deployed otherwise.
fn alone(
    repository: &Repository,
    (head, tree): (Oid, Oid),
    undone: &[Change],
    view: &dyn View,
) -> Result<(), Error> {
    let tree_of = |oid| repository.find_tree(oid).doing("reading a tree");
    let before = tree_of(revert::tree_of(repository, head)?)?;
    let others = view.others(repository, &before, &tree_of(tree)?)?;
    if others.is_empty() {
        return Ok(());
    }
    let found = undone.to_vec();
    Err(Error::Others { others, found })
}

/// The tree with what the commit does besides, and what it says of that.
fn with_beside(
    repository: &Repository,
    order: &Order<'_>,
    tree: Oid,
    undone: &[Change],
) -> Result<(Oid, String), Error> {
    let Some(beside) = order.beside else {
        return Ok((tree, String::new()));
    };
    let before = repository.find_tree(tree).doing("reading a tree")?;
    let written = beside.of(repository, &before, undone)?;
    let files = written.files.iter();
    let files = files.map(|(path, text)| (path.as_str(), text.as_str()));
    let tree = rewritten(repository, &before, files)?;
    Ok((tree, written.says))
}

/// False if somebody else pushed first.
fn pushed(copy: &Copy, order: &Order<'_>, commit: Oid, undone: &[Change]) -> Result<bool, Error> {
    let branch = match &order.onto {
        Onto::Branch => copy.branch(),
        Onto::Own(branch) | Onto::Apart(branch) => branch,
    };
    let pushed = copy.push(commit, branch);
    let pushed = pushed.map_err(|error| error.about(undone))?;
    Ok(pushed == Pushed::Done)
}

/// Our commit of the same run, if an earlier try brought it to the branch.
fn ours_among(copy: &Copy, order: &Order<'_>, after: &[Change]) -> Result<Option<Commit>, Error> {
    for change in after {
        if is_ours(copy, order, change.commit.0)? {
            return Ok(Some(change.commit));
        }
    }
    Ok(None)
}

/// The same on a branch of its own.
fn ours_on_its_branch(copy: &Copy, order: &Order<'_>) -> Result<Option<Commit>, Error> {
    let (Onto::Own(branch) | Onto::Apart(branch)) = &order.onto else {
        return Ok(None);
    };
    match copy.fetch_other(branch)? {
        Some(commit) if is_ours(copy, order, commit)? => Ok(Some(Commit(commit))),
        Some(_) | None => Ok(None),
    }
}

/// A branch beside ours, for another Rollout, whose commit takes back the same and gives our good
/// template too.
fn theirs(
    copy: &Copy,
    order: &Order<'_>,
    undone: &[Change],
    view: &dyn View,
) -> Result<Option<(String, Commit)>, Error> {
    let Onto::Own(own) = &order.onto else {
        return Ok(None);
    };
    let Some((folder, _)) = own.rsplit_once('/') else {
        return Ok(None);
    };
    let others = copy.others(&format!("{folder}/"))?;
    for branch in others.into_iter().filter(|other| other != own).take(OTHERS) {
        let Some(head) = copy.fetch_other(&branch)? else {
            continue;
        };
        let commit = copy.repository().find_commit(head);
        let commit = commit.doing("reading a commit")?;
        let same = commit.message().is_ok_and(|text| reverts(text, undone));
        if same && shows(copy, commit.tree_id(), order.good, view)? {
            return Ok(Some((branch, Commit(head))));
        }
    }
    Ok(None)
}

fn is_ours(copy: &Copy, order: &Order<'_>, commit: Oid) -> Result<bool, Error> {
    let commit = copy
        .repository()
        .find_commit(commit)
        .doing("reading a commit")?;
    let message = commit.message().ok();
    Ok(message.is_some_and(|message| order.message.is_of(message)))
}

/// The changes to take back, or why none.
fn to_undo(
    copy: &Copy,
    order: &Order<'_>,
    head: Oid,
    (after, between): (&[Change], &[Change]),
    view: &dyn View,
) -> Result<Result<Vec<Change>, Outcome>, Error> {
    let repository = copy.repository();
    let seen = |commit| history::seen(repository, commit, view);
    let (good, bad, now) = (seen(order.good)?, seen(order.bad)?, seen(head)?);
    if good == bad {
        return Ok(Err(Outcome::NotFromHere));
    }
    if now == good {
        let head = Commit(head);
        return Ok(Err(Outcome::Restored { head }));
    }
    if now != bad {
        let newer = history::leading(repository, after, &bad, view)?;
        if let Some(by) = newer.into_iter().next() {
            return Ok(Err(Outcome::Superseded { by }));
        }
    }
    history::leading(repository, between, &good, view).map(Ok)
}

fn shows(copy: &Copy, tree: Oid, good: Oid, view: &dyn View) -> Result<bool, Error> {
    let repository = copy.repository();
    let tree = repository.find_tree(tree).doing("reading a tree")?;
    Ok(view.of(repository, &tree)? == history::seen(repository, good, view)?)
}

fn commit(
    copy: &Copy,
    order: &Order<'_>,
    (head, tree): (Oid, Oid),
    undone: &[Change],
    says: &str,
) -> Result<Oid, Error> {
    let (name, email) = order.committer;
    let committer = Committer {
        name,
        email,
        author: None,
        now: order.now,
        signer: order.signer,
    };
    let text = order.message.text(undone, says);
    committer.commit(copy.repository(), (head, tree), &text)
}
