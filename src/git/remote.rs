//! Where a repository is, and who we are there.
//!
//! Addresses are kept in one form: `https://host[:port]/path` or `ssh://user@host[:port]/path`;
//! the short `git@host:path` of SSH is turned into it; or `file:///path`, for whoever allows that. What stands before `@` in an HTTP URL is
//! taken out and used as credentials, so that no printed address holds a secret.
//!
//! Not here: the reading of Secrets (`credentials`).

use std::fmt;

use jiff::Timestamp;

use super::app::Tokens;
use super::credentials::Credentials;
use super::error::Error;

/// A repository's address, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    url: String,
    ssh: bool,
}

impl Address {
    /// The address and what stood in it as credentials.
    ///
    /// # Errors
    /// If it is neither HTTP(S) nor SSH.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), Error> {
        let text = text.trim();
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "http" | "https" => Ok(http(scheme, rest)),
                "ssh" => Ok((over_ssh(format!("ssh://{rest}")), None)),
                _ => Err(wrong(text)),
            };
        }
        match text.split_once(':') {
            Some((host, path)) if !host.contains('/') && !path.is_empty() => {
                let path = path.trim_start_matches('/');
                Ok((over_ssh(format!("ssh://{host}/{path}")), None))
            }
            _ => Err(wrong(text)),
        }
    }

    /// A repository in this machine's own file system, `file:///path`; none for anything else.
    pub fn local(text: &str) -> Option<Self> {
        text.starts_with("file:///").then(|| Self {
            url: text.to_owned(),
            ssh: false,
        })
    }

    /// Whether it is in this machine's own file system.
    pub fn is_local(&self) -> bool {
        self.url.starts_with("file:")
    }

    /// As libgit2 takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is spoken to by SSH.
    pub fn is_ssh(&self) -> bool {
        self.ssh
    }

    /// The host's name, without user and port.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        }
    }

    /// The path of the repository on its host, without `/` before and `.git` behind it: what
    /// forges call it by.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let path = path.trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn http(scheme: &str, rest: &str) -> (Address, Option<Credentials>) {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, host) = match authority.rsplit_once('@') {
        Some((who, host)) => (Some(who), host),
        None => (None, authority),
    };
    let address = Address {
        url: format!("{scheme}://{host}/{path}"),
        ssh: false,
    };
    let credentials = who.map(|who| {
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        Credentials::basic(user, password)
    });
    (address, credentials)
}

fn over_ssh(url: String) -> Address {
    Address { url, ssh: true }
}

fn wrong(text: &str) -> Error {
    Error::Address {
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        why: "want https://host/path, ssh://user@host/path or user@host:path",
    }
}

/// A branch of a repository, and who we are there.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where.
    pub at: Address,
    /// Which branch.
    pub branch: String,
    /// Who we are.
    pub credentials: Credentials,
    /// Certificates (PEM) of the authority that is trusted besides the public ones.
    pub authority: Option<Vec<u8>>,
}

impl Remote {
    /// The same with a token where the credentials are a GitHub App.
    ///
    /// # Errors
    /// If the App is given none.
    pub async fn signed_in(self, tokens: &Tokens, now: Timestamp) -> Result<Self, Error> {
        let Credentials::App(app) = &self.credentials else {
            return Ok(self);
        };
        let token = tokens.of(app, self.authority.as_deref(), now).await?;
        let credentials = Credentials::Basic {
            username: "x-access-token".to_owned(),
            password: token,
        };
        Ok(Self {
            credentials,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_an_address_has_one_form() {
        let cases = [
            (
                "https://git.example/a/b.git",
                "https://git.example/a/b.git",
                "git.example",
                "a/b",
            ),
            (
                "https://u:p@git.example:8443/a",
                "https://git.example:8443/a",
                "git.example",
                "a",
            ),
            (
                "git@git.example:a/b.git",
                "ssh://git@git.example/a/b.git",
                "git.example",
                "a/b",
            ),
            (
                "ssh://git@[::1]:2222/a/b",
                "ssh://git@[::1]:2222/a/b",
                "::1",
                "a/b",
            ),
        ];
        for (text, url, host, path) in cases {
            let (address, _) = Address::parse(text).unwrap();
            assert_eq!(
                (address.url(), address.host(), address.path()),
                (url, host, path)
            );
        }
    }

    #[test]
    fn a_secret_in_the_url_becomes_credentials_and_is_printed_nowhere() {
        let (address, credentials) = Address::parse("https://bot:hunter2@git.example/a").unwrap();
        let printed = format!("{address} {address:?} {credentials:?}");
        assert!(
            credentials.is_some() && !printed.contains("hunter2"),
            "{printed}"
        );
    }

    #[test]
    fn other_schemes_and_local_paths_are_refused_without_their_secret() {
        for text in [
            "file:///srv/a",
            "ftp://u:hunter2@host/a",
            "/srv/a",
            "a/b",
            "host:",
        ] {
            let said = Address::parse(text).unwrap_err().to_string();
            assert!(
                said.contains("want https://") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}
