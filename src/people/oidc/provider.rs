//! Asking an identity provider: where things are, its keys, and a code for a token.
//!
//! Guarantees: it is asked only when somebody signs in; where things are is kept for [`KEPT`], keys
//! until a token names another one; its answers are bounded in time and size; endpoints that are not on
//! TLS are taken only where its own address is not either (loopback, as the settings require). The
//! client's secret and the code are in no error.
//!
//! Not here: whether the token is good (`token`).

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::token::{self, Flaw, Wanted};
use super::{Error, Keys, Oidc};
use crate::causes;
use crate::http_client;
use crate::people::bearer;
use crate::people::person::Person;

/// For one request.
const DEADLINE: Duration = Duration::from_secs(4);
/// The most of an answer.
const BYTES: usize = 1 << 20;
/// How long it is believed where things are.
const KEPT: Duration = Duration::from_secs(3600);

/// One login, as it is asked for and answered.
#[derive(Debug, Clone)]
pub struct Door {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Shows that the code is asked for by who began: its digest went ahead.
    pub verifier: SecretString,
}

/// Where things are.
#[derive(Debug, Clone, Deserialize)]
struct Places {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
}

#[derive(Debug, Clone)]
struct Known {
    places: Places,
    keys: Keys,
    at: Timestamp,
}

/// An identity provider.
#[derive(Debug)]
pub struct Provider {
    oidc: Oidc,
    /// Where browsers come back to.
    back: String,
    client: Client,
    known: Mutex<Option<Known>>,
}

#[derive(Deserialize)]
struct Answer {
    id_token: String,
}

impl Provider {
    /// A provider that sends browsers back to `back`. Fails where the authorities' file cannot be used.
    pub fn new(oidc: Oidc, back: String) -> Result<Self, Error> {
        Ok(Self {
            client: client(&oidc)?,
            oidc,
            back,
            known: Mutex::default(),
        })
    }

    /// How long one stays signed in.
    pub fn session(&self) -> Duration {
        self.oidc.session
    }

    /// Where a browser is sent to sign in.
    pub async fn door(&self, door: &Door, now: Timestamp) -> Result<String, Error> {
        let known = self.known(now).await?;
        let place = known.places.authorization_endpoint;
        let mut url = Url::parse(&place).map_err(|_| Error::Other(place))?;
        let scopes = self.oidc.scopes.iter().map(String::as_str);
        let scope: Vec<&str> = std::iter::once("openid").chain(scopes).collect();
        let challenge = Sha256::digest(door.verifier.expose_secret());
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.oidc.client_id)
            .append_pair("redirect_uri", &self.back)
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", &door.state)
            .append_pair("nonce", &door.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Where a browser is sent to sign out there too, if it can.
    pub fn exit(&self) -> Option<String> {
        let known = self.kept();
        let place = known?.places.end_session_endpoint?;
        let mut url = Url::parse(&place).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.oidc.client_id);
        Some(url.into())
    }

    /// Who has signed in: the code is given for a token, and that is checked.
    pub async fn who(&self, code: &str, door: &Door, now: Timestamp) -> Result<Person, Error> {
        let known = self.known(now).await?;
        let token = self.token(&known.places.token_endpoint, code, door).await?;
        let wanted = Wanted {
            oidc: &self.oidc,
            nonce: &door.nonce,
            now,
        };
        match token::check(token.expose_secret(), &known.keys, wanted) {
            // It may have a new one.
            Err(Flaw::Key) => {
                let known = self.ask(now).await?;
                Ok(token::check(token.expose_secret(), &known.keys, wanted)?)
            }
            checked => Ok(checked?),
        }
    }

    async fn token(&self, place: &str, code: &str, door: &Door) -> Result<SecretString, Error> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.back),
            ("code_verifier", door.verifier.expose_secret()),
        ];
        let secret = self.secret()?;
        let mut request = self.client.post(place);
        match &secret {
            Some(secret) => {
                request = request.basic_auth(
                    encoded(&self.oidc.client_id),
                    Some(encoded(secret.expose_secret())),
                );
            }
            None => form.push(("client_id", &self.oidc.client_id)),
        }
        let (status, body) = asked(place, request.form(&form)).await?;
        if !status.is_success() {
            let words: Value = serde_json::from_slice(&body).unwrap_or_default();
            let error = words["error"].as_str().unwrap_or("no reason is given");
            let error: String = error.chars().take(100).collect();
            return Err(Error::Refused(format!("{status}, {error}")));
        }
        let answer: Result<Answer, _> = serde_json::from_slice(&body);
        let answer =
            answer.map_err(|_| Error::Refused("an answer without an ID token".to_owned()))?;
        Ok(SecretString::from(answer.id_token))
    }

    fn secret(&self) -> Result<Option<SecretString>, Error> {
        let Some(file) = &self.oidc.client_secret_file else {
            return Ok(None);
        };
        let secret = bearer::secret(file).map_err(|error| Error::File {
            path: file.display().to_string(),
            why: causes::told(&error),
        })?;
        Ok(Some(SecretString::from(secret)))
    }

    fn kept(&self) -> Option<Known> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn known(&self, now: Timestamp) -> Result<Known, Error> {
        let fresh =
            |known: &Known| known.at <= now && now.duration_since(known.at).unsigned_abs() < KEPT;
        match self.kept().filter(fresh) {
            Some(known) => Ok(known),
            None => self.ask(now).await,
        }
    }

    /// Asks where things are and for the keys.
    async fn ask(&self, now: Timestamp) -> Result<Known, Error> {
        let issuer = &self.oidc.issuer;
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let places: Places = self.read(&place).await?;
        if places.issuer != *issuer {
            return Err(Error::Other(format!("it calls itself {:?}", places.issuer)));
        }
        let plain = issuer.starts_with("http://");
        let ends = places.end_session_endpoint.iter();
        let all = [
            &places.authorization_endpoint,
            &places.token_endpoint,
            &places.jwks_uri,
        ];
        if let Some(open) = all
            .into_iter()
            .chain(ends)
            .find(|at| !plain && !at.starts_with("https://"))
        {
            return Err(Error::Other(format!("its endpoint {open:?} is not https")));
        }
        let keys: Value = self.read(&places.jwks_uri).await?;
        let known = Known {
            keys: Keys::read(&keys),
            places,
            at: now,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, place: &str) -> Result<T, Error> {
        let away = |why: String| Error::Away {
            place: place.to_owned(),
            why,
        };
        let (status, body) = asked(place, self.client.get(place)).await?;
        if !status.is_success() {
            return Err(away(status.to_string()));
        }
        serde_json::from_slice(&body).map_err(|_| away("its answer cannot be read".to_owned()))
    }
}

/// As a form has it, which RFC 6749 wants of both parts.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn asked(
    place: &str,
    request: RequestBuilder,
) -> Result<(reqwest::StatusCode, Vec<u8>), Error> {
    let away = |why: String| Error::Away {
        place: place.to_owned(),
        why,
    };
    let failed = |error: reqwest::Error| away(causes::told(&error.without_url()));
    let mut answer = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > BYTES {
            return Err(away("an answer of more than 1 MiB".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status(), body))
}

fn client(oidc: &Oidc) -> Result<Client, Error> {
    let client = http_client::builder().timeout(DEADLINE);
    let file = oidc.ca_file.as_deref();
    let client = http_client::trusting_file(client, file).map_err(|error| Error::File {
        path: file.unwrap_or(Path::new("")).display().to_string(),
        why: causes::told(&error),
    })?;
    client
        .build()
        .map_err(|error| Error::Other(causes::told(&error)))
}
