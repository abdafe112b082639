//! Who we are at a Git server, read from a Secret as Flux writes it.
//!
//! Keys, as in Flux's `GitRepository` documentation: `username` and `password` (basic),
//! `bearerToken`, `identity` with `known_hosts` and optionally `password` (SSH), `ca.crt` or
//! `caFile`; `githubAppID`, `githubAppInstallationID` and `githubAppPrivateKey` with optionally `githubAppBaseURL`.
//!
//! Secrets are kept in a type that prints `[REDACTED]` and is wiped when dropped.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::app::{App, GITHUB};
use super::error::Error;

/// How we say who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nobody: public repositories.
    None,
    /// Name and password, or a token as password.
    Basic {
        /// The name.
        username: String,
        /// The password or token.
        password: SecretString,
    },
    /// `Authorization: Bearer`.
    Bearer(SecretString),
    /// A GitHub App, of which a token is wanted first (`app::Tokens`).
    App(App),
    /// A key for SSH and the hosts that are known.
    Ssh {
        /// The private key, in OpenSSH's or PEM's form.
        identity: SecretString,
        /// What unlocks the key.
        passphrase: Option<SecretString>,
        /// Lines as in OpenSSH's `known_hosts`.
        known_hosts: String,
    },
}

impl Credentials {
    /// Name and password.
    pub fn basic(username: &str, password: &str) -> Self {
        Self::Basic {
            username: username.to_owned(),
            password: SecretString::from(password.to_owned()),
        }
    }

    /// From the data of a Secret, as Flux's `GitRepository` takes it. An empty Secret is nobody.
    ///
    /// # Errors
    /// If a key is missing beside another one, or is no text.
    pub fn from_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        let keys = Keys(data);
        if data.contains_key("githubAppID") {
            return keys.app().map(Self::App);
        }
        if data.contains_key("identity") {
            return Ok(Self::Ssh {
                identity: keys.need("identity")?.into(),
                passphrase: keys.text("password")?.map(SecretString::from),
                known_hosts: keys.need("known_hosts")?,
            });
        }
        if let Some(token) = keys.text("bearerToken")? {
            return Ok(Self::Bearer(token.into()));
        }
        if data.contains_key("username") || data.contains_key("password") {
            return Ok(Self::Basic {
                username: keys.text("username")?.unwrap_or_else(|| "git".to_owned()),
                password: keys.need("password")?.into(),
            });
        }
        Ok(Self::None)
    }

    /// The authority's certificates in the data of a Secret.
    pub fn authority(data: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
        data.get("ca.crt").or_else(|| data.get("caFile")).cloned()
    }
}

/// The Secret's data, by key.
struct Keys<'a>(&'a BTreeMap<String, Vec<u8>>);

impl Keys<'_> {
    fn text(&self, key: &'static str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.0.get(key) else {
            return Ok(None);
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(_) => Err(wrong(key, "found bytes that are no text, want UTF-8")),
        }
    }

    fn app(&self) -> Result<App, Error> {
        let enterprise = self.text("githubAppBaseURL")?;
        let enterprise = enterprise.map(|base| format!("{}/api/v3", base.trim_end_matches('/')));
        Ok(App {
            id: self.need("githubAppID")?,
            installation: self.need("githubAppInstallationID")?,
            key: self.need("githubAppPrivateKey")?.into(),
            api: enterprise.unwrap_or_else(|| GITHUB.to_owned()),
        })
    }

    fn need(&self, key: &'static str) -> Result<String, Error> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(wrong(key, "missing or empty in the Secret")),
        }
    }
}

fn wrong(key: &'static str, why: &str) -> Error {
    Error::Credentials {
        key,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    fn kind(pairs: &[(&str, &str)]) -> &'static str {
        match Credentials::from_secret(&secret(pairs)) {
            Ok(Credentials::None) => "none",
            Ok(Credentials::Basic { .. }) => "basic",
            Ok(Credentials::Bearer(_)) => "bearer",
            Ok(Credentials::Ssh { .. }) => "ssh",
            Ok(Credentials::App(_)) => "app",
            Err(_) => "error",
        }
    }

    #[test]
    fn each_form_of_fluxs_secrets_is_known() {
        let key = ("identity", "-----BEGIN");
        assert_eq!(kind(&[]), "none");
        assert_eq!(kind(&[("username", "u"), ("password", "p")]), "basic");
        assert_eq!(kind(&[("bearerToken", "t")]), "bearer");
        let app = [
            "githubAppID",
            "githubAppInstallationID",
            "githubAppPrivateKey",
        ]
        .map(|key| (key, "1"));
        assert_eq!(kind(&app), "app");
        assert_eq!(kind(&[key, ("known_hosts", "h ssh-ed25519 A")]), "ssh");
    }

    #[test]
    fn what_is_missing_beside_another_key_is_named() {
        let cases = [
            (secret(&[("identity", "k")]), "known_hosts"),
            (secret(&[("username", "u")]), "password"),
            (secret(&[("githubAppID", "1")]), "githubAppInstallationID"),
        ];
        for (data, key) in cases {
            let said = Credentials::from_secret(&data).unwrap_err().to_string();
            assert!(said.contains(key), "{said}");
        }
    }
}
