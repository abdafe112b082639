//! Images in registries: which digest a tag leads to, and tags that are moved to another one.
//!
//! The OCI distribution API, as much of it as a promotion needs: a manifest is read as bytes and written
//! under another tag as the same bytes, so its digest stays and nothing is rebuilt. Credentials come from a
//! file as `docker login` writes it. Our own requests and not a crate's: `oci-client` fits the tree's
//! TLS, but brings some twenty crates for four requests, and reads answers of any size.
//!
//! Not here: which tag is moved, and when (`crate::environments`); layers and configurations of images.

mod challenge;
mod client;
mod error;
mod login;
mod name;
mod page;
#[cfg(test)]
mod tests;

pub use client::{Access, Manifest, Registry};
pub use error::Error;
pub use name::Image;
