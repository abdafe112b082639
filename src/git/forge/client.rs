//! Sends what is asked of a forge, with our token, and nothing else.
//!
//! Redirects are not followed: a repository that moved is said, and the token stays where it is
//! meant for. Answers are bounded in size and time.
//!
//! Not here: the requests (`ask`) and what the answers mean (`answer`).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::ask::Ask;
use super::error::Error;
use super::{Account, Kind, Place, Proposal, Pull, Token};
use crate::git::app::{App, Tokens};
use crate::http_client;

/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const BODY_LIMIT: usize = 8 << 20;

/// One repository's pull requests.
pub struct Forge {
    place: Place,
    token: Token,
    tokens: Tokens,
    authority: Option<Vec<u8>>,
    client: Client,
    now: Timestamp,
}

impl fmt::Debug for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forge").field(&self.place).finish()
    }
}

impl Forge {
    /// At `place`, trusting also the authority (PEM) of the repository's server.
    pub fn new(
        place: Place,
        account: &Account,
        authority: Option<&[u8]>,
        (tokens, now): (&Tokens, Timestamp),
    ) -> Result<Self, Error> {
        let client = http_client::builder().timeout(DEADLINE);
        let client = http_client::proxied(client, &place.api);
        let client = http_client::trusting(client, authority);
        let client = client.map_err(|error| unreachable_at(&place, &error))?;
        let client = client.build();
        let client = client.map_err(|error| unreachable_at(&place, &error))?;
        Ok(Self {
            client,
            token: account.token.clone(),
            tokens: tokens.clone(),
            authority: authority.map(<[u8]>::to_vec),
            place,
            now,
        })
    }

    /// The pull request for our branch: the one that is there, else a new one.
    pub async fn ensure(&self, wanted: &Proposal) -> Result<Pull, Error> {
        if let Some(pull) = self.find(wanted).await? {
            return Ok(pull);
        }
        match self.send(self.place.open(wanted)?).await {
            Ok(answer) => self.place.pull(&answer.unwrap_or_default()),
            // Opened by a request whose answer was lost.
            Err(refused @ Error::Refused { .. }) => {
                let there = self.find(wanted).await?;
                there.ok_or(refused)
            }
            Err(error) => Err(error),
        }
    }

    /// What became of one.
    pub async fn look(&self, number: u64) -> Result<Pull, Error> {
        let answer = self.send(self.place.show(number)?).await?;
        self.place.pull(&answer.unwrap_or_default())
    }

    async fn find(&self, wanted: &Proposal) -> Result<Option<Pull>, Error> {
        match self.send(self.place.find(wanted)?).await? {
            Some(answer) => self.place.found(&wanted.branch, &answer),
            None => Ok(None),
        }
    }

    /// The answer; `None` for one that may be absent and is.
    async fn send(&self, ask: Ask) -> Result<Option<Value>, Error> {
        let mut request = self.client.request(ask.method, ask.url);
        if let Some(body) = &ask.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let mut answer = self
            .signed(request)
            .await?
            .send()
            .await
            .map_err(|error| unreachable_at(&self.place, &error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| unreachable_at(&self.place, &error))?
        {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(self.unreadable("more than 8 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            StatusCode::OK | StatusCode::CREATED => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| self.unreadable(&error.to_string())),
            StatusCode::NOT_FOUND if ask.may_be_absent => Ok(None),
            status => Err(self.place.refused(status, &headers, &body, self.now)),
        }
    }

    async fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let token = self.token().await?;
        let with = |name: &str, before: &str| {
            let value = HeaderValue::from_str(&format!("{before}{}", token.expose_secret()));
            let no_text = |error| no_token(Path::new("token"), std::io::Error::other(error));
            let mut value = value.map_err(no_text)?;
            value.set_sensitive(true);
            Ok((name.to_owned(), value))
        };
        let (name, value) = match self.place.kind {
            Kind::GitHub => with("authorization", "Bearer ")?,
            Kind::GitLab => with("private-token", "")?,
            Kind::Gitea => with("authorization", "token ")?,
            Kind::AzureDevOps => {
                return Ok(request.basic_auth("", Some(token.expose_secret())));
            }
        };
        let request = request.header(name, value);
        Ok(match self.place.kind {
            Kind::GitHub => request
                .header(ACCEPT, "application/vnd.github+json")
                .header("x-github-api-version", "2022-11-28"),
            Kind::GitLab | Kind::Gitea | Kind::AzureDevOps => request,
        })
    }

    async fn token(&self) -> Result<SecretString, Error> {
        let (id, installation, key_file) = match &self.token {
            Token::File(path) => return secret(path),
            Token::App {
                id,
                installation,
                key_file,
            } => (id.clone(), installation.clone(), key_file),
        };
        let app = App {
            id,
            installation,
            key: secret(key_file)?,
            api: self.place.api.clone(),
        };
        let token = self.tokens.of(&app, self.authority.as_deref(), self.now);
        let no_token = |error| Error::App(crate::causes::told(&error));
        token.await.map_err(no_token)
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::Unreadable {
            at: self.place.api.clone(),
            why: why.to_owned(),
        }
    }
}

/// What a file with a secret holds.
fn secret(path: &Path) -> Result<SecretString, Error> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| no_token(path, source))?;
    Ok(SecretString::from(text.trim().to_owned()))
}

fn no_token(path: &Path, source: std::io::Error) -> Error {
    let path = path.to_owned();
    Error::Token { path, source }
}

fn unreachable_at(place: &Place, error: &dyn std::error::Error) -> Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Error::Unreachable {
        at: place.api.clone(),
        why: innermost.to_string(),
    }
}
