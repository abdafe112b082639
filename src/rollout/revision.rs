//! A revision: the identity of one pod template.
//!
//! The edge computes the hash from the template as stored by the API server; here it is only
//! compared. Not here: the template itself, which never enters the core.

use serde::{Deserialize, Serialize};

/// One pod template, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revision {
    /// Hash of the normalised template.
    pub hash: String,
    /// Images of its containers, in order.
    pub images: Vec<String>,
}

impl Revision {
    /// Whether both are one template; images are only for people.
    pub fn same(&self, other: &Revision) -> bool {
        self.hash == other.hash
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.images.first() {
            Some(image) => write!(out, "{} ({image})", self.hash),
            None => write!(out, "{}", self.hash),
        }
    }
}
