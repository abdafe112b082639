//! A GitHub App as who we are: a token of one of its installations, by which Git and the REST API
//! are spoken to.
//!
//! A token is asked for with an assertion that the App's private key signs (a JWT, RS256), lives for an
//! hour, and is kept until shortly before it ends. The key and the token are in types that print
//! `[REDACTED]`.
//!
//! Sources: GitHub's REST reference 2022-11-28, "Generating an installation access token"; RFC 7515, 7519.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::Error;
use crate::causes;
use crate::http_client;

/// GitHub's own API, where nothing else is said.
pub const GITHUB: &str = "https://api.github.com";
/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(15);
/// Clocks that are apart by this much are borne.
const SKEW: i64 = 60;
/// How long an assertion is good, in seconds; GitHub takes at most ten minutes.
const ASSERTED: i64 = 540;
/// A token is asked for anew this many seconds before it ends, so that it outlives a remedy.
const SPARE: i64 = 600;
/// The largest answer that is read, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// How much of a refusal is quoted, in characters.
const QUOTED: usize = 200;

/// An installation of a GitHub App.
#[derive(Clone, Debug)]
pub struct App {
    /// The App's ID, or its client ID.
    pub id: String,
    /// The installation's ID.
    pub installation: String,
    /// The App's private key, in PEM.
    pub key: SecretString,
    /// The base of the API, without a slash at the end.
    pub api: String,
}

/// Tokens that were given, by installation. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<HashMap<String, Given>>>);

#[derive(Clone, Debug)]
struct Given {
    token: SecretString,
    ends: Timestamp,
}

impl Tokens {
    /// A token of the installation: one that is good for a while yet, else a new one. `authority`
    /// (PEM) is trusted besides the public ones.
    ///
    /// # Errors
    /// If the key is none, or the API gives no token.
    pub async fn of(
        &self,
        app: &App,
        authority: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<SecretString, Error> {
        let name = app.name();
        if let Some(token) = self.good(&name, now) {
            return Ok(token);
        }
        let given = app.ask(authority, now).await?;
        let token = given.token.clone();
        self.kept().insert(name, given);
        Ok(token)
    }

    /// Forgets them: a server does not take them, for they may have been revoked.
    pub fn forget(&self) {
        self.kept().clear();
    }

    fn good(&self, name: &str, now: Timestamp) -> Option<SecretString> {
        let kept = self.kept();
        let given = kept.get(name)?;
        let left = given.ends.as_second().saturating_sub(now.as_second());
        (left > SPARE).then(|| given.token.clone())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// By which its token is kept: another key is another App.
    fn name(&self) -> String {
        let key = Sha256::digest(self.key.expose_secret().as_bytes());
        format!("{} {} {} {key:x?}", self.api, self.id, self.installation)
    }

    async fn ask(&self, authority: Option<&[u8]>, now: Timestamp) -> Result<Given, Error> {
        let assertion = self.assertion(now.as_second())?;
        let client = http_client::builder().timeout(DEADLINE);
        let client = http_client::proxied(client, &self.api);
        let client = http_client::trusting(client, authority).map_err(Error::authority)?;
        let failed = |error: reqwest::Error| self.refused(causes::told(&error.without_url()));
        let request = client
            .build()
            .map_err(failed)?
            .post(format!(
                "{}/app/installations/{}/access_tokens",
                self.api, self.installation
            ))
            .bearer_auth(assertion.expose_secret())
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        let mut answer = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(self.refused("an answer of more than 1 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        given(answer.status(), &body).map_err(|why| self.refused(why))
    }

    /// What the key signs: who asks, and until when that is good.
    fn assertion(&self, now: i64) -> Result<SecretString, Error> {
        let claims = json!({"iat": now - SKEW, "exp": now + ASSERTED, "iss": self.id});
        let head = base64url(br#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
        let key = self.pair()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .map_err(|_| bad_key("it cannot sign"))?;
        Ok(SecretString::from(format!(
            "{signed}.{}",
            base64url(&signature)
        )))
    }

    fn pair(&self) -> Result<RsaKeyPair, Error> {
        let found = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes());
        let pair = match found.map_err(|_| bad_key("no private key in PEM"))? {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(bad_key("no RSA key, as GitHub gives them")),
        };
        pair.map_err(|error| bad_key(&format!("no RSA key, as GitHub gives them: {error}")))
    }

    fn refused(&self, why: String) -> Error {
        Error::NoToken {
            app: self.id.clone(),
            at: self.api.clone(),
            why,
        }
    }
}

fn given(status: StatusCode, body: &[u8]) -> Result<Given, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != StatusCode::CREATED {
        let why: String = answer["message"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(QUOTED)
            .collect();
        return Err(format!("HTTP {status} {why}").trim_end().to_owned());
    }
    let ends = answer["expires_at"]
        .as_str()
        .and_then(|text| text.parse().ok());
    match (answer["token"].as_str(), ends) {
        (Some(token), Some(ends)) => Ok(Given {
            token: SecretString::from(token.to_owned()),
            ends,
        }),
        _ => Err("an answer without token and expires_at".to_owned()),
    }
}

fn bad_key(why: &str) -> Error {
    Error::Credentials {
        key: "githubAppPrivateKey",
        why: why.to_owned(),
    }
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..=chunk.len() {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(char::from(letter));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(key: &str) -> App {
        App {
            id: "7".to_owned(),
            installation: "8".to_owned(),
            key: SecretString::from(key.to_owned()),
            api: GITHUB.to_owned(),
        }
    }

    #[test]
    fn what_is_signed_is_written_as_the_standard_says() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn a_token_is_kept_until_ten_minutes_before_it_ends() {
        let (tokens, app) = (Tokens::default(), app("key"));
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let token = SecretString::from("ghs_1".to_owned());
        let given = Given {
            token,
            ends: at(3600),
        };
        tokens.kept().insert(app.name(), given);
        assert!(tokens.good(&app.name(), at(2999)).is_some());
        assert!(tokens.good(&app.name(), at(3000)).is_none());
        tokens.forget();
        assert!(tokens.good(&app.name(), at(0)).is_none());
    }

    #[test]
    fn an_answer_is_a_token_or_says_why_not_and_a_key_that_is_none_is_named() {
        let body = br#"{"token": "ghs_1", "expires_at": "2026-11-22T10:00:00Z"}"#;
        assert!(given(StatusCode::CREATED, body).is_ok());
        let why = given(
            StatusCode::UNAUTHORIZED,
            br#"{"message": "Bad credentials"}"#,
        );
        assert_eq!(why.unwrap_err(), "HTTP 401 Unauthorized Bad credentials");
        assert!(given(StatusCode::CREATED, b"<html>").is_err());
        let said = app("nothing").assertion(0).unwrap_err().to_string();
        assert!(said.contains("githubAppPrivateKey"), "{said}");
    }
}
