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

    /// Whether a person means this one: by its hash, an image, or an image's tag.
    pub fn is_named(&self, name: &str) -> bool {
        let tag = |image: &str| {
            let name = image.rsplit('/').next().unwrap_or(image);
            let name = name.split('@').next().unwrap_or(name);
            name.split_once(':').map(|(_, tag)| tag.to_owned())
        };
        let mut images = self.images.iter();
        self.hash == name
            || images.any(|image| image == name || tag(image).as_deref() == Some(name))
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
