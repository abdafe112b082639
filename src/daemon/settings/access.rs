//! The settings of who may act at the page and its API.

use std::path::PathBuf;

use super::reader::{Reader, Section};

/// How people are known. With neither, nobody can act there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Whether tokens of the cluster are accepted: who may patch a Rollout may act on it.
    pub token_review: bool,
    /// A file with one token that may act on every Rollout, read again each time.
    pub token_file: Option<PathBuf>,
}

impl Access {
    /// Whether anybody may act.
    pub fn is_given(&self) -> bool {
        self.token_review || self.token_file.is_some()
    }
}

/// Reads `access`.
pub fn access(reader: &mut Reader, root: &Section) -> Access {
    let section = reader.section(root, "access");
    Access {
        token_review: reader.flag(&section, "tokenReview", false),
        token_file: reader.path(&section, "tokenFile"),
    }
}
