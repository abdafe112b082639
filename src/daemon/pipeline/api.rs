//! The API of a daemon as others ask it: at a URL, or through an API server, which passes requests on to the
//! Service of the daemon, so that no port has to be opened and RBAC decides (`get` of `services/proxy`).
//!
//! A hub has each environment's API beneath `/environments/NAME`: that may stand behind both forms.
//!
//! Not here: what is asked for, beside the runs that ended.

use std::time::Duration;

use axum::http::{self, Request};
use jiff::Timestamp;
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::causes;
use crate::history::Summary;
use crate::http_client;

/// For one answer at a URL.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of one answer at a URL: thousands of runs with their evidence.
const BODY_LIMIT: usize = 64 << 20;

/// Why a daemon's API gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is named in a way that is not known.
    #[error("{0}: wanted NAMESPACE/NAME of the daemon's Service, or a URL")]
    Nowhere(String),
    /// It cannot be asked like this.
    #[error("the daemon {server} cannot be asked")]
    Request {
        /// As it was named.
        server: String,
        /// Why.
        source: http::Error,
    },
    /// It does not answer.
    #[error("the daemon does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// The API server does not pass the question on.
    #[error("the API server does not ask the daemon")]
    Api(#[source] kube::Error),
    /// The API server finds no daemon there, in its words.
    #[error("the API server finds no daemon: {0}")]
    Missing(String),
    /// It says no.
    #[error("the daemon says {code}: {words}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// Its words.
        words: String,
    },
    /// It says more than anybody asked for.
    #[error("the daemon's answer is longer than {0} bytes")]
    Long(usize),
    /// It says something else.
    #[error("the daemon's answer is not understood")]
    Strange(#[from] serde_json::Error),
}

/// Runs, as the API tells them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Runs {
    /// The environment.
    pub environment: String,
    /// Newest first.
    pub runs: Vec<Summary>,
}

/// Which runs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked<'a> {
    /// The namespace of their Rollouts; all, unless it is said.
    pub namespace: Option<&'a str>,
    /// Their Rollout.
    pub name: Option<&'a str>,
    /// Those that ended at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many, the newest.
    pub limit: usize,
    /// Of all environments that share the daemon's database.
    pub everywhere: bool,
}

impl Asked<'_> {
    /// The path of the question.
    pub fn path(&self) -> String {
        let given = [
            ("limit", Some(self.limit.to_string())),
            ("namespace", self.namespace.map(encoded)),
            ("name", self.name.map(encoded)),
            ("since", self.since.map(|since| since.to_string())),
            ("everywhere", self.everywhere.then(|| "true".to_owned())),
        ];
        let given = given.into_iter();
        let pairs: Vec<String> = given
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
            .collect();
        format!("/api/history?{}", pairs.join("&"))
    }
}

/// A value as it may stand in a URL.
pub fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let parts = value.bytes().map(|byte| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    parts.collect()
}

/// Whether a daemon is named by a URL, so that no API server has to pass anything on.
pub fn is_url(server: &str) -> bool {
    server.starts_with("http://") || server.starts_with("https://")
}

/// The answer of a daemon at a URL to a GET of this path.
pub async fn at_url(url: &str, path: &str) -> Result<String, Error> {
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let client = http_client::builder().timeout(PATIENCE);
    let client = client.build().map_err(Error::Unreachable)?;
    let mut response = client.get(url).send().await.map_err(Error::Unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::Unreachable)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Error::Long(BODY_LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(refused(&text, status.as_u16()))
    }
}

/// The same of a daemon whose Service is named: `NAMESPACE/NAME`, with the path of its environment in a hub.
pub async fn through(client: &Client, server: &str, path: &str) -> Result<String, Error> {
    let mut parts = server.trim_end_matches('/').splitn(3, '/');
    let (Some(namespace), Some(service)) = (parts.next(), parts.next()) else {
        return Err(Error::Nowhere(server.to_owned()));
    };
    let base = parts
        .next()
        .map_or(String::new(), |base| format!("/{base}"));
    let path = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy{base}{path}");
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|source| Error::Request {
        server: server.to_owned(),
        source,
    })?;
    let answer = client.request_text(request).await;
    answer.map_err(|error| match &error {
        kube::Error::Api(status) if [401, 403].contains(&status.code) => Error::Api(error),
        kube::Error::Api(status)
            if [404, 503].contains(&status.code) && said(&status.message).is_none() =>
        {
            Error::Missing(status.message.clone())
        }
        kube::Error::Api(status) => refused(&status.message, status.code),
        _ => Error::Api(error),
    })
}

/// How the newest runs of a Rollout ended, as the daemon of its environment remembers.
pub async fn ended(
    client: &Client,
    server: &str,
    (namespace, name): (&str, &str),
) -> Result<Vec<String>, String> {
    let asked = Asked {
        namespace: Some(namespace),
        name: Some(name),
        limit: super::RUNS,
        ..Asked::default()
    };
    let path = asked.path();
    let answer = if is_url(server) {
        at_url(server, &path).await
    } else {
        through(client, server, &path).await
    };
    let runs = answer.and_then(|text| Ok(serde_json::from_str::<Runs>(&text)?));
    let runs = runs.map_err(|error| causes::told(&error))?;
    Ok(super::outcomes(runs.runs))
}

/// The daemon's own words, where there are some.
fn said(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    Some(answer.get("error")?.as_str()?.to_owned())
}

fn refused(text: &str, code: u16) -> Error {
    let words = said(text).unwrap_or_else(|| text.trim().to_owned());
    Error::Refused { code, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_encoded() {
        let asked = Asked {
            name: Some("a-b_c.1/&ü"),
            limit: 3,
            everywhere: true,
            ..Asked::default()
        };
        let wanted = "/api/history?limit=3&name=a-b_c.1%2F%26%C3%BC&everywhere=true";
        assert_eq!(asked.path(), wanted);
    }

    #[tokio::test]
    async fn a_service_is_asked_through_the_api_server_also_beneath_a_hub_s_environment() {
        for (server, wanted) in [
            ("a/b", "/api/v1/namespaces/a/services/b:http/proxy/api/x"),
            (
                "a/b/environments/staging/",
                "/api/v1/namespaces/a/services/b:http/proxy/environments/staging/api/x",
            ),
        ] {
            let answers = tower::service_fn(|request: Request<kube::client::Body>| async move {
                let path = request.uri().path().to_owned();
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                    path.into_bytes(),
                )))
            });
            let client = Client::new(answers, "default");
            assert_eq!(through(&client, server, "/api/x").await.unwrap(), wanted);
        }
        let client = Client::new(
            tower::service_fn(|_: Request<kube::client::Body>| async move {
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
            }),
            "default",
        );
        let error = through(&client, "sluice", "/api/x").await.unwrap_err();
        assert!(matches!(error, Error::Nowhere(_)), "{error}");
    }
}
