//! An image's name, as registry and repository.
//!
//! Source: OCI Distribution Specification 1.1, "Pulling manifests"; Docker's rule by which a first part
//! with a dot, a colon or `localhost` is a host. Not here: tags and digests (`crate::environments`).

use std::fmt;

use super::error::Error;

/// Where an image is, without tag and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `registry.example`, with the port if there is one.
    pub host: String,
    /// `shop/backend`.
    pub repository: String,
}

impl Image {
    /// Reads `registry.example:5000/shop/backend`; without a host it is Docker Hub's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Name {
            image: text.to_owned(),
        };
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (host, repository) = match text.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            Some(_) => ("docker.io", text.to_owned()),
            None => ("docker.io", format!("library/{text}")),
        };
        let parts = repository.split('/');
        let good = parts.into_iter().all(is_part) && is_host_and_port(host);
        good.then(|| Self {
            host: host.to_owned(),
            repository,
        })
        .ok_or_else(wrong)
    }

    /// Where its API is.
    pub(super) fn api(host: &str) -> &str {
        match host {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }
}

fn is_part(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(word)
        && part.ends_with(word)
        && part.chars().all(|c| word(c) || "._-".contains(c))
}

fn is_host_and_port(host: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    !host.is_empty() && host.chars().all(good)
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)
    }
}
