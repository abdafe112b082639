//! Signing in with an identity provider: `OpenID` Connect's authorization code flow with PKCE.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, RFC 7636. A [`Provider`] is asked by
//! discovery where things are; what a browser is sent to is pure ([`Provider::door`]), and so is whether
//! an ID token is good ([`token`]). Keys are read anew when a token names one that is not known, so that
//! a provider may change them at any time.
//!
//! Not here: whose browser it is and what was asked for (`web::login`), and what a user may.

mod keys;
mod provider;
pub mod token;

#[cfg(test)]
pub mod standin;

use std::path::PathBuf;
use std::time::Duration;

pub use keys::Keys;
pub use provider::{Door, Provider};

/// An identity provider, as the settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Its issuer identifier, as its tokens have it.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// A file with our secret, read again each time; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// A file with authorities in PEM, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that is the user's name.
    pub user_claim: String,
    /// What the name begins with for the API server.
    pub user_prefix: String,
    /// The claim with the user's groups.
    pub groups_claim: String,
    /// What each group begins with for the API server.
    pub groups_prefix: String,
    /// How long one stays signed in.
    pub session: Duration,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked.
    #[error("the identity provider does not answer at {place}: {why}")]
    Away {
        /// Which of its endpoints.
        place: String,
        /// Why.
        why: String,
    },
    /// It is not what the settings say.
    #[error("the identity provider is not as the settings say: {0}")]
    Other(String),
    /// It did not take the code.
    #[error("the identity provider refused the code: {0}")]
    Refused(String),
    /// Our own files.
    #[error("the file {path} cannot be used: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// Its token is not good.
    #[error("the identity provider's token is not good: {0}")]
    Token(#[from] token::Flaw),
}
