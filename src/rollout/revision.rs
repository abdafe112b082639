//! A revision: the identity of one pod template.
//!
//! The edge computes the hash from the template as stored by the API server; here it is only
//! compared. Not here: the template itself, which never enters the core.

use serde::{Deserialize, Serialize};

/// What people are shown of a hash, and the least that they must name of it.
const SHOWN: usize = 10;

/// What people are shown of a hash. Nothing is decided by it: templates of which it is the same are found in seconds.
pub fn short(hash: &str) -> &str {
    hash.get(..SHOWN).unwrap_or(hash)
}

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

    /// Whether a hash that a person names is this one's, or the beginning of it that people are shown.
    pub fn begins(&self, name: &str) -> bool {
        self.hash == name || (name.len() >= SHOWN && self.hash.starts_with(name))
    }

    /// Whether a person means this one: by its whole hash, an image,
    /// or an image's tag.
    pub fn is_named(&self, name: &str) -> bool {
        let mut images = self.images.iter();
        self.hash == name || images.any(|image| image == name || tag(image) == Some(name))
    }
}

/// An image's tag.
pub(super) fn tag(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split('@').next().unwrap_or(name);
    name.split_once(':').map(|(_, tag)| tag)
}

impl std::fmt::Display for Revision {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.images.first() {
            Some(image) => write!(out, "{} ({image})", short(&self.hash)),
            None => write!(out, "{}", short(&self.hash)),
        }
    }
}
