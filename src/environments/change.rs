//! What would be written for a version: the new texts, the difference, and whether the folder would
//! deploy it.
//!
//! Not here: whether the gates are open (`gates`), and the commit (`promote`).

use std::collections::BTreeMap;

use git2::Oid;

use super::diff::unified;
use super::error::Error;
use super::gates::Answer;
use super::places::{Pinned, Service};
use super::promote::{Order, Outcome, Report};
use super::version::Version;
use crate::git::{self, Copy};
use crate::kustomize::{Files, Rewritten, Tracked, build};

/// What a service's version is at a commit.
pub(super) fn read(
    copy: &Copy,
    commit: Oid,
    path: &str,
    service: &Service,
) -> Result<Pinned, Error> {
    let tree = tree(copy, commit)?;
    let files = Tracked {
        repository: copy.repository(),
        tree: &tree,
    };
    Pinned::read(&files, path, service)
}

fn tree(copy: &Copy, commit: Oid) -> Result<git2::Tree<'_>, Error> {
    let found = copy.repository().find_commit(commit);
    let tree = found.and_then(|commit| commit.tree());
    let doing = "reading a tree";
    tree.map_err(|source| Error::Git(git::Error::Git { doing, source }))
}

/// What would be written.
pub(super) struct Change {
    pub(super) before: Version,
    pub(super) texts: BTreeMap<String, String>,
    diff: String,
    notes: Vec<String>,
    /// Why the folder would not be deployed as it should.
    broken: Option<String>,
}

impl Change {
    pub(super) fn new(copy: &Copy, head: Oid, order: &Order<'_>) -> Result<Self, Error> {
        let tree = tree(copy, head)?;
        let files = Tracked {
            repository: copy.repository(),
            tree: &tree,
        };
        let path = order.to.folder()?;
        let pinned = Pinned::read(&files, path, order.service)?;
        let texts = pinned.with(&order.version)?;
        let diff = unified(|path| pinned.text(path), &texts);
        let mut notes = Vec::new();
        if pinned.drops_digest(&order.version) {
            let name = &order.to.name;
            notes.push(format!("{name} pins no digest, so only the tag is written"));
        }
        let broken = match built(&files, path, &texts, pinned.is_loose()) {
            Built::Changed => None,
            Built::Broken(why) => Some(why),
            Built::NotTried(why) => {
                notes.push(format!("not built: {why}"));
                None
            }
        };
        Ok(Self {
            before: pinned.version.clone(),
            texts,
            diff,
            notes,
            broken,
        })
    }

    /// Whether it may be written.
    pub(super) fn open(&self, order: &Order<'_>) -> bool {
        self.broken.is_none() && order.gates.iter().all(|answer| answer.open)
    }

    pub(super) fn report(self, order: &Order<'_>, outcome: Outcome) -> Report {
        let mut gates = order.gates.clone();
        gates.extend(self.broken.map(|why| Answer {
            gate: "builds",
            open: false,
            why,
        }));
        Report {
            service: order.service.name.clone(),
            from: order.from.map(|from| from.name.clone()),
            to: order.to.name.clone(),
            version: order.version.clone(),
            before: self.before,
            gates,
            notes: self.notes,
            diff: self.diff,
            outcome,
        }
    }
}

enum Built {
    /// The folder deploys something else now, as it should; or there is nothing to write.
    Changed,
    /// It does not build any more, or deploys the same.
    Broken(String),
    /// It could not be built before.
    NotTried(String),
}

fn built(files: &dyn Files, path: &str, texts: &BTreeMap<String, String>, loose: bool) -> Built {
    if texts.is_empty() {
        return Built::Changed;
    }
    let values = || Built::NotTried("values for a chart are rendered elsewhere".to_owned());
    let before = match build(files, path) {
        Ok(before) => before,
        Err(_) if loose => return values(),
        Err(why) => return Built::NotTried(why.to_string()),
    };
    match build(&Rewritten { files, texts }, path) {
        Ok(after) if after == before && loose => values(),
        Ok(after) if after == before => {
            let why = "the change would deploy nothing else: no object has this image";
            Built::Broken(why.to_owned())
        }
        Ok(_) => Built::Changed,
        Err(why) => Built::Broken(why.to_string()),
    }
}
