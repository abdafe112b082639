//! Why nothing was promoted, by what was being done.

use super::pipeline::Problem;
use crate::git;
use crate::kustomize;
use crate::registry;
use crate::yaml::scalar;

/// The most versions that a message names.
pub(super) const LISTED: usize = 10;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// The file or folder.
        path: String,
        /// Why.
        why: String,
    },
    /// All that is wrong in the pipeline.
    #[error("the pipeline cannot be used:\n{}", lines(.0))]
    Pipeline(Vec<Problem>),
    /// There is none of this name.
    #[error("there is no {what} {name:?}; the pipeline has {}", known.join(", "))]
    Unknown {
        /// `environment` or `service`.
        what: &'static str,
        /// As given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The environments do not follow each other.
    #[error("{to} does not come after {from} but after {}", wanted.as_deref().unwrap_or("nothing: it is the first"))]
    Order {
        /// Where from.
        from: String,
        /// Where to.
        to: String,
        /// What comes before.
        wanted: Option<String>,
    },
    /// Nothing is deployed from Git, and something of it is asked.
    #[error("the pipeline names no repository of manifests")]
    NoRepository,
    /// An environment that follows a registry has no folder.
    #[error("{environment} follows a registry: it names no folder of manifests (path)")]
    NoFolder {
        /// The environment.
        environment: String,
    },
    /// A tag is not in the registry.
    #[error("there is no {image}:{tag} in the registry")]
    NoTag {
        /// The image.
        image: String,
        /// The tag.
        tag: String,
    },
    /// The newest tag wins, so an older one cannot be put back.
    #[error(
        "{environment} takes the newest tag in {range}, so no older one can be put back: exclude {present} in its provider (filter.excludeTag), or give the older bytes a newer version"
    )]
    NewestWins {
        /// The environment.
        environment: String,
        /// Its range.
        range: String,
        /// What is there.
        present: String,
    },
    /// A tag was moved by somebody else meanwhile.
    #[error("{image}:{tag} was moved by somebody else meanwhile, to {to}: look, and try again")]
    TagMoved {
        /// The image.
        image: String,
        /// The tag.
        tag: String,
        /// The digest that it leads to.
        to: String,
    },
    /// A version's tag leads to other bytes than those that were tried.
    #[error(
        "{image}:{tag} leads to {other} now, and {digest} was tried under this name: give those bytes a version of their own"
    )]
    OtherBytes {
        /// The image.
        image: String,
        /// The tag.
        tag: String,
        /// What was tried.
        digest: String,
        /// Where the tag leads to.
        other: String,
    },
    /// The registry says no.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A folder of manifests cannot be read.
    #[error("cannot read the manifests")]
    Manifests(#[source] kustomize::Error),
    /// No file of the folder names the service's image with a version.
    #[error("no file under {folder} says the version of {service}: {hint}")]
    NotThere {
        /// The service.
        service: String,
        /// The folder.
        folder: String,
        /// What is there instead, and what would say it.
        hint: String,
    },
    /// Several places say different versions.
    #[error("the places of {service} say different versions: {places}; write one into all of them")]
    Disagree {
        /// The service.
        service: String,
        /// `file:line says VERSION`, each.
        places: String,
    },
    /// A place says no version.
    #[error("{place}: {why}")]
    NoVersion {
        /// `file:line`.
        place: String,
        /// What was found, and what would be right.
        why: String,
    },
    /// A place wants more than the version has.
    #[error(
        "{place} pins a {what}, and {version} has none: give both, as --version TAG@sha256:..."
    )]
    Lacks {
        /// `file:line`.
        place: String,
        /// The version.
        version: String,
        /// `tag` or `digest`.
        what: &'static str,
    },
    /// A value cannot be changed in its text.
    #[error("{place}")]
    Scalar {
        /// `file:line`.
        place: String,
        /// Why not.
        #[source]
        source: scalar::Fault,
    },
    /// A version was never in an environment.
    #[error(
        "{version} of {service} was not found in {environment}, which has {present}{}",
        had(were)
    )]
    NeverThere {
        /// The service.
        service: String,
        /// The version.
        version: String,
        /// Where it was looked for.
        environment: String,
        /// What is there.
        present: String,
        /// What was there before, the newest first, `LISTED` at most.
        were: Vec<String>,
    },
    /// There is nothing to go back to.
    #[error("{environment} had no other version of {service} than {present}; give --to VERSION")]
    NothingBefore {
        /// The service.
        service: String,
        /// The environment.
        environment: String,
        /// What is there.
        present: String,
    },
    /// A file with a credential cannot be read.
    #[error("cannot read {path}")]
    Credential {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Git or the forge says no.
    #[error(transparent)]
    Git(#[from] git::Error),
}

fn had(were: &[String]) -> String {
    if were.is_empty() {
        return String::new();
    }
    format!(", and had {} before", were.join(", "))
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
