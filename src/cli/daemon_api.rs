//! From a command to the daemon's own API, for what is not in the cluster's: the history.
//!
//! By default through the API server, which passes requests on to the Service of the daemon: no
//! port has to be opened, and RBAC decides (`get` of `services/proxy`). Or at a URL.
//!
//! Not here: what is asked for.

use axum::http::Request;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::Cluster;
use super::{Error, Global};
use crate::causes;
use crate::web::Place;

/// Where the daemon's API is.
#[derive(Debug, Args)]
pub struct Server {
    /// The daemon: its Service as NAMESPACE/NAME, reached through the API server, or a URL
    #[arg(
        long,
        value_name = "WHERE",
        env = "SLUICE_SERVER",
        default_value = "sluice-system/sluice"
    )]
    server: String,
    /// The environment, where that daemon serves several
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

const DOING: &str = "ask the daemon for its history";

impl Server {
    /// A daemon, as `--server` names it.
    pub fn at(server: &str) -> Self {
        let server = server.to_owned();
        Self {
            server,
            environment: None,
        }
    }

    /// The answer to a GET of this path, which begins with `/api/`.
    pub async fn get<T: DeserializeOwned>(&self, global: &Global, path: &str) -> Result<T, Error> {
        let place = self.environment.as_deref().map(Place::beneath);
        let path = &place.unwrap_or_default().path(path);
        let text = if self.server.starts_with("http://") || self.server.starts_with("https://") {
            self.direct(path).await?
        } else {
            self.proxied(global, path).await?
        };
        serde_json::from_str(&text).map_err(|error| {
            Error::Refused(format!("the daemon's answer is not understood: {error}"))
        })
    }

    async fn direct(&self, path: &str) -> Result<String, Error> {
        let url = format!("{}{path}", self.server.trim_end_matches('/'));
        let unreachable = |error: reqwest::Error| Error::NoDaemon {
            at: self.server.clone(),
            why: causes::told(&error.without_url()),
        };
        let client = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(15))
            .build()
            .map_err(unreachable)?;
        let response = client.get(url).send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(refused(&text, status.as_u16()))
        }
    }

    async fn proxied(&self, global: &Global, path: &str) -> Result<String, Error> {
        let Some((namespace, service)) = self.server.split_once('/') else {
            let server = &self.server;
            let wanted = "NAMESPACE/NAME of the daemon's Service, or a URL";
            return Err(Error::Usage(format!("--server {server}: wanted {wanted}")));
        };
        let cluster = Cluster::connect(global).await?;
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy{path}");
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| Error::Usage(format!("--server: {error}")))?;
        let answer = cluster.client.request_text(request).await;
        answer.map_err(|error| match &error {
            kube::Error::Api(status) if [401, 403].contains(&status.code) => {
                Error::api(DOING, &error)
            }
            // The API server's own words: it has found no daemon.
            kube::Error::Api(status)
                if [404, 503].contains(&status.code) && said(&status.message).is_none() =>
            {
                Error::NoDaemon {
                    at: format!("the Service {}", self.server),
                    why: status.message.clone(),
                }
            }
            kube::Error::Api(status) => refused(&status.message, status.code),
            _ => Error::api(DOING, &error),
        })
    }
}

/// The daemon's own words, where there are some.
fn said(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    Some(answer.get("error")?.as_str()?.to_owned())
}

fn refused(text: &str, code: u16) -> Error {
    let words = said(text).unwrap_or_else(|| text.trim().to_owned());
    Error::Refused(format!("the daemon says {code}: {words}"))
}
