//! Asking a registry and writing tags to it.
//!
//! Guarantees: a manifest's bytes are checked against its digest when they are read; answers are bounded in
//! time and size; redirects are not followed; plain HTTP only to this machine, or where the pipeline says
//! so; credentials go to the registry and to the server of tokens that it names, on TLS like itself.
//!
//! Source: OCI Distribution Specification 1.1. Not here: who we are (`login`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::challenge::Challenge;
use super::error::Error;
use super::login::{self, Login};
use super::name::Image;
use super::page;
use crate::causes;
use crate::http_client;

/// For one request.
const DEADLINE: Duration = Duration::from_secs(15);
/// The most of an answer; registries take manifests of up to 4 MiB.
const BYTES: usize = 4 << 20;
/// Pages of a list of tags.
const PAGES: usize = 50;
/// What a tag may lead to.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.docker.distribution.manifest.v2+json";

/// How registries are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// A file as `docker login` writes it.
    pub config_file: Option<PathBuf>,
    /// Plain HTTP, to other machines too.
    pub insecure: bool,
    /// Certificates of the authority that is trusted besides the public ones.
    pub authority_file: Option<PathBuf>,
}

/// A manifest or an index of them, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type.
    pub media: String,
    /// `sha256:...` of its bytes.
    pub digest: String,
    /// As the registry keeps it.
    pub bytes: Vec<u8>,
}

/// A registry.
#[derive(Debug)]
pub struct Registry {
    host: String,
    base: String,
    client: Client,
    access: Access,
    /// By what they are for.
    tokens: Mutex<BTreeMap<String, SecretString>>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// A registry by its host.
    pub fn new(host: &str, access: &Access) -> Result<Self, Error> {
        let loopback = http_client::is_loopback(host);
        let plain = access.insecure || (loopback && access.authority_file.is_none());
        let scheme = if plain { "http" } else { "https" };
        Ok(Self {
            base: format!("{scheme}://{}", Image::api(host)),
            client: client(host, access, loopback)?,
            host: host.to_owned(),
            access: access.clone(),
            tokens: Mutex::default(),
        })
    }

    /// The digest that a tag leads to; `None` if there is no such tag.
    pub async fn digest(&self, repository: &str, tag: &str) -> Result<Option<String>, Error> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let doing = format!("say where {repository}:{tag} leads to");
        let ask = || self.request(Method::HEAD, &path).header(ACCEPT, MANIFESTS);
        let answer = self.send(repository, ask).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = self.good(answer, &doing).await?;
        match said(answer.headers()) {
            Some(digest) => Ok(Some(digest)),
            None => Ok(Some(self.manifest(repository, tag).await?.digest)),
        }
    }

    /// What a tag or digest leads to.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Manifest, Error> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let doing = format!("give the manifest of {repository} {reference}");
        let ask = || self.request(Method::GET, &path).header(ACCEPT, MANIFESTS);
        let answer = self.send(repository, ask).await?;
        let answer = self.good(answer, &doing).await?;
        let media = answer.headers().get(CONTENT_TYPE);
        let media = media
            .and_then(|media| media.to_str().ok())
            .unwrap_or_default();
        let (media, wanted) = (media.to_owned(), said(answer.headers()));
        let bytes = self.body(answer).await?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        let asked = Some(reference.to_owned()).filter(|asked| asked.starts_with("sha256:"));
        if let Some(other) = [wanted, asked].into_iter().flatten().find(|d| *d != digest) {
            return Err(self.answer(format!("a manifest of {digest}, said to be {other}")));
        }
        Ok(Manifest {
            media,
            digest,
            bytes,
        })
    }

    /// Makes a tag lead to a manifest of the same repository.
    pub async fn put(&self, repository: &str, tag: &str, manifest: &Manifest) -> Result<(), Error> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let ask = || {
            let request = self.request(Method::PUT, &path);
            let request = request.header(CONTENT_TYPE, &manifest.media);
            request.body(manifest.bytes.clone())
        };
        let answer = self.send(repository, ask).await?;
        let doing = format!("write the tag {repository}:{tag}");
        self.good(answer, &doing).await.map(|_| ())
    }

    /// Every tag of a repository; none of one that is not there.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        let mut path = format!("/v2/{repository}/tags/list?n=1000");
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let answer = self
                .send(repository, || self.request(Method::GET, &path))
                .await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(all);
            }
            let answer = self
                .good(answer, &format!("list the tags of {repository}"))
                .await?;
            let next = page::next(answer.headers(), answer.url());
            let next = next.map_err(|why| self.answer(why))?;
            let bytes = self.body(answer).await?;
            let page: Result<Tags, _> = serde_json::from_slice(&bytes);
            let page = page.map_err(|_| self.answer("no list of tags".to_owned()))?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
        Err(self.answer(format!("more than {PAGES} pages of tags of {repository}")))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends it, and once more with what the registry asks for.
    async fn send(
        &self,
        repository: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        let first = match self.known(repository) {
            Some(token) => request().bearer_auth(token.expose_secret()),
            None => request(),
        };
        let answer = first
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let challenge = challenges.next();
        let second = match challenge {
            None => return Ok(answer),
            Some(Challenge::Basic) => self.by_password(repository, request())?,
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let token = self.token(repository, (&realm, service, scope)).await?;
                let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
                tokens.insert(repository.to_owned(), token.clone());
                request().bearer_auth(token.expose_secret())
            }
        };
        second.send().await.map_err(|error| self.unreachable(error))
    }

    fn known(&self, repository: &str) -> Option<SecretString> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(repository).cloned()
    }

    fn login(&self, repository: &str) -> Result<Option<Login>, Error> {
        let Some(file) = &self.access.config_file else {
            return Ok(None);
        };
        login::of_repository(file, &self.host, repository).map_err(|why| Error::File {
            path: file.display().to_string(),
            why,
        })
    }

    fn by_password(
        &self,
        repository: &str,
        request: RequestBuilder,
    ) -> Result<RequestBuilder, Error> {
        match self.login(repository)? {
            Some(Login::Basic(name, password)) => {
                Ok(request.basic_auth(name, Some(password.expose_secret())))
            }
            Some(Login::Identity(_)) => {
                Err(self.no_login("it wants a password, and there is an identity token"))
            }
            None => Err(self.no_login("name a file with its password as registry.configFile")),
        }
    }

    fn no_login(&self, why: &str) -> Error {
        Error::Login {
            host: self.host.clone(),
            why: why.to_owned(),
        }
    }

    /// Asks the server of tokens that the registry names.
    async fn token(
        &self,
        repository: &str,
        (realm, service, scope): (&str, Option<String>, Option<String>),
    ) -> Result<SecretString, Error> {
        let url = Url::parse(realm).map_err(|_| self.answer(format!("{realm:?} is no URL")))?;
        if url.scheme() != "https" && !self.base.starts_with("http://") {
            return Err(self.answer(format!("its tokens are not given on https: {realm}")));
        }
        let asked = [("service", service), ("scope", scope)];
        let mut asked: Vec<(&str, String)> = asked
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let request = match self.login(repository)? {
            Some(Login::Identity(token)) => {
                asked.push(("grant_type", "refresh_token".to_owned()));
                asked.push(("client_id", "sluice".to_owned()));
                asked.push(("refresh_token", token.expose_secret().to_owned()));
                self.client.post(url).form(&asked)
            }
            Some(Login::Basic(name, password)) => {
                let request = self.client.get(url).query(&asked);
                request.basic_auth(name, Some(password.expose_secret()))
            }
            None => self.client.get(url).query(&asked),
        };
        let answer = request
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let answer = self.good(answer, "give a token").await?;
        let bytes = self.body(answer).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| self.answer("no token".to_owned()))?;
        Ok(SecretString::from(token))
    }

    async fn good(&self, answer: Response, doing: &str) -> Result<Response, Error> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.body(answer).await.unwrap_or_default();
        Err(Error::Refused {
            host: self.host.clone(),
            doing: doing.to_owned(),
            why: words(status, &body),
        })
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.unreachable(error))?
        {
            if body.len() + chunk.len() > BYTES {
                return Err(self.answer("more than 4 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        Error::Unreachable {
            host: self.host.clone(),
            why: causes::told(&error.without_url()),
        }
    }

    fn answer(&self, why: String) -> Error {
        Error::Answer {
            host: self.host.clone(),
            why,
        }
    }
}

fn client(host: &str, access: &Access, loopback: bool) -> Result<Client, Error> {
    let mut client = http_client::builder()
        .timeout(DEADLINE)
        .connect_timeout(Duration::from_secs(5));
    if loopback {
        client = client.no_proxy();
    }
    let file = access.authority_file.as_deref();
    let client = http_client::trusting_file(client, file).map_err(|error| Error::File {
        path: file.unwrap_or(Path::new("")).display().to_string(),
        why: causes::told(&error),
    })?;
    client.build().map_err(|error| Error::Client {
        host: host.to_owned(),
        why: causes::told(&error),
    })
}

/// The digest that a registry says in its headers.
fn said(headers: &HeaderMap) -> Option<String> {
    let digest = headers.get("docker-content-digest")?.to_str().ok()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// A status, with the registry's own words where it has some.
fn words(status: StatusCode, body: &[u8]) -> String {
    let told: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &told["errors"][0];
    let said = first["message"].as_str().or_else(|| first["code"].as_str());
    match said {
        Some(said) => format!("{status}, {}", said.chars().take(200).collect::<String>()),
        None => status.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
