//! Signing commits with an SSH key, so that `git verify-commit` and forges can check them.
//!
//! Source: gitformat-signature(5), `gpg.format=ssh`; the signature's namespace is `git`.

use std::fmt;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{HashAlg, PrivateKey, decode_secret_key};
use secrecy::{ExposeSecret, SecretString};

use super::error::Error;

/// A key that commits are signed with.
pub struct Signer(PrivateKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = self.0.fingerprint(HashAlg::Sha256);
        f.debug_tuple("Signer").field(&print.to_string()).finish()
    }
}

impl Signer {
    /// From a private key as `ssh-keygen` writes it.
    pub fn new(key: &SecretString, passphrase: Option<&SecretString>) -> Result<Self, Error> {
        let passphrase = passphrase.map(ExposeSecret::expose_secret);
        let key = decode_secret_key(key.expose_secret(), passphrase);
        key.map(Self)
            .map_err(|error| Error::Sign(error.to_string()))
    }

    /// The signature of a commit's text.
    pub(super) fn sign(&self, commit: &[u8]) -> Result<String, Error> {
        let signature = self.0.sign("git", HashAlg::Sha512, commit);
        signature
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|error| Error::Sign(error.to_string()))
    }
}
