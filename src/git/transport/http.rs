//! Git's smart protocol over HTTP, through the HTTP client that the daemon has.
//!
//! One exchange is one request: what libgit2 writes is the body, and the first read sends it.
//! Redirects are followed on the same host only, so that credentials go nowhere else. Where the listing of branches was
//! redirected to, there the exchanges after it go too, as Git does: GitLab redirects the listing only.
//!
//! Source: gitprotocol-http(5).

use std::io::{self, Read, Write};
use std::sync::Arc;

use git2::transport::Service;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret;

use super::pack::Inspector;
use super::{Failure, Line};
use crate::git::credentials::Credentials;
use crate::git::error::Error;
use crate::git::remote::Remote;
use crate::http_client;

/// How much of a refusal is quoted, in bytes.
const QUOTED: usize = 300;
/// Redirects that are followed.
const REDIRECTS: usize = 4;

/// A client that trusts the public authorities and the remote's own.
pub(super) fn client(remote: &Remote) -> Result<Client, Error> {
    let client = http_client::builder()
        .redirect(reqwest::redirect::Policy::custom(on_one_host))
        .user_agent(concat!("git/2.0 (sluice ", env!("CARGO_PKG_VERSION"), ")"));
    let client = http_client::proxied(client, remote.at.url());
    let client = http_client::trusting(client, remote.authority.as_deref());
    client
        .map_err(Error::authority)?
        .build()
        .map_err(|error| Error::Unreachable {
            at: remote.at.clone(),
            why: crate::causes::told(&error),
        })
}

fn on_one_host(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let same = first.is_some_and(|first| {
        (first.host_str(), first.port(), first.scheme())
            == (
                attempt.url().host_str(),
                attempt.url().port(),
                attempt.url().scheme(),
            )
    });
    if same && attempt.previous().len() <= REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// One request and its answer.
pub(super) struct Exchange {
    line: Arc<Line>,
    client: Client,
    url: String,
    service: Service,
    body: Vec<u8>,
    answer: Option<Response>,
    rest: bytes::Bytes,
    inspector: Option<Inspector>,
}

impl Exchange {
    /// Nothing is sent before it is read from.
    pub fn new(line: Arc<Line>, client: Client, service: Service) -> Self {
        let moved = match service {
            Service::UploadPackLs | Service::ReceivePackLs => None,
            Service::UploadPack | Service::ReceivePack => line.moved().clone(),
        };
        let url = moved.unwrap_or_else(|| line.remote.at.url().trim_end_matches('/').to_owned());
        Self {
            line,
            client,
            url,
            service,
            body: Vec::new(),
            answer: None,
            rest: bytes::Bytes::new(),
            inspector: super::inspector(service),
        }
    }

    fn request(&mut self) -> io::Result<RequestBuilder> {
        let (name, listing) = match self.service {
            Service::UploadPackLs => ("git-upload-pack", true),
            Service::UploadPack => ("git-upload-pack", false),
            Service::ReceivePackLs => ("git-receive-pack", true),
            Service::ReceivePack => ("git-receive-pack", false),
        };
        let url = &self.url;
        let request = if listing {
            self.client.get(format!("{url}/info/refs?service={name}"))
        } else {
            self.client
                .post(format!("{url}/{name}"))
                .header(CONTENT_TYPE, format!("application/x-{name}-request"))
                .header(ACCEPT, format!("application/x-{name}-result"))
                .body(std::mem::take(&mut self.body))
        };
        self.signed_in(request)
    }

    fn signed_in(&self, request: RequestBuilder) -> io::Result<RequestBuilder> {
        Ok(match &self.line.remote.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
            Credentials::Bearer(token) => {
                let value = format!("Bearer {}", token.expose_secret());
                let mut value = HeaderValue::from_str(&value).map_err(io::Error::other)?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            Credentials::App(app) => {
                let why = format!("no token of the GitHub App {} was asked for", app.id);
                return Err(self.line.fail(Failure::Refused(why)));
            }
            Credentials::Ssh { .. } => {
                let why = "the Secret holds no name and password or bearerToken, which HTTP needs";
                return Err(self.line.fail(Failure::Refused(why.to_owned())));
            }
        })
    }

    fn send(&mut self) -> io::Result<Response> {
        let request = self.request()?;
        let sent = self.line.wait(request.send())?;
        let answer = sent.map_err(|error| {
            let why = crate::causes::told(&error.without_url());
            self.line.fail(Failure::Unreachable(why))
        })?;
        match answer.status() {
            StatusCode::OK => {
                if let Some(base) = listed_at(answer.url()) {
                    *self.line.moved() = Some(base);
                }
                Ok(answer)
            }
            status => Err(self.refused(status, answer)),
        }
    }

    fn refused(&self, status: StatusCode, mut answer: Response) -> io::Error {
        let text = match self.line.wait(answer.chunk()) {
            Ok(Ok(Some(chunk))) => quoted(&chunk),
            _ => String::new(),
        };
        let why = format!("HTTP {status} {text}").trim_end().to_owned();
        self.line.fail(if status.is_server_error() {
            Failure::Unreachable(why)
        } else {
            Failure::Refused(why)
        })
    }
}

/// The repository's address, where branches were listed at this one.
fn listed_at(url: &reqwest::Url) -> Option<String> {
    let mut base = url.clone();
    base.set_path(url.path().strip_suffix("/info/refs")?);
    base.set_query(None);
    Some(base.as_str().trim_end_matches('/').to_owned())
}

impl Read for Exchange {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.answer.is_none() {
            self.answer = Some(self.send()?);
        }
        while self.rest.is_empty() {
            let Some(answer) = self.answer.as_mut() else {
                return Ok(0);
            };
            let chunk = self.line.wait(answer.chunk())?.map_err(|error| {
                let why = crate::causes::told(&error.without_url());
                self.line.fail(Failure::Unreachable(why))
            })?;
            let Some(chunk) = chunk else {
                return Ok(0);
            };
            self.line.receive(&chunk, self.inspector.as_mut())?;
            self.rest = chunk;
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

impl Write for Exchange {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first line of a refusal, if it is text that people can read.
fn quoted(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(QUOTED)]);
    let line = text.lines().find(|line| !line.trim().is_empty());
    match line {
        Some(line) if !line.trim_start().starts_with('<') => {
            line.chars().filter(|char| !char.is_control()).collect()
        }
        _ => String::new(),
    }
}
