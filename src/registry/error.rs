//! Why a registry could not be asked, by what was being done.
//!
//! No password and no token is in any of them. Not here: what follows from it.

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image that names no registry and repository.
    #[error(
        "{image:?} is no image in a registry: want HOST/PATH, as registry.example/shop/backend"
    )]
    Name {
        /// As given.
        image: String,
    },
    /// A file cannot be used.
    #[error("cannot use {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The client cannot be made.
    #[error("cannot make a client for {host}: {why}")]
    Client {
        /// The registry.
        host: String,
        /// Why.
        why: String,
    },
    /// It does not answer.
    #[error("cannot reach the registry {host}: {why}")]
    Unreachable {
        /// The registry.
        host: String,
        /// Why.
        why: String,
    },
    /// It wants to know who we are, and we cannot say.
    #[error("{host} asks for a login: {why}")]
    Login {
        /// The registry.
        host: String,
        /// Why there is none.
        why: String,
    },
    /// It says no.
    #[error("{host} refuses to {doing}: {why}")]
    Refused {
        /// The registry.
        host: String,
        /// What was asked.
        doing: String,
        /// Its status and words.
        why: String,
    },
    /// Its answer is not what the specification says.
    #[error("{host} answers what is not understood: {why}")]
    Answer {
        /// The registry.
        host: String,
        /// What it is.
        why: String,
    },
}
